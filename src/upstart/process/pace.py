"""Whether init should move itself into a cgroup and out again to start a process there, or fork.

A move that does not closely follow another makes the kernel wait for an RCU grace period, some 10 ms in which init does
nothing else, unless the hierarchy is mounted with favordynmods; one that does follow takes microseconds.  So, once
a move was slow: in a burst of starts init moves itself, and pays for the first; a lone start does without.
"""

from __future__ import annotations

#: Seconds: a move that takes longer has waited for a grace period.
SLOW = 0.002
#: Seconds after a move within which the next does not wait, on kernels as Debian configures them, and within which
#: starts make up a burst; less where it was seen to wait.
WARM = 0.01
#: So many starts in close succession make it likely that more follow.
BURST = 4
#: Seconds of rest after which a quick move means that moves are always quick.
COLD = 0.1


class Pace:
    """The record of moves; all times are seconds of the monotonic clock."""

    __slots__ = ("_asked", "_costly", "_moved", "_run", "_warm")

    def __init__(self) -> None:
        self._costly = False
        self._warm = WARM
        self._moved = self._asked = float("-inf")
        self._run = 0

    def worth_moving(self, now: float) -> bool:
        """Whether the start that is due now should be made by moving."""
        self._run = self._run + 1 if now - self._asked < self._warm else 0
        self._asked = now
        return not self._costly or now - self._moved < self._warm or self._run >= BURST

    def moved(self, began: float, ended: float, waited: bool) -> None:
        """Learn from a move; ``waited``: init slept in it, and was not merely kept from the processor."""
        rest = began - self._moved
        if waited and ended - began > SLOW:
            self._costly = True
            if rest < self._warm:
                self._warm = max(self._warm / 2, SLOW / 2)
        elif rest > COLD:
            self._costly = False
        elif rest < self._warm:
            self._warm = min(self._warm * 1.1, WARM)
        self._moved = ended
