"""upstart-dbus-bridge(8): signals of a bus as events; names there that have an owner; services that are jobs.

What is always true here: a signal is looked at when it is known who owns the names that conditions ask for.  A bus that
goes is found again, and what has changed of its names is told; signals meanwhile there are none.
"""

from __future__ import annotations

from upstart.base.buswords import ACTIVATION, NAME, SIGNAL
from upstart.base.errors import UsageError
from upstart.base.options import Option
from upstart.base.priority import WARN
from upstart.bridges.bus import Bus, address_of
from upstart.bridges.busservices import Services, directory_of
from upstart.bridges.kinds import Bridge
from upstart.bridges.program import ALWAYS, place
from upstart.bridges.signals import Signals
from upstart.bridges.state import State
from upstart.dbus import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.bridges.signals import Told


#: What tells a signal from others but for its arguments.
_FROM = ("SENDER_UNIQUE", "OBJPATH", "INTERFACE", "SIGNAL")


class BusSource:
    """The source of one bridge, by the bus at ``address``; ``always``: every signal is told."""

    patterns: tuple[str, ...] = (SIGNAL, NAME, ACTIVATION)

    def __init__(self, host: Host, address: str, bus_name: str, always: bool, services: Services) -> None:
        self._host = host
        self._services = services
        self._always = always
        self._signals = Signals(bus_name)
        # A session has one for each of two buses.
        host.state_path = host.state_path.replace(".json", f"-{address.encode().hex()[-32:]}.json")
        self._state = State(host)
        self._ready: Callable[[], object] | None = None
        #: Answers that are still to come, and the signals that have come before them.
        self._asked = 0
        self._held: list[wire.Message] = []
        self._bus = Bus(host, address, self._heard, self._connected)

    def want(self, leaves: Leaves) -> None:
        """Hear what conditions ask for; it is ready once the bus knows that."""
        self._signals.want(None if self._always else leaves)
        self._bus.want(self._signals.rules())
        self._services.want(leaves)
        self._arrange()
        if self._ready is None:
            # Which life of init this is, is known by now.
            self._signals.owned = self._state.load(lambda saved: set(map(str, saved["owned"]))) or set()
            self._signals.unsure = {name for (name,) in self._state.doubts()}
            self._ready = self._host.postpone()
            self._bus.connect()
        elif self._bus.up:
            self._look()

    def _arrange(self) -> None:
        """Have the services that are jobs, and the bus know them."""
        try:
            changed = self._services.arrange()
        except OSError as error:
            self._host.log(WARN, f"{error.filename}: {error.strerror}: services of jobs are not started by the bus")
            return
        for path in self._services.others:
            self._host.log(WARN, f"{path}: made by somebody else: the bus does as it says, and starts no job")
        if changed and self._bus.up:
            self._bus.call("ReloadConfig", lambda answer: None)

    def _connected(self) -> None:
        if self._services.names:
            # It need not have had the directory when it began.
            self._bus.call("ReloadConfig", lambda answer: None)
        # What was asked of another connection is not answered.
        self._asked = 0
        self._held.clear()
        self._look()

    def _look(self) -> None:
        """Ask who is there: the bus, which answers in order, has the rules by then."""
        self._asked += len(self._signals.owners) + 1

        def count() -> None:
            self._asked -= 1
            if not self._asked:
                self._settle()

        def owned(name: str, answer: wire.Message) -> None:
            if name in self._signals.owners:
                self._signals.owners[name] = answer.args()[0] if answer.type == wire.RETURN else ""
            count()

        def listed(answer: wire.Message) -> None:
            if answer.type == wire.RETURN:
                self._tell(self._signals.names(answer.args()[0]))
            count()

        for name in self._signals.owners:
            self._bus.call("GetNameOwner", lambda answer, name=name: owned(name, answer), "s", name)  # type: ignore[misc]
        self._bus.call("ListNames", listed)

    def _settle(self) -> None:
        held, self._held = self._held, []
        for message in held:
            self._tell(self._signals.heard(message))
        if self._host.idle:
            self.told()
        if self._ready is not None:
            self._ready()

    def _heard(self, message: wire.Message) -> None:
        if self._asked:
            self._held.append(message)
            return
        try:
            self._tell(self._signals.heard(message))
        except wire.WireError:
            pass  # whoever has sent that

    def _tell(self, told: Iterable[Told]) -> None:
        for name, env in told:
            about = [env["NAME"]] if name == NAME else [env.get(key, "") for key in _FROM]
            if name == NAME:
                self._state.doubt(*about)
            # Of those in a row that are the same in all, one is enough; not so where another has come in between.
            self._host.emit("\0".join(about), name, env, "\0".join(env.values()))

    def told(self) -> None:
        """Leave word of which names have owners."""
        if not self._signals.unsure:
            self._state.save(owned=sorted(self._signals.owned))

    def watched(self) -> list[str]:
        """The match rules, and whether there is a bus."""
        services = [f"calls of {name}" for name in sorted(self._services.names)]
        return self._signals.describe() + services if self._bus.up else ["no bus"]

    def close(self) -> None:
        """Leave the bus."""
        self._bus.close()
        self._state.close()
        self._services.remove()


def _check(settings: Any) -> None:
    if settings.bus_name is not None and (not settings.bus_name or settings.bus_name.startswith(" ")):
        raise UsageError("--bus-name: a name is needed")


def _make(host: Host, settings: Any) -> BusSource:
    bus = settings.bus or ("session" if settings.user else "system")
    init = place(True)[0] if settings.user else ""
    services = Services(directory_of(bus == "system", settings.user), bus, init)
    return BusSource(host, address_of(bus == "system"), settings.bus_name or "", settings.always, services)


BRIDGE = Bridge(
    "Bridge D-Bus signals into upstart",
    _make,
    (
        ALWAYS,
        (Option("", "bus-name", "bus_name", argument="NAME"), "Bus name to specify in event environment"),
        (Option("", "session", "bus", "session"), "use D-Bus session bus"),
        (Option("", "system", "bus", "system"), "use D-Bus system bus"),
    ),
    {"bus": "", "bus_name": None},
    check=_check,
)
