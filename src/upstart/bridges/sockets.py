"""Sockets of jobs: which there are to be, who is told of what comes in, and when a job is given up.

This is the pure part: what init and the kernel say in, what is to be watched and told out.  What is always true here:

- A job's sockets are watched while no instance of it runs, and no others; of one socket no more than one event is under
  way for a job at a time.  When the job rests again, what still waits is told anew.
- A job that has come to rest `TRIES` times within `SECONDS` without taking anything of what it was started for is given
  up for that: what waits is to be closed, and this is told once, until it takes something again.
- Of sockets whose connections are accepted, no more than the job wants are under way.
"""

from __future__ import annotations

from upstart.base.socketwords import EVENT, WordError, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from upstart.base.socketwords import Wanted

    #: Gives what waits at a socket; closely: and which connections these are.
    Look = Callable[[str, bool], "Pending"]
    #: Who waits, whether with its ``start on``, for which event, with which tests.
    Leaf = tuple[str, bool, str, list[str]]

#: Sockets of a job, as many as init keeps for one.
MOST = 16
TRIES = 5
SECONDS = 10.0


class Pending:
    """What waits at a socket at one moment: how much it is, and which connections, None where that is not known."""

    __slots__ = ("amount", "which")

    def __init__(self, amount: int, which: frozenset[str] | None = None) -> None:
        self.amount = amount
        self.which = which

    def taken_since(self, now: Pending) -> bool:
        """Whether something of this is no more there ``now``."""
        if self.which is not None and now.which is not None:
            return not self.which <= now.which
        return now.amount < self.amount


NOTHING = Pending(0)


