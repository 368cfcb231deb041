"""A message bus that hangs, lies, goes away or speaks nonsense, and clients of one that pretend to be it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import MANAGER, UPSTART, Session, wait_for

from upstart.dbus import wire

BUS = "org.freedesktop.DBus"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    running = Session(tmp_path_factory.mktemp("session"), {"web": "exec sleep 1000\n"})
    yield running
    running.end()


class FakeBus:
    """A socket that init is sent to, and the one connection that it makes there."""

    def __init__(self, session: Session, directory: Path) -> None:
        self.session = session
        path = str(directory / "bus")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(4)
        listener.settimeout(20)
        self.client = session.client(quiet=True)
        self.client.sock.sendall(
            self.client.message(MANAGER, UPSTART, "NotifyDBusAddress", "s", f"unix:path={path}")
        )
        self.sock, _ = listener.accept()
        self.sock.settimeout(20)
        listener.close()
        self._buffer = b""
        self.notified = self.client._serial

    def line(self) -> bytes:
        """A line of the authentication."""
        found = b""
        while not found.endswith(b"\n"):
            found += self.sock.recv(1)
        return found

    def authenticate(self) -> None:
        assert self.line().startswith(b"\0AUTH EXTERNAL ")
        self.sock.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
        assert self.line() == b"BEGIN\r\n"

    def receive(self) -> wire.Message:
        while True:
            if len(self._buffer) >= wire.FIXED:
                length = wire.message_length(self._buffer, 0)
                if len(self._buffer) >= length:
                    message = wire.parse(self._buffer[:length])
                    self._buffer = self._buffer[length:]
                    return message
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data

    def call(self) -> wire.Message:
        """The next call that init makes."""
        message = self.receive()
        while message.type != wire.CALL:
            message = self.receive()
        return message

    def reply(self, to: int, signature: str, body: bytes, sender: str = BUS) -> None:
        fields = wire._fields((5, "u", to), (7, "s", sender), (8, "g", signature))
        self.sock.sendall(wire._build(wire.RETURN, 0, 1, fields, body))

    def welcome(self) -> None:
        """All that init asks for at the start."""
        self.authenticate()
        hello = self.call()
        assert hello.header.member == "Hello"
        self.reply(hello.serial, "s", wire.pack("s", ":1.7"))
        name = self.call()
        assert name.header.member == "RequestName"
        self.reply(name.serial, "u", wire.pack("u", 1))
        assert self.client.answer(self.notified) == ()

    def send_call(self, sender: str, member: str, signature: str, body: bytes, serial: int = 9) -> None:
        """A call that a client of the bus makes."""
        fields = wire._fields(
            (1, "o", MANAGER), (2, "s", UPSTART), (3, "s", member), (7, "s", sender), (8, "g", signature)
        )
        self.sock.sendall(wire._build(wire.CALL, 0, serial, fields, body))

    def answer(self, serial: int = 9) -> tuple[object, ...]:
        message = self.receive()
        while message.header.reply_serial != serial:
            message = self.receive()
        error = (message.header.error_name,) if message.type == wire.ERROR else ()
        return (*error, *message.args())

    def close(self) -> None:
        self.sock.close()
        self.client.close()


def sockets(session: Session) -> int:
    """How many init has open."""
    found = 0
    for link in Path(f"/proc/{session.process.pid}/fd").iterdir():
        try:
            found += os.readlink(link).startswith("socket:")
        except OSError:
            pass  # closed meanwhile
    return found


@pytest.fixture
def bus(session: Session, tmp_path: Path) -> Iterator[FakeBus]:
    before = sockets(session)
    made = FakeBus(session, tmp_path)
    yield made
    made.close()
    wait_for(lambda: sockets(session) <= before, "sockets given back")
    assert "Internal error" not in session.said(), session.said()
    assert session.client().delay() < 1


EMIT = wire.pack("sasb", "news", [], False)
NOBODY, ROOT = 65534, 0


def test_a_bus_that_never_answers_holds_nothing_up(bus: FakeBus) -> None:
    assert bus.session.client().delay() < 1
    bus.authenticate()
    assert bus.session.client().delay() < 1


def test_who_named_a_bus_that_never_answers_hears_that_another_one_was_named(bus: FakeBus) -> None:
    other = bus.session.client(quiet=True)
    assert "FileNotFound" in other.call(MANAGER, UPSTART, "NotifyDBusAddress", "s", "unix:path=/nonexistent")[0]
    other.close()
    assert bus.client.answer(bus.notified)[0] == "org.freedesktop.DBus.Error.Disconnected"


@pytest.mark.parametrize("nonsense", [b"x" * 100_000, b"REJECTED\r\n", b"OK \r\n" + b"\xff" * 1000, b"\r\n"])
def test_nonsense_instead_of_an_authentication_fails_the_connection(bus: FakeBus, nonsense: bytes) -> None:
    bus.sock.sendall(nonsense)
    assert bus.client.answer(bus.notified)[0] == "org.freedesktop.DBus.Error.NoReply"


def test_answers_of_another_form_fail_the_connection(bus: FakeBus) -> None:
    bus.authenticate()
    bus.reply(bus.call().serial, "", b"")
    bus.reply(bus.call().serial, "", b"")
    assert bus.client.answer(bus.notified)[0] == "org.freedesktop.DBus.Error.Failed"


def test_only_the_bus_says_who_a_caller_is(bus: FakeBus) -> None:
    bus.welcome()
    bus.send_call(":1.66", "EmitEvent", "sasb", EMIT)
    question = bus.call()
    assert (question.header.member, question.args()) == ("GetConnectionUnixUser", (":1.66",))
    bus.reply(question.serial, "u", wire.pack("u", ROOT), sender=":1.66")
    bus.reply(question.serial, "u", wire.pack("u", NOBODY))
    assert bus.answer()[0] == UPSTART + ".Error.PermissionDenied"


@pytest.mark.parametrize(("signature", "body"), [("", b""), ("s", wire.pack("s", "0")), ("b", wire.pack("b", False))])
def test_a_caller_of_whom_the_bus_knows_nothing_changes_nothing(bus: FakeBus, signature: str, body: bytes) -> None:
    bus.welcome()
    bus.send_call(":1.66", "EmitEvent", "sasb", EMIT)
    bus.reply(bus.call().serial, signature, body)
    assert bus.answer()[0] == UPSTART + ".Error.PermissionDenied"


def test_calls_wait_for_the_bus_in_a_bounded_queue(bus: FakeBus) -> None:
    bus.welcome()
    for serial in range(10, 400):
        bus.send_call(":1.66", "EmitEvent", "sasb", EMIT, serial)
    assert bus.answer(399)[0] == "org.freedesktop.DBus.Error.LimitsExceeded"


def test_a_message_that_is_too_long_or_malformed_does_not_cost_the_place_on_the_bus(bus: FakeBus) -> None:
    bus.welcome()
    bus.send_call(":1.66", "GetJobByName", "s", wire.pack("s", "x" * (6 << 20)), 10)
    bus.send_call(":1.66", "GetJobByName", "s", b"\xff\xff\xff\x7f", 11)
    assert bus.answer(11)[0] == "org.freedesktop.DBus.Error.InvalidArgs"
    bus.send_call(":1.66", "GetJobByName", "s", wire.pack("s", "web"), 12)
    assert bus.answer(12) == ("/com/ubuntu/Upstart/jobs/web",)


def test_a_bus_that_stalls_does_not_lose_us_and_takes_no_endless_memory(bus: FakeBus) -> None:
    bus.welcome()
    before = bus.session.resident()
    client = bus.session.client(quiet=True)
    for number in range(400):
        client.call(MANAGER, UPSTART, "EmitEvent", "sasb", f"event{number}", ["X=" + "x" * 10_000], False)
    assert client.delay() < 1
    assert bus.session.resident() - before < 24 << 10
    while bus.receive().args()[:1] != ("event399",):
        pass
    bus.send_call(":1.66", "GetJobByName", "s", wire.pack("s", "web"), 12)
    assert bus.answer(12) == ("/com/ubuntu/Upstart/jobs/web",)


def test_a_bus_that_goes_away_is_said_to_have(bus: FakeBus) -> None:
    bus.welcome()
    bus.sock.close()
    wait_for(lambda: "Disconnected from notified D-Bus bus" in bus.session.said(), "the line")
