"""The dconf bridge at a real session init, with dconf's own writer on a bus of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import switches
from daemon_init import MANAGER, PROGRAMS, ROOT, UPSTART, SessionInit, wait_for
from test_daemon_bus import Bus

WRITER = "/usr/libexec/dconf-service"
SCHEMA, PLACE = "org.gnome.desktop.interface", "/org/gnome/desktop/interface"
BRIDGE = "upstart-dconf-bridge"


def has_schema() -> bool:
    if not shutil.which("gsettings"):
        return False
    found = subprocess.run(["gsettings", "list-keys", SCHEMA], capture_output=True, text=True, timeout=20)
    return "clock-format" in found.stdout


pytestmark = pytest.mark.skipif(
    not shutil.which("dbus-daemon") or not os.access(WRITER, os.X_OK) or not has_schema(),
    reason="needs dbus, dconf-service, gsettings and its desktop schemas",
)


class Session:
    """A session with the shipped job."""

    def __init__(self, directory: Path) -> None:
        self.bus = Bus(directory)
        job = (ROOT / f"etc/sessions/{BRIDGE}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
        self.init = SessionInit(directory, {BRIDGE: job}, DBUS_SESSION_BUS_ADDRESS=self.bus.address)
        self.environ = {**self.init.environ, "GSETTINGS_BACKEND": "dconf"}
        self.writer = subprocess.Popen([WRITER], env=self.environ, stderr=subprocess.DEVNULL)
        self.client = self.init.client()
        self.noted = directory / "noted"
        self.noted.touch()

    def wait_for_keys(self, *conditions: str) -> int:
        """Have a job wait for each of these; gives the bridge's pid, once it hears of them."""
        for number, condition in enumerate(conditions):
            job = f"start on dconf {condition}\ntask\nconsole none\ninstance $TYPE$VALUE\n"
            self.init.write(f"key{number}", f'{job}exec sh -c "echo {number} \\$TYPE \\$KEY \\$VALUE >>$HOME/noted"\n')
        self.client.call(MANAGER, UPSTART, "ReloadConfiguration")
        return self.client.wait_status(BRIDGE, "start/running")["main"]

    def gsettings(self, *words: str) -> None:
        done = subprocess.run(["gsettings", *words], env=self.environ, capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, "")

    def expect(self, *lines: str) -> None:
        try:
            wait_for(lambda: self.noted.read_text().splitlines() == list(lines))
        except AssertionError:
            raise AssertionError(f"{self.noted.read_text()} instead of {lines}: {self.init.text()}") from None
        self.noted.write_text("")

    def close(self) -> None:
        self.init.close()
        self.writer.terminate()
        self.writer.wait()
        self.bus.close()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    try:
        yield session
        assert "Internal error" not in session.init.text()
    finally:
        session.close()


def test_a_key_that_is_changed_and_reset(session: Session) -> None:
    assert session.client.status(BRIDGE)[0] == "stop/waiting"
    session.wait_for_keys(f"KEY={PLACE}/clock-format", f"TYPE=changed KEY={PLACE}/clock-*-seconds VALUE=true")
    session.gsettings("set", SCHEMA, "clock-format", "12h")
    session.expect(f"0 changed {PLACE}/clock-format '12h'")
    session.gsettings("set", SCHEMA, "clock-show-seconds", "true")
    session.expect(f"1 changed {PLACE}/clock-show-seconds true")
    session.gsettings("reset", SCHEMA, "clock-format")
    # That of its schema.
    session.expect(f"0 reset {PLACE}/clock-format '24h'")
    session.gsettings("set", SCHEMA, "clock-show-date", "false")
    session.gsettings("reset", SCHEMA, "clock-show-seconds")
    session.gsettings("set", SCHEMA, "clock-format", "12h")
    session.gsettings("reset-recursively", SCHEMA)
    wait_for(lambda: "reset" in session.noted.read_text())
    assert "clock-show" not in session.noted.read_text()


def test_what_changes_while_there_is_no_bridge_is_told_by_the_next(session: Session) -> None:
    pid = session.wait_for_keys(f"KEY={PLACE}/clock-format")
    session.gsettings("set", SCHEMA, "clock-format", "12h")
    session.expect(f"0 changed {PLACE}/clock-format '12h'")
    os.kill(pid, 19)
    session.gsettings("reset", SCHEMA, "clock-format")
    os.kill(pid, 9)
    session.expect(f"0 reset {PLACE}/clock-format '24h'")
    session.client = session.init.restart()
    session.gsettings("set", SCHEMA, "clock-format", "12h")
    session.expect(f"0 changed {PLACE}/clock-format '12h'")


def test_other_keys_do_not_wake_it(session: Session) -> None:
    pid = session.wait_for_keys(f"KEY={PLACE}/clock-format")
    time.sleep(0.5)
    before = switches(pid)
    session.gsettings("set", SCHEMA, "clock-show-seconds", "true")
    time.sleep(0.5)
    assert switches(pid) == before


def test_it_is_for_sessions_only() -> None:
    done = subprocess.run([str(PROGRAMS / BRIDGE)], env={}, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "UPSTART_SESSION isn't set in the environment" in done.stderr
