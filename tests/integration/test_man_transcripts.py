"""What the manual shows of a session's terminal and log is what appears there: its transcripts are run and compared."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import manual

SBIN = manual.ROOT / "build" / "sbin"


class Terminal:
    """A session init, and a shell's place to talk to it. The shell sees what seem to be the directories of a system."""

    def __init__(self, directory: Path, page: str) -> None:
        self.places = {"/etc/init": str(directory / "conf"), "/var/log/upstart": str(directory / "log")}
        for place in self.places.values():
            Path(place).mkdir()
        for path, text in manual.jobs([example.text for example in manual.of_kind("job", page)]).items():
            (directory / "conf" / Path(path).name).write_text(text)
        self.messages = directory / "messages"
        self.environment = {
            "PATH": f"{SBIN}:{os.defpath}",
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
        }
        self.directory = directory / "home"
        self.directory.mkdir()
        options = ["--user", "--no-dbus", "--no-startup-event", "--confdir", self.places["/etc/init"]]
        options += ["--logdir", self.places["/var/log/upstart"]]
        with self.messages.open("w") as messages:
            self.init = subprocess.Popen(
                [SBIN / "upstart", *options], env=self.environment, stdout=messages, stderr=messages
            )
        file = directory / "upstart" / "sessions" / f"{self.init.pid}.session"
        deadline = time.monotonic() + 20
        while not (file.exists() and file.read_text().endswith("\n")):
            assert self.init.poll() is None and time.monotonic() < deadline, self.messages.read_text()
            time.sleep(0.02)
        self.environment["UPSTART_SESSION"] = file.read_text().strip().partition("=")[2]

    def _as_shown(self, text: str) -> str:
        for shown, ours in self.places.items():
            text = text.replace(ours, shown)
        return text

    def type(self, command: str) -> str:
        """What a command prints, with the directories of a system in the place of ours."""
        for shown, ours in self.places.items():
            command = command.replace(shown, ours)
        result = subprocess.run(
            ["sh", "-c", command],
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
        )
        return self._as_shown(result.stdout)

    def log(self) -> str:
        """What the init has logged; see `comparable`."""
        return comparable(re.sub(r"^upstart: ?", "", self._as_shown(self.messages.read_text()), flags=re.M))

    def close(self) -> None:
        self.init.terminate()
        self.init.wait(30)


def comparable(log: str) -> str:
    """A log as one line, without process numbers and the name of the init, which a session's says in warnings only."""
    return re.sub(r"\(\d+\)", "(N)", re.sub(r"^init: ", "", log, flags=re.M).replace("\n", " "))


@pytest.fixture
def terminal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, request.node.callspec.params["page"])
    yield terminal
    terminal.close()


@pytest.mark.parametrize("page", manual.with_kind("run"))
def test_transcripts_of_the_page_are_true(page: str, terminal: Terminal, web_package: Path) -> None:
    (terminal.directory / web_package.name).symlink_to(web_package)
    reader = manual.Reader(terminal.type)
    try:
        for example in manual.of_kind("run", page):
            assert manual.commands(example.text), example
            reader.follow(example.text)
    finally:
        # What a page kills of a script leaves the script's own processes, in a group of its number.
        for pid in reader.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGKILL)


@pytest.fixture(scope="session")
def web_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package that pages speak of: it has a job, and the link that makes a service of it."""
    tree = tmp_path_factory.mktemp("package") / "tree"
    for folder in ("DEBIAN", "etc/init", "etc/init.d"):
        (tree / folder).mkdir(parents=True)
    fields = {"Package": "web", "Version": "1.0", "Architecture": "all", "Maintainer": "N <n@example.org>"}
    lines = [f"{name}: {value}\n" for name, value in fields.items()]
    (tree / "DEBIAN/control").write_text("".join(lines) + "Description: web server\n")
    (tree / "etc/init/web.conf").write_text("start on runlevel [2345]\nstop on runlevel [!2345]\nexec webd\n")
    (tree / "etc/init.d/web").symlink_to("/lib/init/upstart-job")
    package = tree.with_name("web_1.0_all.deb")
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True, stdout=subprocess.DEVNULL)
    return package


@pytest.mark.parametrize("page", manual.with_kind("log"))
def test_init_logs_what_the_page_says(page: str, terminal: Terminal) -> None:
    terminal.type("start --no-wait feed; initctl log-priority info; start web")
    for example in manual.of_kind("log", page):
        expected = comparable(example.text.strip())
        end = time.monotonic() + manual.PATIENCE
        while expected not in terminal.log() and time.monotonic() < end:
            time.sleep(0.1)
        assert expected in terminal.log()


def test_some_pages_have_transcripts_and_messages() -> None:
    assert {"init.5", "initctl.8", "upstart.7"} <= set(manual.with_kind("run"))
    assert "init.5" in manual.with_kind("log")
