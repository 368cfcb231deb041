"""The steps that unlock encrypted devices: which are tried, in which order, and who is asked, with a stand-in for
cryptsetup's own functions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

STEP = Path(__file__).parents[2] / "src/libexec/service-step"
#: As far as the steps use them: a mapping and a source are files, and a mapping that cannot be made has the key "bad".
#: What happens meanwhile is a script: while a mapping is made, or once a walk through the table has come to its end.
FUNCTIONS = """
CRYPTDISKS_ENABLE=${ENABLE:-Yes}
crypttab_foreach_entry()
{
    while read -r CRYPTTAB_NAME CRYPTTAB_SOURCE CRYPTTAB_KEY CRYPTTAB_OPTIONS <&9; do
        CRYPTTAB_NAME=$(printf %b "$CRYPTTAB_NAME")
        "$1" 9<&-
    done 9<ROOT/etc/crypttab
    happens pass
}
happens() { [ ! -e "ROOT/then/$1" ] || . "ROOT/then/$1"; }
dm_blkdevname() { [ -e "ROOT/dev/mapper/$1" ]; }
crypttab_resolve_source() { [ -e "ROOT$CRYPTTAB_SOURCE" ]; }
setup_mapping()
{
    echo "$CRYPTTAB_NAME" >>ROOT/calls
    happens "$CRYPTTAB_NAME"
    [ "${CRYPTTAB_KEY##*/}" != bad ] || { CRYPTTAB_NAME=${CRYPTTAB_NAME}_unformatted; return 1; }
    : >"ROOT/dev/mapper/$CRYPTTAB_NAME"
}
"""


START = """[ -z "$SAID" ] || { echo "start: $SAID" >&2; exit 1; }
echo start "$@" >>$C"""
#: The step that asks is to look again.
WANTED = "run/cryptsetup/ask"
STATUS = 'echo "$1 ${MOUNTALL:-start/running, process 7}"'
RUNS = "Job is already running: cryptdisks-ask"


class Machine:
    """A root in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = ""
        for path in ("dev/mapper", "etc", "run", "lib/cryptsetup", "bin", "then"):
            (root / path).mkdir(parents=True)
        self.write("lib/cryptsetup/cryptdisks-functions", FUNCTIONS.replace("ROOT", str(root)))
        for name, text in (("modprobe", ""), ("status", STATUS), ("start", START)):
            self.write(f"bin/{name}", f"#!/bin/sh\n{text}\n").chmod(0o755)
        self.write("calls", "")

    def write(self, path: str, text: str = "") -> Path:
        (self.root / path).write_text(text)
        return self.root / path

    def then(self, moment: str, *paths: str, walk: int = 0) -> None:
        """Have files appear at a moment: while a mapping is made, or after so many walks through the table."""
        made = "; ".join(f": >{self.root}/{path}" for path in paths)
        count = f"walks=$((${{walks:-0}} + 1)); [ $walks != {walk} ] || {{ {made}; }}"
        self.write(f"then/{moment}", count if walk else made)

    def step(self, word: str, status: int = 0, **env: str) -> list[str]:
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
        assert done.returncode == status, done.stderr
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


def test_nobody_is_asked_once_there_are_logins(machine: Machine) -> None:
    assert machine.step("cryptdisks", MOUNTALL="stop/waiting") == ["vault", "swap", "wrong"]


def test_a_key_on_a_device_that_somebody_has_unlocked_is_used(machine: Machine) -> None:
    machine.step("cryptdisks")
    machine.write("etc/lost")
    assert machine.step("cryptdisks-ask") == ["safe", "lost", "wrong"]


def test_a_keyscript_asks_by_itself_or_needs_nobody(machine: Machine) -> None:
    machine.write("etc/crypttab", "one /dev/a none luks,keyscript=/ask\ntwo /dev/b card luks,keyscript=/read\n")
    assert machine.step("cryptdisks") == ["two", "start --no-wait cryptdisks-ask"]
    assert machine.step("cryptdisks-ask") == ["one"]


@pytest.mark.parametrize(("word", "key"), [("cryptdisks", "/etc/key"), ("cryptdisks-ask", "none")])
def test_a_device_that_comes_while_others_are_unlocked_is_unlocked_too(machine: Machine, word: str, key: str) -> None:
    machine.write(
        "etc/crypttab",
        f"first /dev/1 {key}\nlost /dev/e /etc/lost\nwrong /dev/f /etc/bad\nsecond /dev/2 {key}\nthird /dev/a {key}\n",
    )
    machine.then("third", "dev/2")
    machine.then("second", "dev/1", "etc/lost")
    found = machine.step(word)
    assert sorted(found) == ["first", "lost", "second", "third", "wrong"]
    assert found.index("third") < found.index("second") < found.index("first")
    # What cannot be unlocked is tried once, and told once.
    assert machine.said == (
        "lost is not unlocked: its key /etc/lost is missing\n"
        "wrong is not unlocked; to try again: cryptdisks_start wrong\n"
    )


def test_names_with_blanks_are_names_of_their_own(machine: Machine) -> None:
    machine.write(
        "etc/crypttab", "a\\040b /dev/a /etc/key\na /dev/b /etc/key\nb\\040c /dev/c /etc/lost\nb /dev/d /etc/lost\n"
    )
    assert machine.step("cryptdisks") == ["a b", "a"]
    assert machine.said.count("is missing") == 2


def test_who_is_asking_already_is_told_of_a_device_that_has_come(machine: Machine) -> None:
    assert machine.step("cryptdisks", SAID=RUNS) == ["vault", "swap", "wrong"]
    assert "already" not in machine.said and (machine.root / WANTED).exists()
    assert machine.step("cryptdisks-ask") == ["safe", "wrong"]
    assert not (machine.root / WANTED).exists()
    machine.write("etc/crypttab", "safe /dev/b none\nnext /dev/g none\nlast /dev/h none\n")
    (machine.root / "dev/mapper/safe").unlink()
    # At the last moment of the last round.
    machine.then("pass", WANTED, "dev/g", walk=4)
    assert machine.step("cryptdisks-ask") == ["safe", "next"]
    assert not (machine.root / WANTED).exists() and machine.step("cryptdisks-asked") == []


def test_who_has_just_ended_asking_begins_again_where_a_device_has_come(machine: Machine) -> None:
    (machine.root / "run/cryptsetup").mkdir()
    machine.write(WANTED)
    assert machine.step("cryptdisks-asked", UPSTART_STOP_EVENTS="runlevel") == []
    assert machine.step("cryptdisks-asked", MOUNTALL="stop/waiting") == []
    assert machine.step("cryptdisks-asked") == ["start --no-wait cryptdisks-ask"]
    # Not for ever, whatever the table has become.
    machine.write("etc/crypttab", "")
    assert machine.step("cryptdisks-ask") == machine.step("cryptdisks-asked") == []


def test_it_is_told_if_nobody_can_be_asked(machine: Machine) -> None:
    machine.step("cryptdisks", 1, SAID="Unknown job: cryptdisks-ask")
    assert machine.said.endswith("start: Unknown job: cryptdisks-ask\n")


def test_nothing_is_done_without_a_table_or_where_it_is_switched_off(machine: Machine) -> None:
    assert machine.step("cryptdisks", ENABLE="no") == []
    machine.write("etc/crypttab", "")
    assert machine.step("cryptdisks") == machine.step("cryptdisks-ask") == []
