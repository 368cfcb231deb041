"""Those who call us through a bus: one connection brings the calls of all, and none holds up the others.

What is always true here: the calls of each are handled in their order, and those of root and our own user at once; all
others wait for their turn (`turns`).  Who sent a call is asked of the bus (GetConnectionUnixUser) without waiting: the
calls of a sender that may change something, or that are long, lie in a bounded queue until the bus has answered.
Unique names are never given twice, so an answer is remembered.
"""

from __future__ import annotations

import os
from time import monotonic

from upstart.base.names import LIMITS_EXCEEDED
from upstart.dbus import wire
from upstart.dbus.connection import LONG_MESSAGE, PAUSE, run_until
from upstart.dbus.incoming import close_fds
from upstart.dbus.turns import SLICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from upstart.base.loop import Loop
    from upstart.dbus.connection import Connection, Work
    from upstart.dbus.turns import Turns

    class Asked(Protocol):
        """Calls a method of the bus itself, as `MessageBus.call` does."""

        def __call__(
            self, member: str, then: Callable[[wire.Message], object] | None, signature: str = "", *values: object
        ) -> None: ...


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


class _Sender:
    """A client of the bus whose calls wait: for the bus to say who it is, or for their turn."""

    __slots__ = ("_senders", "asked", "message", "messages", "name", "nameless", "queued", "stalled", "work")

    def __init__(self, senders: Senders, name: str) -> None:
        self._senders = senders
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
        self.queued = self._senders.serve(self, deadline)
        return self.queued


class Senders:
    """The clients of one bus.

    ``on_message`` (connection, message) gets their calls; ``next_serial`` () gives one that no message of ours has,
    ``ask`` calls the bus.
    """

    __slots__ = (
        "_ask_bus", "_connection", "_loop", "_next_serial", "_on_message", "_senders", "_trusted_uids", "_turns",
        "_uids", "_waiting", "needs_uid",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        turns: Turns,
        on_message: Callable[[Connection, wire.Message], Work],
        next_serial: Callable[[], int],
        ask: Asked,
    ) -> None:
        self._loop = loop
        self._turns = turns
        self._on_message = on_message
        self._next_serial = next_serial
        self._ask_bus = ask
        self._connection: Connection | None = None
        self._senders: dict[str, _Sender] = {}
        #: Bytes of the calls that wait.
        self._waiting = 0
        self._uids: dict[str, int] = {}
        self._trusted_uids = (0, os.getuid())
        #: Whether the message asks for something that depends on who sent it.
        self.needs_uid: Callable[[wire.Message], bool] = lambda message: True

    def received(self, connection: Connection, message: wire.Message) -> None:
        """Take a call that has come through the bus; one without a sender is none."""
        name = message.header.sender
        if not name:
            return
        self._connection = connection
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = _Sender(self, name)
        if self._hold(connection, sender, message):
            self._join(sender)

    def lost(self) -> None:
        """The bus has gone, and all of them with it."""
        self._connection = None
        senders, self._senders = self._senders, {}
        for sender in senders.values():
            self._drop(sender)
        self._uids.clear()

    def uid_of(self, name: str) -> int | None:
        """The uid of a sender, None where the bus could not tell."""
        return self._uids.get(name)

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
            self._ask_bus("GetConnectionUnixUser", lambda answer: self._know(sender, answer), "s", sender.name)

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
            connection.send(wire.error(self._next_serial(), message.serial, to, LIMITS_EXCEEDED, why))

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
