"""One D-Bus connection on a non-blocking socket: bytes in, messages out, and a bounded queue towards a slow reader.

What is always true here: nothing waits.  A peer that does not read what it asked for is no longer read from once
`PAUSE` bytes wait for it, and is disconnected once `MAX_QUEUE` do; one that sends what is not D-Bus is disconnected.
The messages of a peer are handled in their order, one after the other is answered as far as it can be, and in one turn
for no longer than a slice (`turns`), so that neither a flood nor a long call leaves no room for the others; what waits
for something has those behind it wait as well.  What was sent before the peer went is still handled.  All that a
connection holds is counted in its `Memory`.

A message bus is a peer that speaks for everybody: it may lag behind further (`BUS_QUEUE`), and a message that is too
long for us, or that we do not understand, is passed over, for it must not cost us our place on the bus.
"""

from __future__ import annotations

import _socket
import errno
from struct import Struct
from time import monotonic

from upstart.base.loop import HANGUP, ONCE, READ, WRITE
from upstart.dbus import wire
from upstart.dbus.auth import AuthError, ClientAuth, ServerAuth
from upstart.dbus.incoming import Incoming, close_fds
from upstart.dbus.outgoing import Outgoing
from upstart.dbus.turns import SLICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from upstart.base.loop import Loop
    from upstart.dbus.turns import Turns

    #: Calls the function that it is given, once, when something has come about; not at once.
    Wait = Callable[[Callable[[], object]], object]
    Steps = Generator[Wait | None, None, None]
    #: What is left to do for a message, in short steps; None if nothing is.  A step that gives something is the last
    #: until that has come about.
    Work = Steps | None

#: Bytes waiting for a peer: above PAUSE we take no more requests from it, above MAX_QUEUE it is gone.
PAUSE = 256 << 10
#: A busy second makes 3 MB of signals: who is kept from the processor meanwhile stays connected.
MAX_QUEUE = 4 << 20
BUS_QUEUE = 16 << 20
CHUNK = 64 << 10
MAX_FDS = 16
#: Bytes of a message of which only one is unpacked at a time.
LONG_MESSAGE = 64 << 10
#: The kernel had no memory for what we send or take: seconds until we try again.
RETRY_SECONDS = 0.05
_NO_MEMORY = (errno.ENOBUFS, errno.ENOMEM)
#: What send(2) says where the peer takes nothing more.
_GONE = (errno.EPIPE, errno.ECONNRESET)

_INT = Struct("@i")
_ANCILLARY = _socket.CMSG_SPACE(_INT.size * MAX_FDS)


def _nothing() -> None:
    pass


class Memory:
    """Bytes that connections hold, read and not yet handled or written and not yet sent, and what they may hold
    together; ``relieve`` is called where that is exceeded."""

    __slots__ = ("held", "limit", "relieve")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit
        self.relieve: Callable[[], object] = _nothing


def run_until(work: Work, deadline: float) -> bool | Wait:
    """Go on with a work until ``deadline``; true where nothing is left of it, and what it waits for where it does."""
    for wait in work or ():
        if wait is not None:
            return wait
        if monotonic() > deadline:
            return False
    return True


