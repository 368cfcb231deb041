"""An init on GLib's main loop: its signals as they come, and a connection that comes back by itself.

What is always true here:

- Between ``connected`` and ``lost`` every signal that init sends is heard, in its order; what happens between ``lost``
  and the next ``connected`` is not, so whoever keeps a picture of init draws it anew when ``connected`` is called.
- A re-exec of init, a restart of the bus, or an init that is not there yet is nothing to handle: another attempt
  follows by itself, after `FIRST_RETRY` to `LONGEST_RETRY` seconds, or as soon as init has its name on the bus.
- On a bus, a signal counts only from who owns init's name. Nothing wakes up while nothing happens.
- Callbacks run in the loop; they may make calls on the `Init` they are given. One that raises is GLib's to report.

Needs PyGObject (python3-gi) for the loop's timers. Use::

    watcher = Watcher(heard=print, connected=lambda init: print(init.version))
    watcher.start()
    watcher.aside(lambda init: init.job("tty1").start(), done=print, failed=print)
    GLib.MainLoop().run()
"""

from __future__ import annotations

from threading import Thread

import _dbus_bindings
import _dbus_glib_bindings
from gi.repository import GLib

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client.connection import Connection, connect_bus, connect_private
from upstart.client.init import Init
from upstart.client.signals import match_rules, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from upstart.client.signals import Signal

    T = TypeVar("T")

__all__ = ["Watcher"]

#: Seconds.
FIRST_RETRY = 0.05
LONGEST_RETRY = 5.0


class Watcher:
    """Keeps in touch with the init of a private ``address`` (PID 1's by default), or of a ``bus``.

    ``heard`` gets each `Signal`, ``connected`` the `Init` each time it can be spoken to, ``lost`` the reason each time
    that it no longer can.  ``init`` is the one to speak to, or ``None``.  ``signals``, where there are any, are the
    names of those that are wanted.
    """

    __slots__ = (
        "_address", "_bus", "_connected", "_connection", "_heard", "_lost", "_owner", "_retry", "_running", "_signals",
        "_timer", "init",
    )  # fmt: skip

    def __init__(
        self,
        heard: Callable[[Signal], object] = lambda signal: None,
        connected: Callable[[Init], object] = lambda init: None,
        lost: Callable[[str], object] = lambda reason: None,
        address: str | None = None,
        bus: str | None = None,
        signals: Sequence[str] = (),
    ) -> None:
        self._heard = heard
        self._connected = connected
        self._lost = lost
        self._address = address
        self._bus = bus
        self._signals = list(signals)
        self._connection: Connection | None = None
        self._owner = ""
        self._retry = FIRST_RETRY
        self._timer = 0
        self._running = False
        self.init: Init | None = None

    def start(self) -> None:
        """Begin; what is reached at once is ``connected`` before this returns."""
        if not self._running:
            self._running = True
            self._attempt()

    def stop(self) -> None:
        """End: nothing is called any more."""
        self._running = False
        self._owner = ""
        if self._timer:
            GLib.source_remove(self._timer)
            self._timer = 0
        self.init = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def aside(
        self,
        work: Callable[[Init], T],
        done: Callable[[T], object] = lambda result: None,
        failed: Callable[[DBusError], object] = lambda error: None,
    ) -> None:
        """Have ``work`` done beside the loop, which goes on meanwhile: calls that may take long.

        It gets an `Init` of its own, in a thread of its own; what it gives is ``done``, or ``failed`` the error that it
        raises, in the loop.  Whatever else it raises is a `DBusError` of the name ``FAILED``.
        """

        def thread() -> None:
            try:
                init = Init.open(self._address, self._bus)
                try:
                    result = work(init)
                finally:
                    init.connection.disconnect()
            except Exception as error:
                told = error if isinstance(error, DBusError) else DBusError(names.FAILED, str(error) or repr(error))
                GLib.idle_add(_once, failed, told)
            else:
                GLib.idle_add(_once, done, result)

        Thread(target=thread, name="upstart-client", daemon=True).start()

    def _attempt(self) -> bool:
        """Connect, or have it tried again later."""
        self._timer = 0
        try:
            loop = _dbus_glib_bindings.DBusGMainLoop()
            if self._bus is None:
                connection = connect_private(self._address, loop)
            else:
                connection = connect_bus(self._bus == "system", loop=loop)
            self._connection = connection
            connection.filter(self._message)
            if self._bus is None:
                self._listen(connection)
            else:
                self._listen_on_bus(connection)
        except DBusError as error:
            self._end(error.message)
        return False  # the timer that called is not to call again

    def _listen(self, connection: Connection) -> None:
        # Init tells nothing to who has not been let in, which is done while nobody looks: an answer says that it is.
        connection.call(names.PATH, names.PEER, "Ping")
        if self._signals:
            try:
                Init(connection).hear(self._signals)
            except DBusError as error:
                # An original init sends them all.
                if error.name not in names.NO_EXTENSION:
                    raise
        self._reached()

    def _listen_on_bus(self, connection: Connection) -> None:
        service = names.SERVICE
        bus = connection.to(names.BUS_INTERFACE)
        for rule in match_rules(self._signals):
            bus.call(names.BUS_PATH, names.BUS_INTERFACE, "AddMatch", "s", rule)
        try:
            (owner,) = bus.call(names.BUS_PATH, names.BUS_INTERFACE, "GetNameOwner", "s", service, returns="s")
        except DBusError as error:
            if error.name != names.NAME_HAS_NO_OWNER:
                raise
            return
        if not self._owner:
            self._owner = str(owner)
            self._reached()

    def _reached(self) -> None:
        if self._connection is not None:
            self._retry = FIRST_RETRY
            self.init = Init(self._connection)
            self._connected(self.init)

    def _gone(self, reason: str) -> None:
        if self.init is not None:
            self.init = None
            self._lost(reason)

    def _end(self, reason: str) -> None:
        """The connection has ended, or never began: let go of it, and try again."""
        connection, self._connection, self._owner = self._connection, None, ""
        if connection is not None:
            connection.disconnect()
        self._gone(reason)
        if self._running and not self._timer:
            self._timer = GLib.timeout_add(int(self._retry * 1000), self._attempt)
            self._retry = min(self._retry * 2, LONGEST_RETRY)

    def _message(self, connection: Connection, message: Any) -> None:
        """Whatever comes in, before libdbus looks at it."""
        if connection is not self._connection or not isinstance(message, _dbus_bindings.SignalMessage):
            return
        interface, member = message.get_interface(), message.get_member()
        if interface == names.LOCAL:
            if member == "Disconnected":
                self._end("Connection was disconnected")
            return
        sender = message.get_sender()
        if self._bus is not None and sender == names.BUS_INTERFACE and member == "NameOwnerChanged":
            self._owner_changed(message.get_args_list())
        elif self.init is not None and (self._bus is None or sender == self._owner):
            signal = parse(
                interface, member, str(message.get_signature()), message.get_path(), message.get_args_list()
            )
            if signal is not None and (not self._signals or member in self._signals):
                self._heard(signal)

    def _owner_changed(self, values: list[Any]) -> None:
        name, _, owner = map(str, values)
        if name != names.SERVICE or owner == self._owner:
            return
        self._gone("Init has left the bus")
        self._owner = owner
        if owner:
            self._reached()


def _once(call: Callable[[T], object], value: T) -> bool:
    """A source of the loop that is not to be called again."""
    call(value)
    return False
