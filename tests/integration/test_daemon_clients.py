"""A client that floods, stalls, lies or dies harms nobody but itself."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import EXTENSION, MANAGER, PEER, PROPERTIES, UPSTART, DBusError, Gone, SessionInit, wait_for

from upstart.dbus import connection, wire
from upstart.dbus import server as bus

JOBS = {f"job{number}": f"start on event{number}\nexec sleep 1000\n" for number in range(100)}


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path_factory.mktemp("clients"), JOBS)
    yield init
    assert init.process.poll() is None
    assert "Internal error" not in init.text()
    init.close()


def ask(init: SessionInit) -> float:
    """Seconds until another client has an answer."""
    began = time.monotonic()
    client = init.client()
    assert client.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version") == ("init (upstart 1.13.2)",)
    client.close()
    return time.monotonic() - began


def test_a_flood_of_events_leaves_room_for_others(init: SessionInit) -> None:
    flooder = init.client()
    message = flooder.message(MANAGER, UPSTART, "EmitEvent", "sasb", "nobody-cares", ["A=b"], False)
    flooder.socket.setblocking(False)
    rest = message * 100_000
    while rest:
        try:
            rest = rest[flooder.socket.send(rest[: 1 << 20]) :]
        except BlockingIOError:
            break
    assert ask(init) < 1
    flooder.close()
    assert ask(init) < 1


def test_who_does_not_read_answers_is_not_listened_to_and_costs_little_memory(init: SessionInit) -> None:
    ask(init)
    before = init.resident()
    stallers = [init.client() for _ in range(3)]
    asked = []
    for staller in stallers:
        staller.call(MANAGER, EXTENSION, "Quiet")
        staller.socket.setblocking(False)
        message = staller.message(MANAGER, EXTENSION, "GetStatusAll", "")
        asked.append(0)
        try:
            while staller.socket.send(message) == len(message):
                asked[-1] += 1
        except BlockingIOError:
            pass
    assert ask(init) < 1
    assert init.resident() - before < 3 * 2 * connection.MAX_QUEUE / 1024
    # Once it reads, it gets all its answers.
    assert asked[0] > 10
    stallers[0].socket.settimeout(10)
    for _ in range(asked[0]):
        assert stallers[0].read().type == wire.RETURN
    for staller in stallers:
        staller.close()
    assert ask(init) < 1


def test_who_does_not_read_signals_is_disconnected(init: SessionInit) -> None:
    deaf = init.client()
    deaf.call(MANAGER, UPSTART, "GetAllJobs")
    clients = len(init.clients)
    emitter = init.client()
    emitter.call(MANAGER, EXTENSION, "Quiet")
    big = "X=" + "x" * 20_000
    for _ in range(connection.MAX_QUEUE // 20_000 + 50):
        emitter.emit("big", big)
    with pytest.raises(Gone):
        while True:
            deaf.read()
    assert clients and ask(init) < 1


def test_who_reads_late_misses_no_signal(init: SessionInit) -> None:
    late = init.client()
    late.call(MANAGER, UPSTART, "GetAllJobs")
    emitter = init.client()
    emitter.call(MANAGER, EXTENSION, "Quiet")
    # As much as a thousand tasks on one event.
    for _ in range(150):
        emitter.emit("big", "X=" + "x" * 20_000)
    late.socket.settimeout(10)
    assert [late.read().header.member for _ in range(150)] == ["EventEmitted"] * 150


def test_a_quiet_client_gets_no_signals(init: SessionInit) -> None:
    quiet, loud = init.client(), init.client()
    quiet.call(MANAGER, EXTENSION, "Quiet")
    loud.emit("anything", "A=b")
    quiet.emit("anything", "A=b")
    loud.call(MANAGER, UPSTART, "GetAllJobs")
    assert [signal.header.member for signal in loud.signals] == ["EventEmitted"] * 2
    assert loud.signals[0].args() == ("anything", ["A=b"])
    assert quiet.signals == []


@pytest.mark.parametrize(
    "mangle",
    [
        lambda data: b"x" + data[1:],
        lambda data: data[:3] + b"\2" + data[4:],
        lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:],
        lambda data: data[:12] + b"\xff\xff\xff\x7f" + data[16:],
        lambda data: data[:8] + b"\0\0\0\0" + data[12:],
        lambda data: data.replace(b"/com/ubuntu/Upstart\0", b"/com//buntu/Upstart\0"),
        lambda data: data.replace(b"/com/ubuntu/Upstart\0", b"/\xff\xfe\xfd/ubuntu/Upstart\0"),
        lambda data: data.replace(b"\1\1o\0", b"\1\1s\0"),
        lambda data: data.replace(b"hello\0", b"hel\0o\0"),
        lambda data: data.replace(b"hello\0", b"\xff\xff\xff\xff\xff\0"),
        lambda data: data[:-4] + b"\2\0\0\0",
    ],
)
def test_what_is_not_dbus_ends_that_connection_alone(init: SessionInit, mangle: object) -> None:
    client = init.client()
    data = client.message(MANAGER, UPSTART, "EmitEvent", "sasb", "hello", ["A=b"], False)
    client.socket.sendall(mangle(data))  # type: ignore[operator]
    with pytest.raises(Gone):
        client.read()
    assert ask(init) < 1


def test_random_bytes_and_messages_with_random_damage(init: SessionInit) -> None:
    chance = random.Random(7)
    for _ in range(200):
        client = init.client()
        data = bytearray(client.message(MANAGER, UPSTART, "EmitEvent", "sasb", "damaged", ["A=b", "C=d"], False))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        client.socket.sendall(bytes(data))
        client.socket.shutdown(socket.SHUT_WR)
        try:
            while True:
                client.read()
        except (Gone, wire.WireError):
            client.close()
    assert ask(init) < 1


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"AUTH EXTERNAL 30\r\n",
        b"\0" + b"x" * 5000,
        b"\0BEGIN\r\n",
        b"\0AUTH ANONYMOUS\r\nBEGIN\r\n",
        b"\0AUTH EXTERNAL 39393939\r\nBEGIN\r\n",
        b"\0" + b"AUTH\r\n" * 100,
    ],
)
def test_nobody_speaks_without_having_said_who_it_is(init: SessionInit, opening: bytes) -> None:
    client = init.client(authenticate=False)
    client.socket.sendall(opening + client.message(MANAGER, UPSTART, "GetAllJobs", ""))
    client.socket.shutdown(socket.SHUT_WR)
    received = b""
    try:
        while data := client.socket.recv(4096):
            received += data
    except ConnectionError:
        pass
    assert b"jobs" not in received
    assert ask(init) < 1


def test_connections_that_never_authenticate_make_room(init: SessionInit) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    silent = [init.client(authenticate=False) for _ in range(bus.MAX_CLIENTS + 20)]
    assert ask(init) < 2
    for client in silent:
        client.close()
    wait_for(lambda: init.descriptors() < 60)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_other_users_are_turned_away_at_once(init: SessionInit) -> None:
    before = init.descriptors()
    script = f"""
