"""Configuration that could not be read for want of something: memory, descriptors, a disk that works.

What is always true here: as long as something is lacking all is looked at again, first after a second, then less and
less often, at least once a minute; what is wrong is said once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

#: Seconds until the first look again, and at most until any.
FIRST_SECONDS = 1.0
MOST_SECONDS = 60.0


class Lacking:
    """What is lacking to one daemon; ``again`` () is called to have all looked at again."""

    __slots__ = ("_again", "_loop", "_seconds", "_timer")

    def __init__(self, loop: Loop, again: Callable[[], object]) -> None:
        self._loop = loop
        self._again = again
        self._seconds = FIRST_SECONDS
        self._timer = -1

    def see(self, lacks: bool) -> None:
        """Something is lacking after a look, or nothing is."""
        if not lacks:
            self._loop.remove(self._timer)
            self._timer = -1
            self._seconds = FIRST_SECONDS
        elif self._timer < 0:
            self._timer = self._loop.call_later(self._seconds, self._look)
            self._seconds = min(2 * self._seconds, MOST_SECONDS)

    def _look(self) -> None:
        self._timer = -1
        self._again()
