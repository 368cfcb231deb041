"""The jobs at the end of a machine: which init has yet to stop, and that none is waited for without end.

What is always true here: a main process has its kill timeout, a minute at most, and `GRACE` seconds from then on,
more only as long as data are written to disks; whatever else is waited for has `GRACE` seconds, is then ended by force,
has as much again, and is left; a task that belongs to the end has as long as a script.  An init that re-executes itself
is waited for, and asked again; without one that can say, nothing is.
"""

from __future__ import annotations

import time

from upstart.base.errors import DBusError
from upstart.base.names import DISCONNECTED, NO_EXTENSION, NO_REPLY, listed
from upstart.client.history import read_saved
from upstart.sysv import change
from upstart.sysv.hanging import unwritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from upstart.client.init import Init

    T = TypeVar("T")

#: Seconds: what has no limit of its own may take; the longest kill timeout at the end of a machine, and some more.
GRACE, LONGEST = 5.0, 65.0
#: Between two questions, until jobs are named, and until they are named again, which is twice as long each time.
SHORTEST, LONGEST_PAUSE = 0.02, 0.1
NAMED_AFTER, NAMED_AGAIN = 5.0, 10.0
#: The job that runs scripts, which has limits of its own.
SCRIPTS = "rc"
#: How it stands with a job (`upstart.engine.rest`).
ENDS, KILLED, STOPS, WORKS = "ends", "killed", "stops", "works"


class EndJobs:
    """Asks init, with *env* for what jobs are stopped with; *say* gets a line about what takes long.

    *limit* is what a task may take, in seconds, 0 for ever.
    """

    __slots__ = ("_env", "_init", "_killed", "_left", "_limit", "_say", "_unwritten")

    def __init__(self, limit: float, env: Sequence[str], say: Callable[[str], object]) -> None:
        self._limit = limit
        self._env = env
        self._say = say
        self._init: Init | None = None
        #: Jobs that are waited for no longer.
        self._left: set[str] = set()
        #: Since when the kernel has yet to end a job's process that was killed, and nothing was written meanwhile; and
        #: how much there was to write at the last look.
        self._killed: dict[str, float] = {}
        self._unwritten = 0

    def restart(self, seconds: float) -> None:
        """Have init execute itself again."""
        self._ask(lambda init: init.restart(seconds), once=True)

    def emit(self, event: str) -> None:
        """Emit an event; `settle` waits for what comes of it."""
        self._ask(lambda init: init.emit(event, wait=False))

    def history(self) -> str:
        """What init remembers, as it is saved (`upstart.client.history`); empty where it cannot say."""

        def ask(init: Init) -> str:
            try:
                return read_saved(init.connection)
            except DBusError as error:
                if error.name in NO_EXTENSION:
                    return ""
                raise

        return self._ask(ask) or ""

    def pids(self) -> list[int]:
        """The processes of jobs."""
        found = self._ask(lambda init: list(init.all_status())) or []
        return [pid for status in found for _, pid in status.processes]

    def settle(
        self, stop: bool = False, spared: Sequence[int] = (), later: Sequence[str] = (), beside: Sequence[str] = ()
    ) -> None:
        """Wait until no job is on its way, but those *beside*; with *stop*, and none runs but who is *spared*, whose
        job or an event of whose "stop on" is named in *later*, or who belongs to the end."""
        began = time.monotonic()
        named = began + NAMED_AFTER
        unlimited: float | None = None
        force = False
        pause = SHORTEST
        while True:
            found = self._rest(stop, force, spared, later)
            left = {job: how for job, how in found if job not in self._left and job not in beside}
            if not left:
                return
            now = time.monotonic()
            kinds = {WORKS if job == SCRIPTS else how for job, how in left.items()}
            if now - began >= LONGEST and not kinds.isdisjoint((ENDS, KILLED)):
                self._leave(job for job, how in left.items() if how in (ENDS, KILLED))
            else:
                self._leave_killed({job for job, how in left.items() if how == KILLED}, now)
            tasks = [job for job, how in left.items() if how == WORKS and job != SCRIPTS]
            if self._limit and tasks and now - began >= self._limit:
                self._leave(tasks)
            if not kinds <= {STOPS, KILLED} or STOPS not in kinds:
                unlimited = None
            elif unlimited is None:
                unlimited = now
            elif now - unlimited >= GRACE:
                if not stop:
                    return  # who stops the others has these forced
                if force:
                    self._leave(job for job, how in left.items() if how == STOPS)
                force, unlimited = True, None
            waited_for = sorted(left.keys() - self._left)
            if now >= named and waited_for:
                named = now + max(now - began, NAMED_AGAIN)
                self._say(f"Waiting for jobs: {listed(waited_for)}")
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _rest(
        self, stop: bool, force: bool, spared: Sequence[int], later: Sequence[str]
    ) -> list[tuple[str, str]]:
        return self._ask(lambda init: init.rest(stop, force, self._env, spared, later)) or []

    def _leave_killed(self, jobs: set[str], now: float) -> None:
        """Leave those whose process nothing ends: as a rule it waits for a device, and what it has yet to write there,
        which it may, is waited for."""
        if not jobs:
            self._killed.clear()
            return
        before, self._unwritten = self._unwritten, unwritten()
        since = now if self._unwritten < before else 0.0
        self._killed = {job: max(since, self._killed.get(job, now)) for job in jobs}
        given_up = [job for job, began in self._killed.items() if now - began >= GRACE]
        if given_up:
            self._leave(given_up)

    def _leave(self, jobs: Iterable[str]) -> None:
        names = sorted(jobs)
        self._say(f"No longer waiting for jobs: {listed(names)}")
        self._left.update(names)

    def _ask(self, question: Callable[[Init], T], once: bool = False) -> T | None:
        """An answer of init's; None where it has none for us."""
        for _ in range(3):
            try:
                if self._init is None:
                    self._init = change.reconnect()
                    self._init.quiet()
                return question(self._init)
            except DBusError as error:
                lost = error.name in (DISCONNECTED, NO_REPLY)
                if lost or once:
                    self._init = None
                if not lost:
                    self._say(error.message)
                if not lost or once:
                    return None
        return None
