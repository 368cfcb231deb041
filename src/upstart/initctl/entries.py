"""An entry of the history as a line for people."""

from __future__ import annotations

from upstart.base.glob import match
from upstart.base.names import JOB_EVENTS
from upstart.base.signals import signal_name
from upstart.client.story import Goal, events_of, shown
from upstart.client.words import cause_of, duration, end_of, event_name, ordinal, who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.client.history import Entry
    from upstart.client.story import Story

_BEGINS = {
    "boot": "init begins, with the boot",
    "session": "init begins, with the session",
    "anew": "init begins anew: what was before is not known",
    "re-executed": "init goes on, re-executed",
}


class About:
    """Which entries are about the jobs whose names match one of ``patterns``: what these did, the events of their
    lives, and those events that have started or stopped them, or were to; all where there are no patterns."""

    __slots__ = ("_patterns", "_serials")

    def __init__(self, patterns: Sequence[str], story: Story) -> None:
        self._patterns = patterns
        self._serials: set[int] = set()
        if patterns:
            self._serials.update([serial for _, of, _, serial in story.half if self._is_named(of[1])])
            for goal in story.all_goals:
                if self._is_named(goal.of[1]):
                    self._serials.update(events_of(goal.cause))
            for event in story.events.values():
                if event.name in JOB_EVENTS and self._is_named(event.env.get("JOB")):
                    self._serials.add(event.serial)

    def _is_named(self, job: str | None) -> bool:
        return job is not None and any(match(pattern, job) for pattern in self._patterns)

    def wants(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        if not self._patterns:
            return True
        kind, rest = entry[1], entry[2:]
        if kind in ("event", "done"):
            return rest[0] in self._serials
        if kind == "jobs":
            return any(map(self._is_named, rest[3]))
        return kind not in ("begin", "clock", "ending") and self._is_named(rest[0][1])


def line(entry: Entry, story: Story) -> str:
    """What it says, without its time; of a word that is not known, the entry as it is."""
    kind, rest = entry[1], entry[2:]
    if kind == "begin":
        return _BEGINS.get(rest[0], str(rest[0]))
    if kind == "clock":
        return "the clocks were noted" + (f", {duration(rest[0])} slept so far" if rest[0] > 1 else "")
    if kind == "event":
        return f"event {event_name(rest[1], rest[2])}, emitted by {who(rest[3], story)}"
    if kind == "done":
        event = story.events.get(rest[0])
        name = event_name(event.name, event.env) if event is not None else f"number {rest[0]}"
        return f"event {name} has finished" + (", and something failed over it" if rest[1] else "")
    if kind == "ending":
        return "the machine ends from now on" if rest[0] else "the machine does not end after all"
    if kind == "jobs":
        more = f" and {rest[2] - len(rest[3])} more" if rest[2] > len(rest[3]) else ""
        return f"job{'' if rest[2] == 1 else 's'} {rest[0]}: {', '.join(rest[3])}{more}"
    name = shown(rest[0])
    return f"{name}: {_of_job(kind, entry, rest[1:], story)}"


def _of_job(kind: str, entry: Entry, rest: list[object], story: Story) -> str:
    if kind == "half":
        event = story.events.get(int(str(rest[1])))
        what = event_name(event.name, event.env) if event is not None else f"event number {rest[1]}"
        return f"{what} meets a part of its '{rest[0]} on'"
    if kind == "goal":
        goal = Goal(0, entry)
        return f"{'to start' if goal.goal == 'start' else 'to stop'} {cause_of(goal, story)}"
    if kind == "state":
        return str(rest[0])
    if kind == "process":
        return f"{rest[0]} process {rest[1]} started"
    if kind == "became":
        return f"{rest[0]} process {rest[1]} has become {rest[2]}"
    if kind == "ended":
        status = rest[2]
        text = f"{rest[0]} process {rest[1]} {end_of(status if isinstance(status, int) else None)}"
        if isinstance(rest[3], int | float):
            text += f" after {duration(rest[3])}"
        return text + (f", processor {duration(rest[4])}" if isinstance(rest[4], int | float) else "")
    if kind == "signal":
        name = signal_name(int(str(rest[2])))
        return f"{name if name.isdigit() else 'SIG' + name} sent to its {rest[0]} process {rest[1]}"
    if kind == "respawn":
        return f"its main process is respawned, for the {ordinal(int(str(rest[0])))} time"
    if kind == "fail":
        return str(rest[2])
    if kind == "freed":
        return "waits no longer for its event"
    if kind == "adopted":
        return f"found running, process {rest[0]}"
    return f"{kind} {rest}"
