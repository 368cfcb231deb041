"""Names that are slips of the pen, of which another was meant.

What is always true here: few letters differ, in a name that is long enough for that to be no accident.
"""

from __future__ import annotations

from upstart.base.emitters import EMITTERS
from upstart.base.glob import is_literal
from upstart.base.names import JOB_EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: The shortest name whose likeness to another is no accident, and the one where two letters are none.
_SHORTEST, _LONG = 7, 12
#: As many other letters only make a slip likely.
LIKELY = 3
_DIGITS = str.maketrans("123456789", "000000000")


def nearest(name: str, names: Iterable[str], most: int = 0) -> str:
    """The name among ``names`` of which ``name`` must be a slip; empty where there is none.

    ``most`` letters may be other ones; by itself that is one, and two of a long name.
    """
    if len(name) < _SHORTEST and most < LIKELY:
        return ""
    best, distance = "", most or 1 + (len(name) >= _LONG)
    for other in names:
        if abs(len(other) - len(name)) <= distance and is_literal(other):
            found = _distance(name, other, distance)
            # What differs in a number is another of the same kind.
            if found and found <= distance - bool(best) and name.translate(_DIGITS) != other.translate(_DIGITS):
                best, distance = other, found
    return best


def job_event_meant(name: str) -> str:
    """The event of jobs that lacks one letter in a name too short for `nearest`; empty where none does."""
    if len(name) >= _SHORTEST:
        return ""
    return next((other for other in JOB_EVENTS if len(other) > len(name) and _distance(name, other, 1) == 1), "")


def event_meant(name: str) -> str:
    """The event of the manual, or of jobs, that must be meant by a name which is neither; empty where there is none."""
    if name in EMITTERS or name in JOB_EVENTS:
        return ""
    return nearest(name, EMITTERS) or nearest(name, JOB_EVENTS) or job_event_meant(name)


def _distance(one: str, other: str, most: int) -> int:
    """How many letters were left out, put in, changed, or exchanged with the next; more than ``most`` is one more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
