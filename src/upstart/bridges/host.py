"""What every bridge is given: init to tell events to, what is awaited, a loop, a log, and a place for its state.

A bridge is a `Source`.  What is always true here: nothing is told before init has said what is awaited; init going
away is not the source's business, what it tells meanwhile waits; it is ready once it watches all that was awaited at
its start.
"""

from __future__ import annotations

import time

from upstart.base.errors import ClientError
from upstart.base.priority import DEBUG, ERROR, INFO, WARN
from upstart.bridges.guarded import Guarded
from upstart.bridges.link import Link
from upstart.bridges.outbox import MOST, Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from upstart.base.loop import Loop
    from upstart.bridges.link import Leaves
    from upstart.bridges.outbox import Entry
    from upstart.dbus.wire import Message

    class Source(Protocol):
        """Where events come from.  ``patterns`` are the names of those that it may tell."""

        patterns: tuple[str, ...]

        def want(self, leaves: Leaves) -> None:
            """Watch for what these leaves wait for, and for nothing else; for everything where they are None.

            Called first, and again whenever that changes or init has been away.
            """

        def told(self) -> None:
            """Init has all that was told: what is needed to go on from here may be written down."""

        def watched(self) -> list[str]:
            """What it watches now, a line each, for who asks."""

        def close(self) -> None:
            """Give back what was opened.  Of `Host.loop` nothing is left to be removed."""


#: Seconds between two messages about what was dropped.
OVERRUN_SECONDS = 60.0
OVERRUN = "bridge-overrun"
#: Events that wait when who can wait with more should.
CONGESTED = MOST // 8
#: Where the bridges of PID 1 leave what they need to go on after they were killed; of a session, below its own.
RUN = "/run/upstart/bridges"


