"""Our connection to a message bus, which may come late, hang, or go away, and never holds anything up.

What is always true here: connecting, authenticating, saying Hello and asking for the name are steps of one exchange
that the loop drives; if it does not end within `CONNECT_SECONDS`, the bus is left alone.  Who sent a message is asked
of the bus (GetConnectionUnixUser) without waiting: the calls of a sender that may change something, or that are long,
lie in a bounded queue until the bus has answered.  Unique names are never given twice, so an answer is remembered.
Nobody but the bus itself can answer what we asked it, and an answer of another form than ours to it is none.

Behind the one connection are many clients.  The calls of each are handled in their order, and those of root and our own
user at once; all others wait for their turn (`turns`), so that what a stranger asks for holds up nobody else.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import ClientAuth
from upstart.dbus.connection import LONG_MESSAGE, PAUSE, Connection, Memory, close_fds, run_until
from upstart.dbus.turns import SLICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.dbus.connection import Work
    from upstart.dbus.turns import Turns

#: Debian's libdbus has it here as well: /var may be mounted late.
DEFAULT_ADDRESS = "unix:path=/run/dbus/system_bus_socket"
BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
DO_NOT_QUEUE = 4
PRIMARY_OWNER = 1
CONNECT_SECONDS = 10.0
#: The backlog of the bus is full: try again after this many seconds.
RETRY_SECONDS = 0.25
KNOWN_SENDERS = 256
#: Calls of a sender that wait for the bus to say who it is, and calls that wait for their turn.
HELD_MESSAGES = 256
WAITING_MESSAGES = 4096
#: Bytes that wait for all senders together.
WAITING_BYTES = 16 << 20
#: Bytes of a call by somebody who may only look: what fits into one word of a command line (128 kB) fits.
MAX_QUESTION = 192 << 10
#: Our answers lie unread: seconds until the next is given.
STALLED_SECONDS = 0.05
LIMITS_EXCEEDED = "org.freedesktop.DBus.Error.LimitsExceeded"

#: Name and text of the error that a failed connection attempt gives.
_ERRNO_NAMES = {
    2: "org.freedesktop.DBus.Error.FileNotFound",
    13: "org.freedesktop.DBus.Error.AccessDenied",
    111: "org.freedesktop.DBus.Error.NoServer",
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


class _Sender:
    """A client of the bus whose calls wait: for the bus to say who it is, or for their turn."""

    __slots__ = ("asked", "bus", "message", "messages", "name", "nameless", "queued", "stalled", "work")

    def __init__(self, bus: MessageBus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.messages: list[wire.Message] = []
        #: The call being handled, and what is left to do for it.
        self.message: wire.Message | None = None
        self.work: Work = None
        #: The bus has been asked who it is, and has not answered; it has, and could not tell.
        self.asked = False
        self.nameless = False
        #: It stands in the queue of turns; it waits until the bus has read our answers, or for what its work waits for.
        self.queued = False
        self.stalled = False

    def resume(self, deadline: float) -> bool:
        """Handle its calls until ``deadline``; true if more of them can be handled."""
        self.queued = True
        self.queued = self.bus.serve(self, deadline)
        return self.queued


class MessageBus:
    """A bus at ``address``, on which we want to own ``name``; ``ready`` is true from the moment we do.

    ``on_message`` (connection, message) gets the calls of others, whose uid `uid_of` then knows.  ``finished``
    (None, or an error's name and text) tells the end of `connect`; ``lost`` () that an established connection went.
    """

    __slots__ = (
        "_calls", "_connection", "_loop", "_name", "_on_message", "_senders", "_timer", "_trusted_uids", "_turns",
        "_uids", "_waiting", "address", "finished", "lost", "needs_uid", "next_serial", "ready",
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
        self._on_message = on_message
        self._connection: Connection | None = None
        self._calls: dict[int, Callable[[wire.Message], object]] = {}
        self._senders: dict[str, _Sender] = {}
        #: Bytes of the calls that wait.
        self._waiting = 0
        self._uids: dict[str, int] = {}
        self._trusted_uids = (0, os.getuid())
        self._timer = -1
        self.ready = False
        self.finished: Callable[[tuple[str, str] | None], object] = lambda error: None
        self.lost: Callable[[], object] = lambda: None
        #: Whether the message asks for something that depends on who sent it.
        self.needs_uid: Callable[[wire.Message], bool] = lambda message: True

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
            self._fail("org.freedesktop.DBus.Error.Disconnected", "Connection is closed")
        elif self._connection is not None:
            self._connection.close()

    def _timed_out(self) -> None:
        self._timer = -1
        self._fail("org.freedesktop.DBus.Error.NoReply", "Did not receive a reply from the message bus")

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
            "org.freedesktop.DBus.Error.BadAddress",
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
                    _ERRNO_NAMES.get(number, "org.freedesktop.DBus.Error.NoServer"),
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
            self._fail("org.freedesktop.DBus.Error.Failed", "Name already taken")
        else:
            self._loop.remove(self._timer)
            self._timer = -1
            self.ready = True
            self.finished(None)

    def _refused(self, answer: wire.Message) -> None:
        text = answer.args()[0] if answer.header.signature.startswith("s") else ""
        self._fail(answer.header.error_name or "org.freedesktop.DBus.Error.Failed", text)

    def call(
        self, member: str, then: Callable[[wire.Message], object] | None, signature: str = "", *values: object
    ) -> None:
        """Call a method of the bus itself; ``then`` gets the reply or error, unless the connection goes first."""
        if self._connection is not None:
            serial = self.next_serial()
            if then is not None:
                self._calls[serial] = then
            self._connection.send(wire.call(serial, BUS, BUS_PATH, BUS, member, signature, *values))

    def send(self, data: bytes) -> None:
        """Send a message that is built already."""
        if self._connection is not None and self.ready:
            self._connection.send(data)

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        if self._connection is not None:
            self._connection.flush()

    def uid_of(self, sender: str) -> int | None:
        """The uid of a sender, None where the bus could not tell."""
        return self._uids.get(sender)

    def _closed(self, connection: Connection) -> None:
        self._connection = None
        self._calls.clear()
        senders, self._senders = self._senders, {}
        for sender in senders.values():
            self._drop(sender)
        self._uids.clear()
        if self.ready:
            self.ready = False
            self.lost()
        elif self._timer >= 0:
            self._fail("org.freedesktop.DBus.Error.NoReply", "Connection was disconnected before a reply was received")

    def _received(self, connection: Connection, message: wire.Message) -> None:
        header = message.header
        if message.type in (wire.RETURN, wire.ERROR):
            if header.sender == BUS:
                then = self._calls.pop(header.reply_serial, None)
                if then is not None:
                    then(message)
        elif message.type == wire.CALL and header.sender:
            sender = self._senders.get(header.sender)
            if sender is None:
                sender = self._senders[header.sender] = _Sender(self, header.sender)
            if self._hold(connection, sender, message):
                self._join(sender)

    # Whose calls wait

    def _trusts(self, sender: _Sender) -> bool:
        return self._uids.get(sender.name) in self._trusted_uids

    def _must_be_known(self, sender: _Sender) -> bool:
        """Whether its next call cannot be handled before the bus has said who it is."""
        if sender.name in self._uids or sender.nameless or not sender.messages:
            return False
        return len(sender.messages[0].body) > wire.LONG or self.needs_uid(sender.messages[0])

    def _join(self, sender: _Sender) -> None:
        """Have the calls of a sender handled: at once, in its turn, or when the bus has said who it is."""
        if sender.queued or sender.stalled:
            return
        if self._trusts(sender):
            if sender.resume(monotonic() + SLICE):
                self._turns.join(sender, True)
            return
        must_be_known = self._must_be_known(sender)
        if must_be_known or self._turns.crowded():
            self._ask(sender)
        if not must_be_known:
            sender.queued = True
            self._turns.join(sender, False)

    def _ask(self, sender: _Sender) -> None:
        if not sender.asked and sender.name not in self._uids and not sender.nameless:
            sender.asked = True
            self.call("GetConnectionUnixUser", lambda answer: self._know(sender, answer), "s", sender.name)

    def _know(self, sender: _Sender, answer: wire.Message) -> None:
        sender.asked = False
        if answer.type == wire.RETURN and answer.header.signature == "u":
            if len(self._uids) >= KNOWN_SENDERS:
                del self._uids[next(iter(self._uids))]
            self._uids[sender.name] = answer.args()[0]
        else:
            sender.nameless = True
        if self._senders.get(sender.name) is sender:
            if self._trusts(sender):
                self._turns.trust(sender)
            self._join(sender)

    def _hold(self, connection: Connection, sender: _Sender, message: wire.Message) -> bool:
        """Keep a call of the sender's; false where it is refused, for too much waits."""
        size = _size(message)
        waiting = sender.messages
        limit = HELD_MESSAGES if sender.asked else WAITING_MESSAGES
        # The first call of a sender is not refused for what others have sent, unless it is a long one itself.
        full = self._waiting + size > WAITING_BYTES and (bool(waiting) or size > wire.LONG)
        if len(waiting) >= limit or full:
            self._refuse(connection, message, "Too many calls wait")
            return False
        kept = wire.Message(message.type, message.flags, message.serial, message.header, message.body, message.little)
        kept.fds, message.fds = message.fds, []
        waiting.append(kept)
        self._waiting += size
        return True

    def _refuse(self, connection: Connection, message: wire.Message, why: str) -> None:
        if not message.flags & wire.NO_REPLY:
            to = message.header.sender
            connection.send(wire.error(self.next_serial(), message.serial, to, LIMITS_EXCEEDED, why))

    def serve(self, sender: _Sender, deadline: float) -> bool:
        """Handle the calls of a sender until ``deadline``; true if more of them can be handled."""
        connection = self._connection
        served = False
        while connection is not None and self._senders.get(sender.name) is sender:
            if sender.work is not None:
                result = run_until(sender.work, deadline)
                if result is False:
                    return True
                if result is not True:
                    sender.stalled = True
                    result(lambda: self._go_on(sender))
                    break
                self._finish(sender)
                continue
            if not sender.messages:
                del self._senders[sender.name]
                break
            if served and monotonic() > deadline:
                return True
            message = sender.messages[0]
            if self._must_be_known(sender):
                self._ask(sender)
                break
            if connection.queued > PAUSE:
                sender.stalled = True
                self._loop.call_later(STALLED_SECONDS, lambda: self._go_on(sender))
                break
            if len(message.body) > LONG_MESSAGE and self._trusts(sender):
                if self._turns.long is not None:
                    return True
                self._turns.long = sender
            self._waiting -= _size(sender.messages.pop(0))
            served = True
            if len(message.body) > MAX_QUESTION and not self._trusts(sender):
                self._refuse(connection, message, "Message too long")
                close_fds(message)
                continue
            sender.message = message
            sender.work = self._on_message(connection, message)
            if sender.work is None:
                self._finish(sender)
        return False

    def _go_on(self, sender: _Sender) -> None:
        sender.stalled = False
        if self._senders.get(sender.name) is sender:
            self._join(sender)

    def _finish(self, sender: _Sender) -> None:
        sender.work = None
        if sender.message is not None:
            close_fds(sender.message)
            sender.message = None
        if self._turns.long is sender:
            self._turns.long = None

    def _drop(self, sender: _Sender) -> None:
        self._finish(sender)
        for message in sender.messages:
            self._waiting -= _size(message)
            close_fds(message)
        sender.messages = []


def _size(message: wire.Message) -> int:
    """Bytes that a waiting call takes, about."""
    return len(message.body) + 512
