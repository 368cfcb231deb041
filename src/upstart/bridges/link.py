"""A bridge's connection to init: what is awaited, and events that are sent without waiting for one another.

What is always true here: nothing wakes up while nothing happens.  Of init's signals only `AwaitedChanged` is heard.  An
init that re-executes itself, or is started anew, is found again: another attempt follows every `RETRY` seconds, for
`PATIENCE` seconds; then there is none any more.  Who has an init's socket is root or our own user.
"""

from __future__ import annotations

import _socket
import os
import time
from struct import Struct

from upstart.base.names import EXTENSION, INVALID_ARGS, MANAGER, NO_EXTENSION, PATH, SERVICE
from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import ClientAuth
from upstart.dbus.connection import Connection, Memory
from upstart.dbus.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from upstart.base.loop import Loop

    #: The leaves that jobs wait for, name and tests; None where init cannot tell.
    Leaves = list[tuple[str, list[str]]] | None

RETRY = 0.1
PATIENCE = 60.0
_CREDENTIALS = Struct("@iII")


class Link:
    """The connection to the init at ``address``, for the events that ``patterns`` match.

    ``heard`` has what is called with the value of each signal of the extension that is heard besides, by its name.
    ``wanted`` (leaves) is called with all that is awaited of them, as soon as that is known and whenever it changes;
    ``lost`` () when the connection goes; ``gave_up`` (reason) when no init can be found, the first time at once.
    """

    __slots__ = (
        "_address", "_calls", "_connection", "_deadline", "_gave_up", "_heard", "_loop", "_lost", "_patterns",
        "_serial", "_turns", "_wanted", "number", "pid", "up",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        address: str,
        patterns: Sequence[str],
        wanted: Callable[[Leaves], object],
        lost: Callable[[], object],
        gave_up: Callable[[str], object],
        heard: dict[str, Callable[[Any], object]] | None = None,
    ) -> None:
        self._loop = loop
        self._heard = heard or {}
        self._address = address
        self._patterns = list(patterns)
        self._wanted = wanted
        self._lost = lost
        self._gave_up = gave_up
        self._turns = Turns(loop)
        self._connection: Connection | None = None
        self._calls: dict[int, Callable[[wire.Message | None], object]] = {}
        self._serial = 0
        self._deadline = 0.0
        #: The pid of the init that is, or was last, connected to.
        self.pid = 0
        #: Init can be told something: what is before a connection is authenticated would end it.
        self.up = False
        #: How many connections there have been.
        self.number = 0

    def connect(self) -> None:
        """Begin."""
        reason = "its address cannot be read"
        for name in parse_address(self._address):
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            try:
                sock.connect(name)
                self.pid, uid, _ = _CREDENTIALS.unpack(
                    sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
                )
                if uid not in (0, os.getuid()):
                    raise OSError(0, "Its server is another user's")
            except OSError as error:
                reason = error.strerror or "?"
                sock.close()
                continue
            auth = ClientAuth(os.getuid())
            connection = Connection(
                self._loop, self._turns, Memory(wire.LONGEST), sock, auth, uid, self.pid, self._received, self._closed
            )
            self._connection = connection
            connection.authenticated = self._begin
            connection.send(auth.start())
            return
        if time.monotonic() >= self._deadline:
            self._gave_up(reason)
        else:
            self._loop.call_later(RETRY, self.connect)

    def _begin(self) -> None:
        self.up = True
        self.number += 1
        self._call(EXTENSION, "Hear", None, "as", ["AwaitedChanged", *self._heard])
        self._ask()

    def _ask(self) -> None:
        self._call(EXTENSION, "Awaited", self._answered, "as", self._patterns)

    def _answered(self, answer: wire.Message | None) -> None:
        if answer is None:
            return
        self._deadline = 0.0
        if answer.type == wire.RETURN and answer.header.signature == "a(sas)":
            self._wanted([(name, tests) for name, tests in answer.args()[0]])
        elif answer.header.error_name in NO_EXTENSION:
            self._wanted(None)

    def emit(self, name: str, env: list[str], then: Callable[[str], object]) -> None:
        """Emit an event, and go on; ``then`` (what is wrong, or an empty string) tells that init has it.

        Where the connection goes before, it is not called.
        """

        def answered(answer: wire.Message | None) -> None:
            if answer is not None:
                then(str(answer.args()[0]) if answer.type == wire.ERROR and answer.header.signature == "s" else "")

        try:
            self._call(MANAGER, "EmitEvent", answered, "sasb", name, env, False)
        except (wire.WireError, UnicodeError, ValueError) as error:
            then(f"{INVALID_ARGS}: {error}")

    def call(
        self, member: str, then: Callable[[wire.Message, str], object], signature: str, args: tuple[Any, ...],
        fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """Call a method of the extension, and go on; ``then`` gets the answer, and what is wrong or an empty string.

        Copies of ``fds`` go with it.  Where the connection goes before, ``then`` is not called.
        """

        def answered(answer: wire.Message | None) -> None:
            if answer is not None:
                failed = answer.type == wire.ERROR
                then(answer, (_text_of(answer) or "?") if failed else "")

        self._call(EXTENSION, member, answered, signature, *args, fds=fds)

    def _call(
        self,
        interface: str,
        member: str,
        then: Callable[[wire.Message | None], object] | None,
        signature: str,
        *args: Any,
        fds: Sequence[int] = (),
    ) -> None:
        if self._connection is None:
            return
        self._serial = self._serial % 0xFFFFFFFF + 1
        data = wire.call(self._serial, SERVICE, PATH, interface, member, signature, *args, fds=len(fds))
        if then is not None:
            self._calls[self._serial] = then
        self._connection.send(data, fds)

    def _received(self, _connection: Connection, message: wire.Message) -> None:
        if message.type == wire.SIGNAL:
            if message.header.interface == EXTENSION and message.header.member == "AwaitedChanged":
                self._ask()
            elif message.header.interface == EXTENSION and message.header.member in self._heard:
                self._heard[message.header.member](message.args()[0])
            return
        then = self._calls.pop(message.header.reply_serial, None)
        if then is not None:
            then(message)

    def _closed(self, _connection: Connection) -> None:
        self._connection = None
        self.up = False
        self._calls.clear()
        self._deadline = self._deadline or time.monotonic() + PATIENCE
        self._lost()
        self._loop.call_later(RETRY, self.connect)

    def close(self) -> None:
        """End the connection."""
        self._lost = lambda: None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.flush()
            connection.close()


def _text_of(answer: wire.Message) -> str:
    return str(answer.args()[0]) if answer.header.signature == "s" else answer.header.error_name or ""
