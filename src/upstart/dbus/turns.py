"""Whose turn it is: work for clients that takes long is done in slices of time, in turns.

What is always true here: in a turn of the loop no client's work gets more than a slice of `SLICE` seconds, nor all
of it together more than `TURN`; what is left over comes in the next turn, behind that of the others.  Root and our own
user have a queue of their own, so that they never wait for a stranger on a bus.  A slice ends between two steps of a
work, each of which is short.  Whoever has not had a turn lately need not come here: its calls are answered at once.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from upstart.base.loop import Loop

    class Worker(Protocol):
        """Something to be done in slices."""

        def resume(self, deadline: float) -> bool:
            """Go on until that time of the monotonic clock; true if there is more to do."""


#: Seconds.
SLICE = 0.002
TURN = 0.006


class Turns:
    """The queues of one loop."""

    __slots__ = ("_due", "_loop", "_others", "_trusted", "long")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._trusted: list[Worker] = []
        self._others: list[Worker] = []
        self._due = False
        #: Who has a long message unpacked.  Its values take ten times the memory of its bytes: one at a time.
        self.long: Worker | None = None

    def join(self, worker: Worker, trusted: bool) -> None:
        """Have ``worker``, which is in no queue, resumed in its turn."""
        (self._trusted if trusted else self._others).append(worker)
        self._schedule()

    def trust(self, worker: Worker) -> None:
        """Root or our own user it is, as we know now."""
        if worker in self._others:
            self._others.remove(worker)
            self._trusted.append(worker)

    def crowded(self) -> bool:
        """Whether strangers wait."""
        return bool(self._others)

    def _schedule(self) -> None:
        if not self._due and (self._trusted or self._others):
            self._due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        try:
            self._serve(self._trusted)
            self._serve(self._others)
        finally:
            self._schedule()

    @staticmethod
    def _serve(queue: list[Worker]) -> None:
        now = monotonic()
        end = now + TURN
        for _ in range(len(queue)):
            worker = queue.pop(0)
            if worker.resume(now + SLICE):
                queue.append(worker)
            now = monotonic()
            if now > end:
                return
