"""A message bus: it may be late, hang, lie or go, and its policy is not what decides who may change anything."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, DBusError, SessionInit, wait_for

pytestmark = pytest.mark.skipif(not shutil.which("dbus-daemon") or not shutil.which("dbus-send"), reason="needs dbus")

POLICY = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>{address}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>
"""


class Bus:
    """A bus on which everybody may do everything."""

    def __init__(self, directory: Path) -> None:
        # An abstract name, for which the directories of tests need not be open to everybody.
        self.socket = f"\0{directory}/bus"
        self.address = f"unix:abstract={directory}/bus"
        config = directory / "bus.conf"
        config.write_text(POLICY.format(address=self.address))
        command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as attempt:
                attempt.connect(self.socket)
        except OSError:
            return False
        return True

    def send(self, *words: str, uid: int | None = None, path: str = MANAGER) -> subprocess.CompletedProcess[str]:
        command = ["dbus-send", f"--bus={self.address}", "--dest=com.ubuntu.Upstart", "--print-reply", path, *words]
        if uid is not None:
            command = ["setpriv", "--reuid", str(uid), "--clear-groups", *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=10)

    def owner(self) -> str:
        """The unique name of the init on this bus, empty where there is none."""
        bus = "org.freedesktop.DBus"
        command = ["dbus-send", f"--bus={self.address}", f"--dest={bus}", "--print-reply=literal", "/"]
        asked = [*command, f"{bus}.GetNameOwner", f"string:{UPSTART.removesuffix('0_6')}"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip()

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, {"service": "exec sleep 1000\n"}, "--verbose")
    yield init
    init.close()
    assert "Internal error" not in init.text()


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    yield bus
    bus.close()


def notify(init: SessionInit, bus: Bus) -> None:
    init.client().call(MANAGER, UPSTART, "NotifyDBusAddress", "s", bus.address)


def test_init_is_on_the_bus_once_told_where_it_is(init: SessionInit, bus: Bus) -> None:
    notify(init, bus)
    assert "init (upstart 1.13.2)" in bus.send("org.freedesktop.DBus.Properties.GetAll", "string:").stdout
    assert "/jobs/service" in bus.send(UPSTART + ".GetAllJobs").stdout
    started = bus.send(UPSTART + ".Job.Start", "array:string:", "boolean:true", path=f"{MANAGER}/jobs/service")
    assert "/jobs/service/_" in started.stdout
    assert init.client().status("service")[0] == "start/running"
    # Told again, it stays where it is.
    notify(init, bus)
    init.client().stop("service")


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_others_may_look_but_not_change_anything_whatever_the_policy_says(init: SessionInit, bus: Bus) -> None:
    notify(init, bus)
    for words, denied in (
        (["EmitEvent", "string:x", "array:string:", "boolean:true"], "emit an event"),
        (["ReloadConfiguration"], "reload configuration"),
        (["GetState"], "request state"),
        (["Restart"], "request restart"),
        (["EndSession"], "end session"),
        (["NotifyDBusAddress", "string:x"], "notify D-Bus address"),
        (["NotifyDiskWriteable"], "notify disk is writeable"),
        (["NotifyCGroupManagerAddress", "string:x"], "notify cgroup manager address"),
        (["SetEnv", "array:string:", "string:A=1", "boolean:true"], "modify job environment"),
        (["GetEnv", "array:string:", "string:PATH"], "query job environment"),
        (["ListEnv", "array:string:"], "query job environment"),
        (["Job.Start", "array:string:", "boolean:true"], "modify job: service"),
        (["Job.Stop", "array:string:", "boolean:true"], "modify job: service"),
        (["Job.Restart", "array:string:", "boolean:true"], "modify job: service"),
        (
            ["Extension.StopForce", f"string:{MANAGER}/jobs/service", "array:string:", "boolean:true"],
            "modify job: service",
        ),
        (["Extension.EmitTested", "string:x", "array:string:", "array:string:", "boolean:true"], "emit an event"),
        (["Extension.KeptFor"], "keep descriptors"),
        (["Extension.KeptDescriptors", "string:service"], "keep descriptors"),
        (["Extension.StopRecord"], "record what init is told"),
        (
            ["Extension.ArrangeDescriptors", "string:service", "string:x", "array:string:", "array:string:"],
            "keep descriptors",
        ),
    ):
        path = f"{MANAGER}/jobs/service" if words[0].startswith("Job.") else MANAGER
        result = bus.send(f"{UPSTART}.{words[0]}", *words[1:], uid=65534, path=path)
        assert f"Error.PermissionDenied: You do not have permission to {denied}" in result.stderr, words
    denied_set = bus.send(
        "org.freedesktop.DBus.Properties.Set", "string:", "string:log_priority", "variant:string:debug", uid=65534
    )
    assert "You do not have permission to set log priority" in denied_set.stderr
    for words in (["GetAllJobs"], ["GetJobByName", "string:service"], ["Extension.GetStatusAll"]):
        assert "service" in bus.send(f"{UPSTART}.{words[0]}", *words[1:], uid=65534).stdout


