"""Where init can be spoken to: the private socket and a message bus.

What is always true here: the engine makes announcements only while somebody listens, on the socket or on the bus.  A
listening socket crosses a re-exec open, so that a client that connects meanwhile waits instead of being refused; the
bus is connected to anew.
"""

from __future__ import annotations

from upstart.base.names import SERVICE
from upstart.base.priority import INFO, WARN
from upstart.daemon import announce
from upstart.dbus import bus as systembus
from upstart.dbus.server import PrivateServer
from upstart.dbus.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.daemon.basis import Basis
    from upstart.daemon.listening import Listening
    from upstart.daemon.service import Service
    from upstart.engine.effects import Announce


#: Seconds for which changes of what is awaited are gathered, and names of events with which they are told; of more, no
#: name stands for any.
AWAITED_SECONDS = 0.1
MOST_NAMES = 64


class Endpoints:
    """The endpoints of one init; ``server`` and ``bus`` are None where there is none (yet).

    ``service`` answers those who call.  With ``restarted`` a bus is told so.
    """

    __slots__ = (
        "_awaited", "_awaited_timer", "_engine", "_environ", "_listening", "_log", "_loop", "_notified", "_options",
        "_restarted", "_service", "_turns", "bus", "server",
    )  # fmt: skip

    def __init__(self, basis: Basis, listening: Listening, service: Service, restarted: bool) -> None:
        self._options = basis.options
        self._environ = basis.environ
        self._engine = basis.engine
        self._loop = basis.loop
        self._listening = listening
        self._service = service
        self._restarted = restarted
        self._log = basis.log
        self._turns = Turns(basis.loop)
        #: The events of which other tests are awaited than was told last.
        self._awaited: dict[str, None] = {}
        self._awaited_timer = -1
        #: The address of the bus was told us by NotifyDBusAddress.
        self._notified = False
        self.server: PrivateServer | None = None
        self.bus: systembus.MessageBus | None = None

    # Announcements

    def announce(self, effect: Announce) -> None:
        """Send a signal to all who listen; what changes in what is awaited is gathered for a moment."""
        if effect.signal == announce.AWAITED_CHANGED:
            if not self.bus_connected() and (self.server is None or not self.server.wants(effect.signal)):
                return
            names: Any = effect.value
            self._awaited.update(dict.fromkeys(names))
            if self._awaited_timer < 0:
                self._awaited_timer = self._loop.call_later(AWAITED_SECONDS, self._announce_awaited)
            return
        names_of_it = announce.names(effect)
        if self.bus_connected() or (self.server is not None and self.server.wants(*names_of_it)):
            self._send(announce.build(self._service.next_serial(), effect), *names_of_it)

    def _announce_awaited(self) -> None:
        self._awaited_timer = -1
        names, self._awaited = list(self._awaited), {}
        data = announce.awaited_changed(self._service.next_serial(), names if len(names) <= MOST_NAMES else [])
        self._send(data, announce.AWAITED_CHANGED)

    def _send(self, data: bytes, *names: str) -> None:
        if self.server is not None:
            self.server.broadcast(data, *names)
        if self.bus is not None:
            self.bus.send(data)

    def listeners_changed(self) -> None:
        """Have the engine announce changes only while somebody listens."""
        listening = self.server is not None and self.server.listening(announce.ALWAYS)
        self._engine.set_announcing(listening or self.bus_connected())

    # The private socket

    def serve(self) -> None:
        """Serve those who connect to the socket that listens, if one does."""
        listening = self._listening.socket
        if self.server is None and listening is not None:
            self.server = PrivateServer(self._loop, self._turns, listening, self._service.received)
            self.server.on_change = self.listeners_changed
            self.server.connected = lambda connection: self._log(INFO, "Connection from private client")

    def flush_clients(self) -> None:
        """Send what is queued, as far as sockets take it."""
        if self.server is not None:
            for client in list(self.server.clients):
                client.flush()
        if self.bus is not None:
            self.bus.flush()

    def part(self) -> None:
        """Have all who are connected see that we go, though somebody else may have our descriptors as well."""
        if self.server is not None:
            for client in list(self.server.clients):
                client.part()
        if self.bus is not None:
            self.bus.part()

    # The bus

    def bus_connected(self) -> bool:
        """Whether we own our name on a bus."""
        return self.bus is not None and self.bus.ready

    @property
    def bus_name(self) -> str:
        """Which bus messages call ours: "session" or "system"."""
        return "session" if self._options.user or self._options.session_bus else "system"

    def bus_is_named(self) -> bool:
        """Whether the environment, or an option, says which bus to use by default.

        The system's own bus is for process 1: it refuses users the name, and root's session must not take it.
        """
        return self._options.session_bus or "DBUS_SYSTEM_BUS_ADDRESS" in self._environ

    def connect_bus(self, address: str | None, then: Callable[[tuple[str, str] | None], object]) -> None:
        """Connect to a bus, by default the one that fits; ``then`` gets None, or the error's name and text."""
        environ = self._environ
        self._notified = address is not None
        # A session's init, too, tries that of the system by itself, as the original does.
        if address is None and self._options.session_bus:
            address = environ.get("DBUS_SESSION_BUS_ADDRESS", "")
        if address is None:
            address = environ.get("DBUS_SYSTEM_BUS_ADDRESS", systembus.DEFAULT_ADDRESS)
        if self.bus is not None:
            self.bus.close()
        service = self._service
        bus = systembus.MessageBus(
            self._loop, self._turns, address, SERVICE, service.received, service.next_serial
        )
        self.bus = self._service.bus = bus
        bus.senders.needs_uid = self._service.needs_uid
        bus.lost = self._bus_lost

        def finished(error: tuple[str, str] | None) -> None:
            self.listeners_changed()
            if error is None and self._restarted:
                bus.send(announce.restarted(self._service.next_serial()))
            then(error)

        bus.finished = finished
        bus.connect()

    def _bus_lost(self) -> None:
        name = "notified D-Bus bus" if self._notified else f"D-Bus {self.bus_name} bus"
        self._log(WARN, f"Disconnected from {name}")
        self.listeners_changed()

    def reconnect_bus(self) -> None:
        """Connect to the bus again (SIGUSR1), if we are not connected."""
        if not self._options.dbus or (self.bus is not None and self.bus.busy):
            return
        self._log(INFO, f"Reconnecting to D-Bus {self.bus_name} bus")
        text = f"Unable to connect to the D-Bus {self.bus_name} bus: "
        self.connect_bus(None, lambda error: self._log(WARN, text + error[1]) if error else None)

    def update_activation_environment(self, entries: list[str]) -> None:
        """Tell the session's bus of variables, for the services that it starts; that of the system has others."""
        own = self._options.user and (self._notified or self._options.session_bus)
        if own and self.bus is not None and self.bus.ready:
            table = dict([entry.partition("=")[::2] for entry in entries])
            self.bus.call("UpdateActivationEnvironment", None, "a{ss}", table)

    # The end, and the next beginning

    def close(self) -> None:
        """Be spoken to no more."""
        if self.server is not None:
            self.server.close()
        if self.bus is not None:
            self.bus.close()

    def dump(self) -> dict[str, Any]:
        """What the next program has to know."""
        return {
            "listening": self._listening.dump(),
            "bus": self.bus.address if self.bus is not None and self._notified else None,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._listening.restore(saved["listening"])
        self.serve()
        bus = saved.get("bus")
        if bus is not None:
            self.connect_bus(bus, lambda error: None)
