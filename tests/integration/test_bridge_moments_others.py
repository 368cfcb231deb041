"""Devices, names on a bus, keys of dconf, signals, events of the system and what programs say, while at each of fifty
moments the bridge is killed, or its init re-executes itself.

What is there when a bridge has been killed the next one finds: devices, names, keys.  Signals and events of the system
are over when nobody hears them, so that these are not lost by a re-exec; a client of the local bridge is told what was
taken.  MOMENTS in the environment says how many of the fifty are tried; `make bridge-moments` tries all.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import MANAGER, PROGRAMS, ROOT, UPSTART, SessionInit, wait_for
from test_bridge_moments import MOMENTS, PACE
from test_daemon_bus import Bus
from test_daemon_pid1 import pytestmark
from test_dbus_bridge import Service
from test_dconf_bridge import PLACE, SCHEMA, WRITER, has_schema
from test_udev_bridge import SENDER, Udev

__all__ = ["pytestmark"]

COUNT = 12
STEP = 0.02
SAY = "task\nconsole none\ninstance $N\nenv N=\nexec sh -c 'echo {words} >>{noted}'\n"


class Scenario:
    """What happens to one bridge, whose process is that of the job ``job`` of a session."""

    job = ""
    kinds: tuple[str, ...] = ("kill", "reexec")

    def __init__(self, directory: Path, jobs: dict[str, str], **environ: Any) -> None:
        self.noted = directory / "noted"
        self.noted.touch()
        self.init = SessionInit(directory, jobs, **environ)
        self.client = self.init.client()

    def shipped(self) -> str:
        return (ROOT / f"etc/sessions/{self.job}.conf").read_text().replace("/usr/sbin", str(PROGRAMS))

    def wait(self, name: str, text: str) -> None:
        """Have a job wait for something, and the bridge hear of it."""
        self.init.write(name, text)
        self.client.call(MANAGER, UPSTART, "ReloadConfiguration")
        self.pid()

    def pid(self) -> int:
        main: int = self.client.wait_status(self.job, "start/running")["main"]
        return main

    def disturb(self, what: str, pid: int) -> None:
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            self.client = self.init.restart()

    def settle(self) -> None:
        assert self.init.initctl("restart", self.job).returncode == 0

    def told(self, tag: str) -> list[str]:
        return [line for line in self.noted.read_text().splitlines() if tag in line]

    def happen(self, tag: str, what: str) -> None:
        raise NotImplementedError

    def missing(self, tag: str) -> set[str]:
        """What has to be told by now, and is not."""
        raise NotImplementedError

    def close(self) -> None:
        assert "Internal error" not in self.init.text()
        self.init.close()


class Names(Scenario):
    """Names on a bus come and go; what was told last of each is what is so."""

    job = "upstart-dbus-session-bridge"

    def __init__(self, directory: Path) -> None:
        self.bus = Bus(directory)
        super().__init__(directory, {self.job: self.shipped()}, DBUS_SESSION_BUS_ADDRESS=self.bus.address)
        self.there: dict[str, Service] = {}
        # Started by the one event and stopped by the other, it runs if the last was told last.
        self.wait("named", "start on dbus-name NAME=org.example.* OWNER=y\nstop on dbus-name NAME=$NAME OWNER=n\n"
                           "instance $NAME\nexec sleep 1000\n")  # fmt: skip

    def happen(self, tag: str, what: str) -> None:
        for number in range(COUNT):
            name = f"org.example.{tag}.n{number % 5}"
            service = self.there.pop(name, None)
            if service is not None:
                service.close()
            else:
                self.there[name] = Service(self.bus.address, name)
            time.sleep(STEP)

    def missing(self, tag: str) -> set[str]:
        said = self.init.initctl("list").stdout
        running = set(re.findall(r"named \((\S+)\) start/running", said))
        return {name for name in running ^ set(self.there) if tag in name}

    def close(self) -> None:
        for service in self.there.values():
            service.close()
        super().close()
        self.bus.close()


class Signals(Scenario):
    """Signals on a bus, none of which is lost by a re-exec."""

    job = "upstart-dbus-session-bridge"
    kinds = ("reexec",)

    def __init__(self, directory: Path) -> None:
        self.bus = Bus(directory)
        super().__init__(directory, {self.job: self.shipped()}, DBUS_SESSION_BUS_ADDRESS=self.bus.address)
        self.service = Service(self.bus.address)
        text = "start on dbus SIGNAL=Rang\nenv ARG0=\n" + SAY.replace("$N\n", "$ARG0\n")
        self.wait("signals", text.format(words="$ARG0", noted=self.noted))

    def happen(self, tag: str, what: str) -> None:
        for number in range(COUNT):
            self.service.signal("Rang", "s", f"{tag}.{number}")
            time.sleep(STEP)

    def missing(self, tag: str) -> set[str]:
        return {f"{tag}.{number}" for number in range(COUNT)} - set(self.told(tag))

    def close(self) -> None:
        self.service.close()
        super().close()
        self.bus.close()


class Keys(Scenario):
    """Keys of dconf; what was told last is what the key holds."""

    job = "upstart-dconf-bridge"

    def __init__(self, directory: Path) -> None:
        if not os.access(WRITER, os.X_OK) or not has_schema():
            pytest.skip("needs dconf-service and desktop schemas")
        self.bus = Bus(directory)
        super().__init__(directory, {self.job: self.shipped()}, DBUS_SESSION_BUS_ADDRESS=self.bus.address)
        self.environ = {**self.init.environ, "GSETTINGS_BACKEND": "dconf"}
        self.writer = subprocess.Popen([WRITER], env=self.environ, stderr=subprocess.DEVNULL)
        self.value = ""
        key = f"dconf KEY={PLACE}/clock-format"
        self.wait("short", f"start on {key} VALUE=\"'12h'\"\nstop on {key} VALUE=\"'24h'\"\nexec sleep 1000\n")

    def happen(self, tag: str, what: str) -> None:
        for _ in range(4):
            self.value = "24h" if self.value == "12h" else "12h"
            command = ["gsettings", "set", SCHEMA, "clock-format", self.value]
            assert subprocess.run(command, env=self.environ, timeout=20).returncode == 0
            time.sleep(STEP)
        self.value = "24h" if self.value == "12h" else "12h"
        subprocess.run(["gsettings", "set", SCHEMA, "clock-format", self.value], env=self.environ, timeout=20)

    def missing(self, tag: str) -> set[str]:
        runs = "start/running" in self.init.initctl("status", "short").stdout
        return set() if runs is (self.value == "12h") else {self.value}

    def close(self) -> None:
        super().close()
        self.writer.terminate()
        self.writer.wait()
        self.bus.close()


class Local(Scenario):
    """A client of the local bridge, which says again what was not answered by ok."""

    job = "upstart-local-bridge"

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "s")
        command = f"{PROGRAMS}/{self.job} --daemon --user --event=said --path={self.path} --reply"
        super().__init__(directory, {self.job: f"expect daemon\nrespawn\nexec {command}\n"})
        self.client.start(self.job)
        text = "start on said\nenv A=\n" + SAY.replace("$N\n", "$A\n")
        self.wait("said", text.format(words="$A", noted=self.noted))

    def happen(self, tag: str, what: str) -> None:
        for number in range(COUNT):
            wait_for(lambda number=number: self.say(f"A={tag}.{number}\n"), 15)  # type: ignore[misc]
            time.sleep(STEP)

    def say(self, line: str) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(10)
                sock.connect(self.path)
                sock.sendall(line.encode())
                return sock.recv(100) == b"ok\n"
        except OSError:
            time.sleep(0.02)
            return False

    def missing(self, tag: str) -> set[str]:
        return {f"{tag}.{number}" for number in range(COUNT)} - set(self.told(tag))


class Events(Scenario):
    """Events of a system, none of which is lost by a re-exec of the session's init."""

    job = "upstart-event-bridge"
    kinds = ("reexec",)

    def __init__(self, directory: Path) -> None:
        (directory / "system").mkdir()
        self.bus = Bus(directory)
        self.system = SessionInit(directory / "system", {})
        (directory / "list").write_text("shown\n")
        job = self.shipped().replace("--daemon", f"--daemon --list={directory}/list")
        super().__init__(directory, {self.job: job}, DBUS_SYSTEM_BUS_ADDRESS=self.bus.address)
        self.of_system = self.system.client()
        self.of_system.call(MANAGER, UPSTART, "NotifyDBusAddress", "s", self.bus.address)
        text = "start on :sys:shown\nenv A=\n" + SAY.replace("$N\n", "$A\n")
        self.wait("shown", text.format(words="$A", noted=self.noted))

    def happen(self, tag: str, what: str) -> None:
        for number in range(COUNT):
            self.of_system.emit("shown", f"A={tag}.{number}")
            time.sleep(STEP)

    def missing(self, tag: str) -> set[str]:
        return {f"{tag}.{number}" for number in range(COUNT)} - set(self.told(tag))

    def close(self) -> None:
        super().close()
        self.system.close()
        self.bus.close()


