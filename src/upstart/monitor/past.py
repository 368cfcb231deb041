"""What init remembers of a row: who emitted an event, what it started and stopped, whom it waited for; why a job moved.

What is always true here: it is pure.  Of an event the history knows when it was emitted and, if something held it, when
it had finished, as the row does: of several that are alike the one is meant whose end is nearest to the row's time.
"""

from __future__ import annotations

from upstart.monitor.rows import EVENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from upstart.client.history import History
    from upstart.monitor.rows import Row

    #: A name and what is said of it.
    Line = tuple[str, str]
    #: A title, and what stands below it.
    Part = tuple[str, list[Line]]

#: Seconds between what init notes and what comes of it here.
NEAR = 5.0
#: Lines of one kind.
MOST = 30

_CAUSES = {
    "job": "its own event", "ended": "its main process had ended", "failed": "it failed", "respawn": "it is respawned",
    "session": "its session ended", "shutdown": "init ends", "mended": "init had to put it right",
}  # fmt: skip


def parts(history: History, row: Row) -> list[Part]:
    """What there is to say about a row, as titles with lines; nothing if the history does not know it."""
    past = _Past(history)
    return list(past.of_event(row) if row.kind == EVENT else past.of_job(row))


def instance(of: Any) -> str:
    """An instance as initctl names it, from how the history does."""
    _, job, name = of
    return f"{job} ({name})" if name else str(job)


class _Past:
    def __init__(self, history: History) -> None:
        self._history = history
        self._offset = history.suspended + history.wall
        #: By its serial, the time of each event's emission, its name, variables, and who; and of its end.
        self._events: dict[int, tuple[float, str, dict[str, str | None], Any]] = {}
        self._done: dict[int, tuple[float, bool]] = {}
        for _, entry in history.entries:
            if entry[1] == "event":
                self._events[entry[2]] = entry[0], entry[3], entry[4] or {}, entry[5]
            elif entry[1] == "done":
                self._done[entry[2]] = entry[0], bool(entry[3])

    def _find(self, row: Row) -> int | None:
        """The serial of the event of a row."""
        env = dict(word.partition("=")[::2] for word in row.env)
        best, found = NEAR, None
        for serial, (begin, name, known, _) in self._events.items():
            if name != row.name or not _alike(known, env):
                continue
            end = self._done.get(serial, (begin, False))[0]
            away = abs(end + self._offset - row.time)
            if away < best:
                best, found = away, serial
        return found

    def of_event(self, row: Row) -> Iterator[Part]:
        serial = self._find(row)
        if serial is None:
            return
        begin, _, _, who = self._events[serial]
        lines = [("Emitted by", self._who(who))]
        end = self._done.get(serial)
        if end is None:
            lines.append(("Finished", "at once: nothing waited for it"))
        else:
            failed = ", and something failed" if end[1] else ""
            lines.append(("Finished", f"after {end[0] - begin:.3f} seconds{failed}"))
        yield "Event", lines
        done: list[Line] = []
        held: list[Line] = []
        for _, entry in self._history.entries:
            if entry[1] == "goal" and _names(entry[4], serial):
                done.append((instance(entry[2]), "Started" if entry[3] == "start" else "Stopped"))
            elif entry[1] == "half" and entry[4] == serial:
                held.append((instance(entry[2]), f"It is a part of {entry[3]} on, which waits for more"))
            elif entry[1] == "freed" and entry[3] == serial:
                held.append((instance(entry[2]), "Waits for it no longer"))
        if done:
            yield "What it started and stopped", _some(done)
        if end is not None and done:
            held = [(name, "Until it had come to rest") for name, _ in done] + held
        if held:
            yield "What it was held by", _some(held)

    def of_job(self, row: Row) -> Iterator[Part]:
        why: Any = None
        goal = ""
        for _, entry in self._history.entries:
            # What is told of it may come before the row by a moment, and not after.
            if entry[0] + self._offset > row.time + 0.05:
                break
            if entry[1] == "goal" and (entry[2][1], entry[2][2] or "") == (row.name, row.instance):
                goal, why = entry[3], entry[4]
        if goal:
            yield "Why", [(f"Goal {goal}", f"By {self._who(why)}")]

    def _who(self, who: Any) -> str:
        """Who did it, or why it came about, in words."""
        if who is None:
            return "init itself"
        if isinstance(who, str):
            return _CAUSES.get(who, who)
        if isinstance(who, int):
            return f"the event {self._named(who)}"
        if who and who[0] == "client":
            _, uid, pid, program, parent, of = who
            text = f"{program or 'a program'}{f', process {pid}' if pid else ''} of user {uid}"
            if parent:
                text += f", called by {parent}"
            return text + (f", for the job {instance(of)}" if of else "")
        if who and who[0] == "fifo":
            return "a line in /run/upstart/events"
        return f"the events {', '.join(self._named(each) for each in who if isinstance(each, int))}"

    def _named(self, serial: int) -> str:
        event = self._events.get(serial)
        if event is None:
            return "that init has forgotten"
        env = " ".join(f"{key}={value}" for key, value in event[2].items() if value is not None)
        return f"{event[1]} {env}".rstrip()


def _alike(known: dict[str, str | None], env: dict[str, str]) -> bool:
    """Whether an event may have these variables, of which the history has what is not too long or too secret."""
    for key, value in known.items():
        if value is None or value.endswith("...") or key.endswith("..."):
            continue
        if env.get(key) != value:
            return False
    return True


def _names(why: Any, serial: int) -> bool:
    """Whether a cause is, or is among others, this event."""
    return why == serial or (isinstance(why, list) and bool(why) and isinstance(why[0], int) and serial in why)


def _some(lines: list[Line]) -> list[Line]:
    """The first of them, and how many more there are."""
    lines = list(dict.fromkeys(lines))
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], (f"{more} more", "")]
