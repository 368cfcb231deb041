"""A message bus, for bridges that hear signals there: which ones, by match rules, and the bus found again when it goes.

What is always true here: nothing is heard but what a rule asks for; nothing wakes up while nothing happens, unless the
bus is away: then an attempt follows, `FIRST` to `LONGEST` seconds after the last.  It is D-Bus as init itself speaks
it, on the loop that is there: libdbus would need GLib's beside that.
"""

from __future__ import annotations

import _socket
import os

from upstart.base.priority import ERROR, INFO, WARN
from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import ClientAuth
from upstart.dbus.bus import BUS, BUS_PATH, DEFAULT_ADDRESS
from upstart.dbus.connection import Connection, Memory
from upstart.dbus.turns import Turns

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
    then goes before any signal is heard.
    """

    def __init__(
        self, host: Host, address: str, heard: Callable[[wire.Message], object], connected: Callable[[], object]
    ) -> None:
        self._host = host
        self._address = address
        self._heard = heard
        self._connected = connected
        # It is a loop in all that a connection needs of one.
        loop: Any = host.loop
        self._loop: Loop = loop
        self._turns = Turns(self._loop)
        self._connection: Connection | None = None
        self._calls: dict[int, Callable[[wire.Message], object]] = {}
        self._serial = 0
        self._retry = FIRST
        self._told = False
        self._rules: set[str] = set()
        self._closed = False
        #: There is a bus, and it knows us.
        self.up = False

    def connect(self) -> None:
        """Begin."""
        reason = "its address is not known" if not self._address else "its address cannot be read"
        for name in parse_address(self._address):
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            try:
                sock.connect(name)
            except OSError as error:
                reason = error.strerror or "?"
                sock.close()
                continue
            auth = ClientAuth(os.getuid())
            self._connection = Connection(
                self._loop, self._turns, Memory(wire.LONGEST), sock, auth, -1, 0, self._received, self._lost
            )
            self._connection.authenticated = lambda: self.call("Hello", self._greeted)
            self._connection.send(auth.start())
            return
        self._again(reason)

    def _again(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._host.log(WARN, f"Could not connect to D-Bus: {reason}")
        self._loop.call_later(self._retry, self.connect)
        self._retry = min(2 * self._retry, LONGEST)

    def _greeted(self, answer: wire.Message) -> None:
        if answer.type == wire.ERROR:
            self._drop()
            return
        self.up, self._told, self._retry = True, False, FIRST
        for each in self._rules:
            self._match("AddMatch", each)
        self._connected()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _lost(self, _connection: Connection) -> None:
        self._connection = None
        self._calls.clear()
        was_up, self.up = self.up, False
        if self._closed:
            return
        if was_up:
            self._host.log(INFO, "Disconnected from D-Bus")
        self._again("it has closed the connection")

    def close(self) -> None:
        """Leave the bus."""
        self._closed = True
        self._drop()

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
        self.ask(BUS, BUS_PATH, BUS, member, then, signature, *args)

    def ask(
        self, service: str, path: str, interface: str, member: str, then: Callable[[wire.Message], object],
        signature: str = "", *args: Any,
    ) -> None:  # fmt: skip
        """Call a method of somebody on the bus."""
        if self._connection is not None:
            self._serial += 1
            self._calls[self._serial] = then
            self._connection.send(wire.call(self._serial, service, path, interface, member, signature, *args))

    def _received(self, _connection: Connection, message: wire.Message) -> None:
        if message.type == wire.SIGNAL:
            self._heard(message)
        elif message.type in (wire.RETURN, wire.ERROR):
            then = self._calls.pop(message.header.reply_serial, None)
            if then is not None:
                then(message)
