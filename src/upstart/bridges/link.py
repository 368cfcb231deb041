"""A bridge's connection to init: what is awaited, and events that are sent without waiting for one another.

What is always true here: nothing wakes up while nothing happens.  Of init's signals only `AwaitedChanged` is heard.  An
init that re-executes itself, or is started anew, is found again: another attempt follows every `RETRY` seconds, for
`PATIENCE` seconds; then there is none any more.  Who has an init's socket is root or our own user.
"""

from __future__ import annotations

import time

from upstart.base.names import EXTENSION, INVALID_ARGS, MANAGER, NO_EXTENSION, PATH, SERVICE
from upstart.bridges.peer import Peer
from upstart.dbus import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from upstart.base.loop import Loop

    #: The leaves that jobs wait for, name and tests; None where init cannot tell.
    Leaves = list[tuple[str, list[str]]] | None

RETRY = 0.1
PATIENCE = 60.0


class Link:
    """The connection to the init at ``address``, for the events that ``patterns`` match.

    ``heard`` has what is called with the value of each signal of the extension that is heard besides, by its name.
    ``wanted`` (leaves) is called with all that is awaited of them, as soon as that is known and whenever it changes;
    ``lost`` () when the connection goes; ``gave_up`` (reason) when no init can be found, the first time at once.
    """

    __slots__ = (
        "_deadline", "_ended", "_gave_up", "_heard", "_loop", "_lost", "_patterns", "_peer", "_wanted", "number",
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
        self._patterns = list(patterns)
        self._wanted = wanted
        self._lost = lost
        self._gave_up = gave_up
        self._peer = Peer(loop, address, self._begin, self._signal, self._closed)
        self._deadline = 0.0
        self._ended = False
        #: How many connections there have been.
        self.number = 0

    @property
    def pid(self) -> int:
        """The pid of the init that is, or was last, connected to."""
        return self._peer.pid

    @property
    def up(self) -> bool:
        """Init can be told something."""
        return self._peer.up

    def connect(self) -> None:
        """Begin."""
        if self._ended:
            return
        reason = self._peer.connect()
        if not reason:
            return
        if time.monotonic() >= self._deadline:
            self._gave_up(reason)
        else:
            self._loop.call_later(RETRY, self.connect)

    def _begin(self) -> None:
        self.number += 1
        self._call(EXTENSION, "Hear", None, "as", ["AwaitedChanged", *self._heard])
        self._ask()

    def _ask(self) -> None:
        self._call(EXTENSION, "Awaited", self._answered, "as", self._patterns)

    def _answered(self, answer: wire.Message) -> None:
        self._deadline = 0.0
        if answer.type == wire.RETURN and answer.header.signature == "a(sas)":
            self._wanted([(name, tests) for name, tests in answer.args()[0]])
        elif answer.header.error_name in NO_EXTENSION:
            self._wanted(None)

    def emit(self, name: str, env: list[str], then: Callable[[str], object]) -> None:
        """Emit an event, and go on; ``then`` (what is wrong, or an empty string) tells that init has it.

        Where the connection goes before, it is not called.
        """

        def answered(answer: wire.Message) -> None:
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

        def answered(answer: wire.Message) -> None:
            then(answer, (_text_of(answer) or "?") if answer.type == wire.ERROR else "")

        self._call(EXTENSION, member, answered, signature, *args, fds=fds)

    def _call(
        self, interface: str, member: str, then: Callable[[wire.Message], object] | None, signature: str, *args: Any,
        fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._peer.call(SERVICE, PATH, interface, member, then, signature, *args, fds=fds)

    def _signal(self, message: wire.Message) -> None:
        if message.header.interface != EXTENSION:
            return
        if message.header.member == "AwaitedChanged":
            self._ask()
        elif message.header.member in self._heard:
            self._heard[message.header.member](message.args()[0])

    def _closed(self) -> None:
        self._deadline = self._deadline or time.monotonic() + PATIENCE
        self._lost()
        self._loop.call_later(RETRY, self.connect)

    def close(self) -> None:
        """End the connection; there is no other."""
        self._ended = True
        self._peer.close()


def _text_of(answer: wire.Message) -> str:
    return str(answer.args()[0]) if answer.header.signature == "s" else answer.header.error_name or ""
