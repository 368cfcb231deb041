"""What a peer has sent: bytes and descriptors in, whole messages out.

What is always true here: nothing is read, and no byte is copied again for each piece that comes.  A descriptor is of
the message that says so; one that nobody takes is closed.
"""

from __future__ import annotations

from upstart.base.closing import close_given
from upstart.dbus import wire


def close_fds(message: wire.Message) -> None:
    """Close the descriptors that nobody took."""
    fds, message.fds = message.fds, []
    for fd in fds:
        if fd >= 0:
            close_given(fd)


class Incoming:
    """What is here of one peer, and not handled yet; ``fds`` are the descriptors that came with it.

    What is no message of D-Bus, or too long for us, is passed over where the peer is ``whole_bus``, and else is a
    WireError.
    """

    __slots__ = ("_at", "_data", "_skip", "_whole_bus", "fds")

    def __init__(self, whole_bus: bool) -> None:
        self._whole_bus = whole_bus
        self._data: bytes | bytearray = b""
        #: Where in it the next message begins.
        self._at = 0
        #: Bytes still to come of a message that is passed over.
        self._skip = 0
        self.fds: list[int] = []

    def __len__(self) -> int:
        """Bytes that are here."""
        return len(self._data) - self._at

    @property
    def begun(self) -> bool:
        """Whether a message has been taken since `settle`."""
        return self._at > 0

    def add(self, data: bytes) -> None:
        """Take what has come."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        if self._data:
            if type(self._data) is bytes:
                self._data = bytearray(self._data)
            self._data += data
        else:
            self._data = data

    def length(self) -> int:
        """Bytes of the next message, 0 where it is not whole yet."""
        left = len(self._data) - self._at
        if left < wire.FIXED:
            return 0
        length = wire.message_length(self._data, self._at)
        if length > wire.MAX_MESSAGE:
            if not self._whole_bus:
                raise wire.WireError("message too long")
            self._skip = length - left
            self._at = len(self._data)
            return 0
        return length if left >= length else 0

    def take(self, length: int) -> wire.Message | None:
        """The next message, which has this length; None where it is passed over."""
        begin = self._at
        self._at += length
        try:
            message = wire.parse(bytes(self._data[begin : self._at]))
        except wire.WireError:
            if not self._whole_bus:
                raise
            return None
        wanted = message.header.unix_fds
        if wanted:
            if wanted > len(self.fds):
                raise wire.WireError("descriptors that did not come")
            message.fds, self.fds = self.fds[:wanted], self.fds[wanted:]
        return message

    def settle(self) -> None:
        """Forget what was taken."""
        at, self._at = self._at, 0
        if at == len(self._data):
            self._data = b""
        elif type(self._data) is bytearray:
            del self._data[:at]
        else:
            self._data = self._data[at:]
        if self.fds and not self._data:
            self._close_fds()

    def close(self) -> None:
        """Forget all."""
        self._data = b""
        self._at = 0
        self._close_fds()

    def _close_fds(self) -> None:
        while self.fds:
            close_given(self.fds.pop())
