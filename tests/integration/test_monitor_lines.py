"""upstart-monitor line by line, beside a real init: what it writes and when, and how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import PROGRAMS, SECONDS, SessionInit, wait_for
from test_daemon_bus import Bus

from upstart.base import names

pytest.importorskip("gi")

JOBS = {
    "tunnel": "start on net-up IFACE=tun*\ninstance $HOST\nexec sleep 1000\n",
    "failing": "start on go\ntask\nexec false\n",
}


class Monitor:
    """A monitor whose lines are read from a pipe."""

    def __init__(self, init: SessionInit, *words: str, user: int | None = None, **environ: str) -> None:
        environment = {**init.environ, "UPSTART_SESSION": init.address, **environ}
        self.process = subprocess.Popen(
            [PROGRAMS / "upstart-monitor", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            user=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        assert self.process.stdout is not None and self.process.stderr is not None
        self.out, self.err = self.process.stdout.fileno(), self.process.stderr.fileno()
        self.text = ""

    def until(self, what: str, fd: int = -1) -> str:
        """All that was written so far, once it has a text in it."""
        deadline = time.monotonic() + 2 * SECONDS
        while what not in self.text:
            ready = select.select([self.out if fd < 0 else fd], [], [], max(0.0, deadline - time.monotonic()))[0]
            data = os.read(self.out if fd < 0 else fd, 65536) if ready else b""
            assert data, self.text
            self.text += data.decode()
        return self.text

    def begins(self, init: SessionInit, mark: str = "mark") -> None:
        """It hears what happens."""
        def marked() -> bool:
            init.client().emit(mark, "IFACE=tun")
            return self._has(mark)

        wait_for(marked, 2 * SECONDS)
        # No more than that is on its way.
        init.client().emit(mark + "-last", "IFACE=tun")
        self.until(mark + "-last")
        self.text = ""

    def _has(self, mark: str) -> bool:
        if select.select([self.out], [], [], 0.05)[0]:
            self.text += os.read(self.out, 65536).decode()
        return mark in self.text

    def ends(self) -> tuple[int, str]:
        """Its exit status, and what it has said of that."""
        assert self.process.stderr is not None
        status = self.process.wait(2 * SECONDS)
        return status, self.process.stderr.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for file in (self.process.stdout, self.process.stderr):
            if file is not None:
                file.close()
        self.process.wait()


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS)
    yield init
    init.close()


@pytest.fixture
def monitors() -> Iterator[Callable[..., Monitor]]:
    made: list[Monitor] = []

    def make(*args: str | SessionInit, **environ: Any) -> Monitor:
        made.append(Monitor(*args, **environ))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for monitor in made:
        monitor.close()


def lines(text: str) -> list[str]:
    """The lines without their times."""
    return [line.partition("\t")[2] for line in text.splitlines()]


def test_each_event_is_a_line_at_once(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init)
    head = monitor.until("\n\n")
    assert all(line.startswith("#") for line in head.splitlines()[:-1])
    monitor.begins(init)
    init.client().emit("net-up", "IFACE=tun0", "HOST=two words", "TEXT=it's\n")
    text = monitor.until("started")
    assert lines(text) == [
        "starting JOB='tunnel' INSTANCE='two words'",
        r"net-up IFACE='tun0' HOST='two words' TEXT=$'it\'s\n'",
        "started JOB='tunnel' INSTANCE='two words'",
    ]
    assert time.strptime(text.splitlines()[0].partition(".")[0], "%Y-%m-%d %H:%M:%S")


def test_only_what_is_asked_for_is_shown_and_states_besides(
    init: SessionInit, monitors: Callable[..., Monitor]
) -> None:
    monitor = monitors(init, "--states", "-s", "|", "-e", "net-*", "-e", "mark*", "--variable", "IFACE=tun*")
    other = monitors(init, "-n", "--event=net-up", "-e", "mark*")
    other.begins(init)
    monitor.begins(init, "mark2")
    other.text = ""
    client = init.client()
    client.emit("net-up", "IFACE=eth0")
    client.emit("net-up", "IFACE=tun0", "HOST=a")
    client.emit("go", wait=False)
    text = monitor.until("failing stop/waiting")
    told = [line.partition("|")[2] for line in text.splitlines()]
    assert [line for line in told if line.startswith("net-up")] == ["net-up IFACE='tun0' HOST='a'"]
    assert "tunnel (a) start/running" in told and "failing failed with status 1" in told
    assert told.index("failing start/starting") < told.index("failing failed with status 1")
    assert not any(line.startswith(("started", "starting ", "go")) for line in told)
    shown = [line for line in lines(other.until("tun0'")) if not line.startswith("mark")]
    assert shown == ["net-up IFACE='eth0'", "net-up IFACE='tun0' HOST='a'"]


def test_json_has_an_object_in_each_line_and_nothing_else(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init, "--json", "--states")
    monitor.begins(init)
    init.client().start("tunnel", "HOST=x=y")
    found = [json.loads(line) for line in monitor.until('"started"').splitlines()]
    states = [(each["job"], each["instance"], each["goal"], each["state"]) for each in found if each["kind"] == "state"]
    assert states[0] == ("tunnel", "x=y", "start", "starting") and states[-1][3] == "running"
    variables = [each["variables"] for each in found if each["kind"] == "event"]
    assert variables == [{"JOB": "tunnel", "INSTANCE": "x=y"}] * 2


def test_a_reader_that_goes_ends_it_without_a_word(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init)
    monitor.begins(init)
    assert monitor.process.stdout is not None
    # Nothing happens that it would have to write.
    monitor.process.stdout.close()
    assert monitor.ends() == (0, "")


def test_a_reader_that_takes_its_time_loses_nothing(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init, "-e", "many", "-e", "mark*")
    monitor.begins(init)
    client = init.client()
    for number in range(2000):
        client.emit("many", f"NUMBER={number}", "TEXT=" + "x" * 100, wait=False)
    text = monitor.until("NUMBER='1999' TEXT='" + "x" * 100 + "'\n")
    assert [line.split("'")[1] for line in text.splitlines()] == [str(number) for number in range(2000)]


def test_it_goes_on_when_init_executes_itself_anew(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init, "--json")
    monitor.begins(init)
    init.restart()
    monitor.until('"connected"')
    monitor.begins(init, "after")
    monitor.process.send_signal(signal.SIGINT)
    status, said = monitor.ends()
    assert status == -signal.SIGINT and "is there again" in said


def test_it_ends_with_init(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init)
    monitor.begins(init)
    init.close()
    assert monitor.ends() == (1, "upstart-monitor: Init has gone\n")


def test_it_waits_where_it_is_told_to(init: SessionInit, monitors: Callable[..., Monitor], tmp_path: Path) -> None:
    monitor = monitors(init, "--wait", "-d", "session-bus", DBUS_SESSION_BUS_ADDRESS=f"unix:abstract={tmp_path}/bus")
    monitor.until("is waited for", monitor.err)
    bus = Bus(tmp_path)
    try:
        init.client().call(names.PATH, names.MANAGER, "NotifyDBusAddress", "s", bus.address)
        monitor.text = ""
        monitor.begins(init)
        bus.close()
        monitor.until("has gone, and is waited for", monitor.err)
        assert monitor.process.poll() is None
    finally:
        bus.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be another user")
def test_a_user_hears_the_system_s_init_by_the_system_bus(
    init: SessionInit, monitors: Callable[..., Monitor], tmp_path: Path
) -> None:
    bus = Bus(tmp_path)
    try:
        init.client().call(names.PATH, names.MANAGER, "NotifyDBusAddress", "s", bus.address)
        # By default, as there is no session.
        monitor = monitors(init, "-n", "--states", user=65534, UPSTART_SESSION="", DBUS_SYSTEM_BUS_ADDRESS=bus.address)
        monitor.begins(init)
        init.client().start("tunnel", "HOST=a")
        monitor.until("tunnel (a) start/running")
        init.restart()
        monitor.begins(init, "after")
    finally:
        bus.close()


def test_an_init_that_is_not_there_is_an_error(init: SessionInit, monitors: Callable[..., Monitor]) -> None:
    monitor = monitors(init, UPSTART_SESSION=f"{names.SESSION_ADDRESS}{os.getuid()}/0")
    status, said = monitor.ends()
    assert status == 1 and said.startswith("upstart-monitor: Unable to connect to Upstart: Failed to connect to socket")


def test_without_a_display_that_can_be_opened_it_says_so_and_writes_lines(
    init: SessionInit, monitors: Callable[..., Monitor]
) -> None:
    monitor = monitors(init, DISPLAY=":4711")
    monitor.begins(init)
    monitor.process.terminate()
    assert monitor.ends()[1].startswith("upstart-monitor: No window, as ")
