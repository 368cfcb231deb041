"""Events to init and their ends back, without waiting for either: many at once are under way.

libdbus's Python binding lets nobody read its connection without GLib's loop, which is the larger part of what
mountall would have to load; so this speaks by `upstart.dbus`, as bytes on a non-blocking socket.

What is always true here: what was asked for by `emit` is answered once by `receive`, in whatever order init is done
with it; what is not to be waited for once init has it, which the answer to a Ping behind it says. When init goes away
(a re-exec) `lost` is true, and what has no answer is kept; it is sent again after the next `open`, under the same key,
by which init knows what it has emitted already. An init without that extension (the original, an older one of ours)
gets a plain EmitEvent, which may so be heard twice after its re-exec.
"""

from __future__ import annotations

import _socket
import os
import sys

from upstart.base import names
from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import AuthError, ClientAuth
from upstart.mounts.values import Answered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.mounts.values import Emit

_CHUNK = 64 << 10
#: struct ucred of unix(7): pid, uid, gid.
_UCRED = 12
_NO_KEYS = (names.UNKNOWN_METHOD, names.UNKNOWN_INTERFACE)


class Events:
    """The init at a D-Bus ``address``, which has to be root's or our own user's.

    ``fileno`` is to be waited for: for reading always, for writing while ``wants_write``. Then comes `receive`.
    ``pid`` is init's, 0 where it is not to be seen from here.
    """

    __slots__ = (
        "_addresses", "_asked", "_auth", "_calls", "_in", "_keyed", "_open", "_out", "_pings", "_serial", "_socket",
        "_waiting", "lost", "pid",
    )  # fmt: skip

    def __init__(self, address: str = names.ADDRESS) -> None:
        self._addresses = parse_address(address)
        self._socket: _socket.socket | None = None
        self._auth: ClientAuth | None = None
        self._in = b""
        self._out = bytearray()
        #: What is sent once we are authenticated.
        self._calls = bytearray()
        self._serial = 0
        #: What is asked for and has no answer: by number, in the order of asking.
        self._waiting: dict[int, Emit] = {}
        #: The calls of this connection that have no answer, by serial.
        self._open: dict[int, Emit] = {}
        #: Those of them that are not to be waited for, by the serial of the Ping behind each.
        self._pings: dict[int, Emit] = {}
        #: What has the answers to other calls, by serial.
        self._asked: dict[int, Callable[[tuple[Any, ...] | None], object]] = {}
        self._keyed = True
        self.lost = True
        self.pid = 0

    def open(self) -> None:
        """Connect, and send again what has no answer. OSError where nobody listens, or the listener is a stranger."""
        self.close()
        sock = self._connect()
        self._auth = ClientAuth(os.getuid())
        self._in = b""
        self._out = bytearray(self._auth.start())
        self._calls = bytearray()
        self._socket = sock
        self._keyed = True
        self._open.clear()
        self._pings.clear()
        self._asked.clear()
        self.lost = False
        # Signals are nothing to us; who does not know this call says so to nobody.
        self._send(names.EXTENSION, "Quiet")
        for emit in self._waiting.values():
            self._call(emit)
        self._write()

    def _connect(self) -> _socket.socket:
        problem = OSError("there is no such address")
        for address in self._addresses:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            try:
                # At once, or refused: a connection to a socket of this machine does not have to be waited for.
                sock.setblocking(False)
                sock.connect(address)
                credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED)
                if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.getuid()):
                    raise OSError(f"the server at {os.fsdecode(address)} is another user's")
                self.pid = int.from_bytes(credentials[:4], sys.byteorder)
                return sock
            except OSError as error:
                sock.close()
                problem = error
        raise problem

    def close(self) -> None:
        """Close the connection; what has no answer is kept."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.lost = True

    def fileno(self) -> int:
        """The descriptor of the connection, -1 where it is lost."""
        return self._socket.fileno() if self._socket is not None else -1

    @property
    def wants_write(self) -> bool:
        """Whether something waits until init reads."""
        return bool(self._out) and not self.lost

    @property
    def unsent(self) -> bool:
        """Whether something was asked for that init has not been sent."""
        return bool(self._out or self._calls) and not self.lost

    @property
    def waiting(self) -> int:
        """How many events have no answer."""
        return len(self._waiting)

    # Out

    def emit(self, emit: Emit) -> None:
        """Ask for an event, with the next `flush` or `receive`; never waits, whether init can be reached or not."""
        self._waiting[emit.number] = emit
        if not self.lost:
            self._call(emit)

    def notify_disk_writeable(self) -> None:
        """Tell init that logs can be written; nobody is told what comes of it."""
        if not self.lost:
            self._send(names.MANAGER, "NotifyDiskWriteable")

    def start_job(self, name: str) -> None:
        """Have init start a job; nobody is told what comes of it."""
        if not self.lost:
            path = f"{names.PATH}/jobs/{name.replace('_', '_5f').replace('-', '_2d').replace('.', '_2e')}"
            self._send(names.JOB, "Start", "asb", [], False, path=path)

    def ask(
        self, path: str, interface: str, method: str, then: Callable[[tuple[Any, ...] | None], object],
        signature: str = "", *args: Any,
    ) -> None:  # fmt: skip
        """Call a method; `receive` has ``then`` get its answer, ``None`` for an error. A connection that is lost has
        none."""
        if not self.lost:
            self._asked[self._send(interface, method, signature, *args, path=path)] = then

    def flush(self) -> None:
        """Send what init takes; never waits."""
        self._write()

    def _call(self, emit: Emit) -> None:
        name, env = emit.name, [_carried(value) for value in emit.env]
        if self._keyed:
            serial = self._send(names.EXTENSION, "EmitOnce", "sass", name, env, _carried(emit.key))
        else:
            serial = self._send(names.MANAGER, "EmitEvent", "sasb", name, env, emit.wait)
        self._open[serial] = emit
        if not emit.wait and self._keyed:
            self._pings[self._send(names.PEER, "Ping")] = emit

    def _send(self, interface: str, method: str, signature: str = "", *args: Any, path: str = names.PATH) -> int:
        self._serial += 1
        data = wire.call(self._serial, "", path, interface, method, signature, *args)
        if self._auth is None:
            self._out += data
        else:
            self._calls += data
        return self._serial

    def _write(self) -> None:
        sock = self._socket
        while self._out and sock is not None and not self.lost:
            try:
                sent = sock.send(self._out[:_CHUNK], _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._out[:sent]

    # In

    def receive(self) -> list[Answered]:
        """What init is done with by now, and send what it takes; never waits."""
        answers: list[Answered] = []
        self._write()
        while self._socket is not None:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close()
                break
            try:
                self._take(data, answers)
            except (AuthError, wire.WireError):
                self.close()
        self._write()
        return answers

    def _take(self, data: bytes, answers: list[Answered]) -> None:
        if self._auth is not None:
            begin, data = self._auth.feed(data)
            self._out += begin
            if self._auth.done:
                self._auth = None
                self._out += self._calls
                self._calls.clear()
        self._in += data
        at = 0
        messages = []
        while len(self._in) - at >= wire.FIXED:
            length = wire.message_length(self._in, at)
            if len(self._in) - at < length:
                break
            messages.append(wire.parse(self._in[at : at + length]))
            at += length
        self._in = self._in[at:]
        for message in messages:
            self._heard(message, answers)

    def _heard(self, message: wire.Message, answers: list[Answered]) -> None:
        if message.type not in (wire.RETURN, wire.ERROR):
            return
        then = self._asked.pop(message.header.reply_serial, None)
        if then is not None:
            then(message.args() if message.type == wire.RETURN else None)
            return
        emit = self._open.pop(message.header.reply_serial, None)
        if emit is None:
            emit = self._pings.pop(message.header.reply_serial, None)
            if emit is not None and self._waiting.pop(emit.number, None) is not None:
                answers.append(Answered(emit.number))
            return
        if message.type == wire.ERROR and self._keyed and message.header.error_name in _NO_KEYS:
            self._keyed = False
            again = [emit, *self._open.values()]
            self._open.clear()
            self._pings.clear()
            for each in again:
                self._call(each)
        elif self._waiting.pop(emit.number, None) is not None:
            answers.append(Answered(emit.number, message.type == wire.ERROR))


def _carried(text: str) -> str:
    """A text as D-Bus carries it: bytes of a file's name that are no UTF-8 become replacement characters."""
    return text if text.isascii() else os.fsencode(text).decode(errors="replace")
