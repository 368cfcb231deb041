"""The machine's clocks, for the history: what its times were on the wall.

What is always true here: the engine's clock stands still while the machine sleeps, and nobody sets it; the history has
how far the other two are from it, and has it anew whenever that has changed by more than `NOTICED` seconds.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.engine import Engine

#: Seconds.  A clock that is set little by little is noted each time that it has come that far.
NOTICED = 0.5


class Clocks:
    """Looks at them for ``engine``."""

    __slots__ = ("_engine", "_suspended", "_wall")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._suspended = self._wall = float("-inf")

    def look(self) -> None:
        """Note what has changed since the last look; costs next to nothing where nothing has."""
        now = time.monotonic()
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        wall = time.time() - boot
        if abs(boot - now - self._suspended) > NOTICED or abs(wall - self._wall) > NOTICED:
            self._suspended, self._wall = boot - now, wall
            self._engine.note_clock(round(self._suspended, 6), round(wall, 6))

    def dump(self) -> list[float]:
        """What was noted last."""
        return [self._suspended, self._wall]

    def restore(self, saved: list[float]) -> None:
        """Go on from what `dump` gave."""
        self._suspended, self._wall = saved