class Host:
    """Runs one source, called ``name``, with the init at ``address``; ``log`` (priority, text) is its log.

    ``ready`` () is called once it watches what is awaited; ``failed`` () when it cannot go on, and has been closed.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        address: str,
        directory: str,
        log: Callable[[int, str], object],
        ready: Callable[[], object],
        failed: Callable[[], object],
    ) -> None:
        self.name = name
        self.log = log
        self.loop = Guarded(loop, self._fault)
        self.state_path = f"{directory}/{name}.json"
        self._real_loop = loop
        self._address = address
        self._ready: Callable[[], object] | None = ready
        self._failed = failed
        #: What is called with the value of each signal of init's that the source hears, by its name.
        self._heard: dict[str, Callable[[Any], object]] = {}
        self._outbox = Outbox()
        self._link: Link | None = None
        self._source: Source | None = None
        self._leaves: Leaves = []
        self._postponed = False
        self._when_room: list[Callable[[], object]] = []
        self._due = False
        self._dropped = 0
        self._overrun_told_at = -OVERRUN_SECONDS
        self._told = 0
        self._told_at = 0.0

    def begin(self, make: Callable[[Host], Source]) -> None:
        """Run what ``make`` makes."""
        self.loop.call(lambda: self._begin(make))

    def _begin(self, make: Callable[[Host], Source]) -> None:
        source = self._source = make(self)
        link = Link(
            self._real_loop, self._address, source.patterns, self._wanted, self._lost, self._gave_up, self._heard
        )
        self._link = link
        link.connect()

    def end(self) -> None:
        """Come to an end; what init has yet to hear is lost, but for what the source finds again."""
        self.loop.close()
        link, self._link = self._link, None
        if link is not None:
            link.close()
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _fault(self, error: Exception) -> None:
        kind = "" if isinstance(error, ClientError) else f"{self.name}: {type(error).__name__}: "
        self.log(ERROR, f"{kind}{error}")
        self._fail()

    def _fail(self) -> None:
        try:
            self.end()
        except Exception as error:
            self.log(ERROR, f"{self.name}: {type(error).__name__}: {error}")
        self._failed()

    @property
    def unwanted(self) -> bool:
        """Whether nobody waits for anything that it tells."""
        return self._leaves == [] and self._source is not None and not self._source.watched()

    def state(self) -> dict[str, Any]:
        """What it watches and has told, for who asks."""
        link, source = self._link, self._source
        return {
            "name": self.name,
            "connected": link is not None and link.up,
            "ready": self._ready is None,
            "awaited": [[name, *tests] for name, tests in self._leaves] if self._leaves is not None else None,
            "watches": source.watched() if source is not None and self._ready is None else [],
            "events": self._told,
            "last": self._told_at or None,
            "waiting": self._outbox.waiting,
            "dropped": self._outbox.dropped,
        }

    @property
    def epoch(self) -> str:
        """Tells this life of init from another: one that re-executes itself has the same."""
        pid = self._link.pid if self._link is not None else 0
        try:
            with open("/proc/sys/kernel/random/boot_id") as boot, open(f"/proc/{pid}/stat", "rb") as stat:
                started = stat.read().rpartition(b")")[2].split()[19].decode()
                return f"{boot.read().strip()} {pid} {started}"
        except (OSError, IndexError):
            return ""

    # For sources that ask more of init than to take events

    @property
    def up(self) -> bool:
        """Whether init is there."""
        return self._link is not None and self._link.up

    @property
    def connection(self) -> int:
        """Tells one connection to init from another."""
        return self._link.number if self._link is not None else 0

    def hear(self, signal: str, callback: Callable[[Any], object]) -> None:
        """Call ``callback`` with the value of each such signal of the extension; it is said when the source is made."""
        self._heard[signal] = lambda value: self.loop.call(lambda: callback(value))

    def call(
        self, member: str, then: Callable[[Message, str], object], signature: str, *args: Any, fds: Sequence[int] = ()
    ) -> None:
        """Call a method of the extension and go on: see `Link.call`.  One that emits counts as an event told."""
        if self._link is not None:
            if member.startswith("Emit"):
                self._note_told()
            guarded = lambda message, problem: self.loop.call(lambda: then(message, problem))  # noqa: E731
            self._link.call(member, guarded, signature, args, fds)

    def emit(
        self, key: str, name: str, env: dict[str, str], kind: str = "", then: Callable[[str], object] | None = None
    ) -> None:
        """Tell an event; of several of one name, ``kind`` and ``key`` that wait in a row, the last one is enough.

        ``then``, for one whose ``key`` no other has, is called with what is wrong, or an empty string, when init has
        it.
        """
        self._outbox.put(key, name, [f"{variable}={value}" for variable, value in env.items()], kind, then)
        if self._outbox.dropped > self._dropped:
            self._tell_overrun()
        if not self._due:
            self._due = True
            self.loop.call_soon(self._pump)

    @property
    def idle(self) -> bool:
        """Whether init has all that was told."""
        return self._outbox.empty

    @property
    def congested(self) -> bool:
        """Whether so much waits that who can leave it where it is should tell no more, see `when_room`."""
        return self._outbox.waiting >= CONGESTED

    def when_room(self, callback: Callable[[], object]) -> None:
        """Call back when little waits again."""
        self._when_room.append(callback)

    def postpone(self) -> Callable[[], object]:
        """For `Source.want`, the first time: it is ready when what this gives is called, and not before."""
        self._postponed = True
        return lambda: self.loop.call(self._be_ready)

    def _be_ready(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready()

    def _pump(self) -> None:
        self._due = False
        # What waits is told when init answers again.
        if self._link is None or not self._link.up:
            return
        for ticket, entry in self._outbox.take():
            self.log(DEBUG, f"Emitting {entry.name} {' '.join(entry.env)}")
            self._link.emit(entry.name, entry.env, self._answer_to(ticket, entry))

    def _answer_to(self, ticket: int, entry: Entry) -> Callable[[str], object]:
        def answered(problem: str) -> None:
            if problem:
                self.log(WARN, f"Failed to emit {entry.name}: {problem}")
            self._outbox.answered(ticket)
            if entry.then is not None:
                then = entry.then
                self.loop.call(lambda: then(problem))
            self._note_told()
            if not self._due:
                self._due = True
                self.loop.call_soon(self._pump)
            if self._when_room and self._outbox.waiting <= CONGESTED // 2:
                waiting, self._when_room = self._when_room, []
                for each in waiting:
                    self.loop.call_soon(each)
            if self._outbox.empty:
                self._end_overrun()
                self.loop.call(self._tell_source)

        return answered

    def _note_told(self) -> None:
        self._told += 1
        self._told_at = time.time()

    def _tell_source(self) -> None:
        if self._source is not None:
            self._source.told()

    # What could not wait

    def _tell_overrun(self) -> None:
        now = time.monotonic()
        if now - self._overrun_told_at >= OVERRUN_SECONDS:
            self._overrun_told_at = now
            self.log(ERROR, f"Dropped {self._outbox.dropped - self._dropped} events: init takes them too slowly")
            self._dropped = self._outbox.dropped

    def _end_overrun(self) -> None:
        if self._outbox.dropped:
            dropped, self._outbox.dropped, self._dropped = self._outbox.dropped, 0, 0
            self.emit("", OVERRUN, {"BRIDGE": self.name, "DROPPED": str(dropped)})

    # Init

    def _wanted(self, leaves: Leaves) -> None:
        self.loop.call(lambda: self._want(leaves))

    def _want(self, leaves: Leaves) -> None:
        if self._source is None:
            return
        self._leaves = leaves
        self._source.want(leaves)
        if not self._postponed:
            self._be_ready()
        if not self._due:
            self._due = True
            self.loop.call_soon(self._pump)
        if self._outbox.empty:
            self._source.told()

    def _lost(self) -> None:
        self.log(INFO, "Disconnected from Upstart")
        self._outbox.lost()

    def _gave_up(self, reason: str) -> None:
        self.log(ERROR, f"Could not connect to Upstart: {reason}")
        self._fail()
