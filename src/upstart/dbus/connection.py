"""One D-Bus connection on a non-blocking socket: bytes in, messages out, and a bounded queue towards a slow reader.

What is always true here: nothing waits.  A peer that does not read what it asked for is no longer read from once
`PAUSE` bytes wait for it, and is disconnected once `MAX_QUEUE` do; one that sends what is not D-Bus is disconnected;
in one turn at most `BATCH` messages of a peer are handled, so that a flood leaves room for the others.  What was sent
before the peer went is still handled.  Descriptors that nobody took are closed.

A message bus is a peer that speaks for everybody: it may lag behind further (`BUS_QUEUE`), and a message that is too
long for us is passed over, for it must not cost us our place on the bus.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from upstart.base.loop import HANGUP, READ, WRITE
from upstart.dbus import wire
from upstart.dbus.auth import AuthError, ClientAuth, ServerAuth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

#: Bytes waiting for a peer: above PAUSE we take no more requests from it, above MAX_QUEUE it is gone.
PAUSE = 256 << 10
#: A thousand tasks on one event make 3 MB of signals: who is kept from the processor meanwhile stays connected.
MAX_QUEUE = 4 << 20
BUS_QUEUE = 16 << 20
CHUNK = 64 << 10
BATCH = 64
MAX_FDS = 16

_INT = Struct("@i")
_ANCILLARY = _socket.CMSG_SPACE(_INT.size * MAX_FDS)


def _nothing() -> None:
    pass


class Connection:
    """A peer.  ``on_message`` (connection, message) is called for each message, ``on_close`` (connection) once."""

    __slots__ = (
        "_backlog", "_events", "_fds", "_flush_due", "_in", "_loop", "_mute", "_out", "_skip", "_watch", "auth",
        "authenticated", "gone", "on_close", "on_message", "pid", "queued", "quiet", "sock", "uid",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        auth: ServerAuth | ClientAuth,
        uid: int,
        pid: int,
        on_message: Callable[[Connection, wire.Message], object],
        on_close: Callable[[Connection], object],
    ) -> None:
        self._loop = loop
        self.sock = sock
        self.auth: ServerAuth | ClientAuth | None = auth
        self.uid = uid
        self.pid = pid
        self.on_message = on_message
        self.on_close = on_close
        #: Called once, before anything that follows the authentication is looked at.
        self.authenticated: Callable[[], object] = _nothing
        self.gone = False
        #: Wants no signals.
        self.quiet = False
        #: Bytes that wait to be sent.
        self.queued = 0
        self._in = b""
        self._fds: list[int] = []
        self._out: list[bytes] = []
        self._backlog = False
        self._flush_due = False
        #: The peer takes nothing more; what it has sent before may still be on its way.
        self._mute = False
        #: Bytes still to come of a message that is passed over.
        self._skip = 0
        self._events = READ
        self._watch = loop.add_fd(sock.fileno(), READ, self._ready)

    def close(self) -> None:
        """Disconnect; harmless when that has happened."""
        if self.gone:
            return
        self.gone = True
        self._loop.remove(self._watch)
        self.sock.close()
        self._close_fds()
        self._out = []
        self._in = b""
        self.on_close(self)

    def _close_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def send(self, data: bytes) -> None:
        """Queue a whole message; it leaves at the end of this turn, or as the peer reads."""
        if self.gone or self._mute:
            return
        # A single answer may be longer than the limit (GetState); what must not grow is what lies unread.
        if self.queued > (MAX_QUEUE if self.uid >= 0 else BUS_QUEUE):
            self.close()
            return
        self._out.append(data)
        self.queued += len(data)
        if not self._flush_due and not self._events & WRITE:
            self._flush_due = True
            self._loop.before_wait(self.flush)

    def flush(self) -> None:
        """Send what the socket takes now."""
        self._flush_due = False
        if self.gone or not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            sent = self.sock.send(data, _socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The end of what it sent tells that it has gone.
            self._mute = True
            sent = len(data)
        self.queued = len(data) - sent
        self._out = [data[sent:]] if self.queued else []
        self._listen()

    def _listen(self) -> None:
        events = WRITE if self._out else 0
        if self.queued <= PAUSE and not self._backlog:
            events |= READ
        if events != self._events:
            self._events = events
            self._loop.modify(self._watch, events)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if self.gone:
            return
        if events & READ and self._events & READ:
            self._receive()
        elif events & HANGUP and not self._backlog:
            self.close()

    def _receive(self) -> None:
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(CHUNK, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary, flags = b"", [], 0
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self._fds += [_INT.unpack_from(payload, at)[0] for at in range(0, len(payload) - 3, 4)]
        if not data or flags & _socket.MSG_CTRUNC or len(self._fds) > MAX_FDS:
            self.close()
            return
        try:
            if self.auth is not None:
                answer, data = self.auth.feed(data)
                if answer:
                    self.send(answer)
                if self.auth.done:
                    self.auth = None
                    self.authenticated()
                if not data:
                    return
            if self._skip:
                passed = min(self._skip, len(data))
                self._skip -= passed
                data = data[passed:]
            self._in = self._in + data if self._in else data
            self._dispatch()
        except (wire.WireError, AuthError, MemoryError):
            self.close()

    def _dispatch(self) -> None:
        data = self._in
        at = 0
        count = 0
        while len(data) - at >= wire.FIXED:
            length = wire.message_length(data, at)
            if length > wire.MAX_MESSAGE:
                if self.uid >= 0:
                    raise wire.WireError("message too long")
                self._skip = length - (len(data) - at)
                at = len(data)
                break
            if len(data) - at < length:
                break
            if count == BATCH or self.queued > PAUSE:
                break
            count += 1
            message = wire.parse(data[at : at + length])
            at += length
            wanted = message.header.unix_fds
            if wanted:
                if wanted > len(self._fds):
                    raise wire.WireError("descriptors that did not come")
                message.fds, self._fds = self._fds[:wanted], self._fds[wanted:]
            try:
                self.on_message(self, message)
            finally:
                for fd in message.fds:
                    if fd >= 0:
                        os.close(fd)
            if self.gone:
                return
        self._in = data[at:] if at else data
        if self._fds and not self._in:
            self._close_fds()
        full = len(self._in) >= wire.FIXED and len(self._in) >= wire.message_length(self._in, 0)
        if full != self._backlog:
            self._backlog = full
            self._listen()
        if full:
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self.gone:
            return
        if self.queued > PAUSE:
            # `flush` does not come back here: look again when the peer may have read.
            self._loop.call_later(0.05, self._resume)
            return
        try:
            self._dispatch()
        except (wire.WireError, MemoryError):
            self.close()
