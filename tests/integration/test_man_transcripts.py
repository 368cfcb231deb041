"""What the manual shows of a terminal is what appears there: its transcripts are run in a session and compared."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "man"
SBIN = ROOT / "build" / "sbin"

#: The jobs that the transcripts are about; those that a page shows itself are taken from there.
JOBS = {
    "database": "exec sleep 1000\n",
    "getty": "instance $TTY\nexec sleep 1000\n",
    "mail": "exec /usr/sbin/no-such-daemon\n",
    "report": "start on started databse\nstop on network-lost\n",
    "web": "emits web-ready\nstart on started database or runlevel [2345]\nstop on runlevel [!2345]\nexec sleep 1000\n",
}


def blocks(page: str, mark: str) -> list[str]:
    """The examples of a page with this mark, as they are printed."""
    found = re.findall(rf'^\.\\" {mark}\n\.EX\n(.*?)^\.EE$', (MAN / page).read_text(), re.M | re.S)
    return [block.replace(r"\-", "-").replace(r"\e", "\\").replace(r"\(aq", "'") for block in found]


class Terminal:
    """A session init, and a shell's place to talk to it."""

    def __init__(self, directory: Path) -> None:
        self.places = {"/etc/init": str(directory / "conf"), "/var/log/upstart": str(directory / "log")}
        for place in self.places.values():
            Path(place).mkdir()
        for name, text in {**JOBS, "hello": blocks("upstart.7", "job")[0]}.items():
            (directory / "conf" / f"{name}.conf").write_text(text)
        self.environment = {
            "PATH": f"{SBIN}:{os.defpath}",
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
        }
        options = ["--user", "--no-dbus", "--no-startup-event", "--confdir", self.places["/etc/init"]]
        options += ["--logdir", self.places["/var/log/upstart"]]
        with (directory / "messages").open("w") as messages:
            self.init = subprocess.Popen(
                [SBIN / "upstart", *options], env=self.environment, stdout=messages, stderr=messages
            )
        file = directory / "upstart" / "sessions" / f"{self.init.pid}.session"
        deadline = time.monotonic() + 20
        while not (file.exists() and file.read_text().endswith("\n")):
            assert self.init.poll() is None and time.monotonic() < deadline, (directory / "messages").read_text()
            time.sleep(0.02)
        self.environment["UPSTART_SESSION"] = file.read_text().strip().partition("=")[2]
        #: Process numbers of the page, and what they are here.
        self.pids: dict[str, str] = {}

    def type(self, command: str) -> str:
        """What a command prints, with the directories of a system in the place of ours."""
        for known, ours in self.places.items():
            command = command.replace(known, ours)
        command = re.sub(r"\b\d{4}\b", lambda found: self.pids.get(found[0], found[0]), command)
        result = subprocess.run(
            ["sh", "-c", command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
        )
        text: str = result.stdout
        for known, ours in self.places.items():
            text = text.replace(ours, known)
        return text

    def shows(self, expected: str, printed: str) -> bool:
        """Whether a command printed what the page says; process numbers may differ, but each stands for one process."""
        pattern = re.sub(r"process \d+", r"process (\\d+)", re.escape(expected).replace(r"\ ", " "))
        match = re.fullmatch(pattern, printed)
        if match is None:
            return False
        for number, ours in zip(re.findall(r"process (\d+)", expected), match.groups(), strict=True):
            if self.pids.get(number, ours) != ours or ours in {self.pids[n] for n in self.pids if n != number}:
                return False
            self.pids[number] = ours
        return True

    def close(self) -> None:
        self.init.terminate()
        self.init.wait(30)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


@pytest.mark.parametrize("page", [path.name for path in sorted(MAN.iterdir()) if blocks(path.name, "run")])
def test_transcripts_of_the_page_are_true(page: str, terminal: Terminal) -> None:
    for block in blocks(page, "run"):
        for command, expected in re.findall(r"^# (.*)\n((?:(?!# ).*\n)*)", block, re.M):
            # What asks a question may do so until a process has said or done what it is about to.
            patience = time.monotonic() + (20 if re.match("cat|status", command) else 0)
            printed = terminal.type(command)
            while not terminal.shows(expected, printed) and time.monotonic() < patience:
                time.sleep(0.05)
                printed = terminal.type(command)
            assert terminal.shows(expected, printed), (command, printed)


def test_some_pages_have_transcripts() -> None:
    assert {"init.5", "initctl.8", "upstart.7"} <= {path.name for path in MAN.iterdir() if blocks(path.name, "run")}
