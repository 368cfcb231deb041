"""What init remembers of a row: who emitted an event, what it started and stopped, whom it waited for; why a job moved.

What is always true here: it is pure.  Of an event the history knows when it was emitted and, if something held it, when
it had finished, as the row does: of several that are alike the one is meant whose end is nearest to the row's time.
"""

from __future__ import annotations

from upstart.client.story import Story, shown
from upstart.client.words import cause_of, duration, who
from upstart.monitor.rows import EVENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.client.history import History
    from upstart.client.story import Emitted
    from upstart.monitor.rows import Row

    #: A name and what is said of it.
    Line = tuple[str, str]
    #: A title, and what stands below it.
    Part = tuple[str, list[Line]]

#: Seconds between what init notes and what comes of it here.
NEAR = 5.0
#: What is told of an instance may come before its row by so many seconds, and not after it.
SOON = 0.05
#: Lines of one kind.
MOST = 30


def parts(history: History, row: Row) -> list[Part]:
    """What there is to say about a row, as titles with lines; nothing if the history does not know it."""
    past = _Past(history)
    return list(past.of_event(row) if row.kind == EVENT else past.of_job(row))


class _Past:
    def __init__(self, history: History) -> None:
        self._history = history
        self._story = Story(history)

    def _find(self, row: Row) -> Emitted | None:
        """The event of a row."""
        env = dict(word.partition("=")[::2] for word in row.env)
        best, found = NEAR, None
        for event in self._story.by_name.get(row.name, ()):
            end = event.done if event.done is not None else event.at
            away = abs(self._story.wall(end) - row.time)
            if away < best and _alike(event.env or {}, env):
                best, found = away, event
        return found

    def of_event(self, row: Row) -> Iterator[Part]:
        story = self._story
        event = self._find(row)
        if event is None:
            return
        lines = [("Emitted by", who(event.by, story))]
        if event.done is None:
            lines.append(("Finished", "at once: nothing waited for it"))
        else:
            failed = ", and something failed over it" if event.failed else ""
            lines.append(("Finished", f"after {duration(event.done - event.at)}{failed}"))
        yield "Event", lines
        goals = story.caused(event.serial)
        done = [(shown(goal.of), "Started" if goal.goal == "start" else "Stopped") for goal in goals]
        held = [
            (shown(of), f"It is a part of {which} on, which waits for more")
            for _, of, which, serial in story.half
            if serial == event.serial
        ]
        for _, entry in self._history.entries:
            if entry[1] == "freed" and entry[3] == event.serial:
                held.append((shown(entry[2]), "Waits for it no longer"))
        if done:
            yield "What it started and stopped", _some(done)
        if event.done is not None and done:
            held = [(name, "Until it had come to rest") for name, _ in done] + held
        if held:
            yield "What it was held by", _some(held)

    def of_job(self, row: Row) -> Iterator[Part]:
        last = None
        for goal in self._story.all_goals:
            if self._story.wall(goal.at) > row.time + SOON:
                break
            if (goal.of[1], goal.of[2] or "") == (row.name, row.instance):
                last = goal
        if last is not None:
            why = cause_of(last, self._story)
            yield "Why", [(f"Goal {last.goal}", why[:1].upper() + why[1:])]


def _alike(known: dict[str, str | None], env: dict[str, str]) -> bool:
    """Whether an event may have these variables, of which the history has what is not too long or too secret."""
    for key, value in known.items():
        if value is None or value.endswith("...") or key.endswith("..."):
            continue
        if env.get(key) != value:
            return False
    return True


def _some(lines: list[Line]) -> list[Line]:
    """The first of them, and how many more there are."""
    lines = list(dict.fromkeys(lines))
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], (f"{more} more", "")]
