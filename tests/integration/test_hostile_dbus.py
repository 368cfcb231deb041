"""Clients of the private socket that send what they should not, or too much of it, cost init nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from struct import pack

import pytest
from hostile import EXTENSION, MANAGER, PROPERTIES, UPSTART, Client, Session, wait_for

from upstart.dbus import wire


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    running = Session(tmp_path_factory.mktemp("session"), {"web": "exec sleep 1000\n"}, "--no-dbus")
    yield running
    running.end()


def with_field(text: str) -> bytes:
    """A call with a header field that nobody knows."""
    fields = wire._fields(
        (1, "o", MANAGER), (2, "s", PROPERTIES), (3, "s", "Get"), (100, "s", text), (8, "g", "ss")
    )
    return wire._build(wire.CALL, 0, 1, fields, wire.pack("ss", UPSTART, "version"))


def set_to(variant: bytes) -> bytes:
    """A call that sets the log priority to something."""
    fields = wire._fields((1, "o", MANAGER), (2, "s", PROPERTIES), (3, "s", "Set"), (8, "g", "ssv"))
    return wire._build(wire.CALL, 0, 1, fields, wire.pack("ss", UPSTART, "log_priority") + variant)


def test_giant_headers_are_not_remembered(session: Session) -> None:
    client = session.client()
    before = session.resident()
    for number in range(40):
        client.sock.sendall(with_field(f"{number}" + "x" * (1 << 20)))
        client.answer(1)
    client.close()
    assert session.resident() - before < 16 << 10


def test_a_giant_array_does_not_hold_up_others(session: Session) -> None:
    client, other = session.client(), session.client()
    start = wire.pack("ss", UPSTART, "log_priority") + b"\2ay\0"
    padding = b"\0" * (-len(start) & 3)
    client.sock.sendall(set_to(b"\2ay\0" + padding + pack("<I", 3 << 20) + b"x" * (3 << 20)))
    assert other.delay() < 1
    assert client.answer(1)[0] == "org.freedesktop.DBus.Error.InvalidArgs"
    client.close()
    other.close()


def test_variants_as_deep_as_may_be_are_answered_and_deeper_ones_end_the_connection(session: Session) -> None:
    client = session.client()
    client.sock.sendall(set_to(b"\1v\0" * 60 + b"\1y\0\0"))
    assert client.answer(1)[0] == "org.freedesktop.DBus.Error.InvalidArgs"
    client.sock.sendall(set_to(b"\1v\0" * 5000 + b"\1y\0\0"))
    with pytest.raises(EOFError):
        client.answer(1)
    client.close()


@pytest.mark.parametrize(
    "bytes_",
    [
        b"l\1\0\1" + b"\xff" * 12,
        b"x" * 16,
        b"l\1\0\2" + bytes(12),
        with_field("text")[:-8] + b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8",
        wire._build(wire.CALL, 0, 1, b"\1\1o\0\4\0\0\0no/p\0", b""),
    ],
)
def test_what_is_not_dbus_ends_the_connection_and_nothing_else(session: Session, bytes_: bytes) -> None:
    client = session.client()
    client.sock.sendall(bytes_)
    with pytest.raises((EOFError, ConnectionResetError)):
        client.receive()
    client.close()
    assert session.alive()


def test_descriptors_that_no_message_names_are_closed(session: Session) -> None:
    before = session.descriptors()
    clients = [session.client() for _ in range(10)]
    for client in clients:
        socket.send_fds(client.sock, [client.message(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")], [0] * 16)
        client.answer(1)
    assert session.descriptors() <= before + len(clients)
    for client in clients:
        client.close()


def test_what_was_sent_before_the_client_left_is_done(session: Session) -> None:
    listener, client = session.client(), session.client()
    names = [f"gone{number}" for number in range(1000)]
    messages = [client.message(MANAGER, UPSTART, "EmitEvent", "sasb", name, [], False) for name in names]
    client.sock.sendall(b"".join(message[:2] + bytes((wire.NO_REPLY,)) + message[3:] for message in messages))
    client.close()
    for name in names:
        message = listener.receive()
        while message.header.member != "EventEmitted":
            message = listener.receive()
        assert message.args()[0] == name
    listener.close()


def test_clients_that_never_authenticate_leave_room_for_those_that_do(session: Session) -> None:
    before = session.descriptors()
    idle = [session.connect() for _ in range(100)]
    for sock in idle[::2]:
        sock.sendall(b"\0AUTH EXTERNAL")
    client = session.client()
    assert client.delay() < 1
    for sock in idle:
        sock.close()
    client.close()
    wait_for(lambda: session.descriptors() <= before, "descriptors given back")


def test_a_listener_that_does_not_read_is_hung_up_on(session: Session) -> None:
    listener = session.client()
    before = session.resident()
    client = session.client()
    text = "X=" + "x" * 10000
    for _ in range(800):
        client.call(MANAGER, UPSTART, "EmitEvent", "sasb", "noise", [text], False)
    assert session.resident() - before < 16 << 10
    with pytest.raises((EOFError, ConnectionResetError)):
        while True:
            listener.receive()
    listener.close()
    client.close()


def test_ten_thousand_calls_at_once_are_all_answered_and_others_are_served_meanwhile(session: Session) -> None:
    client, other = session.client(), session.client()
    client.call(MANAGER, EXTENSION, "Quiet")
    calls = [client.message(MANAGER, UPSTART, "EmitEvent", "sasb", "pass", [], True) for _ in range(10_000)]
    sender = threading.Thread(target=client.sock.sendall, args=(b"".join(calls),))
    sender.start()
    assert other.delay() < 2
    waiting = set(range(2, 10_002))
    while waiting:
        waiting.discard(client.receive().header.reply_serial)
    sender.join()
    client.close()
    other.close()


def test_nobody_else_gets_a_word(session: Session) -> None:
    if os.getuid():
        pytest.skip("needs root")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            Client(session.connect()).version()
            os.write(write, b"answered")
        except BaseException as error:
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said in (b"ConnectionResetError", b"BrokenPipeError", b"EOFError")
