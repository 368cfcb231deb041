"""Who asks for a re-exec that does not come about is told so, whatever fails meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from upstart.base.loop import Loop
from upstart.daemon import call as call_module
from upstart.daemon import restart
from upstart.daemon.call import Call
from upstart.daemon.restart import Restarter

FILES = (restart.__file__, call_module.__file__)
#: Where a message is taken, and where it is given up.
OUTSIDE = ("__init__", "__del__", "_lose", "_give_up")


class Peer:
    """A client, who is sent messages or hung up on."""

    def __init__(self, uid: int = 0) -> None:
        self.uid = uid
        self.pid = 1
        self.queued = 0
        self.gone = False
        self.hears: object = None
        self.sent: list[bytes] = []

    def send(self, data: bytes, fds: object = ()) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.gone = True

    @property
    def knows(self) -> bool:
        """Whether he need not wait."""
        return bool(self.sent) or self.gone


class Service:
    """As much of one as a call needs."""

    bus = None

    def next_serial(self) -> int:
        return 1


def call_of(peer: Peer, flags: int = 0) -> Call:
    header = SimpleNamespace(sender=":1.1" if peer.uid < 0 else None)
    return Call(Service(), peer, SimpleNamespace(header=header, serial=1, flags=flags, fds=[]))  # type: ignore[arg-type]


class Desk:
    """A re-exec whose trial says ``answer`` at once, and whose exec fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
        self.loop = Loop()
        self.loop.fault = lambda error: None
        self.said: list[str] = []
        self.held = False
        self.clients: list[Peer] = []
        turn = SimpleNamespace(hold=lambda: self._hold(True), release=lambda: self._hold(False))
        document = SimpleNamespace(names=[], keep_open=lambda on, names=(): [])
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        self.restarter = Restarter(
            ["/nonexistent/init"], self.loop, SimpleNamespace(priority=4), turn, document,  # type: ignore[arg-type]
            nothing, nothing, nothing, lambda priority, text: self.said.append(text),
        )  # fmt: skip

        def start(argv: list[str], env: dict[str, str], write: int) -> int:
            os.write(write, answer)
            return os.getpid()

        monkeypatch.setattr(restart, "start_program", start)
        monkeypatch.setattr(restart, "text_of", lambda document: "")

    def _hold(self, held: bool) -> None:
        self.held = held

    def ask(self) -> None:
        """As a client's call does."""
        peer = Peer()
        self.clients.append(peer)
        call = call_of(peer)
        try:
            self.restarter.begin(call)
        except MemoryError:
            call.error("x.Failed", "no memory")

    def turns(self) -> None:
        """What follows, with what the daemon does after something has failed."""
        for _ in range(3):
            self.loop.turn(0.0)
            self.restarter.mend()


@pytest.fixture(params=[b"MemoryError: ", b"ok\n"], ids=["refused", "begun"])
def desk(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Desk]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    desk = Desk(monkeypatch, request.param)
    desk.loop.keep_blocked(before)
    try:
        yield desk
    finally:
        desk.loop.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Lacking:
    """Has one line of those modules lack memory; ``struck`` once it was that."""

    def __init__(self, line: int) -> None:
        self._left = line
        self.struck = False

    def __enter__(self) -> Lacking:
        sys.settrace(self._entered)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _entered(self, frame: FrameType, event: str, argument: object) -> Any:
        inside = frame.f_code.co_filename in FILES and frame.f_code.co_name not in OUTSIDE
        return self._line if inside else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.struck = True
                raise MemoryError
        return self._line


def test_wherever_memory_lacks_nobody_waits_for_a_re_exec_that_does_not_come(desk: Desk) -> None:
    line = 0
    struck = True
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    while struck:
        line += 1
        desk.clients.clear()
        with Lacking(line) as lacking:
            desk.ask()
            desk.ask()
            desk.loop.turn(0.0)
        struck = lacking.struck
        desk.turns()
        assert all(client.knows for client in desk.clients), line
        assert not desk.restarter.running and not desk.held, line
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked, line
        # And the next is tried, and told.
        desk.clients.clear()
        desk.ask()
        desk.turns()
        assert [client.gone for client in desk.clients] == [False] and desk.clients[0].sent, line
    assert line > 50
    assert all("Failed to re-execute" in text or "Performing" in text for text in desk.said)


@pytest.mark.parametrize("uid", [0, -1], ids=["private", "bus"])
@pytest.mark.parametrize("flags", [0, 1], ids=["waits", "does not wait"])
def test_who_has_made_a_call_that_is_lost_is_not_left_to_wait(uid: int, flags: int) -> None:
    peer = Peer(uid)
    call = call_of(peer, flags)
    gc.disable()
    try:
        del call
    finally:
        gc.enable()
    assert peer.gone is (uid == 0 and not flags)
    assert bool(peer.sent) is (uid < 0 and not flags)


def test_a_call_that_was_answered_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    call = call_of(peer)
    call.reply()
    del call
    assert len(peer.sent) == 1 and not peer.gone
    # A child that forgets what it has of ours.
    call = call_of(peer)
    monkeypatch.setattr(os, "getpid", lambda: 0)
    del call
    assert not peer.gone
