"""Descriptors that init keeps for jobs: sockets that go on listening whatever becomes of who made them.

A program outside makes them, and has each kept for a job under a key of its choice; it says which of them the job is to
be given, and in which order.  Each main process of the job has those from then on as its descriptors from 3 on.

What is always true here: init does nothing with them but keep them open, give them, and give them back to who may ask
for that.  A key is known once for each job.  What is kept is bounded (`MOST`, `MOST_OF_JOB`), outlives a re-exec, and
ends when the job does not wait for the event any more that it was kept for.  Connections that come with an event are
the engine's: of these the keys are known here, until nobody has them any more.
"""

from __future__ import annotations

from upstart.base.closing import close_given
from upstart.base.names import INVALID_ARGS
from upstart.engine.condition import leaves
from upstart.engine.core import CommandError
from upstart.engine.effects import Announce

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine

#: Descriptors of one job (as many as one message brings) and of all, connections, and characters of a key or name.
MOST_OF_JOB = 16
MOST = 1024
MOST_CONNECTIONS = 4096
LONGEST = 512
#: The signals that tell of them.
FREE = "DescriptorsFree"
CLOSED = "ConnectionClosed"


class Kept:
    """A descriptor, and what it is called in LISTEN_FDNAMES; ``given``: the job gets it."""

    __slots__ = ("fd", "given", "name")

    def __init__(self, fd: int, name: str, given: bool) -> None:
        self.fd = fd
        self.name = name
        self.given = given


class Keeping:
    """What is kept for the jobs of one engine; ``announce`` sends a signal to all who listen."""

    __slots__ = ("_announce", "_connections", "_engine", "_events", "_jobs")

    def __init__(self, engine: Engine, announce: Callable[[Announce], object]) -> None:
        self._engine = engine
        self._announce = announce
        self._jobs: dict[str, dict[str, Kept]] = {}
        #: The event for which a job's were arranged.
        self._events: dict[str, str] = {}
        #: Descriptors of connections that came with events, and their keys.
        self._connections: dict[int, str] = {}

    def keep(self, job: str, key: str, name: str, fd: int) -> None:
        """Keep a descriptor, in the place of another of that key.  It is ours from now on, also where CommandError says
        that it is not kept."""
        try:
            self._check(job, key, name, fd)
        except CommandError:
            if fd >= 0:
                close_given(fd)
            raise
        of_job = self._jobs.setdefault(job, {})
        old = of_job.get(key)
        of_job[key] = Kept(fd, name, old is not None and old.given)
        if old is not None:
            close_given(old.fd)

    def _check(self, job: str, key: str, name: str, fd: int) -> None:
        if fd < 0:
            raise CommandError(INVALID_ARGS, "There is no descriptor")
        if (None, job) not in self._engine.jobs:
            raise CommandError("UnknownJob", f"Unknown job: {job}")
        if not 0 < len(key) <= LONGEST:
            raise CommandError("InvalidKey", f"A key has 1 to {LONGEST} characters")
        if len(name) > LONGEST or ":" in name or not name.isprintable():
            raise CommandError(INVALID_ARGS, "A name has printable characters, and no colon")
        of_job = self._jobs.get(job, {})
        if key in of_job:
            return
        if len(of_job) >= MOST_OF_JOB or sum(map(len, self._jobs.values())) >= MOST:
            raise CommandError("LimitsExceeded", f"There are {MOST_OF_JOB} descriptors of a job at most, {MOST} of all")

    def arrange(self, job: str, event: str, given: list[str], others: list[str]) -> bool:
        """Give the job these from now on, in this order, keep the others, and nothing else, for as long as it waits for
        the event; whether it has an instance."""
        of_job = self._jobs.get(job, {})
        for key in (*given, *others):
            if key not in of_job:
                raise CommandError("UnknownKey", f"Nothing is kept for {job} under the key {key}")
        self._drop(job)
        arranged = {key: Kept(of_job[key].fd, of_job[key].name, key in given) for key in (*given, *others)}
        if arranged:
            self._jobs[job], self._events[job] = arranged, event
        for key, kept in of_job.items():
            if key not in arranged:
                close_given(kept.fd)
        known = self._engine.jobs.get((None, job))
        return known is not None and bool(known.instances)

    def _drop(self, job: str) -> list[Kept]:
        self._events.pop(job, None)
        return list(self._jobs.pop(job, {}).values())

    def given(self, job: str) -> tuple[tuple[str, int], ...]:
        """What a main process of the job is given: names and descriptors."""
        of_job = self._jobs.get(job)
        return tuple([(kept.name, kept.fd) for kept in of_job.values() if kept.given]) if of_job else ()

    def of(self, job: str) -> list[tuple[str, str, int]]:
        """All that is kept for a job: key, name, descriptor."""
        return [(key, kept.name, kept.fd) for key, kept in self._jobs.get(job, {}).items()]

    @property
    def jobs(self) -> list[str]:
        """The jobs for which something is kept."""
        return list(self._jobs)

    @property
    def connections(self) -> list[str]:
        """The keys of the connections that somebody has yet."""
        return list(self._connections.values())

    def connected(self, key: str, fd: int) -> bool:
        """A connection is about to go with an event; false where it has gone with one already, and is closed here."""
        if fd >= 0 and 0 < len(key) <= LONGEST and key not in self._connections.values():
            if len(self._connections) < MOST_CONNECTIONS:
                self._connections[fd] = key
                return True
            close_given(fd)
            raise CommandError("LimitsExceeded", f"There are {MOST_CONNECTIONS} connections")
        if fd >= 0:
            close_given(fd)
        if fd < 0 or key not in self._connections.values():
            raise CommandError(INVALID_ARGS, "There is no descriptor, or no key")
        return False

    # What becomes of them

    def closed(self, fd: int) -> None:
        """The engine has no use for a descriptor any more, and it is closed."""
        key = self._connections.pop(fd, None)
        if key is not None:
            self._announce(Announce(CLOSED, None, key))

    def ended(self, instance: Instance) -> None:
        """An instance is no more."""
        job = instance.job
        if job.session is None and not job.instances and job.name in self._jobs:
            self._announce(Announce(FREE, None, job.name))

    def sweep(self) -> None:
        """Definitions have changed: what was kept for one that is no more goes with it."""
        for name, event in list(self._events.items()):
            job = self._engine.jobs.get((None, name))
            conditions = (job.job_class.start_on, job.job_class.stop_on) if job is not None else ()
            named = [leaf.name for condition in conditions if condition is not None for leaf in leaves(condition)]
            if event not in named:
                for kept in self._drop(name):
                    close_given(kept.fd)

    # Across a re-exec

    def dump(self) -> dict[str, Any]:
        """All of it as plain values."""
        kept = [
            [job, key, kept.name, kept.fd, kept.given, self._events.get(job, "")]
            for job, of_job in self._jobs.items()
            for key, kept in of_job.items()
        ]
        return {"kept": kept, "connections": [[fd, key] for fd, key in self._connections.items()]}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what `dump` gave."""
        for job, key, name, fd, given, event in saved.get("kept", ()):
            self._jobs.setdefault(job, {})[key] = Kept(fd, name, given)
            if event:
                self._events[job] = event
        self._connections = {fd: key for fd, key in saved.get("connections", ())}

    def descriptors(self) -> list[int]:
        """Those that the next program needs, besides the engine's."""
        return [kept.fd for of_job in self._jobs.values() for kept in of_job.values()]