import os, socket
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for _ in range(300):
    s = socket.socket(socket.AF_UNIX); s.connect("\\0" + {init.address.removeprefix("unix:abstract=")!r})
    s.settimeout(5)
    try:
        s.sendall(b"\\0AUTH EXTERNAL 3635353334\\r\\n")
        assert s.recv(100) == b""
    except ConnectionError:
        pass
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert init.descriptors() <= before + 1
    assert ask(init) < 1


def test_descriptors_that_nobody_asked_for_are_closed(init: SessionInit) -> None:
    before = init.descriptors()
    client = init.client()
    read, write = os.pipe()
    for _ in range(5):
        serial = client.send_with_fds([read, write], "GetAllJobs", "")
        client.answer(serial)
    os.close(read)
    os.close(write)
    with pytest.raises(DBusError, match="Env must be KEY=VALUE pairs"):
        client.answer(client.send_with_fds([1], "EmitEventWithFile", "sasbh", "x", ["A"], True, 0))
    client.answer(client.send_with_fds([1], "EmitEventWithFile", "sasbh", "x", ["A=b"], True, 0))
    client.close()
    wait_for(lambda: init.descriptors() <= before)


@pytest.mark.parametrize(
    ("path", "interface", "member", "signature", "values", "name", "text"),
    [
        (MANAGER, UPSTART, "Nope", "", (), "UnknownMethod",
         'Method "Nope" with signature "" on interface "com.ubuntu.Upstart0_6" doesn\'t exist\n'),
        ("/nowhere", UPSTART, "GetAllJobs", "", (), "UnknownMethod",
         'Method "GetAllJobs" with signature "" on interface "com.ubuntu.Upstart0_6" doesn\'t exist\n'),
        (MANAGER, UPSTART, "GetJobByName", "u", (3,), "InvalidArgs", "Invalid arguments to GetJobByName method"),
        (MANAGER, UPSTART, "GetJobByName", "s", ("",), "InvalidArgs", "Name may not be empty string"),
        (MANAGER, UPSTART, "GetJobByName", "s", ("no",), "UnknownJob", "Unknown job: no"),
        (MANAGER, UPSTART, "EmitEvent", "sasb", ("", [], True), "InvalidArgs", "Name may not be empty string"),
        (MANAGER, UPSTART, "EmitEvent", "sasb", ("x", ["A"], True), "InvalidArgs", "Env must be KEY=VALUE pairs"),
        (MANAGER, PROPERTIES, "Set", "ssv", ("", "version", ("s", "x")), "AccessDenied",
         "The version property is read-only"),
        (MANAGER, PROPERTIES, "Set", "ssv", ("", "log_priority", ("i", 3)), "InvalidArgs",
         "Invalid arguments to log_priority property"),
        (MANAGER, PROPERTIES, "Set", "ssv", ("", "log_priority", ("s", "x")), "InvalidArgs",
         "The log priority given was not recognised"),
        (MANAGER, PROPERTIES, "Get", "ss", ("", "nope"), "UnknownMethod",
         'Method "Get" with signature "ss" on interface "org.freedesktop.DBus.Properties" doesn\'t exist\n'),
        (MANAGER, UPSTART, "GetEnv", "ass", ([], "NOPE"), "InvalidArgs", "No such variable: NOPE"),
        (MANAGER, UPSTART, "GetEnv", "ass", (["job1"], "X"), "UnknownJobInstance",
         "Unknown instance: (null) of job job1"),
        (MANAGER, UPSTART, "ListEnv", "as", ([""],), "InvalidArgs", "Job may not be empty string"),
        (MANAGER, UPSTART, "NotifyDBusAddress", "s", ("unix:path=/nope",), "FileNotFound",
         "Failed to connect to socket /nope: No such file or directory"),
        (f"{MANAGER}/jobs/job1", UPSTART + ".Job", "Stop", "asb", ([], True), "UnknownInstance", "Unknown instance: "),
    ],
)  # fmt: skip
def test_error_names_and_texts(
    init: SessionInit, path: str, interface: str, member: str, signature: str, values: tuple[object, ...], name: str,
    text: str,
) -> None:  # fmt: skip
    with pytest.raises(DBusError) as caught:
        init.client().call(path, interface, member, signature, *values)
    assert caught.value.name.removeprefix("org.freedesktop.DBus.Error.") == name
    assert caught.value.text == text


