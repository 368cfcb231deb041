"""What a peer is to be sent: whole messages in, bytes and descriptors out, as its socket takes them.

What is always true here: descriptors go with the first byte of their message, and a piece with which some go holds
nothing else, so that a peer that reads it has read no other message with them.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from upstart.base.closing import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Descriptors of one message: the kernel takes so many at once.
MOST_FDS = 250
#: Messages with descriptors that may wait.
MOST_WITH_FDS = 16

_INT = Struct("@i")


class Outgoing:
    """What waits for one peer."""

    __slots__ = ("_out", "_queue", "_sending", "_with_fds")

    def __init__(self) -> None:
        #: What is being sent, as far as it is left, and what comes after it.
        self._out = memoryview(b"")
        self._queue: list[bytes] = []
        #: The messages of the queue with which descriptors go, and the descriptors of what is being sent.
        self._with_fds: list[tuple[bytes, list[int]]] = []
        self._sending: list[int] = []

    def add(self, data: bytes, fds: Sequence[int] = ()) -> bool:
        """Queue a message, with copies of ``fds``; False where that is too many of them."""
        if fds:
            if len(fds) > MOST_FDS or len(self._with_fds) >= MOST_WITH_FDS:
                return False
            copies: list[int] = []
            self._with_fds.append((data, copies))
            for fd in fds:
                copies.append(os.dup(fd))
        self._queue.append(data)
        return True

    def send(self, sock: _socket.socket) -> int:
        """Have the socket take what it takes now; gives the number of bytes.  Raises OSError."""
        if not self._out:
            self._take()
        if self._sending:
            rights = b"".join([_INT.pack(fd) for fd in self._sending])
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
            sent = sock.sendmsg([self._out], ancillary, _socket.MSG_NOSIGNAL)
            _close_all(self._sending)
        else:
            sent = sock.send(self._out, _socket.MSG_NOSIGNAL)
        self._out = self._out[sent:]
        return sent

    def _take(self) -> None:
        """Begin with what comes next: all up to a message with descriptors, or such a one."""
        queue = self._queue
        end = len(queue)
        if self._with_fds:
            first, fds = self._with_fds[0]
            end = next((at for at, data in enumerate(queue) if data is first), end)
            if not end:
                end, self._sending = 1, fds
                del self._with_fds[0]
        self._out = memoryview(queue[0] if end == 1 else b"".join(queue[:end]))
        self._queue = queue[end:]

    def drop(self) -> None:
        """Forget all."""
        self._out = memoryview(b"")
        self._queue = []
        _close_all(self._sending)
        while self._with_fds:
            _close_all(self._with_fds.pop()[1])


def _close_all(fds: list[int]) -> None:
    while fds:
        close(fds.pop())
