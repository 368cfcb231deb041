"""upstart-event-bridge(8): events of the system's init, for a session, by the system bus; for root's by init itself.

What is always true here: nothing is told but what a job of the session waits for and the administrator's list has; an
event has the variables that it had, in their order.  That init was re-executed is told once, by what it says or by its
name having gone and come.
"""

from __future__ import annotations

import os

from upstart.base.glob import match
from upstart.base.names import ADDRESS, BUS_INTERFACE, MANAGER, PATH, SERVICE
from upstart.base.options import Option
from upstart.base.priority import INFO, WARN
from upstart.bridges.bus import NAME_CHANGED, Bus, address_of, rule
from upstart.bridges.condition import passes, tests_of
from upstart.bridges.kinds import Bridge
from upstart.bridges.systeminit import SystemInit
from upstart.dbus import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves

    Told = tuple[str, dict[str, str]]

PREFIX = ":sys:"
RESTARTED = "restarted"
LIST = "/etc/upstart-event-bridge.conf"


def read_list(text: str) -> list[str]:
    """The names and patterns of events that sessions may hear of."""
    return [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]


class Forward:
    """What of the system's events a session is told of; ``listed`` are the names that it may hear.  This is pure."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self._wanted: dict[str, list[list[str]]] | None = {}
        self._owner = ""
        self._told_for = ""

    def want(self, leaves: Leaves) -> None:
        """Tell what these wait for; anything where they are None."""
        self._wanted = None if leaves is None else {}
        for name, words in leaves or ():
            assert self._wanted is not None
            self._wanted.setdefault(name.removeprefix(PREFIX), []).append(words)

    def names(self) -> list[str] | None:
        """The events to be heard of, None for any."""
        return None if self._wanted is None else sorted(set(self._wanted) - {RESTARTED})

    def emitted(self, name: str, env: Sequence[str]) -> Iterator[Told]:
        """What is to be told where the system's init has emitted this."""
        values: dict[str, str] = {}
        for word in env:
            key, _, value = word.partition("=")
            values.setdefault(key, value)
        if not any(match(pattern, name) for pattern in self.listed):
            return
        if self._wanted is not None:
            conditions = (tests_of(words, list(values)) for words in self._wanted.get(name, ()))
            if not any(passes(tests, values) for tests in conditions):
                return
        yield PREFIX + name, values

    def connected(self) -> None:
        """There is a bus, which knows nothing of what went before."""
        self._owner = self._told_for = ""

    def owner(self, owner: str) -> Iterator[Told]:
        """Init is this one now, or away."""
        if not owner or owner == self._owner:
            return
        before, self._owner = self._owner, owner
        if before:
            self._told_for = owner
            yield from self._restarted()

    def restarted(self, sender: str) -> Iterator[Told]:
        """Init says so."""
        if self._told_for == sender:
            self._told_for = ""
        else:
            yield from self._restarted()

    def _restarted(self) -> Iterator[Told]:
        if self._wanted is None or RESTARTED in self._wanted:
            yield PREFIX + RESTARTED, {}


class EventSource:
    """The source of one bridge, by the bus at ``address``, but by the init at ``private`` while one is there; ``path``
    is that of the list."""

    patterns: tuple[str, ...] = (PREFIX + "*",)

    def __init__(self, host: Host, path: str, address: str, private: str) -> None:
        self._host = host
        self._path = path
        self._forward = Forward()
        self._stamp: tuple[int, int] | None = None
        self._count = 0
        self._ready: Callable[[], object] | None = None
        self._init = SystemInit(host, private, self._emitted, self._connected_to_init, self._lost_init)
        #: How many connections to init there have been since there was another way.
        self._connections = 0
        self._bus = Bus(host, address, self._heard, self._connected, self._init.connect)

    def want(self, leaves: Leaves) -> None:
        """Hear of what is waited for; it is ready once the bus knows that."""
        self._forward.want(leaves)
        names = self._forward.names()
        init = {"sender": SERVICE, "path": PATH, "interface": MANAGER}
        rules = [rule(**init, member="Restarted"), rule(sender=BUS_INTERFACE, member=NAME_CHANGED, arg0=SERVICE)]
        if names is None:
            rules.append(rule(**init, member="EventEmitted"))
        else:
            rules += [rule(**init, member="EventEmitted", arg0=name) for name in names]
        self._bus.want(rules)
        self._init.want(names)
        if self._ready is None:
            self._ready = self._host.postpone()
            self._bus.connect()

    def _connected_to_init(self) -> None:
        if not self._connections:
            self._forward.connected()
        self._connections += 1
        self._tell(self._forward.owner(str(self._connections)))
        if self._ready is not None:
            self._ready()

    def _lost_init(self, was_up: bool) -> None:
        if was_up:
            # One that executes itself listens all the while.
            self._host.log(INFO, "Disconnected from the system's init")
            self._bus.connect()
        else:
            self._bus.connect(True)

    def _connected(self) -> None:
        self._connections = 0
        self._forward.connected()
        # The bus answers in order: by now it has the rules.
        self._bus.call("GetNameOwner", self._owned, "s", SERVICE)

    def _owned(self, answer: wire.Message) -> None:
        if answer.type == wire.RETURN:
            self._tell(self._forward.owner(answer.args()[0]))
        if self._ready is not None:
            self._ready()

    def _heard(self, message: wire.Message) -> None:
        header, signature = message.header, message.header.signature
        if header.member == "EventEmitted" and signature == "sas":
            self._emitted(*message.args())
        elif header.member == "Restarted":
            self._tell(self._forward.restarted(header.sender or ""))
        elif header.member == NAME_CHANGED and header.sender == BUS_INTERFACE and signature == "sss":
            self._tell(self._forward.owner(message.args()[2]))

    def _emitted(self, name: str, env: list[str]) -> None:
        self._read_list()
        self._tell(self._forward.emitted(name, env))

    def _tell(self, told: Iterator[Told]) -> None:
        for name, env in told:
            # Each is an event of its own: none stands for another.
            self._count += 1
            self._host.emit(str(self._count), name, env)

    def _read_list(self) -> None:
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                found = os.fstat(file.fileno())
                stamp = found.st_ino, found.st_mtime_ns
                if stamp != self._stamp:
                    self._forward.listed = read_list(file.read())
                    self._stamp = stamp
        except OSError as error:
            if self._forward.listed or self._stamp is None:
                self._host.log(WARN, f"{self._path}: {error.strerror}: no event is told of")
            self._forward.listed, self._stamp = [], (0, 0)

    def told(self) -> None:
        """Nothing is kept: what happens while there is no bridge is over."""

    def watched(self) -> list[str]:
        """What is heard of, and whether there is a bus."""
        names = self._forward.names()
        way = "by the system bus" + ("" if self._bus.up else ", which is away")
        way = "by the system's init" if self._init.up else way
        return [f"{'all events' if names is None else ' '.join(names) or 'restarts'} {way}"]

    def close(self) -> None:
        """Hear nothing more."""
        self._init.close()
        self._bus.close()


BRIDGE = Bridge(
    "Bridge system upstart events into the user session upstart",
    # Init hangs up on everybody but root.
    lambda host, settings: EventSource(
        host, settings.list, address_of(system=True), "" if os.getuid() else ADDRESS
    ),
    ((Option("", "list", "list", argument="FILE"), f"file of events to be told of, not {LIST}"),),
    {"list": LIST, "user": True},
)
