"""A method call that somebody has made, and its one answer.

What is always true here: a call is answered once, whoever tries again, and whoever has no answer coming, for the call
was lost by something that failed, is disconnected rather than left to wait; one of a whole bus has an error.
"""

from __future__ import annotations

import os

from upstart.base.names import ERROR_PREFIX, FAILED
from upstart.daemon.paths import path_of_instance
from upstart.dbus import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Protocol

    from upstart.dbus.bus import MessageBus
    from upstart.dbus.connection import Connection, Steps
    from upstart.engine.data import Instance

    class Serials(Protocol):
        """Numbers our messages, and knows the bus."""

        bus: MessageBus | None

        def next_serial(self) -> int: ...


class Call:
    """A method call under way, and what the engine is given as the request that waits.

    ``uid`` is None where it cannot be told who asks; ``pid`` is 0 for callers on a bus.
    """

    __slots__ = ("_answered", "_of", "connection", "message", "pid", "returns_path", "sender", "service", "uid")

    def __init__(self, service: Serials, connection: Connection, message: wire.Message) -> None:
        self.service = service
        self.connection = connection
        self.message = message
        self.sender = message.header.sender
        self.uid: int | None = connection.uid
        self.pid = connection.pid
        if connection.uid < 0:
            self.uid = service.bus.senders.uid_of(self.sender) if service.bus is not None and self.sender else None
        #: The answer holds the path of the instance.
        self.returns_path = False
        self._answered = False
        #: A child of ours has it, too, and nobody to tell.
        self._of = os.getpid()

    def __del__(self) -> None:
        try:
            if not self._answered and not self.connection.gone and self._of == os.getpid():
                self._lose()
        except Exception:
            pass  # there is no more that could be done

    def _lose(self) -> None:
        """Nobody has the call any more who could answer it."""
        if self.connection.uid < 0:
            self.error(FAILED, "Internal error: the call was lost")
        elif not self.message.flags & wire.NO_REPLY:
            self._give_up()

    def reply(self, signature: str = "", *values: Any) -> None:
        """Answer."""
        self.reply_body(signature, wire.pack(signature, *values) if signature else b"")

    def reply_instance(self, instance: Instance) -> None:
        """Answer with the path of an instance."""
        self.reply("o", path_of_instance(instance))

    def reply_array(self, element: str, values: Iterable[Any]) -> Steps:
        """Answer with an array whose elements are asked for as it is packed, in steps."""
        body = yield from wire.pack_in_steps(element, values)
        self.reply_body("a" + element, body)

    def reply_body(self, signature: str, body: bytes, fds: Sequence[int] = ()) -> None:
        """Answer with a body that is packed already, and descriptors that it refers to."""
        if self._answered:
            return
        try:
            self._answered = True
            if not self.message.flags & wire.NO_REPLY:
                self.connection.send(
                    wire.reply(self.service.next_serial(), self.message.serial, self.sender, signature, body, len(fds)),
                    fds,
                )
        except BaseException:
            self._give_up()
            raise

    def error(self, name: str, text: str) -> None:
        """Answer with an error; ``name`` without dots is one of our own."""
        if self._answered:
            return
        try:
            self._answered = True
            if not self.message.flags & wire.NO_REPLY:
                if "." not in name:
                    name = ERROR_PREFIX + name
                self.connection.send(
                    wire.error(self.service.next_serial(), self.message.serial, self.sender, name, text)
                )
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """There will be no answer: whoever waits for it is disconnected, if he is not a whole bus."""
        if self.connection.uid >= 0:
            self.connection.close()

    def take_fd(self, index: int) -> int:
        """Take over the descriptor that an argument of type ``h`` stands for, -1 if it did not come."""
        fds = self.message.fds
        if not 0 <= index < len(fds):
            return -1
        fd, fds[index] = fds[index], -1
        return fd