class Job:
    """A job and its sockets, by key, in the order of its conditions: those that it is given (``given``), those whose
    connections start instances (``accepted``), and those of its ``stop on``."""

    __slots__ = (
        "accepted", "arranged", "before", "busy", "deaf", "freed", "given", "name", "stopping", "told", "under_way",
        "vain",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.given: dict[str, Wanted] = {}
        self.accepted: dict[str, Wanted] = {}
        self.stopping: dict[str, Wanted] = {}
        #: Init knows what it is to be given.
        self.arranged = False
        #: An instance of it has what it is given.
        self.busy = True
        #: The sockets of which it is of no use to tell it until it has been started by something else.
        self.deaf: set[str] = set()
        #: It has been free since the first of the events that are under way.
        self.freed = False
        #: The sockets of which an event is under way, and what waited there before.
        self.under_way: set[str] = set()
        self.before: dict[str, Pending] = {}
        #: When it has come to rest without taking anything, and whether it was told that it is given up.
        self.vain: list[float] = []
        self.told = False

    @property
    def keys(self) -> set[str]:
        """All of them."""
        return {*self.given, *self.accepted, *self.stopping}

    @property
    def others(self) -> list[str]:
        """The sockets that are kept for it and not given to it."""
        return [key for key in {**self.accepted, **self.stopping} if key not in self.given]


class Sockets:
    """The sockets of all jobs; ``clock`` gives seconds."""

    __slots__ = ("_clock", "_connections", "jobs")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.jobs: dict[str, Job] = {}
        #: Each connection that an instance has: the socket that it came by, and whence.
        self._connections: dict[str, tuple[str, str]] = {}

    def want(self, leaves: Sequence[Leaf], port_of: Callable[[str, str], int]) -> list[str]:
        """Take what jobs wait for; gives what is wrong with it, a line each."""
        problems = []
        before, self.jobs = self.jobs, {}
        for name, starts, event, words in leaves:
            if event != EVENT:
                continue
            job = self.jobs.get(name)
            if job is None:
                job = self.jobs[name] = Job(name)
                old = before.get(name)
                if old is not None:
                    job.busy, job.freed, job.under_way = old.busy, old.freed, old.under_way
                    job.before, job.vain, job.told = old.before, old.vain, old.told
            try:
                wanted = read(words, port_of)
                if wanted.accept and not starts:
                    raise WordError("ACCEPT=y: not for stop on")
                if any(wanted.key in of and of[wanted.key].accept != wanted.accept for of in self._all()):
                    raise WordError(f"{wanted.key} is wanted with ACCEPT=y and without")
                if wanted.key not in job.keys and len(job.keys) >= MOST:
                    raise WordError(f"more than {MOST} sockets")
            except WordError as error:
                condition = "start" if starts else "stop"
                problems.append(f"{name}: {condition} on {EVENT} {' '.join(words)}: {error}")
                continue
            found = (job.accepted if wanted.accept else job.given) if starts else job.stopping
            found.setdefault(wanted.key, wanted)
        return problems

    def _all(self) -> list[dict[str, Wanted]]:
        return [of for job in self.jobs.values() for of in (job.given, job.accepted, job.stopping)]

    def wanted(self) -> dict[str, Wanted]:
        """All sockets that there are to be, each as it is wanted first."""
        found: dict[str, Wanted] = {}
        for of in self._all():
            for key, wanted in of.items():
                found.setdefault(key, wanted)
        return found

    # What is watched

    def awaited(self) -> set[str]:
        """The sockets at which something waiting is to be told, for as long as it waits."""
        found: set[str] = set()
        for job in self.jobs.values():
            if job.arranged and not job.busy:
                found.update(key for key in job.given if key not in job.under_way and key not in job.deaf)
            for key, wanted in job.accepted.items():
                if self._taken(key) < wanted.maxconn:
                    found.add(key)
        return found

    def told_of_once(self) -> set[str]:
        """The sockets of which each arrival is to be told, whether it still waits or not."""
        return {key for job in self.jobs.values() for key in job.stopping}

    # What waits, and what becomes of it

    def readable(self, key: str, pending: Look) -> list[tuple[Job, Wanted]]:
        """Something waits at a socket: the jobs to whom that is to be told; ``pending`` gives what waits.

        It looks closely only once there is a doubt whether the job takes anything: that takes time.
        """
        found = []
        for job in self.jobs.values():
            if key in job.given and job.arranged and not job.busy and key not in job.under_way | job.deaf:
                if not job.under_way:
                    job.before = {each: pending(each, bool(job.vain)) for each in job.given}
                    job.freed = False
                job.under_way.add(key)
                found.append((job, job.given[key]))
        return found

    def arrived(self, key: str) -> list[Wanted]:
        """Something has arrived at a socket of which each arrival is told."""
        return [job.stopping[key] for job in self.jobs.values() if key in job.stopping]

    def settled(self, job: Job, key: str, busy: bool, pending: Look) -> list[str]:
        """An event has finished, and the job has an instance now, or none: gives the sockets to be emptied.

        Where it had none in between, its condition is not met by that, and more of the same is of no use.
        """
        job.under_way.discard(key)
        if busy:
            job.busy = True
        elif not job.freed:
            job.deaf.add(key)
        elif not job.under_way:
            return self._rests(job, pending)
        return []

    def free(self, name: str, pending: Look) -> list[str]:
        """A job has no instance any more: gives the sockets to be emptied."""
        job = self.jobs.get(name)
        if job is None:
            return []
        job.freed, job.busy = True, False
        job.deaf.clear()
        return [] if job.under_way else self._rests(job, pending)

    def known(self, job: Job, busy: bool) -> None:
        """Init has been told what a job is to be given, and has said whether it has an instance."""
        job.arranged = True
        if not job.under_way:
            job.busy = busy

    def lost(self) -> None:
        """Init has been away, and events that were under way may have been lost."""
        for job in self.jobs.values():
            job.under_way.clear()
            job.deaf.clear()

    def _rests(self, job: Job, pending: Look) -> list[str]:
        job.busy = False
        now = self._clock()
        before, job.before = job.before, {}
        after = {key: pending(key, key in before and before[key].which is not None) for key in job.given}
        taken = [key for key, was in before.items() if was.amount and was.taken_since(after.get(key, NOTHING))]
        waiting = [key for key, what in after.items() if what.amount]
        if taken or not any(was.amount for was in before.values()):
            job.vain, job.told = [], job.told and not taken
            return []
        job.vain = [*(at for at in job.vain if now - at < SECONDS), now]
        if len(job.vain) < TRIES or not waiting:
            return []
        job.vain = []
        return waiting

    def first_told(self, job: Job) -> bool:
        """Whether it is told the first time that a job is given up."""
        told, job.told = job.told, True
        return not told

    # Connections

    def _taken(self, key: str) -> int:
        return sum(of == key for of, _ in self._connections.values())

    def accepts(self, key: str) -> Wanted | None:
        """How the next connection of a socket is wanted, None where none is."""
        found = [job.accepted[key] for job in self.jobs.values() if key in job.accepted]
        if not found or self._taken(key) >= max([wanted.maxconn for wanted in found]):
            return None
        wanted = found[0]
        for other in found[1:]:
            wanted.tested = {**other.tested, **wanted.tested}
        return wanted

    def admits(self, wanted: Wanted, source: str) -> bool:
        """Whether one more is wanted from there."""
        if not wanted.maxpersource:
            return True
        return list(self._connections.values()).count((wanted.key, source)) < wanted.maxpersource

    def connected(self, name: str, key: str, source: str) -> None:
        """An instance is to have a connection, which is called ``name``."""
        self._connections[name] = (key, source)

    def closed(self, name: str) -> None:
        """Nobody has a connection any more."""
        self._connections.pop(name, None)

    def connections(self, names: Sequence[str]) -> None:
        """Init says which there are; each name tells what it came by."""
        self._connections = {name: place_of(name) for name in names}


def name_of(number: str, key: str, source: str) -> str:
    """What a connection is called at init: all that is to be known of it by who begins anew."""
    return f"{number}|{source}|{key}"


def place_of(name: str) -> tuple[str, str]:
    """The socket that a connection came by, and whence."""
    _, source, key = [*name.split("|", 2), "", ""][:3]
    return key, source
