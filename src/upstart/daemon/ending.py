"""The end of the machine: which callers are part of it, and what it waits for.

Process 1 knows no runlevels: who changes the runlevel says by `Ending.emit` that the machine ends, and that it does not
where that is taken back.  What is always true here: while it ends, a job is started by name only by a process of what
ends it; an instance that waits for its ``starting`` or ``stopping`` event is named every `LOOK_SECONDS`, and goes on
after `PATIENCE` seconds.
"""

from __future__ import annotations

import time

from upstart.base.names import listed
from upstart.base.priority import ERROR
from upstart.daemon.callers import instance_of
from upstart.engine.core import CommandError
from upstart.engine.rest import unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.engine.data import Event
    from upstart.engine.engine import Engine

LOOK_SECONDS = 10.0
PATIENCE = 60.0


class Ending:
    """The end of the machine, where it has begun."""

    __slots__ = ("_engine", "_log", "_loop", "_waiting", "_watch")

    def __init__(self, engine: Engine, loop: Loop, log: Callable[[int, str], object]) -> None:
        self._engine = engine
        self._loop = loop
        self._log = log
        #: Since when instances wait, by their serial.
        self._waiting: dict[int, float] = {}
        self._watch = -1

    def emit(self, name: str, env: dict[str, str], ending: bool, by: object) -> None:
        """Emit the event with which the machine ends, or with which it goes on; ``by`` is who asks."""
        self._engine.set_ending(ending)
        self._engine.emit(name, env, last=ending, by=by)
        self.watch()

    def belongs(self, pid: int) -> bool:
        """Whether a process is one of what ends the machine, or a child of such a one; 0 is nobody's."""
        if not self._engine.ending:
            return False
        instance = instance_of(self._engine, pid)
        return instance is not None and instance.last

    def check_start(self, pid: int) -> None:
        """Raise CommandError where the process ``pid`` may not start a job now."""
        if self._engine.ending and not self.belongs(pid):
            raise CommandError("Ending", "The machine is being shut down: only what does that may start jobs")

    def rest(
        self,
        pid: int,
        stop: bool,
        force: bool,
        env: dict[str, str],
        spared: list[int],
        later: list[str],
        by: object = None,
    ) -> list[tuple[str, str]]:
        """What is on its way, and how it stands with each (`upstart.engine.rest`), but the job that asks, by its
        process ``pid``.

        With ``stop`` what is no part of the end is stopped first, with ``env``; with ``force`` no process is waited for
        longer than a kill timeout then.
        """
        engine = self._engine
        if stop:
            engine.stop_rest(force, spared, later, env, by)
        asks = instance_of(engine, pid)
        return [(each.display, how) for each, how in unfinished(engine.instances(), spared) if each is not asks]

    def watch(self) -> None:
        """Look from now on, while the machine ends, at what it waits for."""
        if self._engine.ending and self._watch < 0:
            self._watch = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._watch = -1
        engine = self._engine
        if not engine.ending:
            self._waiting.clear()
            return
        self.watch()
        now = time.monotonic()
        before, self._waiting = self._waiting, {}
        for instance in list(engine.instances()):
            blocker = instance.blocker
            if blocker is None or not (instance.last or instance.goal == "stop"):
                continue
            since = self._waiting[instance.serial] = before.get(instance.serial, now)
            holders = self._holders(blocker)
            if now - since >= PATIENCE:
                self._log(ERROR, f"{instance.display} waits no longer for {holders}")
                engine.wait_no_longer(instance)
            elif instance.serial in before:
                left = int(PATIENCE - (now - since))
                self._log(ERROR, f"{instance.display} waits for {holders}, for at most {left} seconds more")

    def _holders(self, event: Event) -> str:
        """The jobs that hold an event, for people."""
        names = [
            instance.display
            for instance in self._engine.instances()
            if any(blocked.event is event for blocked in instance.blocking)
        ]
        return listed(names) or f"the event {event.name}, which a half-met condition holds"
