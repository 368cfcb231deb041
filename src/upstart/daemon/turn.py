"""One turn of the daemon: the engine settles, and what it asks for is performed.

What is always true here: the engine settles once a turn, after all inputs of the turn, and nobody but this has it run
or takes its effects.  Performing them is cut into slices of `SLICE` seconds, so that a thousand jobs on one event leave
room for clients in between.  What is left over is the engine's to keep until the next turn, in its order, and a moment
with nothing left but processes to start can be reached at once, however many those are.
"""

from __future__ import annotations

import time

from upstart.daemon.children import name_of
from upstart.engine.effects import Spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.engine.data import Instance
    from upstart.engine.effects import Effect
    from upstart.engine.engine import Engine

#: Seconds.
SLICE = 0.02
FIRST_SECONDS = 1.0


class Turn:
    """The turns of one daemon.

    ``perform`` performs an effect, ``fault`` gets what one raises; ``settled`` () is called when the engine is at rest
    and its effects are performed, and says whether that gave it more to do.
    """

    __slots__ = ("_engine", "_fault", "_perform", "_settled")

    def __init__(
        self,
        engine: Engine,
        perform: Callable[[Effect], object],
        fault: Callable[[BaseException], object],
        settled: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._perform = perform
        self._fault = fault
        self._settled = settled

    def settle_first(self) -> None:
        """Start what the first events start, for at most `FIRST_SECONDS`: jobs may go on starting each other."""
        deadline = time.monotonic() + FIRST_SECONDS
        try:
            while self.settle() and time.monotonic() < deadline:
                pass
        except Exception as error:
            self._fault(error)

    def settle(self) -> bool:
        """Run the engine and perform its effects for at most a slice of time; true if there is more to do."""
        engine, perform = self._engine, self._perform
        deadline = 0.0
        while True:
            more = engine.run()
            effects = engine.take_effects()
            if not effects and not more:
                break
            deadline = deadline or time.monotonic() + SLICE
            for done, effect in enumerate(effects, 1):
                try:
                    perform(effect)
                except Exception as error:
                    self._fault(error)
                if not done & 15 and time.monotonic() > deadline:
                    engine.put_back(effects[done:])
                    return True
            if more and time.monotonic() > deadline:
                return True
        return self._settled()

    def leave_processes(self) -> None:
        """Perform all that the engine asks for but the start of processes, which may take long.

        Nothing else waits for a process that is not there yet, so this changes the order of nothing that matters.  What
        events have yet to do is not done either: jobs that start each other in a circle never come to rest.
        """
        engine = self._engine
        spawns: list[Effect] = []
        while effects := engine.take_effects():
            for effect in effects:
                if isinstance(effect, Spawn):
                    spawns.append(effect)
                    continue
                try:
                    self._perform(effect)
                except Exception as error:
                    self._fault(error)
        engine.put_back(spawns)

    # Across a re-exec

    def dump(self) -> list[dict[str, Any]]:
        """The processes that are still to be started, in their order; all else has been performed."""
        return [
            {
                "of": [*name_of(effect.instance), effect.process],
                "env": effect.env,
                "fds": list(effect.fds),
            }
            for effect in self._engine.effects
            if isinstance(effect, Spawn)
        ]

    def restore(self, saved: list[dict[str, Any]], find: Callable[[list[Any]], Instance]) -> None:
        """Take over what `dump` gave; ``find`` gives the instance that the beginning of an ``of`` says."""
        self._engine.put_back(
            [Spawn(find(entry["of"]), entry["of"][-1], entry["env"], tuple(entry["fds"])) for entry in saved]
        )
