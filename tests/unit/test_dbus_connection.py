"""Connections, the server that accepts them and the turns that they take, on real sockets and a real loop."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from upstart.base.loop import Loop
from upstart.dbus import connection as module
from upstart.dbus import server as server_module
from upstart.dbus import wire
from upstart.dbus.connection import Connection, Memory
from upstart.dbus.server import PrivateServer
from upstart.dbus.turns import SLICE, TURN, Turns

HELLO = b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def turn_until(loop: Loop, condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        loop.turn(0.01)


def a_call(serial: int, text: str = "", reply: bool = True) -> bytes:
    message = bytearray(wire.call(serial, "", "/", "a.b", "C", "s", text))
    if not reply:
        message[2] |= wire.NO_REPLY
    return bytes(message)


class Server:
    """A private server whose clients are served by ``handle``; answers the text of a call by default."""

    def __init__(self, loop: Loop, directory: Path) -> None:
        self.loop = loop
        self.path = str(directory / "socket")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(self.path)
        listener.listen(64)
        self.handle: Callable[[Connection, wire.Message], module.Work] = self.echo
        self.server = PrivateServer(loop, Turns(loop), listener, lambda peer, message: self.handle(peer, message))
        self.peers: list[socket.socket] = []

    @staticmethod
    def echo(peer: Connection, message: wire.Message) -> None:
        peer.send(wire.reply(1, message.serial, None, "s", wire.pack("s", message.args()[0][:9])))

    def connect(self, say: bytes = HELLO) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.sendall(say)
        before = len(self.server.clients)
        turn_until(self.loop, lambda: len(self.server.clients) > before)
        self.peers.append(sock)
        if say == HELLO:
            turn_until(self.loop, lambda: list(self.server.clients)[-1].auth is None)
            sock.setblocking(False)
            turn_until(self.loop, lambda: self.read(sock))
        sock.setblocking(False)
        return sock

    def read(self, sock: socket.socket) -> bytes:
        try:
            return sock.recv(1 << 20)
        except BlockingIOError:
            return b""

    def answers(self, sock: socket.socket, count: int) -> list[tuple[int, str]]:
        """(serial of the call, first argument) of so many answers."""
        found: list[tuple[int, str]] = []
        data = b""

        def complete() -> bool:
            nonlocal data
            data += self.read(sock)
            while len(data) >= wire.FIXED and len(data) >= wire.message_length(data, 0):
                length = wire.message_length(data, 0)
                message = wire.parse(data[:length])
                found.append((message.header.reply_serial, message.args()[0]))
                data = data[length:]
            return len(found) >= count

        turn_until(self.loop, complete)
        return found

    def close(self) -> None:
        self.server.close()
        for peer in self.peers:
            peer.close()


@pytest.fixture
def server(loop: Loop, tmp_path: Path) -> Iterator[Server]:
    server = Server(loop, tmp_path)
    yield server
    server.close()
    assert server.server.memory.held == 0


def gone(server: Server, sock: socket.socket) -> bool:
    server.loop.turn(0.01)
    try:
        return sock.recv(1 << 20) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def steps(count: int, seconds: float, then: Callable[[], object]) -> Generator[None, None, None]:
    for _ in range(count):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        yield
    then()


def waits(wait: module.Wait, then: Callable[[], object]) -> module.Steps:
    """A work that waits for something."""
    yield wait
    then()


def test_a_client_that_never_says_who_it_is_is_hung_up_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "AUTH_SECONDS", 0.2)
    silent, slow, known = server.connect(b"\0"), server.connect(b"\0AUTH EXT"), server.connect()
    began = time.monotonic()
    turn_until(server.loop, lambda: gone(server, silent))
    assert time.monotonic() - began < 5
    turn_until(server.loop, lambda: len(server.server.clients) == 1)
    slow.close()
    known.sendall(a_call(7, "there"))
    assert server.answers(known, 1) == [(7, "there")]


def test_when_there_are_too_many_the_first_that_has_not_said_who_it_is_makes_room(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CLIENTS", 3)
    known, first, second = server.connect(), server.connect(b"\0"), server.connect(b"\0")
    late = socket.socket(socket.AF_UNIX)
    late.connect(server.path)
    server.peers.append(late)
    turn_until(server.loop, lambda: gone(server, first))
    assert not gone(server, second) and not gone(server, known)
    assert len(server.server.clients) == 3


def test_a_long_work_leaves_room_for_others_and_its_client_is_answered_in_order(server: Server) -> None:
    def handle(peer: Connection, message: wire.Message) -> module.Work:
        if message.args()[0] == "long":
            return steps(100, 0.001, lambda: server.echo(peer, message))
        return server.echo(peer, message)

    server.handle = handle
    greedy, modest = server.connect(), server.connect()
    greedy.sendall(a_call(1, "long") + a_call(2, "short") + a_call(3, "long") + a_call(4, "short"))
    server.loop.turn(0)
    modest.sendall(a_call(1, "me"))
    began = time.monotonic()
    assert server.answers(modest, 1) == [(1, "me")]
    assert time.monotonic() - began < 0.09
    assert server.answers(greedy, 4) == [(1, "long"), (2, "short"), (3, "long"), (4, "short")]


def test_a_flood_gets_a_slice_a_turn(server: Server) -> None:
    handled = []

    def handle(peer: Connection, message: wire.Message) -> None:
        handled.append(message.serial)
        end = time.monotonic() + SLICE / 4
        while time.monotonic() < end:
            pass

    server.handle = handle
    flood = server.connect()
    flood.sendall(b"".join(a_call(number, reply=False) for number in range(1, 201)))
    server.loop.turn(0.1)
    assert 0 < len(handled) < 20
    turn_until(server.loop, lambda: len(handled) == 200)
    assert handled == list(range(1, 201))


def test_what_a_client_sent_before_it_left_is_done_to_the_end(server: Server) -> None:
    done: list[int] = []
    server.handle = lambda peer, message: steps(20, 0.001, lambda: done.append(message.serial))
    leaving = server.connect()
    leaving.sendall(a_call(1) + a_call(2) + a_call(3))
    leaving.close()
    turn_until(server.loop, lambda: not server.server.clients)
    assert done == [1, 2, 3]


def test_descriptors_that_a_long_work_has_not_taken_are_closed_at_its_end(server: Server) -> None:
    seen: list[list[int]] = []

    def handle(peer: Connection, message: wire.Message) -> module.Work:
        seen.append(list(message.fds))
        return steps(5, 0.001, lambda: [os.fstat(fd) for fd in seen[0]] and server.echo(peer, message))

    server.handle = handle
    peer = server.connect()
    fields = wire._fields((1, "o", "/"), (3, "s", "C"), (8, "g", "s"), (9, "u", 1))
    socket.send_fds(peer, [wire._build(wire.CALL, 0, 5, fields, wire.pack("s", "fd"))], [0])
    assert server.answers(peer, 1) == [(5, "fd")]
    with pytest.raises(OSError):
        os.fstat(seen[0][0])


def test_only_one_long_message_is_unpacked_at_a_time(server: Server) -> None:
    working: list[int] = []
    most = 0

    def handle(peer: Connection, message: wire.Message) -> module.Work:
        nonlocal most
        working.append(message.serial)
        most = max(most, len(working))

        def done() -> None:
            working.remove(message.serial)
            server.echo(peer, message)

        return steps(10, 0.001, done)

    server.handle = handle
    peers = [server.connect() for _ in range(4)]
    for number, peer in enumerate(peers, 1):
        rest = a_call(number, "long" + "x" * (module.LONG_MESSAGE * 2))
        while rest:
            try:
                rest = rest[peer.send(rest) :]
            except BlockingIOError:
                pass
            server.loop.turn(0)
    for number, peer in enumerate(peers, 1):
        assert server.answers(peer, 1) == [(number, "longxxxxx")]
    assert most == 1


class FailingSocket:
    """A socket some of whose calls fail."""

    def __init__(self, sock: Any, **failures: list[int]) -> None:
        self._sock = sock
        self._failures = failures

    def __getattr__(self, name: str) -> Any:
        if self._failures.get(name):
            number = self._failures[name].pop()

            def fail(*_: object) -> None:
                raise OSError(number, os.strerror(number))

            return fail
        return getattr(self._sock, name)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("call", ["send", "recvmsg"])
def test_a_kernel_without_memory_costs_no_answer(server: Server, number: int, call: str) -> None:
    peer = server.connect()
    client = next(iter(server.server.clients))
    client.sock = FailingSocket(client.sock, **{call: [number] * 3})  # type: ignore[assignment]
    for serial in range(1, 6):
        peer.sendall(a_call(serial, "answer"))
    assert server.answers(peer, 5) == [(serial, "answer") for serial in range(1, 6)]
    peer.sendall(a_call(9, "and on"))
    assert server.answers(peer, 1) == [(9, "and on")]


def test_who_takes_nothing_more_is_heard_to_its_end(server: Server) -> None:
    handled: list[int] = []

    def handle(peer: Connection, message: wire.Message) -> None:
        handled.append(message.serial)
        server.echo(peer, message)

    server.handle = handle
    peer = server.connect()
    client = next(iter(server.server.clients))
    client.sock = FailingSocket(client.sock, send=[errno.EPIPE])  # type: ignore[assignment]
    peer.sendall(a_call(1))
    turn_until(server.loop, lambda: handled)
    peer.sendall(a_call(2) + a_call(3))
    peer.close()
    turn_until(server.loop, lambda: client.gone)
    assert handled == [1, 2, 3]


def test_a_slow_reader_is_not_listened_to_until_it_has_read(server: Server) -> None:
    handled: list[int] = []
    big = wire.pack("s", "x" * (module.PAUSE // 2))

    def handle(peer: Connection, message: wire.Message) -> None:
        handled.append(message.serial)
        peer.send(wire.reply(1, message.serial, None, "s", big))

    server.handle = handle
    peer = server.connect()
    peer.sendall(b"".join(a_call(number) for number in range(1, 41)))
    for _ in range(20):
        server.loop.turn(0.01)
    assert len(handled) < 10
    assert [serial for serial, _ in server.answers(peer, 40)] == handled == list(range(1, 41))


def test_who_lets_too_much_lie_is_hung_up_on(server: Server) -> None:
    server.connect()
    client = next(iter(server.server.clients))
    for _ in range(module.MAX_QUEUE // (64 << 10) + 8):
        server.server.broadcast(bytes(64 << 10), "StateChanged")
        server.loop.turn(0)
    assert client.gone and not server.server.clients


def test_one_long_answer_may_be_longer_than_what_may_lie_unread(server: Server) -> None:
    long = "x" * (module.MAX_QUEUE * 2)
    server.handle = lambda peer, message: peer.send(
        wire.reply(1, message.serial, None, "s", wire.pack("s", long))
    )
    peer = server.connect()
    peer.sendall(a_call(1))
    assert server.answers(peer, 1) == [(1, long)]


def test_who_holds_most_gives_way_and_root_last(server: Server) -> None:
    clients = []
    for _ in range(4):
        server.connect()
        clients.append(list(server.server.clients)[-1])
    small, other, root, waiting = clients
    small.uid = other.uid = 1000
    root.uid = waiting.uid = 0
    server.server.memory.limit = 5 << 19
    for client, size in ((root, 2 << 20), (other, 1 << 20), (small, 1 << 10)):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.send(bytes(size))
    server.loop.turn(0)
    assert (small.gone, other.gone, root.gone, waiting.gone) == (False, True, False, False)
    waiting.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    waiting.send(bytes(2 << 20))
    server.loop.turn(0)
    assert (small.gone, root.gone, waiting.gone) in ((False, True, False), (False, False, True))
    assert 0 < server.server.memory.held <= 5 << 19


def test_unfinished_messages_are_counted(server: Server) -> None:
    server.server.memory.limit = 1 << 20
    peers = [server.connect() for _ in range(4)]
    start = a_call(1, "x" * (500 << 10))[:-1]
    for peer in peers:
        rest = start
        while rest:
            try:
                rest = rest[peer.send(rest) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                break
            server.loop.turn(0)
    turn_until(server.loop, lambda: len(server.server.clients) == 2)
    assert 0 < server.server.memory.held <= 1 << 20


def test_what_is_no_dbus_ends_a_clients_connection_and_is_passed_over_on_a_bus(loop: Loop) -> None:
    bad_header = wire._build(wire.CALL, 0, 1, b"\1\1o\0\4\0\0\0no/p\0", b"")
    for uid in (0, -1):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        seen: list[int] = []
        peer = Connection(
            loop, Turns(loop), Memory(1 << 30), ours, None, uid, 0,  # type: ignore[arg-type]
            lambda peer, message, seen=seen: seen.append(message.serial), lambda peer: None,  # type: ignore[misc]
        )  # fmt: skip
        theirs.sendall(bad_header + a_call(2))
        turn_until(loop, lambda peer=peer, seen=seen: peer.gone or seen)  # type: ignore[misc]
        assert (peer.gone, seen) == ((True, []) if uid >= 0 else (False, [2]))
        peer.close()
        theirs.close()


def test_a_long_message_that_is_passed_over_holds_up_no_other(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    seen: list[int] = []
    peer = Connection(
        loop, Turns(loop), Memory(1 << 30), ours, None, -1, 0,  # type: ignore[arg-type]
        lambda peer, message: seen.append(message.serial), lambda peer: None,
    )  # fmt: skip
    theirs.sendall(wire._build(wire.CALL, 0, 1, b"\1\1o\0\4\0\0\0no/p\0", b"x" * module.LONG_MESSAGE))
    loop.turn(0.01)
    theirs.sendall(a_call(2, "x" * module.LONG_MESSAGE))
    turn_until(loop, lambda: seen, 10)
    assert seen == [2]
    peer.close()
    theirs.close()


def test_a_bus_that_sends_a_message_too_long_for_us_is_still_understood(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    seen: list[int] = []
    peer = Connection(
        loop, Turns(loop), Memory(1 << 30), ours, None, -1, 0,  # type: ignore[arg-type]
        lambda peer, message: seen.append(message.serial), lambda peer: None,
    )  # fmt: skip
    theirs.setblocking(False)
    rest = a_call(1, "x" * (wire.MAX_MESSAGE + 1)) + a_call(2)
    while rest:
        try:
            rest = rest[theirs.send(rest[:50_000]) :]
        except BlockingIOError:
            pass
        loop.turn(0)
    turn_until(loop, lambda: seen)
    assert seen == [2]
    peer.close()
    theirs.close()


class Work:
    """Work for so many slices that notes when it had them."""

    def __init__(self, name: str, slices: int, notes: list[str]) -> None:
        self.name = name
        self.left = slices
        self.notes = notes

    def resume(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            pass
        self.notes.append(self.name)
        self.left -= 1
        return self.left > 0


def test_all_get_their_slices_in_turn_and_strangers_do_not_hold_up_root(loop: Loop) -> None:
    notes: list[str] = []
    turns = Turns(loop)
    for name in ("a", "b", "c"):
        turns.join(Work(name, 3, notes), True)
    for number in range(50):
        turns.join(Work(f"stranger{number}", 2, notes), False)
    loop.turn(0)
    most = int(TURN / SLICE) + 1
    assert notes[0] == "a"
    assert len([note for note in notes if note.startswith("stranger")]) <= most
    turn_until(loop, lambda: notes.count("a") + notes.count("b") + notes.count("c") == 9)
    assert [note for note in notes if len(note) == 1] == ["a", "b", "c"] * 3
    turn_until(loop, lambda: not turns.crowded())
    strangers = [note for note in notes if note.startswith("stranger")]
    assert strangers[:50] == [f"stranger{number}" for number in range(50)] == strangers[50:]


def test_who_turns_out_to_be_root_no_longer_stands_with_the_strangers(loop: Loop) -> None:
    notes: list[str] = []
    turns = Turns(loop)
    for number in range(30):
        turns.join(Work(f"stranger{number}", 1, notes), False)
    root = Work("root", 1, notes)
    turns.join(root, False)
    turns.trust(root)
    loop.turn(0)
    assert notes[0] == "root"


def test_a_call_that_waits_holds_those_of_its_client_and_nobody_else(server: Server) -> None:
    waiting: list[Callable[[], object]] = []

    def handle(peer: Connection, message: wire.Message) -> module.Work:
        if message.args()[0] == "waits":
            return waits(waiting.append, lambda: server.echo(peer, message))
        return server.echo(peer, message)

    server.handle = handle
    first, other = server.connect(), server.connect()
    first.sendall(a_call(1, "before") + a_call(2, "waits") + a_call(3, "after"))
    assert server.answers(first, 1) == [(1, "before")]
    turn_until(server.loop, lambda: waiting)
    first.sendall(a_call(4, "later"))
    other.sendall(a_call(1, "me"))
    assert server.answers(other, 1) == [(1, "me")]
    for _ in range(5):
        server.loop.turn(0.005)
    assert server.read(first) == b""
    waiting.pop()()
    assert server.answers(first, 3) == [(2, "waits"), (3, "after"), (4, "later")]
    first.sendall(a_call(5, "again"))
    assert server.answers(first, 1) == [(5, "again")]


def test_who_goes_while_its_call_waits_keeps_nobody_awake_and_is_heard_to_the_end(server: Server) -> None:
    waiting: list[Callable[[], object]] = []
    done: list[int] = []
    server.handle = lambda peer, message: waits(waiting.append, lambda: done.append(message.serial))
    leaving = server.connect()
    leaving.sendall(a_call(1) + a_call(2))
    turn_until(server.loop, lambda: waiting)
    leaving.close()
    began = time.monotonic()
    turns = 0
    while time.monotonic() < began + 0.3:
        server.loop.turn(0.1)
        turns += 1
    assert turns < 8
    while len(done) < 2:
        turn_until(server.loop, lambda: waiting)
        waiting.pop()()
        server.loop.turn(0.01)
    turn_until(server.loop, lambda: not server.server.clients)
    assert done == [1, 2]


def test_a_connection_that_is_closed_while_a_call_waits_is_not_gone_on_with(server: Server) -> None:
    waiting: list[Callable[[], object]] = []
    done: list[int] = []
    server.handle = lambda peer, message: waits(waiting.append, lambda: done.append(message.serial))
    server.connect().sendall(a_call(1))
    turn_until(server.loop, lambda: waiting)
    next(iter(server.server.clients)).close()
    waiting.pop()()
    for _ in range(3):
        server.loop.turn(0.005)
    assert not done
