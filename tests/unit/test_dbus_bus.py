"""The clients behind a bus: who is asked after, who waits for whom, and what is refused."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_dbus_connection import steps, turn_until, waits

from upstart.base.loop import Loop
from upstart.base.names import BUS_INTERFACE, LIMITS_EXCEEDED
from upstart.dbus import senders, wire
from upstart.dbus.bus import MessageBus
from upstart.dbus.connection import PAUSE, Connection
from upstart.dbus.turns import Turns

if TYPE_CHECKING:
    from upstart.dbus.connection import Work

NOBODY = 65534
NAME = "org.example.Name"


class Bus:
    """A bus of our own, as far as `MessageBus` sees one, and what that asked it."""

    def __init__(self, loop: Loop, directory: Path) -> None:
        self.loop = loop
        path = str(directory / "bus")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        serials = itertools.count(1)
        self.handled: list[tuple[str, str]] = []
        self.works: Callable[[Connection, wire.Message], Work] = lambda connection, message: None
        self.bus = MessageBus(loop, Turns(loop), f"unix:path={path}", NAME, self._handle, lambda: next(serials))
        self.bus.senders.needs_uid = lambda message: message.header.member == "Change"
        self.bus.connect()
        loop.turn(0)
        self.sock, _ = listener.accept()
        listener.close()
        self.sock.setblocking(False)
        self._data = b""
        self.messages: list[wire.Message] = []
        #: Who is who, and who has been asked after; nobody is told of while ``silent``.
        self.uids = {":root": 0, ":me": os.getuid(), ":nobody": NOBODY}
        self.asked: list[str] = []
        self.silent = False
        turn_until(loop, self._readable)
        self.sock.send(b"OK 00\r\n")
        turn_until(loop, lambda: self._readable() and b"BEGIN\r\n" in self._data)
        self._data = self._data.partition(b"BEGIN\r\n")[2]
        turn_until(loop, lambda: self.serve() or self.bus.ready)

    def _handle(self, connection: Connection, message: wire.Message) -> Work:
        self.handled.append((message.header.sender or "", message.args()[0][:9]))
        return self.works(connection, message)

    def _readable(self) -> bool:
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return False
        self._data += data
        return True

    def serve(self) -> bool:
        """Answer what the bus itself is asked, and keep what is meant for others in ``messages``; gives False."""
        while self._readable():
            pass
        while len(self._data) >= wire.FIXED and len(self._data) >= wire.message_length(self._data, 0):
            length = wire.message_length(self._data, 0)
            message = wire.parse(self._data[:length])
            self._data = self._data[length:]
            member = message.header.member
            if member == "GetConnectionUnixUser":
                self.asked.append(message.args()[0])
                if not self.silent:
                    self.tell(message)
            elif member in ("Hello", "RequestName"):
                assert member == "Hello" or message.args()[0] == NAME
                self.reply(message, *(("s", ":us") if member == "Hello" else ("u", 1)))
            else:
                self.messages.append(message)
        return False

    def tell(self, message: wire.Message) -> None:
        uid = self.uids.get(message.args()[0])
        if uid is None:
            fields = wire._fields((4, "s", "a.b"), (5, "u", message.serial), (7, "s", BUS_INTERFACE), (8, "g", "s"))
            self.sock.send(wire._build(wire.ERROR, 1, 1, fields, wire.pack("s", "no such name")))
        else:
            self.reply(message, "u", uid)

    def reply(self, message: wire.Message, signature: str, value: object) -> None:
        fields = wire._fields((5, "u", message.serial), (7, "s", BUS_INTERFACE), (8, "g", signature))
        self.sock.send(wire._build(wire.RETURN, 1, 1, fields, wire.pack(signature, value)))

    def call(self, sender: str, text: str, member: str = "Look", serial: int = 1, flags: int = 0) -> None:
        fields = wire._fields((1, "o", "/"), (3, "s", member), (7, "s", sender), (8, "g", "s"))
        rest = wire._build(wire.CALL, flags, serial, fields, wire.pack("s", text))
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                self.loop.turn(0)

    def until(self, condition: Callable[[], object]) -> None:
        turn_until(self.loop, lambda: self.serve() or condition())

    def rest(self) -> None:
        """Some turns in which nothing comes."""
        for _ in range(5):
            self.serve()
            self.loop.turn(0.005)

    def refused(self) -> list[int]:
        """The calls that were answered with LimitsExceeded."""
        return [m.header.reply_serial for m in self.messages if m.header.error_name == LIMITS_EXCEEDED]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def bus(loop: Loop, tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(loop, tmp_path)
    yield bus
    bus.bus.close()
    bus.sock.close()


def test_who_only_looks_need_not_be_known_and_who_changes_must_be(bus: Bus) -> None:
    bus.call(":nobody", "look")
    bus.until(lambda: bus.handled)
    assert not bus.asked
    bus.silent = True
    bus.call(":root", "change", "Change")
    bus.call(":root", "look")
    bus.until(lambda: bus.asked == [":root"])
    bus.rest()
    assert len(bus.handled) == 1, "calls of one sender stay in their order"
    assert bus.bus.senders.uid_of(":root") is None


def test_an_answer_about_a_sender_is_remembered(bus: Bus) -> None:
    for number in range(3):
        bus.call(":root", f"{number}", "Change")
        bus.until(lambda number=number: len(bus.handled) > number)  # type: ignore[misc]
    assert bus.asked == [":root"] and bus.bus.senders.uid_of(":root") == 0


def test_what_is_remembered_of_senders_is_bounded(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "KNOWN_SENDERS", 2)
    bus.uids.update({f":{number}": NOBODY for number in range(4)})
    for name in (":0", ":1", ":2", ":2", ":0"):
        count = len(bus.handled)
        bus.call(name, "x", "Change")
        bus.until(lambda count=count: len(bus.handled) > count)  # type: ignore[misc]
    assert bus.asked == [":0", ":1", ":2", ":0"]


def test_of_whom_the_bus_knows_nothing_the_calls_are_handled_and_nothing_is_known(bus: Bus) -> None:
    bus.call(":stranger", "one", "Change")
    bus.until(lambda: bus.handled)
    assert bus.handled == [(":stranger", "one")] and bus.bus.senders.uid_of(":stranger") is None


def test_root_does_not_wait_for_the_long_calls_of_strangers(bus: Bus) -> None:
    done: list[str] = []

    def works(connection: Connection, message: wire.Message) -> Work:
        sender = message.header.sender or ""
        return steps(1 if sender == ":root" else 50, 0.002, lambda: done.append(sender))

    bus.works = works
    for number in range(20):
        bus.uids[f":stranger{number}"] = NOBODY
        bus.call(f":stranger{number}", "long")
    bus.rest()
    began = time.monotonic()
    bus.call(":root", "look")
    bus.until(lambda: ":root" in done)
    assert time.monotonic() - began < 1
    assert ":root" in bus.asked, "who is who matters once strangers wait"
    assert len(done) < 10, "root was known as root because strangers waited, and was served first"
    bus.until(lambda: len(done) == 21)


def test_strangers_are_served_in_turn(bus: Bus) -> None:
    bus.works = lambda connection, message: steps(3, 0.001, lambda: None)
    for name in (":a", ":b", ":c"):
        bus.uids[name] = NOBODY
    for name in (":a", ":a", ":a", ":b", ":c"):
        bus.call(name, "x")
    bus.until(lambda: len(bus.handled) == 5)
    order = [name for name, _ in bus.handled]
    assert set(order[:3]) == {":a", ":b", ":c"}, order


def test_a_stranger_may_not_ask_at_length_and_root_may(bus: Bus) -> None:
    long = "x" * (senders.MAX_QUESTION + 1)
    bus.call(":nobody", long, serial=5)
    bus.call(":nobody", "short", serial=6)
    bus.until(lambda: bus.handled)
    assert bus.handled == [(":nobody", "short")] and bus.refused() == [5]
    bus.call(":root", long, serial=7)
    bus.until(lambda: len(bus.handled) == 2)
    assert bus.handled[1] == (":root", "x" * 9) and bus.refused() == [5]


def test_no_more_calls_wait_than_may(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "WAITING_MESSAGES", 20)
    bus.works = lambda connection, message: steps(3, 0.001, lambda: None)
    for serial in range(1, 101):
        bus.call(":nobody", "x", serial=serial)
    bus.until(lambda: len(bus.handled) + len(bus.refused()) == 100)
    assert 20 <= len(bus.handled) < 100
    count = len(bus.messages)
    bus.silent = True
    bus.uids[":other"] = NOBODY
    for serial in range(1, 301):
        bus.call(":other", "x", "Change", serial=serial, flags=wire.NO_REPLY)
    bus.rest()
    assert len(bus.messages) == count, "who wants no answer gets no refusal"


def test_long_calls_that_wait_have_a_bound_together_and_a_first_short_one_is_taken_all_the_same(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "WAITING_BYTES", 1 << 20)
    bus.silent = True
    for number in range(6):
        bus.call(f":a{number}", "x" * (300 << 10), serial=number + 1)
    bus.until(lambda: len(bus.refused()) == 3)
    assert bus.refused() == [4, 5, 6]
    bus.call(":root", "short", serial=9)
    bus.until(lambda: bus.handled)
    assert bus.handled == [(":root", "short")]
    # With their connection what waited is gone, and so is its share.
    assert bus.bus.senders._waiting > 0
    bus.sock.close()
    turn_until(bus.loop, lambda: not bus.bus.busy)
    assert bus.bus.senders._waiting == 0


def test_nothing_is_answered_to_a_bus_that_does_not_read(bus: Bus) -> None:
    answer = wire.pack("s", "x" * PAUSE)

    def works(connection: Connection, message: wire.Message) -> None:
        connection.send(wire.reply(1, message.serial, ":nobody", "s", answer))

    bus.works = works
    for serial in range(1, 31):
        bus.call(":nobody", "x", serial=serial)
    for _ in range(30):
        bus.loop.turn(0.005)
    assert len(bus.handled) < 10
    bus.until(lambda: len(bus.messages) == 30)
    assert [message.header.reply_serial for message in bus.messages] == list(range(1, 31))


def test_a_call_that_waits_holds_those_of_its_sender_and_nobody_else(bus: Bus) -> None:
    waiting: list[Callable[[], object]] = []

    def works(connection: Connection, message: wire.Message) -> Work:
        if message.args()[0] == "waits":
            return waits(waiting.append, lambda: bus.handled.append(("", "waited")))
        return None

    bus.works = works
    for sender in (":root", ":nobody"):
        bus.call(sender, "waits")
        bus.call(sender, "after")
    bus.until(lambda: len(waiting) == 2)
    bus.uids[":other"] = NOBODY
    bus.call(":other", "look")
    bus.until(lambda: (":other", "look") in bus.handled)
    bus.rest()
    assert not [text for _, text in bus.handled if text in ("after", "waited")]
    for go_on in waiting:
        go_on()
    bus.until(lambda: len(bus.handled) == 7)
    for sender in (":root", ":nobody"):
        assert bus.handled.index((sender, "after")) > bus.handled.index(("", "waited"))
