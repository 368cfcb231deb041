"""The event bridge between two real inits, by a real bus: events of the one arrive in the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import Bridged, switches
from daemon_init import MANAGER, PROGRAMS, ROOT, UPSTART, SessionInit, wait_for
from test_daemon_bus import Bus, pytestmark

__all__ = ["pytestmark"]

BRIDGE = "upstart-event-bridge"
NOTE = (
    "start on :sys:{name}\ntask\ninstance $A\nenv A=\nenv B=\n"
    "exec sh -c 'echo $UPSTART_EVENTS $A $B >>$HOME/{name}'\n"
)


class Pair:
    """A system, which is on a bus, and a session with the shipped job."""

    def __init__(self, directory: Path) -> None:
        (directory / "system").mkdir()
        (directory / "session").mkdir()
        self.bus = Bus(directory)
        self.system = SessionInit(directory / "system", {}, "--verbose")
        self.join()
        self.list = directory / "list"
        self.list.write_text("shown*\n")
        job = (ROOT / f"etc/sessions/{BRIDGE}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
        job = job.replace("--daemon", f"--daemon --list={self.list}")
        self.session = SessionInit(directory / "session", {BRIDGE: job}, DBUS_SYSTEM_BUS_ADDRESS=self.bus.address)
        self.client = self.session.client()

    def join(self) -> None:
        self.system.client_at_last().call(MANAGER, UPSTART, "NotifyDBusAddress", "s", self.bus.address)

    def note(self, name: str, text: str = NOTE) -> None:
        self.session.write(f"note-{name}", text.format(name=name))
        self.client.call(MANAGER, UPSTART, "ReloadConfiguration")

    def wait_running(self) -> int:
        return self.client.wait_status(BRIDGE, "start/running")["main"]

    def noted(self, name: str) -> list[str]:
        path = self.session.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def emit_until_noted(self, name: str, *env: str) -> None:
        """Emit an event, again and again, until it has arrived: nobody says when another bus has all rules."""
        system = self.system.client_at_last()

        def attempt() -> list[str]:
            system.emit(name, *env)
            return self.noted(name)

        wait_for(attempt)

    def expect(self, name: str, *lines: str) -> None:
        """Wait for these lines, of which each is written by a process that runs beside the others."""
        try:
            wait_for(lambda: sorted(self.noted(name)) == sorted(lines))
        except AssertionError:
            raise AssertionError(f"{self.noted(name)} instead of {lines}; {self.session.text()}") from None

    def close(self) -> None:
        self.session.close()
        self.system.close()
        self.bus.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    try:
        yield pair
        assert "Internal error" not in pair.session.text() + pair.system.text()
    finally:
        pair.close()


def test_awaited_events_that_are_listed_arrive_with_their_variables(pair: Pair) -> None:
    assert pair.client.status(BRIDGE)[0] == "stop/waiting"
    pair.note("shown")
    pair.note("hidden")
    pid = pair.wait_running()
    system = pair.system.client()
    system.emit("hidden", "A=1")
    system.emit("shown", "A=1", "B=x y")
    system.emit("shown", "A=2")
    pair.expect("shown", ":sys:shown 1 x y", ":sys:shown 2")
    assert pair.noted("hidden") == []
    # Another job that comes is served by the same process, and so is another list.
    pair.note("shown-later")
    pair.list.write_text("# other\nhidden\nshown-later\n")
    pair.emit_until_noted("shown-later", "A=3")
    system.emit("hidden", "A=4")
    pair.expect("hidden", ":sys:hidden 4")
    assert pair.wait_running() == pid
    for name in ("shown", "hidden", "shown-later"):
        (pair.session.conf / f"note-{name}.conf").unlink()
    pair.client.call(MANAGER, UPSTART, "ReloadConfiguration")
    pair.client.wait_status(BRIDGE, "stop/waiting")


def test_a_re_execution_of_the_systems_init_is_told_once(pair: Pair) -> None:
    pair.note("restarted", "start on :sys:{name}\ntask\nexec sh -c 'echo restarted >>$HOME/{name}'\n")
    pair.note("shown")
    pair.wait_running()
    pair.system.restart()
    pair.expect("restarted", "restarted")
    pair.emit_until_noted("shown", "A=1")
    assert pair.noted("restarted") == ["restarted"]


def test_the_session_of_root_hears_the_systems_init_where_no_bus_is(tmp_path: Path) -> None:
    system = Bridged(tmp_path)
    conf = tmp_path / "session"
    conf.mkdir()
    (tmp_path / "list").write_text("shown*\n")
    job = (ROOT / f"etc/sessions/{BRIDGE}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
    (conf / f"{BRIDGE}.conf").write_text(job.replace("--daemon", f"--daemon --list={tmp_path}/list"))
    for name in ("shown", "hidden", "restarted"):
        (conf / f"{name}.conf").write_text(NOTE.format(name=name))
    address = f"DBUS_SYSTEM_BUS_ADDRESS=unix:path={tmp_path}/none"
    try:
        system.prepare()
        init = f"{PROGRAMS}/init --user --confdir {conf} --no-startup-event --no-dbus"
        env = f"env HOME={tmp_path}\nenv XDG_RUNTIME_DIR={tmp_path}\nenv {address}\n"
        system.write("session", f"{env}expect none\nexec {init}\n")
        system.initctl("start", "session")
        watching = f"{PROGRAMS}/upstart-bridges --status --user"
        session = f"UPSTART_SESSION=$(cat {tmp_path}/upstart/sessions/*.session | cut -d= -f2-)"

        def status() -> str:
            return system.run("sh", "-c", f"XDG_RUNTIME_DIR={tmp_path} {session} {watching}").stdout

        wait_for(lambda: "watches hidden shown by the system's init" in status(), 20)
        system.initctl("emit", "hidden", "A=1")
        system.initctl("emit", "shown", "A=1", "B=x y")
        note = tmp_path / "shown"
        wait_for(lambda: note.exists() and note.read_text() == ":sys:shown 1 x y\n")
        assert not (tmp_path / "restarted").exists()
        system.restart_init()
        wait_for(lambda: (tmp_path / "restarted").exists())
        system.initctl("emit", "shown", "A=2")
        wait_for(lambda: note.read_text() == ":sys:shown 1 x y\n:sys:shown 2\n")
        assert (tmp_path / "restarted").read_text().split() == [":sys:restarted"]
        assert not (tmp_path / "hidden").exists()
        # Other events do not wake it.
        pid = next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline")
                   if path.read_bytes().split(b"\0")[-2:-1] == [f"--list={tmp_path}/list".encode()])  # fmt: skip
        before = switches(pid)
        for _ in range(5):
            system.initctl("emit", "shown-otherwise")
        time.sleep(0.3)
        assert switches(pid) == before
    finally:
        system.close()


def test_a_bus_that_was_away_is_found_again(pair: Pair, tmp_path: Path) -> None:
    pair.note("shown")
    pid = pair.wait_running()
    pair.bus.close()
    pair.bus = Bus(tmp_path)
    pair.join()
    pair.emit_until_noted("shown", "A=1")
    assert pair.noted("shown")[0] == ":sys:shown 1" and pair.wait_running() == pid


def test_nothing_else_wakes_it(pair: Pair) -> None:
    pair.note("shown")
    pid = pair.wait_running()
    time.sleep(0.5)
    before = switches(pid)
    system = pair.system.client()
    for _ in range(5):
        system.emit("shown-otherwise")
        pair.client.emit("unheard")
    time.sleep(0.5)
    assert switches(pid) == before


def test_one_that_was_killed_is_followed_by_another(pair: Pair) -> None:
    pair.note("shown")
    pid = pair.wait_running()
    os.kill(pid, 9)
    wait_for(lambda: pair.client.status(BRIDGE)[1].get("main", pid) != pid)
    pair.wait_running()
    system = pair.system.client()
    system.emit("shown", "A=1")
    pair.expect("shown", ":sys:shown 1")
    pair.client = pair.session.restart()
    system.emit("shown", "A=2")
    pair.expect("shown", ":sys:shown 1", ":sys:shown 2")
