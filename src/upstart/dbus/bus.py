"""Our connection to a message bus, which may come late, hang, or go away, and never holds anything up.

What is always true here: connecting, authenticating, saying Hello and asking for the name are steps of one exchange
that the loop drives; if it does not end within `CONNECT_SECONDS`, the bus is left alone.  Nobody but the bus itself can
answer what we asked it, and an answer of another form than ours to it is none.  Behind the one connection are many
clients (`senders`).
"""

from __future__ import annotations

import _socket
import errno
import os

from upstart.base.names import (
    ACCESS_DENIED,
    BAD_ADDRESS,
    BUS_INTERFACE,
    BUS_PATH,
    DISCONNECTED,
    FAILED,
    FILE_NOT_FOUND,
    NO_REPLY,
    NO_SERVER,
)
from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import ClientAuth
from upstart.dbus.connection import Connection, Memory
from upstart.dbus.senders import Senders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.dbus.connection import Work
    from upstart.dbus.turns import Turns

#: Debian's libdbus has it here as well: /var may be mounted late.
DEFAULT_ADDRESS = "unix:path=/run/dbus/system_bus_socket"
DO_NOT_QUEUE = 4
PRIMARY_OWNER = 1
CONNECT_SECONDS = 10.0
#: The backlog of the bus is full: try again after this many seconds.
RETRY_SECONDS = 0.25

#: Name and text of the error that a failed connection attempt gives.
_ERRNO_NAMES = {
    2: FILE_NOT_FOUND,
    13: ACCESS_DENIED,
    111: NO_SERVER,
}


def what_is_wrong(address: str) -> str:
    """What libdbus says of an address that cannot be read, an empty string of one that can."""
    if not address:
        return "Empty address ''"
    for entry in address.split(";"):
        _, colon, values = entry.partition(":")
        if not colon:
            return "Address does not contain a colon"
        if not all(value for value in (part.partition("=")[2] for part in values.split(","))):
            return "'=' character not found or has no value following it"
    return ""


class MessageBus:
    """A bus at ``address``, on which we want to own ``name``; ``ready`` is true from the moment we do.

    ``on_message`` (connection, message) gets the calls of others, whose uid ``senders`` then know.  ``finished``
    (None, or an error's name and text) tells the end of `connect`; ``lost`` () that an established connection went.
    """

    __slots__ = (
        "_calls", "_connection", "_loop", "_name", "_timer", "_turns", "address", "finished", "lost", "next_serial",
        "ready", "senders",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        turns: Turns,
        address: str,
        name: str,
        on_message: Callable[[Connection, wire.Message], Work],
        next_serial: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._turns = turns
        self.address = address
        self._name = name
        #: Gives a serial that no message of ours has.
        self.next_serial = next_serial
        self._connection: Connection | None = None
        self._calls: dict[int, Callable[[wire.Message], object]] = {}
        self.senders = Senders(loop, turns, on_message, next_serial, self.call)
        self._timer = -1
        self.ready = False
        self.finished: Callable[[tuple[str, str] | None], object] = lambda error: None
        self.lost: Callable[[], object] = lambda: None

    @property
    def busy(self) -> bool:
        """Whether we are connected, or trying to be."""
        return self._connection is not None or self._timer >= 0

    def connect(self) -> None:
        """Begin to connect; ``finished`` is called later, never from here."""
        if not self.busy:
            self._timer = self._loop.call_later(CONNECT_SECONDS, self._timed_out)
            self._loop.call_soon(self._try)

    def close(self) -> None:
        """Leave the bus without a word to ``lost``; an attempt to connect to it has failed."""
        self.lost = lambda: None
        if self._timer >= 0:
            self._fail(DISCONNECTED, "Connection is closed")
        elif self._connection is not None:
            self._connection.close()

    def _timed_out(self) -> None:
        self._timer = -1
        self._fail(NO_REPLY, "Did not receive a reply from the message bus")

    def _fail(self, name: str, text: str) -> None:
        if self._timer >= 0:
            self._loop.remove(self._timer)
            self._timer = -1
        finished, self.finished = self.finished, lambda error: None
        if self._connection is not None:
            self._connection.close()
        finished((name, text))

    def _try(self) -> None:
        if self._timer < 0:
            return
        names = [] if what_is_wrong(self.address) else parse_address(self.address)
        failure: tuple[str, str] = (
            BAD_ADDRESS,
            what_is_wrong(self.address) or f"Address '{self.address}' is not supported",
        )
        for name in names:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            try:
                sock.connect(name)
            except BlockingIOError:
                sock.close()
                self._loop.call_later(RETRY_SECONDS, self._try)
                return
            except OSError as error:
                sock.close()
                number = error.errno or errno.ENAMETOOLONG
                shown = os.fsdecode(name).lstrip("\0")
                failure = (
                    _ERRNO_NAMES.get(number, NO_SERVER),
                    f"Failed to connect to socket {shown}: {os.strerror(number)}",
                )
                continue
            auth = ClientAuth(os.getuid())
            memory = Memory(wire.LONGEST)
            self._connection = Connection(
                self._loop, self._turns, memory, sock, auth, -1, 0, self._received, self._closed
            )
            self._connection.send(auth.start())
            # Messages may follow BEGIN at once: the queue keeps the order, and what comes before OK is not parsed.
            self._connection.authenticated = self._say_hello
            return
        self._fail(*failure)

    def _say_hello(self) -> None:
        self.call("Hello", self._greeted)

    def _greeted(self, answer: wire.Message) -> None:
        if answer.type == wire.ERROR:
            self._refused(answer)
        else:
            self.call("RequestName", self._named, "su", self._name, DO_NOT_QUEUE)

    def _named(self, answer: wire.Message) -> None:
        if answer.type == wire.ERROR:
            self._refused(answer)
        elif answer.header.signature != "u" or answer.args()[0] != PRIMARY_OWNER:
            self._fail(FAILED, "Name already taken")
        else:
            self._loop.remove(self._timer)
            self._timer = -1
            self.ready = True
            self.finished(None)

    def _refused(self, answer: wire.Message) -> None:
        text = answer.args()[0] if answer.header.signature.startswith("s") else ""
        self._fail(answer.header.error_name or FAILED, text)

    def call(
        self, member: str, then: Callable[[wire.Message], object] | None, signature: str = "", *values: object
    ) -> None:
        """Call a method of the bus itself; ``then`` gets the reply or error, unless the connection goes first."""
        if self._connection is not None:
            serial = self.next_serial()
            if then is not None:
                self._calls[serial] = then
            self._connection.send(wire.call(serial, BUS_INTERFACE, BUS_PATH, BUS_INTERFACE, member, signature, *values))

    def send(self, data: bytes) -> None:
        """Send a message that is built already."""
        if self._connection is not None and self.ready:
            self._connection.send(data)

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        if self._connection is not None:
            self._connection.flush()

    def part(self) -> None:
        """Have the bus see that we go, whoever else has the socket open."""
        if self._connection is not None:
            self._connection.part()

    def _closed(self, connection: Connection) -> None:
        self._connection = None
        self._calls.clear()
        self.senders.lost()
        if self.ready:
            self.ready = False
            self.lost()
        elif self._timer >= 0:
            self._fail(NO_REPLY, "Connection was disconnected before a reply was received")

    def _received(self, connection: Connection, message: wire.Message) -> None:
        header = message.header
        if message.type in (wire.RETURN, wire.ERROR):
            if header.sender == BUS_INTERFACE:
                then = self._calls.pop(header.reply_serial, None)
                if then is not None:
                    then(message)
        elif message.type == wire.CALL:
            self.senders.received(connection, message)