def test_a_bus_that_hangs_holds_up_nobody(init: SessionInit, bus: Bus) -> None:
    bus.process.send_signal(signal.SIGSTOP)
    client = init.client()
    waiting = client.send(MANAGER, UPSTART, "NotifyDBusAddress", "s", bus.address)
    other = init.client()
    for _ in range(20):
        began = time.monotonic()
        other.start("service")
        other.stop("service")
        assert time.monotonic() - began < 1
    bus.process.send_signal(signal.SIGCONT)
    client.answer(waiting)
    # And once connected.
    bus.process.send_signal(signal.SIGSTOP)
    for _ in range(20):
        other.start("service")
        other.stop("service")
    bus.process.send_signal(signal.SIGCONT)
    assert "/jobs/service" in bus.send(UPSTART + ".GetAllJobs").stdout


def test_a_name_that_is_taken_and_addresses_that_lead_nowhere(init: SessionInit, bus: Bus, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first = SessionInit(other, {})
    first.client().call(MANAGER, UPSTART, "NotifyDBusAddress", "s", bus.address)
    with pytest.raises(DBusError, match="Name already taken"):
        notify(init, bus)
    first.close()
    for address in ("", "nonsense", "tcp:host=localhost,port=1", "unix:abstract=/nobody", "unix:path=/nonexistent"):
        with pytest.raises(DBusError):
            init.client().call(MANAGER, UPSTART, "NotifyDBusAddress", "s", address)
    notify(init, bus)


def test_the_end_of_the_bus_is_survived_and_a_new_one_taken(init: SessionInit, bus: Bus, tmp_path: Path) -> None:
    notify(init, bus)
    bus.close()
    wait_for(lambda: "Disconnected from notified D-Bus bus" in init.text())
    other = tmp_path / "other"
    other.mkdir()
    new = Bus(other)
    notify(init, new)
    assert "/jobs/service" in new.send(UPSTART + ".GetAllJobs").stdout
    new.close()


def test_after_a_re_exec_init_is_on_the_bus_again_and_says_so(init: SessionInit, bus: Bus, tmp_path: Path) -> None:
    notify(init, bus)
    with open(tmp_path / "signals", "wb") as signals:
        monitor = subprocess.Popen(["dbus-monitor", "--address", bus.address, f"interface={UPSTART}"], stdout=signals)
    wait_for((tmp_path / "signals").read_bytes)
    init.restart()
    wait_for(lambda: b"member=Restarted" in (tmp_path / "signals").read_bytes())
    assert "/jobs/service" in bus.send(UPSTART + ".GetAllJobs").stdout
    monitor.terminate()
    monitor.wait()


@pytest.mark.parametrize(("options", "which"), [([], "SYSTEM"), (["--session"], "SESSION")])
def test_a_session_init_tries_one_bus_by_itself(bus: Bus, tmp_path: Path, options: list[str], which: str) -> None:
    environ = {f"DBUS_{name}_BUS_ADDRESS": "unix:path=/nonexistent" for name in ("SYSTEM", "SESSION")}
    environ |= {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    environ[f"DBUS_{which}_BUS_ADDRESS"] = bus.address
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/service.conf").write_text("exec sleep 1000\n")
    command = [str(PROGRAMS / "init"), "--user", "--confdir", str(tmp_path / "conf"), "--no-startup-event", *options]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(bus.owner)
            assert "/jobs/service" in bus.send(UPSTART + ".GetAllJobs").stdout
        finally:
            process.terminate()
    wait_for(lambda: not bus.owner())


def test_the_test_mode_is_on_the_session_bus_and_nowhere_else(bus: Bus, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "service.conf").write_text("exec sleep 1000\n")
    environ = {"PATH": os.environ["PATH"], "DBUS_SESSION_BUS_ADDRESS": bus.address}
    command = [str(PROGRAMS / "init"), "--session", "--confdir", str(conf), "--no-startup-event", "--no-log"]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: "/jobs/service" in bus.send(UPSTART + ".GetAllJobs").stdout)
        bus.send(UPSTART + ".Job.Start", "array:string:", "boolean:true", path=f"{MANAGER}/jobs/service")
        before = bus.send(UPSTART + ".Extension.GetStatusAll").stdout.partition("\n")[2]
        assert "running" in before
        # Not a user's session: TERM is a re-exec, after which another connection has the name.
        old = bus.owner()
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: bus.owner() not in ("", old))
        wait_for(lambda: bus.send(UPSTART + ".Extension.GetStatusAll").stdout.partition("\n")[2] == before)
        stopped = bus.send(UPSTART + ".Job.Stop", "array:string:", "boolean:true", path=f"{MANAGER}/jobs/service")
        assert stopped.returncode == 0
    finally:
        process.kill()
        process.wait()