def test_a_client_that_dies_while_it_waits_leaves_its_job_alone(init: SessionInit) -> None:
    init.write("slow", "pre-start exec sleep 0.3\nexec sleep 1000\n")
    client = init.client()
    wait_for(lambda: any(path.endswith("/slow") for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0]))
    waiting = init.client()
    waiting.send(f"{MANAGER}/jobs/slow", UPSTART + ".Job", "Start", "asb", [], True)
    client.wait_status("slow", "start/pre-start")
    waiting.close()
    client.wait_status("slow", "start/running")
    client.stop("slow")


def test_introspection_of_every_object(init: SessionInit) -> None:
    client = init.client()
    client.start("job1")
    seen = []

    def walk(path: str) -> None:
        xml = client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        seen.append(path)
        for part in xml.split('<node name="')[1:]:
            name = part.partition('"')[0]
            if not name.startswith("/"):
                walk(path.rstrip("/") + "/" + name)

    walk("/")
    assert f"{MANAGER}/jobs/job1/_" in seen and len([path for path in seen if "/jobs/" in path]) > 100
    client.stop("job1")


def test_programs_of_others_are_understood(init: SessionInit) -> None:
    """Two implementations of D-Bus that are not ours, with their own ways to authenticate."""
    dbus_send = ["dbus-send", f"--peer={init.address}", "--print-reply", MANAGER, UPSTART + ".GetAllJobs"]
    gdbus = ["gdbus", "call", "--address", init.address, "--object-path", MANAGER, "--method", UPSTART + ".GetAllJobs"]
    # The latter two insist on a bus, and say Hello: they get as far as an answer to that.
    for command, text in ((dbus_send, "job99"), (gdbus, '"Hello"')):
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except FileNotFoundError:
            continue
        assert text in result.stdout + result.stderr, (command, result)


def test_whoever_leaves_out_the_interface_of_ping_is_answered_too(init: SessionInit) -> None:
    client = init.client()
    for path in (MANAGER, "/nowhere"):
        assert client.call(path, "", "Ping") == ()
        assert client.call(path, "", "GetMachineId") == client.call(path, PEER, "GetMachineId")
    client.close()


def test_slow_readers_of_long_answers_cost_nobody_else_the_connection(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {})
    try:
        others = [init.client() for _ in range(5)]
        many = [f"A{number}=" + "x" * 100 for number in range(30_000)]
        others[0].call(MANAGER, UPSTART, "SetEnvList", "asasb", [], many, True)
        readers = [init.client() for _ in range(12)]
        for reader in readers:
            reader.send(MANAGER, UPSTART, "GetState")
        for other in others:
            other.emit("news")
            assert other.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
        # Who asks after them is answered after them, or hung up on for what it would hold.
        with contextlib.suppress(Gone, ConnectionError):
            init.client().call(MANAGER, UPSTART, "GetState")
        assert init.resident() < 100 << 10
        gone = 0
        for reader in readers:
            try:
                assert "news" not in reader.answer(1)[0][:4]
            except (Gone, ConnectionError):
                gone += 1
        assert 0 < gone < 8, "only as many as hold too much"
        assert "Internal error" not in init.text()
    finally:
        init.close()


def test_unfinished_messages_hold_no_more_than_all_connections_may_together(init: SessionInit) -> None:
    other = init.client()
    before = init.resident()
    message = other.message(MANAGER, UPSTART, "EmitEvent", "sasb", "big", ["X=" + "x" * (4_000_000)], False)
    unfinished = []
    for _ in range(60):
        client = init.client()
        try:
            client.socket.sendall(message[:-10])
        except ConnectionError:
            pass
        unfinished.append(client)
    assert other.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
    assert init.resident() - before < (bus.MAX_HELD >> 10) + (24 << 10)
    for client in unfinished:
        client.close()
    other.close()
