"""Messages and keys by way of plymouthd, over its own socket; where it does not run nothing happens.

What is always true here: nobody waits for plymouthd, and whatever goes wrong is as if it did not run.  A request is a
letter and, after 2, the length of its argument, the argument and a zero; answers come in the order of the requests, but
for keys, which come when one is pressed.  The protocol is that of ply-boot-protocol.h.
"""

from __future__ import annotations

import _socket

from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

ADDRESS = b"\0/org/freedesktop/plymouthd"
_MESSAGE, _HIDE, _KEYS, _NO_KEYS = b"M", b"m", b"K", b"L"
_ANSWER, _ANSWERS = 2, 9
#: Bytes of an argument, with its zero.
_LONGEST = 255


class Plymouth:
    """A connection that is made when there is something to show; ``pressed`` gets a key."""

    __slots__ = ("_in", "_keys", "_loop", "_pressed", "_shown", "_socket", "_watch", "address")

    def __init__(self, loop: Loop, pressed: Callable[[str], object], address: bytes = ADDRESS) -> None:
        self._loop = loop
        self._pressed = pressed
        self.address = address
        self._socket: _socket.socket | None = None
        self._watch = 0
        self._in = b""
        self._keys = ""
        self._shown = ""

    def close(self) -> None:
        """End the connection; what was shown goes with it."""
        if self._socket is not None:
            self._loop.remove(self._watch)
            self._socket.close()
            self._socket = None
        self._in = b""
        self._keys = self._shown = ""

    def message(self, text: str) -> None:
        """Show a text, in the place of the last."""
        self.hide()
        if self._request(_MESSAGE, text):
            self._shown = text

    def hide(self) -> None:
        """Take away what is shown."""
        if self._shown:
            self._request(_HIDE, self._shown)
            self._shown = ""

    def read_keys(self, keys: str) -> bool:
        """Have the next of these keys told; whether that can be."""
        both = "".join(dict.fromkeys(keys.upper() + keys.lower()))
        if self._request(_KEYS, both):
            self._keys = both
        return self._socket is not None

    def ignore_keys(self) -> None:
        """Have none told any more."""
        if self._keys:
            self._request(_NO_KEYS, self._keys)
            self._keys = ""

    def _request(self, letter: bytes, text: str) -> bool:
        if self._socket is None and not self._connect():
            return False
        argument = text.encode(errors="replace")[: _LONGEST - 1].decode(errors="ignore").encode() + b"\0"
        try:
            if self._socket is not None:
                self._socket.send(letter + b"\2" + bytes([len(argument)]) + argument, _socket.MSG_NOSIGNAL)
        except OSError:
            self.close()
        return self._socket is not None

    def _connect(self) -> bool:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            return False
        self._socket = sock
        self._watch = self._loop.add_fd(sock.fileno(), READ, self._readable)
        return True

    def _readable(self, _events: int) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += data
        while self._in:
            length = 1
            if self._in[0] in (_ANSWER, _ANSWERS):
                if len(self._in) < 5:
                    return
                length = 5 + int.from_bytes(self._in[1:5], "little")
                if len(self._in) < length:
                    return
            answer, self._in = self._in[5:length], self._in[length:]
            self._answered(answer)

    def _answered(self, answer: bytes) -> None:
        """A key was pressed, if it is not empty; the next one is asked for by itself."""
        for key in answer.decode("ascii", "ignore").rstrip("\0"):
            if self._keys:
                self.read_keys(self._keys)
                self._pressed(key)
