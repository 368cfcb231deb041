"""The D-Bus bridge between a real bus and a real init."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_system import Bridged, resident, shipped, switches
from daemon_init import MANAGER, PROGRAMS, ROOT, UPSTART, Client, SessionInit, wait_for
from test_daemon_bus import POLICY, Bus, pytestmark

from upstart.dbus import wire

__all__ = ["pytestmark"]

BUS = "org.freedesktop.DBus"
BRIDGE = "upstart-dbus-session-bridge"
IFACE = "org.example.Iface"
SAY = "task\ninstance $N\nenv N=\nenv ARG0=\nconsole none\nexec sh -c 'echo {words} >>$HOME/noted'\n"


class Service:
    """Somebody on the bus."""

    def __init__(self, address: str, name: str = "") -> None:
        self.client = Client(address)
        (self.unique,) = self._call("Hello")
        if name:
            self._call("RequestName", "su", name, 4)

    def _call(self, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
        self.client.serial += 1
        data = wire.call(self.client.serial, BUS, "/org/freedesktop/DBus", BUS, member, signature, *values)
        self.client.socket.sendall(data)
        return self.client.answer(self.client.serial)

    def signal(self, member: str, signature: str = "", *values: Any, path: str = "/a") -> None:
        self.client.serial += 1
        build = wire.signal_builder(IFACE, member, signature)
        self.client.socket.sendall(build(self.client.serial, path, wire.pack(signature, *values)))

    def close(self) -> None:
        self.client.close()


class Session:
    """A session with the shipped job, and its bus."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bus = Bus(directory)
        job = (ROOT / f"etc/sessions/{BRIDGE}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
        self.init = SessionInit(directory, {BRIDGE: job}, DBUS_SESSION_BUS_ADDRESS=self.bus.address)
        self.client = self.init.client()
        self.noted = directory / "noted"
        self.noted.touch()

    def wait_for_events(self, **conditions: str) -> int:
        """Have jobs wait for these, by their names; gives the bridge's pid once it hears what they ask for."""
        for name, condition in conditions.items():
            say = "$SENDER $ARG0" if condition.startswith("dbus ") else "$NAME $OWNER"
            job = f"start on {condition}\n" + SAY.format(words=f"{name} $BUS {say}")
            self.init.write(name, job.replace("instance $N\n", "instance $ARG0$OWNER\nenv OWNER=\nenv SENDER=\n"))
        self.client.call(MANAGER, UPSTART, "ReloadConfiguration")
        pid = self.client.wait_status(BRIDGE, "start/running")["main"]
        # Another condition is known to a bridge that runs already a tenth of a second later.
        time.sleep(0.5)
        return pid

    def expect(self, *lines: str) -> None:
        try:
            wait_for(lambda: sorted(self.noted.read_text().splitlines()) == sorted(lines))
        except AssertionError:
            raise AssertionError(f"{self.noted.read_text()} instead of {lines}") from None
        self.noted.write_text("")

    def close(self) -> None:
        self.init.close()
        self.bus.close()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    try:
        yield session
        assert "Internal error" not in session.init.text()
    finally:
        session.close()


def test_signals_that_a_job_waits_for_start_it(session: Session) -> None:
    assert session.client.status(BRIDGE)[0] == "stop/waiting"
    session.wait_for_events(
        one=f"dbus SIGNAL=Rang INTERFACE={IFACE} ARG0=door BUS=session", number="dbus SIGNAL=Count ARG0=5",
        other="dbus SIGNAL=Rang BUS=system", named="dbus SIGNAL=Named SENDER=org.example.Name",
    )  # fmt: skip
    service = Service(session.bus.address, "org.example.Name")
    somebody = Service(session.bus.address)
    service.signal("Rang", "s", "door")
    service.signal("Rang", "s", "phone")
    service.signal("Count", "u", 5)
    somebody.signal("Named", "s", "x")
    service.signal("Named", "s", "y")
    session.expect(
        f"one session {service.unique} door", f"number session {service.unique} 5", "named session org.example.Name y"
    )
    service.close()
    somebody.close()


def test_names_that_come_and_go_are_told(session: Session) -> None:
    there = Service(session.bus.address, "org.example.There")
    pid = session.wait_for_events(there="dbus-name NAME=org.example.There", later="dbus-name NAME=org.example.Later")
    session.expect("there session org.example.There y")
    later = Service(session.bus.address, "org.example.Later")
    session.expect("later session org.example.Later y")
    later.close()
    session.expect("later session org.example.Later n")
    # What happens while there is no bridge is found by the next, which knows what was told.
    wait_for(lambda: any("org.example.There" in path.read_text() for path in session.directory.rglob("dbus-*.json")))
    os.kill(pid, 19)
    there.close()
    later = Service(session.bus.address, "org.example.Later")
    os.kill(pid, 9)
    session.expect("there session org.example.There n", "later session org.example.Later y")
    later.close()


def test_a_bus_that_goes_is_found_again(session: Session, tmp_path: Path) -> None:
    pid = session.wait_for_events(rang="dbus SIGNAL=Rang", name="dbus-name NAME=org.example.Name")
    service = Service(session.bus.address, "org.example.Name")
    session.expect("name session org.example.Name y")
    session.bus.close()
    service.close()
    session.bus = Bus(tmp_path)
    session.expect("name session org.example.Name n")
    service = Service(session.bus.address)
    service.signal("Rang", "s", "again")
    session.expect(f"rang session {service.unique} again")
    assert session.client.status(BRIDGE)[1]["main"] == pid
    session.client = session.init.restart()
    service.signal("Rang", "s", "later")
    session.expect(f"rang session {service.unique} later")
    service.close()


def test_nothing_but_what_a_rule_asks_for_wakes_it(session: Session) -> None:
    pid = session.wait_for_events(rang="dbus SIGNAL=Rang ARG0=door")
    service = Service(session.bus.address)
    before = switches(pid)
    for number in range(20):
        service.signal("Other", "u", number)
        service.signal("Rang", "s", "phone")
    time.sleep(0.5)
    assert switches(pid) == before
    service.close()


def test_a_flood_of_signals_is_borne(session: Session) -> None:
    pid = session.wait_for_events(last="dbus SIGNAL=Count ARG0=last", some="dbus SIGNAL=Count ARG0=x")
    service = Service(session.bus.address)
    service.client.socket.settimeout(60)
    before, longest = resident(pid), 0.0
    for number in range(10000):
        service.signal("Count", "s", "x" if number % 10 else "y")
        if not number % 500:
            began = time.monotonic()
            session.client.status(BRIDGE)
            longest = max(longest, time.monotonic() - began)
    service.signal("Count", "s", "last")
    wait_for(lambda: "last session" in session.noted.read_text(), 60)
    assert resident(pid) - before < 8 << 10 and longest < 1
    service.close()


def test_without_a_bus_it_says_so_and_tries_again(session: Session, tmp_path: Path) -> None:
    session.bus.close()
    session.init.write("rang", "start on dbus SIGNAL=Rang\n" + SAY.format(words="rang $ARG0"))
    session.client.call(MANAGER, UPSTART, "ReloadConfiguration")
    session.client.wait_status(BRIDGE, "start/spawned")
    # Nor is it taken for one that watches.
    time.sleep(0.3)
    assert session.client.status(BRIDGE)[0] == "start/spawned"
    session.bus = Bus(tmp_path)
    session.client.wait_status(BRIDGE, "start/running")
    service = Service(session.bus.address)
    service.signal("Rang", "s", "x")
    session.expect("rang x")
    service.close()


#: A service that takes a name on the bus and stays.
SERVICE = """\
import os, time
from dbus.bus import BusConnection
bus = BusConnection(os.environ["BUS_ADDRESS"])
bus.request_name("{name}")
time.sleep(1000)
"""
START = ("--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", f"{BUS}.StartServiceByName")


def call(address: str, name: str) -> subprocess.CompletedProcess[str]:
    command = ["dbus-send", f"--bus={address}", *START, f"string:{name}", "uint32:0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=40)


def job_that_serves(directory: Path, name: str) -> str:
    (directory / "serve.py").write_text(SERVICE.format(name=name))
    return f"exec /usr/bin/python3 {directory}/serve.py\n"


def test_a_service_that_is_called_is_a_job(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    (runtime / "dbus-1" / "services").mkdir(parents=True)
    # As of a package: ours comes before it.
    (tmp_path / "packaged").mkdir()
    for name in ("org.example.Called", "org.example.Fails"):
        text = f"[D-BUS Service]\nName={name}\nExec=/bin/false\n"
        (tmp_path / "packaged" / f"{name}.service").write_text(text)
    job = (ROOT / f"etc/sessions/{BRIDGE}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))
    config = POLICY.format(address=f"unix:abstract={tmp_path}/bus")
    directories = "".join(
        f"<servicedir>{each}</servicedir>" for each in (runtime / "dbus-1/services", tmp_path / "packaged")
    )
    (tmp_path / "called.conf").write_text(config.replace("<auth>", f"{directories}<auth>"))
    address = f"unix:abstract={tmp_path}/bus"
    bus = subprocess.Popen(["dbus-daemon", f"--config-file={tmp_path}/called.conf", "--nofork", "--nopidfile"])
    job = job.replace("expect daemon", f"env XDG_RUNTIME_DIR={runtime}\nexpect daemon")
    init = SessionInit(tmp_path, {BRIDGE: job}, DBUS_SESSION_BUS_ADDRESS=address, BUS_ADDRESS=address)
    try:
        client = init.client()
        serves = job_that_serves(tmp_path, "org.example.Called")
        init.write("called", f"start on dbus-activation org.example.Called\n{serves}")
        init.write("fails", "start on dbus-activation SERVICE=org.example.Fails BUS=session\npre-start exec false\n")
        init.write("other", "start on dbus-activation SERVICE=org.example.Other BUS=system\nexec sleep 1000\n")
        client.call(MANAGER, UPSTART, "ReloadConfiguration")
        pid = client.wait_status(BRIDGE, "start/running")["main"]
        files = sorted(path.name for path in (runtime / "dbus-1" / "services").iterdir())
        assert files == ["org.example.Called.service", "org.example.Fails.service"]
        assert client.status("called")[0] == "stop/waiting"
        # It goes on where nobody watches.
        os.kill(pid, 19)
        answer = call(address, "org.example.Called")
        assert answer.returncode == 0, answer.stderr
        assert client.status("called")[0] == "start/running"
        os.kill(pid, 18)
        began = time.monotonic()
        answer = call(address, "org.example.Fails")
        assert answer.returncode != 0 and "Spawn" in answer.stderr and time.monotonic() - began < 10
        # What nobody waits for any more is the package's again.
        client.stop("called")
        (init.conf / "called.conf").unlink()
        client.call(MANAGER, UPSTART, "ReloadConfiguration")
        wait_for(lambda: [path.name for path in (runtime / "dbus-1" / "services").iterdir()] == [files[1]])
        wait_for(lambda: "ChildExited" in call(address, "org.example.Called").stderr)
    finally:
        init.close()
        bus.terminate()
        bus.wait()


@pytest.mark.skipif(not Path("/usr/share/dbus-1/system.conf").exists(), reason="needs the system's bus")
def test_a_service_of_the_system_that_is_called_is_a_job(tmp_path: Path) -> None:
    system = Bridged(tmp_path)
    try:
        system.prepare()
        # Directories of tests are not open to the bus's user.
        (tmp_path / "etc").mkdir()
        for name in ("bus-helper", "call-to-bus", "service-step"):
            text = (ROOT / "src/libexec" / name).read_text().replace("/sbin/initctl", f"{PROGRAMS}/initctl")
            (tmp_path / "etc" / name).write_text(text.replace("/usr/share/upstart", "/run/test"))
        files = (ROOT / "etc/dbus-1/system-bus.conf", ROOT / "etc/dbus-1/com.ubuntu.Upstart.service")
        for path in files:
            (tmp_path / "etc" / path.name).write_text(path.read_text().replace("/usr/libexec/upstart", "/run/test"))
        allow = '<busconfig><policy context="default"><allow own="org.example.*"/><allow own_prefix="org.example"/>'
        allow += '<allow send_destination_prefix="org.example"/><allow send_destination="org.example.Called"/>'
        (tmp_path / "etc/allow.conf").write_text(f"{allow}</policy></busconfig>")
        (tmp_path / "etc/org.example.Called.service").write_text(
            "[D-BUS Service]\nName=org.example.Called\nExec=/bin/false\nUser=root\n"
        )
        script = (
            "cp -r $W/etc /run/test; chmod -R a+rX /run/test; chmod 755 /run/test/*-*; mkdir -p /run/dbus /run/services"
        )
        script += "; cp /run/test/*.service /run/services; mount --bind /run/services /usr/share/dbus-1/system-services"
        script += "; mkdir /run/system.d; cp /run/test/allow.conf /run/system.d"
        script += "; mount --bind /run/system.d /usr/share/dbus-1/system.d"
        assert system.run("sh", "-ec", script.replace("$W", str(tmp_path))).returncode == 0
        job = (ROOT / "debian/jobs/dbus.conf").read_text().replace("/usr/libexec/upstart", "/run/test")
        system.place("dbus", job)
        system.place("upstart-dbus-bridge", shipped("upstart-dbus-bridge", tmp_path))
        serves = job_that_serves(tmp_path, "org.example.Called")
        address = "unix:path=/run/dbus/system_bus_socket"
        system.write(
            "called", f"start on dbus-activation SERVICE=org.example.Called\nenv BUS_ADDRESS={address}\n{serves}"
        )
        # Another is called at the same time, to each its own.
        system.write("fails", "start on dbus-activation org.example.Fails\npre-start exec sleep 0.3\nexec /nothing\n")
        system.initctl("start", "dbus")
        wait_for(lambda: "start/running" in system.status("upstart-dbus-bridge"))
        system.restart_init()
        send = f"dbus-send --system {' '.join(START)} string:org.example.NAME uint32:0"
        both = f"{send.replace('NAME', 'Fails')} & {send.replace('NAME', 'Called')}; echo $?; wait $!; echo $?"
        answer = system.run("sh", "-c", f"({both}) | grep -x '[0-9]*'")
        assert answer.stdout == "0\n1\n" and "Spawn" in answer.stderr, answer
        assert "start/running" in system.status("called")
        assert system.run("sh", "-c", "ls /run/upstart/bus-calls").stdout == ""
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()


class OnBus(Bridged):
    """A system with a bus, and the shipped job."""

    def prepare(self) -> None:
        super().prepare()
        address = f"unix:path={self.directory}/bus"
        (self.directory / "bus.conf").write_text(POLICY.format(address=address))
        job = shipped("upstart-dbus-bridge", self.directory)
        self.place("upstart-dbus-bridge", f"env DBUS_SYSTEM_BUS_ADDRESS={address}\n{job}")
        self.write("dbus", "exec dbus-daemon --config-file=$W/bus.conf --nofork --nopidfile\n")


def test_the_systems_runs_from_the_bus_on_while_a_job_waits(tmp_path: Path) -> None:
    system = OnBus(tmp_path)
    try:
        system.prepare()
        system.write("rang", "start on dbus SIGNAL=Rang\ntask\nexec echo $BUS $ARG0\n")
        assert system.status("upstart-dbus-bridge") == "upstart-dbus-bridge stop/waiting\n"
        system.initctl("start", "dbus")
        system.pid_of("upstart-dbus-bridge")
        wait_for(lambda: "start/running" in system.status("upstart-dbus-bridge"))
        words = ("--type=signal", "/a", f"{IFACE}.Rang", "string:door")
        assert system.run("dbus-send", f"--bus=unix:path={tmp_path}/bus", *words).returncode == 0
        wait_for(lambda: system.job_log("rang") == " door\n" or system.job_log("rang") == "door\n")
        shown = system.run(str(PROGRAMS / "upstart-bridges"), "--status").stdout
        assert "watches type='signal',member='Rang'" in shown and "for rang" in shown
        # It has a process of its own, and needs none that bridges share.
        assert system.status("upstart-bridges") == "upstart-bridges stop/waiting\n"
        system.remove("rang")
        wait_for(lambda: "stop/waiting" in system.status("upstart-dbus-bridge"))
        # The bus is there already.
        system.write("rang", "start on dbus SIGNAL=Rang\ntask\nexec echo $BUS $ARG0\n")
        wait_for(lambda: "start/running" in system.status("upstart-dbus-bridge"))
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()