class Devices(Udev):
    """Interfaces of a network come and go, and a program in the place of udev tells of them."""

    kinds = ("kill", "reexec")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.prepare()
        self.noted = directory / "noted"
        self.noted.touch()
        text = "start on net-device-added or net-device-removed\nenv KERNEL=\nenv ACTION=\ntask\nconsole none\n"
        self.write("net", f"{text}instance $KERNEL$ACTION\nexec sh -c 'echo $ACTION $KERNEL >>$W/noted'\n")
        self.wait_running()
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "--", "/usr/bin/python3", "-ISu", str(SENDER)]
        self.udev = subprocess.Popen(command, stdin=subprocess.PIPE)

    def say(self, action: str, name: str) -> None:
        assert self.udev.stdin is not None
        message: list[Any] = [action, f"/devices/virtual/net/{name}", "net", f"INTERFACE={name}"]
        self.udev.stdin.write(f"{message!r}\n".encode())
        self.udev.stdin.flush()

    def happen(self, tag: str, what: str) -> None:
        for number in range(6):
            name = f"{tag}n{number}"
            make = f"ip link add {name} type bridge; i=/run/udev/data/n$(cat /sys/class/net/{name}/ifindex)"
            assert self.run("sh", "-ec", f"{make}; echo I:$(cut -d. -f1 /proc/uptime)000001 >$i").returncode == 0
            self.say("add", name)
            if number % 2:
                name = f"{tag}n{number - 1}"
                assert self.run("ip", "link", "del", name).returncode == 0
                self.say("remove", name)

    def missing(self, tag: str) -> set[str]:
        told = {line for line in self.noted.read_text().splitlines() if f" {tag}n" in line}
        wanted = {f"add {tag}n{number}" for number in (1, 3, 5)}
        return (wanted | {f"remove {tag}n{n}" for n in (0, 2, 4) if f"add {tag}n{n}" in told}) - told

    def disturb(self, what: str, pid: int) -> None:
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            self.restart_init()

    def bridge(self) -> int:
        return self.host()

    def settle(self) -> None:
        wait_for(lambda: self.initctl("restart", "upstart-bridges").startswith("upstart-bridges start/running"))
        self.wait_running()

    def close(self) -> None:
        if self.udev.stdin is not None:
            self.udev.stdin.close()
        self.udev.wait(20)
        assert "Internal error" not in self.kmsg()
        super().close()


MAKE: dict[str, Callable[[Path], Any]] = {
    "names": Names, "signals": Signals, "keys": Keys, "local": Local, "events": Events, "devices": Devices,
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(MAKE))
def scenario(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = MAKE[request.param](tmp_path_factory.mktemp(request.param))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("what", ["kill", "reexec"])
def test_nothing_awaited_is_lost(scenario: Any, what: str, moment: int) -> None:
    if what not in scenario.kinds:
        pytest.skip("what nobody hears is over")
    tag = f"{what[0]}{moment}"
    pid = scenario.bridge() if isinstance(scenario, Devices) else scenario.pid()
    failures: list[BaseException] = []

    def disturb() -> None:
        try:
            scenario.disturb(what, pid)
        except BaseException as error:
            failures.append(error)

    timer = threading.Timer(moment * PACE, disturb)
    timer.start()
    scenario.happen(tag, what)
    timer.join()
    assert not failures, failures
    try:
        wait_for(lambda: not scenario.missing(tag), 15)
    except AssertionError:
        raise AssertionError(f"{scenario.missing(tag)}: {scenario.noted.read_text()[-2000:]}") from None
    if what == "kill":
        # Not so often that init gives it up.
        scenario.settle()
