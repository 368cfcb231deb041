"""Who waits for a pass over configuration, or for a time after which it is waited for no longer.

What is always true here: each is told once, and one that cannot be told keeps nobody else from it.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop


class Waiters:
    """Those who wait, in the order in which they came; true while there are any."""

    __slots__ = ("_loop", "_timer", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._timer = -1
        #: The pass that is waited for, and until when.
        self._waiting: list[tuple[int, float, Callable[[], object]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, serial: int, deadline: float, go_on: Callable[[], object]) -> None:
        """Call ``go_on`` when the pass of that number is done, or at ``deadline`` on the monotonic clock."""
        self._waiting.append((serial, deadline, go_on))
        if self._timer < 0:
            self._wake_at(deadline)

    def _wake_at(self, deadline: float) -> None:
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._timed_out)

    def _timed_out(self) -> None:
        self._timer = -1
        try:
            self.release(-1)
        finally:
            if self._waiting:
                self._wake_at(min(each[1] for each in self._waiting))

    def release(self, serial: int) -> None:
        """The pass of that number is done: call back for all who waited for it, or no longer wait."""
        now, at = time.monotonic(), 0
        while at < len(self._waiting):
            if self._waiting[at][0] <= serial or self._waiting[at][1] <= now:
                self._waiting.pop(at)[2]()
            else:
                at += 1
