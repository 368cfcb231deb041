"""What the history tells, put in order: which event came when and from whom, what each instance did, and what led to
what.

What is always true here: it is read from entries alone (docs/dbus-extension.md), those of a running init or of a file;
what they do not tell is None, or missing.  Times are seconds of init's clock.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from upstart.client.history import Entry, History

    #: Session, job, instance.
    Of = tuple[str | None, str, str | None]

#: Steps from a job back to what began it all.
DEEPEST = 40


class Emitted:
    """An event: ``by`` is who emitted it, as the entry has it; ``held`` whether it had to wait, until ``done`` (None
    where it has not finished, or that is not known)."""

    __slots__ = ("at", "by", "done", "env", "failed", "name", "number", "serial")

    def __init__(self, number: int, entry: Entry) -> None:
        self.number = number
        self.at: float = entry[0]
        self.serial: int = entry[2]
        self.name: str = entry[3]
        self.env: dict[str, str | None] = entry[4]
        self.by: Any = entry[5]
        self.done: float | None = None
        self.failed = False


class Goal:
    """An instance was to start or stop, because of ``cause``."""

    __slots__ = ("at", "cause", "goal", "number", "of")

    def __init__(self, number: int, entry: Entry) -> None:
        self.number = number
        self.at: float = entry[0]
        self.of: Of = _of(entry[2])
        self.goal: str = entry[3]
        self.cause: Any = entry[4]


class Process:
    """A process of an instance; ``ended`` is None while it runs, or where its end is not known."""

    __slots__ = ("became", "began", "ended", "name", "pid", "processor", "read", "status", "written")

    def __init__(self, name: str, pid: int, began: float | None) -> None:
        self.name = name
        self.pid = pid
        #: Whether it has forked, and this is the daemon that it left.
        self.became = False
        self.began = began
        self.ended: float | None = None
        self.status: int | None = None
        self.processor: float | None = None
        self.read: int | None = None
        self.written: int | None = None


class Life:
    """An instance from the goal to start until it was at rest again; ``states`` are when each was entered."""

    __slots__ = ("ended", "failure", "of", "processes", "respawns", "start", "states", "stop")

    def __init__(self, of: Of, start: Goal | None) -> None:
        self.of = of
        self.start = start
        self.stop: Goal | None = None
        self.states: list[tuple[float, str]] = []
        self.processes: list[Process] = []
        self.failure: str = ""
        self.respawns: list[float] = []
        self.ended: float | None = None

    @property
    def began(self) -> float | None:
        """When it was to start; None where that was before the history."""
        return self.start.at if self.start is not None else None

    @property
    def up(self) -> float | None:
        """When it first ran."""
        return next((at for at, state in self.states if state == "running"), None)

    @property
    def name(self) -> str:
        """As a status has it."""
        return shown(self.of)


class Step:
    """One step back: at what time, which instance or event, and what is to be said of it."""

    __slots__ = ("at", "event", "goal", "others")

    def __init__(self, goal: Goal | None, event: Emitted | None, others: list[Emitted]) -> None:
        self.goal = goal
        #: The event that came last of those that it needed, and the others.
        self.event = event
        self.others = others
        self.at = goal.at if goal is not None else event.at if event is not None else 0.0


class Story:
    """All of it; ``history`` is what was asked of init, or read from a file."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.events: dict[int, Emitted] = {}
        self.by_name: dict[str, list[Emitted]] = {}
        self.goals: dict[Of, list[Goal]] = {}
        self.all_goals: list[Goal] = []
        self.lives: dict[Of, list[Life]] = {}
        self.failures: dict[Of, list[tuple[float, str]]] = {}
        self.half: list[tuple[float, Of, str, int]] = []
        self.begins: list[tuple[float, str]] = []
        self.ending: list[tuple[float, bool]] = []
        #: Whether something was forgotten, or was before it.
        self.gap = False
        self._clocks: list[tuple[float, float, float]] = []
        self._open: dict[Of, Life] = {}
        before = -1
        for number, entry in history.entries:
            self.gap = self.gap or number != before + 1
            before = number
            handler = _HANDLERS.get(entry[1])
            if handler is not None:
                handler(self, number, entry)
        self.gap = self.gap or not self.begins or self.begins[0][1] in ("anew", "re-executed")

    # Entries

    def _event(self, number: int, entry: Entry) -> None:
        event = self.events[entry[2]] = Emitted(number, entry)
        self.by_name.setdefault(event.name, []).append(event)

    def _done(self, _number: int, entry: Entry) -> None:
        event = self.events.get(entry[2])
        if event is not None:
            event.done, event.failed = entry[0], entry[3]

    def _goal(self, number: int, entry: Entry) -> None:
        goal = Goal(number, entry)
        self.goals.setdefault(goal.of, []).append(goal)
        self.all_goals.append(goal)
        life = self._open.get(goal.of)
        if goal.goal == "start" and goal.cause != "respawn":
            if life is None or life.stop is None:
                self._begin(goal.of, goal)
            else:
                # Started again before it has stopped: another life, as far as people care.
                life.ended = goal.at
                self._begin(goal.of, goal)
        elif goal.goal == "stop" and life is not None:
            life.stop = goal

    def _begin(self, of: Of, start: Goal | None) -> Life:
        life = self._open[of] = Life(of, start)
        self.lives.setdefault(of, []).append(life)
        return life

    def _life(self, of: Of) -> Life:
        return self._open.get(of) or self._begin(of, None)

    def _state(self, _number: int, entry: Entry) -> None:
        of = _of(entry[2])
        life = self._life(of)
        life.states.append((entry[0], entry[3]))
        if entry[3] == "waiting":
            life.ended = entry[0]
            del self._open[of]

    def _process(self, _number: int, entry: Entry) -> None:
        self._life(_of(entry[2])).processes.append(Process(entry[3], entry[4], entry[0]))

    def _became(self, _number: int, entry: Entry) -> None:
        for process in self._life(_of(entry[2])).processes:
            if process.pid == entry[4] and process.ended is None:
                process.pid, process.became = entry[5], True

    def _ended(self, _number: int, entry: Entry) -> None:
        at, _, of, name, pid, status, seconds, processor, read, written = entry
        life = self._life(_of(of))
        process = next((each for each in life.processes if each.pid == pid and each.ended is None), None)
        if process is None:
            process = Process(name, pid, at - seconds if seconds is not None else None)
            life.processes.append(process)
        process.ended, process.status = at, status
        process.processor, process.read, process.written = processor, read, written

    def _fail(self, _number: int, entry: Entry) -> None:
        of = _of(entry[2])
        self.failures.setdefault(of, []).append((entry[0], entry[5]))
        if of[2] is not None and entry[4] is not None:
            self._life(of).failure = entry[5]

    def _respawn(self, _number: int, entry: Entry) -> None:
        self._life(_of(entry[2])).respawns.append(entry[0])

    def _half(self, _number: int, entry: Entry) -> None:
        self.half.append((entry[0], _of(entry[2]), entry[3], entry[4]))

    def _begins(self, _number: int, entry: Entry) -> None:
        self.begins.append((entry[0], entry[2]))

    def _ending(self, _number: int, entry: Entry) -> None:
        self.ending.append((entry[0], entry[2]))

    def _clock(self, _number: int, entry: Entry) -> None:
        self._clocks.append((entry[0], entry[2], entry[3]))

    # Questions

    def wall(self, at: float) -> float:
        """The time of day of a time of the clock: what was slept before it, by the clock on the wall as it is now."""
        suspended = self.history.suspended
        for when, slept, _ in reversed(self._clocks):
            if when <= at:
                suspended = slept
                break
        return at + suspended + self.history.wall

    @property
    def beginning(self) -> float:
        """From when on it tells."""
        return self.history.entries[0][1][0] if self.history.entries else self.history.clock

    def last_goal(self, of: Of, goal: str, before: int | None = None) -> Goal | None:
        """The last time that an instance was to start or stop, before the entry of that number."""
        for each in reversed(self.goals.get(of, ())):
            if each.goal == goal and each.cause != "respawn" and (before is None or each.number < before):
                return each
        return None

    def instances(self, job: str) -> list[Of]:
        """The instances of a job that it tells of."""
        return [of for of in self.goals if of[1] == job]

    def waited_for(self, of: Of) -> list[Emitted]:
        """The events in progress that processes of an instance have emitted, and may be waiting for."""
        return [
            event
            for serial in sorted(self.history.unfinished)
            if (event := self.events.get(serial)) is not None
            and isinstance(event.by, list)
            and event.by[0] == "client"
            and event.by[5]
            and _of(event.by[5]) == of
        ]

    def caused(self, serial: int) -> list[Goal]:
        """What an event has started or stopped."""
        return [goal for goal in self.all_goals if serial in events_of(goal.cause)]

    def back(self, goal: Goal) -> list[Step]:
        """How it came to that, from this goal back to what began it."""
        steps: list[Step] = []
        seen: set[int] = set()
        current: Goal | None = goal
        while current is not None and current.number not in seen and len(steps) < DEEPEST:
            seen.add(current.number)
            step = self._step(current)
            steps.append(step)
            current = self._before(step.event) if step.event is not None else self._of_caller(current.cause, current)
        return steps

    def _step(self, goal: Goal) -> Step:
        events = [self.events[serial] for serial in events_of(goal.cause) if serial in self.events]
        events.sort(key=lambda event: event.number)
        return Step(goal, events[-1] if events else None, events[:-1])

    def _before(self, event: Emitted) -> Goal | None:
        """The goal of the instance whose event it is, or whose process has emitted it."""
        by = event.by
        for _ in range(DEEPEST):
            if not isinstance(by, int) or by not in self.events:
                break
            event = self.events[by]
            by = event.by
        if by == "job":
            job, instance = event.env.get("JOB"), event.env.get("INSTANCE")
            if job is None:
                return None
            stopping = event.name in ("stopping", "stopped")
            found: Goal | None = None
            for of in self.goals:
                if of[1] == job and of[2] == (instance or ""):
                    stop = self.last_goal(of, "stop", event.number) if stopping else None
                    # What has ended of its own did what it was started for.
                    found = stop if stop is not None and stop.cause not in ("ended", "failed") else None
                    found = found or self.last_goal(of, "start", event.number)
            return found
        return self._of_caller(by, event)

    def _of_caller(self, by: Any, after: Goal | Emitted) -> Goal | None:
        if isinstance(by, list) and by and by[0] == "client" and by[5]:
            return self.last_goal(_of(by[5]), "start", after.number)
        return None


def _of(value: Iterable[Any]) -> Of:
    session, job, instance = value
    return session, job, instance


def events_of(cause: Any) -> list[int]:
    """The serials of the events that are a cause; none where it is another."""
    return cause if isinstance(cause, list) and all(isinstance(value, int) for value in cause) else []


def shown(of: Of) -> str:
    """As a status has it."""
    return f"{of[1]} ({of[2]})" if of[2] else of[1]


def all_lives(story: Story) -> Iterator[Life]:
    """Each, in the order in which instances came."""
    for lives in story.lives.values():
        yield from lives


_HANDLERS = {
    "event": Story._event,
    "done": Story._done,
    "goal": Story._goal,
    "state": Story._state,
    "process": Story._process,
    "became": Story._became,
    "ended": Story._ended,
    "fail": Story._fail,
    "respawn": Story._respawn,
    "half": Story._half,
    "begin": Story._begins,
    "ending": Story._ending,
    "clock": Story._clock,
}
