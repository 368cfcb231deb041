"""A message bus, for bridges that hear signals there: which ones, by match rules, and the bus found again when it goes.

What is always true here: nothing is heard but what a rule asks for; nothing wakes up while nothing happens, unless the
bus is away: then an attempt follows, `FIRST` to `LONGEST` seconds after the last.  It is D-Bus as init itself speaks
it, on the loop that is there: libdbus would need GLib's beside that.
"""

from __future__ import annotations

import os

from upstart.base.names import BUS_INTERFACE, BUS_PATH
from upstart.base.priority import ERROR, INFO, WARN
from upstart.bridges.peer import Peer
from upstart.dbus import wire
from upstart.dbus.bus import DEFAULT_ADDRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.bridges.host import Host

#: Seconds from an attempt that has failed to the next one, at first and at most.
FIRST, LONGEST = 0.1, 30.0
NAME_CHANGED = "NameOwnerChanged"


def address_of(system: bool) -> str:
    """Where the bus is: that of the system, or of the session."""
    if system:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or DEFAULT_ADDRESS
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS") or (f"unix:path={directory}/bus" if directory else "")


def rule(**words: str) -> str:
    """A match rule for signals, as the D-Bus Specification has it."""
    quoted = [f"{key}='" + value.replace("'", "'\\''") + "'" for key, value in words.items()]
    return ",".join(["type='signal'", *quoted])


class Bus:
    """The bus at ``address``, for the bridge of ``host``.

    ``heard`` (message) gets signals; ``connected`` () is called each time that the bus is there; what is asked of it
    then goes before any signal is heard.  ``instead`` () is called before each attempt, of which there is none where it
    says that the bus is not needed.
    """

    def __init__(
        self, host: Host, address: str, heard: Callable[[wire.Message], object], connected: Callable[[], object],
        instead: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._host = host
        self._connected = connected
        self._instead = instead
        # It is a loop in all that a connection needs of one.
        loop: Any = host.loop
        self._loop: Loop = loop
        self._peer = Peer(loop, address, lambda: self.call("Hello", self._greeted), heard, self._lost, bus=True)
        self._retry = FIRST
        self._told = False
        self._rules: set[str] = set()
        #: There is a bus, and it knows us.
        self.up = False

    def connect(self, anyway: bool = False) -> None:
        """Begin; ``anyway``: whatever there may be instead."""
        reason = "" if not anyway and self._instead() else self._peer.connect()
        if reason:
            self._again(reason)

    def _again(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._host.log(WARN, f"Could not connect to D-Bus: {reason}")
        self._loop.call_later(self._retry, self.connect)
        self._retry = min(2 * self._retry, LONGEST)

    def _greeted(self, answer: wire.Message) -> None:
        if answer.type == wire.ERROR:
            self._peer.drop()
            return
        self.up, self._told, self._retry = True, False, FIRST
        for each in self._rules:
            self._match("AddMatch", each)
        self._connected()

    def _lost(self) -> None:
        was_up, self.up = self.up, False
        if was_up:
            self._host.log(INFO, "Disconnected from D-Bus")
        self._again("it has closed the connection")

    def close(self) -> None:
        """Leave the bus."""
        self.up = False
        self._peer.close()

    def want(self, rules: Iterable[str]) -> None:
        """Hear what these rules match, and nothing else."""
        before, self._rules = self._rules, set(rules)
        for each in self._rules - before:
            self._match("AddMatch", each)
        for each in before - self._rules:
            self._match("RemoveMatch", each)

    def _match(self, member: str, text: str) -> None:
        def answered(answer: wire.Message) -> None:
            if answer.type == wire.ERROR:
                self._host.log(ERROR, f"{member} {text}: {answer.header.error_name}")

        if self.up:
            self.call(member, answered, "s", text)

    def call(self, member: str, then: Callable[[wire.Message], object], signature: str = "", *args: Any) -> None:
        """Call a method of the bus itself; ``then`` gets the answer, unless the connection goes before."""
        self._peer.call(BUS_INTERFACE, BUS_PATH, BUS_INTERFACE, member, then, signature, *args)
