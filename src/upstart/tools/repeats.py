"""What repeats itself in the starts of a simulation that had to be ended: the beginning, and one round of the circle.

What is always true here: a round is told only if it was seen three times, the last time at the very end.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.tools.simulation import Began, Simulation

#: As many rounds make a circle.
ROUNDS = 3
#: As many starts are told where nothing repeats itself.
MOST = 40


def split(simulation: Simulation) -> tuple[list[Began], list[Began]]:
    """The starts that are to be told, and those of one round of what goes on for ever."""
    begun = simulation.begun
    if not simulation.restless:
        return begun, []
    what = [(began.display, began.events) for began in begun]
    length = _round(what)
    if not length:
        return begun[:MOST], []
    first = len(what) - ROUNDS * length
    while first and what[first - 1] == what[first - 1 + length]:
        first -= 1
    return begun[:first], begun[first : first + length]


def _round(what: Sequence[object]) -> int:
    """The number of elements of the shortest round in which a sequence ends; 0 if there is none."""
    for length in range(1, len(what) // ROUNDS + 1):
        last = what[-length:]
        if all(what[-length * (n + 1) : -length * n] == last for n in range(1, ROUNDS)):
            return length
    return 0


def names(simulation: Simulation) -> set[str]:
    """The instances that are started again and again."""
    return {began.display for began in split(simulation)[1]}
