"""One turn of the daemon: the engine settles, and what it asks for is performed.

What is always true here: the engine settles once a turn, after all inputs of the turn, and nobody but this has it run
or takes its effects.  They are performed in their order, with one exception: processes to be started wait in a queue
of their own, for each takes a thousand times as long as anything else, and nothing but that process itself depends on
it; what is stopped while it waits there is not started.  So a thousand jobs on one event keep no answer waiting, and a
moment with nothing left but processes to start can be reached at once, however many those are.  Performing is cut into
slices of `SLICE` seconds, which leave room for clients in between.
"""

from __future__ import annotations

import time

from upstart.daemon.running import name_of
from upstart.engine.effects import CancelSpawn, CloseFd, Spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from upstart.engine.data import Instance
    from upstart.engine.effects import Effect
    from upstart.engine.engine import Engine
else:
    # The public module makes named tuples and loads what those need.
    from _collections import deque

#: Seconds.  A client that connects and asks something has to wait for six of them.
SLICE = 0.005
#: Seconds of one in which no more than so many processes are waiting: jobs that start alone are not seen half started.
LAST_SLICE = 0.02
FEW = 4
FIRST_SECONDS = 1.0


class Turn:
    """The turns of one daemon.

    ``perform`` performs an effect, ``fault`` gets what one raises; ``settled`` () is called when the engine is at rest
    and its effects are performed, and says whether that gave it more to do.
    """

    __slots__ = ("_done", "_engine", "_fault", "_held", "_perform", "_queued", "_settled", "_starts", "_taken")

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
        #: Processes to be started; and descriptors to be closed, which one of those before them may be given.
        self._starts: deque[Spawn | CloseFd] = deque()
        #: Those processes of them whose start has not been cancelled since.
        self._queued: dict[tuple[Instance, str], Spawn] = {}
        self._held = False
        #: What was taken from the engine, and how much of that has had its turn.
        self._taken: list[Effect] = []
        self._done = 0

    def recover(self) -> None:
        """After a turn that was cut short: what it has not come to is the engine's again."""
        if self._done < len(self._taken):
            self._engine.put_back(self._taken[self._done :])
        self._done = len(self._taken)

    def waiting(self) -> list[tuple[int, str]]:
        """The processes whose turn to be started is still to come: serial of their instance, and name."""
        return [(instance.serial, process) for instance, process in self._queued]

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
        engine, starts = self._engine, self._starts
        deadline = 0.0
        while True:
            more = engine.run()
            self._done, self._taken = 0, engine.take_effects()
            effects = self._taken
            if not effects and not more and (self._held or not starts):
                break
            deadline = deadline or time.monotonic() + SLICE
            while self._done < len(effects):
                effect = effects[self._done]
                self._done += 1
                self._begin(effect)
                if not self._done & 15 and time.monotonic() > deadline:
                    self.recover()
                    return True
            while starts and not self._held:
                self._start_next()
                if (now := time.monotonic()) > deadline and (len(starts) > FEW or now > deadline + LAST_SLICE - SLICE):
                    return True
            if more and time.monotonic() > deadline:
                return True
        return self._settled()

    def _begin(self, effect: Effect) -> None:
        if isinstance(effect, Spawn):
            self._queue(effect)
        elif isinstance(effect, CloseFd) and self._starts:
            self._starts.append(effect)
        elif isinstance(effect, CancelSpawn) and (effect.instance, effect.process) in self._queued:
            del self._queued[effect.instance, effect.process]
            self._engine.spawn_withdrawn(effect.instance, effect.process)
        else:
            self._do(effect)

    def _queue(self, effect: Spawn) -> None:
        # In this order: what is cut short in between is asked for again.
        self._starts.append(effect)
        self._queued[effect.instance, effect.process] = effect

    def _start_next(self) -> None:
        """Perform what was queued first, unless it was cancelled, or asked for once more, since."""
        effect = self._starts[0]
        wanted = True
        if isinstance(effect, Spawn):
            key = effect.instance, effect.process
            wanted = self._queued.get(key) is effect
            if wanted:
                # In this order: what is cut short in between is nobody's to start, and asked for again.
                del self._queued[key]
        self._starts.popleft()
        if wanted:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        try:
            self._perform(effect)
        except Exception as error:
            self._fault(error)
            if isinstance(error, MemoryError) and not isinstance(effect, Spawn):
                self._do_again(effect)

    def _do_again(self, effect: Effect) -> None:
        """Memory lacked, and there is some now: nobody else would perform it, but for processes, which are asked for
        again by what mends the engine."""
        try:
            self._perform(effect)
        except Exception:
            pass

    def hold(self) -> None:
        """Start no process until `release`: there is something to be done that needs the processor more."""
        self._held = True

    def release(self) -> None:
        """Start processes again; harmless where none is held."""
        self._held = False

    def leave_processes(self) -> None:
        """Perform all that the engine asks for but the start of processes.

        What events have yet to do is not done either: jobs that start each other in a circle never come to rest.
        """
        while effects := self._engine.take_effects():
            for effect in effects:
                self._begin(effect)

    # Across a re-exec

    def dump(self) -> list[dict[str, Any]]:
        """The processes that are still to be started, in their order, and descriptors to be closed after some of
        them; all else has been performed."""
        saved: list[dict[str, Any]] = []
        for effect in self._starts:
            if isinstance(effect, Spawn):
                of = [*name_of(effect.instance), effect.process]
                if self._queued.get((effect.instance, effect.process)) is effect:
                    saved.append({"of": of, "env": effect.env, "fds": list(effect.fds)})
            else:
                saved.append({"close": effect.fd})
        return saved

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return [effect.fd for effect in self._starts if isinstance(effect, CloseFd)]

    def restore(self, saved: list[dict[str, Any]], find: Callable[[list[Any]], Instance]) -> None:
        """Take over what `dump` gave; ``find`` gives the instance that the beginning of an ``of`` says."""
        for entry in saved:
            if "close" in entry:
                self._starts.append(CloseFd(entry["close"]))
            else:
                of = entry["of"]
                self._queue(Spawn(find(of), of[-1], entry["env"], tuple(entry["fds"])))
