"""Whatever one client makes init do, another's call is answered soon: each of the worst we know, at work beside root.

The worst clients run in a process of their own, on the system bus as nobody, or on the private socket as root; a child
of `worst` repeats what it sends until it is ended.  `LIMIT` is generous, for tests run on loaded machines.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from struct import pack

import pytest
from daemon_init import EXTENSION, JOB, MANAGER, PROPERTIES, UPSTART, Client, Gone, SessionInit
from test_daemon_bus import Bus, notify

from upstart.dbus import wire

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("dbus-daemon"), reason="needs another user, and dbus"
)

#: Seconds: the longest that root may wait, the longest on a bus, whose own queue is a part of it, and for how long one
#: looks; and how often before it counts.
LIMIT = 0.3
BUS_LIMIT = 3.0
WATCHED = 1.0
ATTEMPTS = 4
JOBS = 2000
INSTANCES = 500
NOBODY = 65534
MANY = ["A=1"] * 450_000
DIFFERENT = [f"A{number}={number}" for number in range(100_000)]
DEEP = MANAGER + "/jobs/" + "_61" * 1_200_000


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    bus = Bus(tmp_path_factory.mktemp("bus"))
    yield bus
    bus.close()


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory, bus: Bus) -> Iterator[SessionInit]:
    jobs = {f"job{number}": "start on never and X=1\nexec sleep 1000\n" for number in range(JOBS)}
    jobs["many"] = "instance $N\n"
    init = SessionInit(tmp_path_factory.mktemp("init"), jobs)
    notify(init, bus)
    client = init.client()
    for number in range(INSTANCES):
        client.start("many", f"N={number}")
    client.close()
    yield init
    init.close()
    assert "Internal error" not in init.text()


class BusClient(Client):
    """A connection to a bus, of whichever user we are."""

    def __init__(self, bus: Bus) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(bus.socket)
        self.serial = 0
        self.signals = []
        self.fds = []
        self._buffer = b""
        self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        assert self.socket.recv(100).startswith(b"OK ")
        self.serial += 1
        name = "org.freedesktop.DBus"
        hello = wire.call(self.serial, name, "/org/freedesktop/DBus", name, "Hello")
        self.socket.sendall(b"BEGIN\r\n" + hello)
        self.answer(self.serial)


Work = Callable[[Client], None]


def repeat(client: Client, work: Work) -> None:
    while True:
        try:
            work(client)
        except (Gone, BrokenPipeError, ConnectionResetError):
            return


def worst(make: Callable[[], Client], works: list[Work], uid: int = 0) -> list[int]:
    """Processes that each connect and work until they are killed."""
    pids = []
    for work in works:
        ready, said = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if uid:
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                client = make()
                os.write(said, b".")
                while True:
                    repeat(client, work)
                    client.close()
                    client = make()
            finally:
                os._exit(1)
        os.close(said)
        assert os.read(ready, 1)
        os.close(ready)
        pids.append(pid)
    return pids


def longest_wait(client: Client, seconds: float = WATCHED) -> float:
    """Seconds that init took for the slowest of the answers that it gave meanwhile."""
    longest = 0.0
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        client.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
        longest = max(longest, time.monotonic() - began)
        client.signals.clear()
        time.sleep(0.002)
    return longest


def held_up(client: Client, limit: float) -> None:
    """Fails if the client waits too long whenever one looks: what the host did meanwhile is not so again and again."""
    waits: list[float] = []
    while not waits or waits[-1] >= limit:
        assert len(waits) < ATTEMPTS, waits
        waits.append(longest_wait(client))
    print(f"{waits[-1] * 1000:.0f} ms")


def end(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def quiet(address: str) -> Client:
    """A private client that gets no signals."""
    client = Client(address)
    client.call(MANAGER, EXTENSION, "Quiet")
    return client


def calls(path: str, interface: str, member: str, signature: str = "", *values: object) -> Work:
    """One call after the other."""
    def work(client: Client) -> None:
        serial = client.send(path, interface, member, signature, *values)
        while client.read().header.reply_serial != serial:
            pass

    return work


def pipelined(count: int, path: str, interface: str, member: str, signature: str = "", *values: object) -> Work:
    """Many calls at once."""
    def work(client: Client) -> None:
        data = [client.message(path, interface, member, signature, *values) for _ in range(count)]
        client.socket.sendall(b"".join(data))
        while client.read().header.reply_serial != client.serial:
            pass

    return work


def unanswered(count: int, path: str, interface: str, member: str, signature: str = "", *values: object) -> Work:
    """Many calls that want no answer."""
    def work(client: Client) -> None:
        message = bytearray(client.message(path, interface, member, signature, *values))
        message[2] |= wire.NO_REPLY
        client.socket.sendall(bytes(message) * count)

    return work


def header_of_many_fields(client: Client) -> None:
    fields = b"".join(b"\x64\1y\0\1\0\0\0" for _ in range(450_000))
    start = wire._fields((1, "o", MANAGER), (2, "s", "org.freedesktop.DBus.Peer"), (3, "s", "Ping"))
    start += b"\0" * (-len(start) & 7)
    client.serial += 1
    client.socket.sendall(wire._build(wire.CALL, 0, client.serial, start + fields, b""))
    while client.read().header.reply_serial != client.serial:
        pass


def set_to(signature: bytes, body: bytes) -> Work:
    """A property set to a value of another type."""
    def work(client: Client) -> None:
        client.serial += 1
        fields = wire._fields(
            (1, "o", MANAGER), (2, "s", PROPERTIES), (3, "s", "Set"), (6, "s", "com.ubuntu.Upstart"), (8, "g", "ssv")
        )
        start = wire.pack("ss", UPSTART, "log_priority") + signature
        start += b"\0" * (-len(start) & 3) + pack("<I", len(body)) + b"\0" * (-(len(start) + 4) & 7)
        client.socket.sendall(wire._build(wire.CALL, 0, client.serial, fields, start + body))
        while client.read().header.reply_serial != client.serial:
            pass

    return work


WEB = MANAGER + "/jobs/job1"
MANY_JOB = MANAGER + "/jobs/many"
READING = {
    "GetInstance of 450,000 strings": calls(WEB, JOB, "GetInstance", "as", MANY),
    "GetStatus of 450,000 strings": calls(MANAGER, EXTENSION, "GetStatus", "sas", "job1", MANY),
    "GetStatusAll": calls(MANAGER, EXTENSION, "GetStatusAll"),
    "GetStatusAll, many at once": pipelined(100, MANAGER, EXTENSION, "GetStatusAll"),
    "GetStatusAll, unanswered": unanswered(500, MANAGER, EXTENSION, "GetStatusAll"),
    "GetAllJobs, many at once": pipelined(100, MANAGER, UPSTART, "GetAllJobs"),
    "GetAllInstances, unanswered": unanswered(500, MANY_JOB, JOB, "GetAllInstances"),
    "GetStatus of one of many": pipelined(100, MANAGER, EXTENSION, "GetStatus", "sas", "many", ["N=1"]),
    "Introspect": pipelined(100, MANAGER + "/jobs", "org.freedesktop.DBus.Introspectable", "Introspect"),
    "Introspect of nothing": pipelined(100, "/", "org.freedesktop.DBus.Introspectable", "Introspect"),
    "a path of a million letters": calls(DEEP, JOB, "GetInstance", "as", []),
    "a path of two million elements": calls("/a" * 1_900_000, JOB, "GetInstance", "as", []),
    "Set to an array of variants": set_to(b"\2av\0", b"\1y\0\1" * 900_000),
    "Set to an array of bytes": set_to(b"\2ay\0", b"x" * (3 << 20)),
    "an instance of 4 MB": calls(MANY_JOB, JOB, "GetInstance", "as", ["N=" + "x" * 4_000_000]),
    "Ping, many at once": unanswered(5000, MANAGER, "org.freedesktop.DBus.Peer", "Ping"),
}
CHANGING = {
    "a header of 450,000 fields": header_of_many_fields,
    "GetState": calls(MANAGER, UPSTART, "GetState"),
    "EmitEvent of 100,000 variables": calls(MANAGER, UPSTART, "EmitEvent", "sasb", "noise", DIFFERENT, True),
    "EmitEvent, many at once": pipelined(5000, MANAGER, UPSTART, "EmitEvent", "sasb", "noise", ["A=1"], False),
    "SetEnvList": calls(MANAGER, UPSTART, "SetEnvList", "asasb", [], MANY, True),
    "SetEnvList of an instance": calls(MANAGER, UPSTART, "SetEnvList", "asasb", ["many", "1"], DIFFERENT, True),
    "UnsetEnvList": calls(MANAGER, UPSTART, "UnsetEnvList", "asas", [], MANY),
    "Start of 100,000 variables": calls(WEB, JOB, "Start", "asb", DIFFERENT, True),
}


@pytest.mark.parametrize("kind", READING)
def test_a_stranger_on_the_bus_holds_up_nobody(init: SessionInit, bus: Bus, kind: str) -> None:
    root, on_bus = quiet(init.address), BusClient(bus)
    pids = worst(lambda: BusClient(bus), [READING[kind]], NOBODY)
    try:
        held_up(root, LIMIT)
        held_up(on_bus, BUS_LIMIT)
    finally:
        end(pids)
        root.close()
        on_bus.close()


@pytest.mark.parametrize("kind", [*READING, *CHANGING])
def test_root_holds_up_nobody_else_of_root(init: SessionInit, kind: str) -> None:
    root = quiet(init.address)
    pids = worst(lambda: quiet(init.address), [{**READING, **CHANGING}[kind]])
    try:
        held_up(root, LIMIT)
    finally:
        end(pids)
        root.close()
