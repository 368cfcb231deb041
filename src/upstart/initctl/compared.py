"""Two boots beside each other: what has become slower, and in what.

What is always true here: a difference that is less than `LEAST` seconds, or less than a fifth, is none.
"""

from __future__ import annotations

from upstart.client.words import duration
from upstart.initctl.boots import states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.boots import Period, Took

LEAST = 0.05
SHARE = 0.2
#: What a state means for who asks why.
MEANING = {
    "starting": "others held its event starting",
    "security": "its security profile",
    "pre-start": "its pre-start",
    "spawned": "its main process took longer to be ready",
    "post-start": "its post-start",
    "running": "its work",
    "pre-stop": "its pre-stop",
    "stopping": "others held its event stopping",
    "killed": "its main process took longer to end",
    "post-stop": "its post-stop",
}


class Difference:
    """An instance in both: how long it took, and how much later it began and had settled, in seconds."""

    __slots__ = ("after", "before", "later", "name", "why")

    def __init__(self, name: str, before: float, after: float, later: float, why: str) -> None:
        self.name = name
        self.before = before
        self.after = after
        self.later = later
        self.why = why

    @property
    def more(self) -> float:
        """How much longer it took."""
        return self.after - self.before


def differences(first: Period, second: Period) -> tuple[list[Difference], list[str], list[str]]:
    """What took another time, most of all first; what is only in the second, and only in the first."""
    before, after = _by_name(first), _by_name(second)
    found = []
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            continue
        old_time, new_time = old.seconds(first.story.history.clock), new.seconds(second.story.history.clock)
        more = new_time - old_time
        if abs(more) < max(LEAST, SHARE * old_time):
            continue
        later = (new.began - second.began) - (old.began - first.began)
        found.append(Difference(name, old_time, new_time, later, _why(old, new, first, second, more)))
    found.sort(key=lambda each: -abs(each.more))
    return found, [name for name in after if name not in before], [name for name in before if name not in after]


def _by_name(period: Period) -> dict[str, Took]:
    found: dict[str, Took] = {}
    for took in period.took:
        found.setdefault(took.life.name, took)
    return found


def _why(old: Took, new: Took, first: Period, second: Period, more: float) -> str:
    """In which state the time went, and what its process used more of."""
    spent = [_spent(took, period) for took, period in ((old, first), (new, second))]
    changes = {state: spent[1].get(state, 0.0) - spent[0].get(state, 0.0) for state in {*spent[0], *spent[1]}}
    if not changes:
        return "its states are not known"
    state = max(changes, key=lambda each: changes[each] if more > 0 else -changes[each])
    text = f"{MEANING.get(state, state)} ({state} {duration(spent[0].get(state, 0.0))}, "
    text += f"now {duration(spent[1].get(state, 0.0))})"
    used = [sum(process.processor or 0.0 for process in took.life.processes) for took in (old, new)]
    moved = [sum((each.read or 0) + (each.written or 0) for each in took.life.processes) for took in (old, new)]
    if abs(used[1] - used[0]) > abs(more) / 2:
        text += f"; processor {duration(used[0])}, now {duration(used[1])}"
    elif abs(moved[1] - moved[0]) > 1 << 20:
        text += f"; disks {moved[0] >> 20} MiB, now {moved[1] >> 20} MiB"
    return text


def _spent(took: Took, period: Period) -> dict[str, float]:
    """Seconds in each state until it had settled."""
    found: dict[str, float] = {}
    until = took.settled if took.settled is not None else period.story.history.clock
    for began, ended, state in states(took.life, period.story.history.clock):
        if began < until:
            found[state] = found.get(state, 0.0) + min(ended, until) - began
    return found
