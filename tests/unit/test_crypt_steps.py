"""The steps that unlock encrypted devices: which are tried, in which order, and who is asked, with a stand-in for
cryptsetup's own functions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

STEP = Path(__file__).parents[2] / "src/libexec/service-step"
#: As far as the steps use them: a mapping and a source are files, and a mapping that cannot be made has the key "bad".
FUNCTIONS = """
CRYPTDISKS_ENABLE=${ENABLE:-Yes}
crypttab_foreach_entry()
{
    while read -r CRYPTTAB_NAME CRYPTTAB_SOURCE CRYPTTAB_KEY CRYPTTAB_OPTIONS <&9; do
        "$1" 9<&-
    done 9<ROOT/etc/crypttab
}
dm_blkdevname() { [ -e ROOT/dev/mapper/$1 ]; }
crypttab_resolve_source() { [ -e "ROOT$CRYPTTAB_SOURCE" ]; }
setup_mapping()
{
    echo "$CRYPTTAB_NAME" >>ROOT/calls
    [ "${CRYPTTAB_KEY##*/}" != bad ] || return 1
    : >ROOT/dev/mapper/$CRYPTTAB_NAME
}
"""


class Machine:
    """A root in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = ""
        for path in ("dev/mapper", "etc", "run", "lib/cryptsetup", "bin"):
            (root / path).mkdir(parents=True)
        self.write("lib/cryptsetup/cryptdisks-functions", FUNCTIONS.replace("ROOT", str(root)))
        for name, text in (("modprobe", ""), ("runlevel", "echo ${LEVEL:-unknown}"), ("start", 'echo start "$@" >>$C')):
            self.write(f"bin/{name}", f"#!/bin/sh\n{text}\n").chmod(0o755)
        self.write("calls", "")

    def write(self, path: str, text: str = "") -> Path:
        (self.root / path).write_text(text)
        return self.root / path

    def step(self, word: str, **env: str) -> list[str]:
        """What was tried to be unlocked, and started, by a step."""
        self.write("calls", "")
        text = STEP.read_text().replace("PATH=/sbin:/usr/sbin:/bin:/usr/bin", f"PATH={self.root}/bin:/usr/bin:/bin")
        for path in ("/etc/crypttab", "/lib/cryptsetup", "/run/cryptsetup"):
            text = text.replace(path, f"{self.root}{path}")
        text = text.replace('[ -e "$CRYPTTAB_KEY" ]', f'[ -e "{self.root}$CRYPTTAB_KEY" ]')
        done = subprocess.run(
            ["/bin/sh", "-c", text, "service-step", word],
            env={"PATH": "/usr/bin:/bin", "C": f"{self.root}/calls", **env}, capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.said = done.stderr
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.write("etc/key")
    made.write("etc/bad")
    made.write(
        "etc/crypttab",
        "vault /dev/a /etc/key luks\nsafe /dev/b none luks\nswap /dev/c /dev/urandom swap\n"
        "later /dev/d /etc/key noauto\ngone /dev/gone /etc/key luks\n"
        "lost /dev/e /etc/lost luks\nwrong /dev/f /etc/bad luks\n",
    )
    for name in "abcdef":
        made.write(f"dev/{name}")
    (tmp_path / "dev/urandom").symlink_to("/dev/urandom")
    return made


def test_what_has_a_key_and_is_there_is_unlocked_and_for_the_rest_somebody_is_asked(machine: Machine) -> None:
    assert machine.step("cryptdisks") == ["vault", "swap", "wrong", "start --no-wait cryptdisks-ask"]
    assert machine.said == (
        "lost is not unlocked: its key /etc/lost is missing\n"
        "wrong is not unlocked; to try again: cryptdisks_start wrong\n"
    )


def test_what_is_unlocked_is_left_alone_and_what_comes_later_is_not_forgotten(machine: Machine) -> None:
    machine.step("cryptdisks")
    machine.write("dev/gone")
    assert machine.step("cryptdisks") == ["gone", "wrong", "start --no-wait cryptdisks-ask"]


def test_nobody_is_asked_once_the_system_is_up(machine: Machine) -> None:
    assert machine.step("cryptdisks", LEVEL="N 2") == ["vault", "swap", "wrong"]


def test_a_key_on_a_device_that_somebody_has_unlocked_is_used(machine: Machine) -> None:
    machine.step("cryptdisks")
    machine.write("etc/lost")
    assert machine.step("cryptdisks-ask") == ["safe", "lost", "wrong"]


def test_a_keyscript_asks_by_itself_or_needs_nobody(machine: Machine) -> None:
    machine.write("etc/crypttab", "one /dev/a none luks,keyscript=/ask\ntwo /dev/b card luks,keyscript=/read\n")
    assert machine.step("cryptdisks") == ["two", "start --no-wait cryptdisks-ask"]
    assert machine.step("cryptdisks-ask") == ["one"]


def test_nothing_is_done_without_a_table_or_where_it_is_switched_off(machine: Machine) -> None:
    assert machine.step("cryptdisks", ENABLE="no") == []
    machine.write("etc/crypttab", "")
    assert machine.step("cryptdisks") == machine.step("cryptdisks-ask") == []