class Connection:
    """A peer.  ``on_message`` (connection, message) is called for each message, ``on_close`` (connection) once."""

    __slots__ = (
        "_backlog", "_events", "_flush_due", "_incoming", "_loop", "_memory", "_message", "_mute", "_outgoing",
        "_stalled", "_turns", "_waits", "_watch", "_work", "auth", "authenticated", "gone", "hears", "held",
        "on_close", "on_message", "pid", "queued", "sock", "uid", "who",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        turns: Turns,
        memory: Memory,
        sock: _socket.socket,
        auth: ServerAuth | ClientAuth,
        uid: int,
        pid: int,
        on_message: Callable[[Connection, wire.Message], Work],
        on_close: Callable[[Connection], object],
    ) -> None:
        self._loop = loop
        self._turns = turns
        self._memory = memory
        self.sock = sock
        self.auth: ServerAuth | ClientAuth | None = auth
        self.uid = uid
        self.pid = pid
        self.on_message = on_message
        self.on_close = on_close
        #: Called once, before anything that follows the authentication is looked at.
        self.authenticated: Callable[[], object] = _nothing
        self.gone = False
        #: What its owner knows of it.
        self.who: tuple[object, ...] | None = None
        #: The members of the signals that it wants, None for all.
        self.hears: frozenset[str] | None = None
        #: Bytes that wait to be sent, and bytes that the memory has counted for us.
        self.queued = 0
        self.held = 0
        self._incoming = Incoming(uid < 0)
        self._outgoing = Outgoing()
        #: What is left to do for the message that came last.
        self._work: Work = None
        self._message: wire.Message | None = None
        #: There is something to do before more is read; it waits until the peer has read what lies there for it.
        self._backlog = False
        self._stalled = False
        #: The work waits for something, and all that comes after it with it.
        self._waits = False
        self._flush_due = False
        #: The peer takes nothing more; what it has sent before may still be on its way.
        self._mute = False
        self._events = READ
        self._watch = loop.add_fd(sock.fileno(), READ, self._ready)

    def close(self) -> None:
        """Disconnect; harmless when that has happened."""
        if self.gone:
            return
        self.gone = True
        self._loop.remove(self._watch)
        try:
            self.sock.close()
            self._incoming.close()
        except OSError:
            # They are gone whatever close(2) says.
            pass
        self._drop_queue()
        self._end_work()
        self._account()
        self.on_close(self)

    def _end_work(self) -> None:
        self._work = None
        if self._message is not None:
            close_fds(self._message)
            self._message = None
        if self._turns.long is self:
            self._turns.long = None

    def _account(self) -> None:
        held = len(self._incoming) + self.queued
        memory = self._memory
        memory.held += held - self.held
        self.held = held
        if memory.held > memory.limit:
            memory.relieve()

    # Towards the peer

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Queue a whole message; it leaves at the end of this turn, or as the peer reads, with copies of ``fds``."""
        if self.gone or self._mute:
            return
        # A single answer may be longer than the limit; what must not grow is what lies unread.
        if self.queued > (MAX_QUEUE if self.uid >= 0 else BUS_QUEUE):
            self.close()
            return
        if not self._outgoing.add(data, fds):
            self.close()
            return
        self.queued += len(data)
        if not self._flush_due:
            if self._events & WRITE:
                self._account()
            else:
                self._loop.send_soon(self.flush)
                self._flush_due = True

    def part(self) -> None:
        """Have the peer see the end of the connection, whoever else has the socket open."""
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # it has gone

    def flush(self) -> None:
        """Send what the socket takes now.  A peer that may miss something of it is disconnected, and so knows."""
        try:
            self._flush()
        except BaseException:
            self.close()
            raise

    def _flush(self) -> None:
        self._flush_due = False
        if self.gone or not self.queued:
            return
        try:
            sent = self._outgoing.send(self.sock)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            if error.errno in _NO_MEMORY:
                self._flush_due = True
                self._loop.call_later(RETRY_SECONDS, self.flush)
                sent = 0
            elif error.errno in _GONE:
                # The end of what it sent tells that it has gone.
                self._mute = True
                self._drop_queue()
                sent = 0
            else:
                raise
        self.queued -= sent
        if self.held or self.queued:
            self._account()
            if self.gone:
                return
        self._listen()
        if self._stalled and self.queued <= PAUSE:
            self._stalled = False
            self._turns.join(self, True)

    def _drop_queue(self) -> None:
        self._outgoing.drop()
        self.queued = 0

    def _listen(self) -> None:
        events = WRITE if self.queued and not self._flush_due else 0
        if self.queued <= PAUSE and not self._backlog:
            events |= READ
        if self._waits and not events:
            # That the peer has gone is told once only.
            events = ONCE
        if events != self._events:
            try:
                self._loop.modify(self._watch, events)
            except BaseException:
                # It would be listened to no more, and not know.
                self.close()
                raise
            self._events = events

    # From the peer

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
        except OSError as error:
            if error.errno in _NO_MEMORY:
                self._backlog = True
                self._listen()
                self._loop.call_later(RETRY_SECONDS, self._receive_again)
                return
            data, ancillary, flags = b"", [], 0
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self._incoming.fds += [_INT.unpack_from(payload, at)[0] for at in range(0, len(payload) - 3, 4)]
        if not data or flags & _socket.MSG_CTRUNC or len(self._incoming.fds) > MAX_FDS:
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
            self._incoming.add(data)
            if self._dispatch(monotonic() + SLICE):
                self._turns.join(self, True)
        except (wire.WireError, AuthError, MemoryError):
            self.close()

    def _receive_again(self) -> None:
        if not self.gone:
            self._backlog = False
            self._listen()

    def resume(self, deadline: float) -> bool:
        """Go on with what the peer has sent; true if there is more to do."""
        if self.gone:
            return False
        try:
            return self._dispatch(deadline)
        except (wire.WireError, MemoryError):
            self.close()
            return False

    def _dispatch(self, deadline: float) -> bool:
        """Handle what has come, until ``deadline``; true if there is more to do."""
        more = False
        incoming = self._incoming
        try:
            while not self.gone and not self._waits:
                if self._work is not None:
                    if not self._step(deadline):
                        more = not self._waits
                        break
                    continue
                length = incoming.length()
                if not length:
                    break
                if self.queued > PAUSE:
                    self._stalled = True
                    break
                if incoming.begun and monotonic() > deadline:
                    more = True
                    break
                if length > LONG_MESSAGE and self._turns.long is not None:
                    more = True
                    break
                message = incoming.take(length)
                if message is not None:
                    if length > LONG_MESSAGE:
                        self._turns.long = self
                    self._handle(message)
        finally:
            incoming.settle()
        if self.gone:
            return False
        if self.held or incoming:
            self._account()
            if self.gone:
                return False
        backlog = more or self._stalled or self._waits
        if backlog != self._backlog:
            self._backlog = backlog
            self._listen()
        return more

    def _handle(self, message: wire.Message) -> None:
        """A whole message: call ``on_message``, and keep what is left to do for it."""
        work = None
        try:
            work = self.on_message(self, message)
        finally:
            if work is not None and not self.gone:
                self._work = work
                self._message = message
            else:
                if message.fds:
                    close_fds(message)
                if self._turns.long is self:
                    self._turns.long = None

    def _step(self, deadline: float) -> bool:
        """Go on with the work; false if there is more of it."""
        done = True
        try:
            result = run_until(self._work, deadline)
            if result is False:
                done = self.gone
            elif result is not True and not self.gone:
                result(self._go_on)
                self._waits = True
                done = False
        finally:
            if done:
                self._end_work()
        return done

    def _go_on(self) -> None:
        self._waits = False
        if not self.gone:
            self._turns.join(self, True)
