"""Every command that somebody may type is completed, in bash, zsh and fish alike, as the packages install it.

What bash offers is the whole of it: the other two ask `complete-words`, which asks bash's files.
"""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS as SBIN
from daemon_init import SessionInit

from upstart.bridges.kinds import MODULES as KINDS

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "etc/bash-completion"
COMPLETE = ROOT / "src/libexec/complete-words"
JOBS = {"alpha": "start on go-ahead\nexec sleep 1000\n", "beta": "exec sleep 1000\n"}
PATIENCE = 20.0

_spec = importlib.util.spec_from_file_location("programs", ROOT / "build-aux/programs.py")
assert _spec is not None and _spec.loader is not None
programs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)

PACKAGES = sorted({owner for owner, _, _ in programs.PROGRAMS.values()})
COMMANDS = sorted(name for package in PACKAGES for name in programs.commands(package))
#: Of none of these is there a file below etc/bash-completion of its own.
LINKS = re.compile(r"complete -F \w+ ((?:[\w-]+\s*(?:\\\n\s*)?)+)")


def served() -> dict[str, str]:
    """Each command that one of bash's files serves, with the file."""
    found: dict[str, str] = {}
    for path in FILES.iterdir():
        (names,) = LINKS.findall(path.read_text())
        found.update(dict.fromkeys(names.replace("\\", " ").split(), path.name))
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all shells as the packages have them, but that they find this checkout."""
    root = tmp_path_factory.mktemp("installed")
    bash = root / "usr/share/bash-completion/completions"
    bash.mkdir(parents=True)
    for name, file in served().items():
        (bash / name).symlink_to(FILES / file)
    for package in PACKAGES:
        programs.completions(str(root), package)
    for path in (root / "usr/share").rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text()
            assert "/usr/libexec/upstart/complete-words" in text
            path.write_text(text.replace("/usr/libexec/upstart/complete-words", f"{COMPLETE} --from {bash}"))
    return root / "usr/share"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    session = SessionInit(tmp_path_factory.mktemp("session"), JOBS)
    session.initctl("start", "beta")
    programs_of_packages = session.directory / "bin"
    programs_of_packages.mkdir()
    (programs_of_packages / "upstart-way-back").write_text(f'#!/bin/sh\nexec sh {ROOT}/debian/apt/way-back "$@"\n')
    (programs_of_packages / "upstart-way-back").chmod(0o755)
    path = f"{SBIN}:{programs_of_packages}:{os.defpath}"
    yield {**session.environ, "UPSTART_SESSION": session.address, "PATH": path, "TERM": "dumb"}
    session.close()


def offered(installed: Path, environment: dict[str, str], line: str) -> dict[str, str]:
    """What there is behind a line, with what it means."""
    words = line.split(" ")
    bash = installed / "bash-completion/completions"
    done = subprocess.run(
        [COMPLETE, "--from", bash, *words], env=environment, cwd=environment["HOME"], capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return {word: meaning for word, _, meaning in (each.partition("\t") for each in done.stdout.splitlines())}


def test_every_command_has_a_file_of_bash_and_the_packages_ship_it() -> None:
    served_by = served()
    assert set(COMMANDS) <= set(served_by)
    rules = (ROOT / "debian/rules").read_text()
    rules = rules.replace("$(BRIDGES)", "upstart-bridges " + " ".join(f"upstart-{name}-bridge" for name in KINDS))
    for command, file in served_by.items():
        shipped = rf"for name in [^;]*\b{command}\b[^;]*; do" if command != file else rf"etc/bash-completion/{file}\b"
        assert re.search(shipped, rules), command


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_offered(installed: Path, environment: dict[str, str], command: str) -> None:
    shown = subprocess.run(
        ["/usr/bin/env", command, "--help"], env=environment, stdout=subprocess.PIPE, text=True, check=False
    ).stdout
    heads = [re.split(r"\s{2,}|\s:", line.strip())[0] for line in shown.splitlines() if re.match(r"\s+-", line)]
    options = set()
    for head in heads:
        found = re.findall(r"(?<![\w=-])--?[A-Za-z][\w-]*", head)
        options |= {option for option in found if option.startswith("--")} or set(found[:1])
    assert "--help" in options
    if command == "initctl":
        return  # options of commands: test_completion.py
    words = offered(installed, environment, f"{command} -")
    missing = options - set(words)
    # The tools' help names some in a form of their own, and long ones alone.
    assert {option for option in missing if option.startswith("--") or len(options) == len(missing)} == set()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("telinit ", ["0", "1", "2", "3", "4", "5", "6", "S", "q", "u"]),
        ("telinit -e ", []),
        ("shutdown n", ["now"]),
        ("upstart-bridges ", sorted(KINDS)),
        ("upstart-bridges udev d", ["dbus", "dconf"]),
        ("init --default-console o", ["output", "owner"]),
        ("init --default-console=n", ["--default-console=none"]),
        ("upstart --confdir con", ["conf/"]),
        ("upstart --confdir=con", ["--confdir=conf/"]),
        ("mountall --fstab conf/al", ["conf/alpha.conf"]),
        ("start al", ["alpha"]),
        ("/sbin/stop ", ["beta"]),
        ("initctl --user list --columns=job,st", ["--columns=job,state"]),
        ("initctl2dot --format=s", ["--format=svg"]),
        ("init-checkconf conf/", ["conf/alpha.conf", "conf/beta.conf"]),
        ("nothing ", []),
        ("initctl nothing x", []),
    ],
)
def test_what_can_be_given(installed: Path, environment: dict[str, str], line: str, words: list[str]) -> None:
    assert sorted(offered(installed, environment, line)) == words


def test_what_it_means_is_told(installed: Path, environment: dict[str, str]) -> None:
    assert offered(installed, environment, "initctl li")["list"] == "List known jobs."
    assert offered(installed, environment, "initctl list --runn") == {"--running": "show what is running"}
    assert offered(installed, environment, "shutdown -")["-r"] == "reboot after shutdown"


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("initctl li", ["list\tList known jobs.", "list-env\t", "list-sessions\t"]),
        ("start al", ["alpha"]),
        ("shutdown no", ["now"]),
        ("initctl list --columns=jo", ["--columns=job"]),
        ("upstart --confdir con", ["conf/"]),
        ("initctl list --runn", ["--running\tshow what is running"]),
    ],
)
def test_fish_offers_it(installed: Path, environment: dict[str, str], line: str, shown: list[str]) -> None:
    script = f"set fish_complete_path {installed}/fish/vendor_completions.d; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], env=environment, cwd=environment["HOME"], capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    found = done.stdout.splitlines()
    assert len(found) == len(shown), done
    for line, expected in zip(sorted(found), sorted(shown), strict=True):
        assert line.startswith(expected)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("initctl reload-c\t", r"initctl reload-configuration "),
        ("initctl li\x04", r"list +-- List known jobs\."),
        ("start al\t", r"start alpha "),
        ("shutdown no\t", r"shutdown now "),
        ("initctl list --columns=jo\t", r"initctl list --columns=job "),
        ("upstart --confdir con\t", r"upstart --confdir conf/(?! )"),
    ],
)
def test_zsh_offers_it(installed: Path, environment: dict[str, str], line: str, pattern: str, tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(
        f"fpath=({installed}/zsh/vendor-completions $fpath)\nautoload -Uz compinit\ncompinit -u -D\n"
        f"PS1='READY '\nunsetopt zle_bracketed_paste 2>/dev/null\ncd {environment['HOME']}\n"
    )
    shell, terminal = pty.fork()
    if shell == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execvpe("zsh", ["zsh", "-d", "-i"], {**environment, "ZDOTDIR": str(tmp_path), "TERM": "vt100"})
    shown = ""
    try:
        for typed, wanted in (("", "READY "), (line, pattern)):
            os.write(terminal, typed.encode())
            end = time.monotonic() + PATIENCE
            seen = len(shown)
            while not re.search(wanted, shown[seen:]):
                ready = select.select([terminal], [], [], max(0.0, end - time.monotonic()))[0]
                assert ready, shown
                # Without what moves the cursor and sets colours.
                text = os.read(terminal, 4096).decode(errors="replace")
                shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\a\b\0]", "", text)
    finally:
        # It reads no more, whatever it is at: a signal alone may come when it does not look.
        os.close(terminal)
        os.waitpid(shell, 0)
