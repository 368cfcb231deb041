"""What the engine is about, as it stands at one moment: jobs, their instances, and events on their way.

What is always true here: these hold, and do nothing.  Each belongs to one `Engine`, which alone changes it; whoever
performs effects, answers clients or looks at them from elsewhere only reads.  They refer to each other, so they are
one file.
"""

from __future__ import annotations

from upstart.engine.history import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass, Match

    #: What a condition has met so far: which leaf by which event; leaves are compared by identity.
    Progress = dict[Match, "Event"]

#: How far an event has come.
PENDING = "pending"
HANDLING = "handling"
FINISHED = "finished"


class Event:
    """An event is pending until its turn comes, then handled once: every condition that it matches is updated.

    It stays in handling for as long as something blocks it (a half-met condition, an instance that it started or
    stopped and that has not come to rest), and is finished when the last blocker lets go; then whoever waited for it
    goes on.

    ``env`` is what jobs are given of it; ``values`` is what conditions test: that, and maybe more, which no job gets.
    ``serial`` orders events by emission; ``blockers`` counts what holds this one; ``waiting`` is who it holds: the
    instance whose ``starting`` or ``stopping`` event this is.  ``request`` is the emitter who wants to be told the
    end.  ``fd`` is a descriptor that came with the event, or -1; it is a ``connection`` where main processes have it as
    their standard input and output.  ``last``: it is part of the machine's end.  ``at`` is when it was emitted, seconds
    of the clock.
    """

    __slots__ = (
        "at", "blockers", "connection", "env", "failed", "fd", "last", "name", "noted", "progress", "queued",
        "request", "serial", "session", "values", "waiting",
    )  # fmt: skip

    def __init__(self, serial: int, name: str, env: dict[str, str], session: str | None = None) -> None:
        self.serial = serial
        self.name = name
        self.env = self.values = env
        self.session = session
        self.progress = PENDING
        self.failed = False
        self.blockers = 0
        self.queued = False
        self.waiting: Instance | None = None
        self.request: object = None
        self.fd = -1
        self.connection = False
        self.last = False
        self.at = 0.0
        #: The history has it.
        self.noted = False

    def __repr__(self) -> str:
        return f"<Event {self.serial} {self.name} {self.progress}>"


class Job:
    """A name under which a job class is registered, with its instances and what its ``start on`` has met so far.

    ``job_class`` is the definition in force.

    Where the configuration changed while instances were there, ``pending`` is True and ``successor`` the definition
    that takes over when the last instance has ended, or None where the job goes away then.
    """

    __slots__ = ("instances", "job_class", "name", "pending", "session", "start_progress", "successor")

    def __init__(self, job_class: JobClass) -> None:
        self.name = job_class.name
        self.session = job_class.session
        self.job_class = job_class
        self.pending = False
        self.successor: JobClass | None = None
        self.instances: dict[str, Instance] = {}
        self.start_progress: Progress | None = None

    @property
    def key(self) -> tuple[str | None, str, str | None]:
        """How the history names it; seldom wanted of a job, of which there may be many."""
        return key_of(self.session, self.name, None)

    def __repr__(self) -> str:
        return f"<Job {self.name}>"


class Blocked:
    """What waits for an instance to come to rest: an event, or a request (``start``, ``stop``, ``restart``)."""

    __slots__ = ("event", "kind", "request")

    def __init__(self, kind: str, event: Event | None = None, request: object = None) -> None:
        self.kind = kind
        self.event = event
        self.request = request


class Instance:
    """An instance of a job: all that changes while it lives.

    It exists from the first time it is started until it is back at rest (goal stop, state waiting), and keeps the
    definition it was made with until then, however often the file is edited.

    ``pids`` holds the live processes by their name; ``unready`` those that were asked for and have not yet executed
    their program, whether they have a pid or not; ``doomed`` those that were sent SIGKILL and have not ended.
    ``blocker`` is the ``starting`` or ``stopping`` event that must finish before the state may change.  ``respawning``
    is set from the end of a main process that is to have a
    successor until ``starting``, unless a command comes between.  ``exit_status`` is the status that made it fail: an
    exit code, a signal shifted left by 8, or -1 where the process could not be run at all.  ``connection`` is that one
    of ``fds`` which its main process has as standard input and output, or -1.
    """

    __slots__ = (
        "began", "blocker", "blocking", "cause", "connection", "doomed", "entering", "env", "exit_status", "failed",
        "failed_process", "failure", "fds", "forced", "goal", "goal_since", "job", "job_class", "key", "last", "name",
        "noted", "pids", "respawn_count", "respawn_total", "respawn_since", "respawn_time", "respawning", "serial",
        "since", "start_env", "state", "stop_env", "stop_progress", "timers", "unready",
    )  # fmt: skip

    def __init__(self, serial: int, job: Job, job_class: JobClass, name: str) -> None:
        #: Orders instances by the time they were made.
        self.serial = serial
        self.job = job
        self.job_class = job_class
        self.name = name
        #: How the history names it.
        self.key = key_of(job.session, job.name, name)
        self.goal = "stop"
        self.state = "waiting"
        #: The state before, while the work of the present one is being begun.
        self.entering: str | None = None
        self.env: dict[str, str] = {}
        self.start_env: dict[str, str] | None = None
        self.stop_env: dict[str, str] | None = None
        self.stop_progress: Progress | None = None
        self.fds: tuple[int, ...] = ()
        self.connection = -1
        self.pids: dict[str, int] = {}
        self.unready: set[str] = set()
        self.doomed: set[str] = set()
        #: The timers that run for it, and when they are due by the clock: ``kill:PROCESS`` for each process that was
        #: asked to end, ``expect`` for a main process that is to stop itself, ``ready`` for who waits for a job whose
        #: main process keeps ending before it is ready.
        self.timers: dict[str, float] = {}
        #: The stop was forced: no process is waited for longer than a kill timeout.
        self.forced = False
        #: What it does is part of the machine's end: that has started it, or stops it.
        self.last = False
        self.blocker: Event | None = None
        self.blocking: list[Blocked] = []
        self.failed = False
        #: Process name, or None where respawning too fast was the failure.
        self.failed_process: str | None = None
        self.exit_status = 0
        #: Why it failed, for people.
        self.failure: str | None = None
        #: Seconds of the clock at which the current respawn interval began, and respawns since.
        self.respawn_time = 0.0
        self.respawn_count = 0
        #: Respawns since the instance was started, and when the first one was.
        self.respawn_total = 0
        self.respawn_since = 0.0
        self.respawning = False
        #: Since when it has this goal, and why (`history`); since when it waits in this state, and which one it waited
        #: in last that the history has; and when each of its processes was started.
        self.goal_since = 0.0
        self.cause: object = None
        self.since = 0.0
        self.noted = "waiting"
        self.began: dict[str, float] = {}

    @property
    def display(self) -> str:
        """``NAME`` or ``NAME (INSTANCE)``, as messages and status lines show it."""
        return f"{self.job.name} ({self.name})" if self.name else self.job.name

    @property
    def main_pid(self) -> int:
        """The pid of the main process, 0 where there is none."""
        return self.pids.get("main", 0)

    def __repr__(self) -> str:
        return f"<Instance {self.display} {self.goal}/{self.state}>"


def key_of(session: str | None, job: str, instance: str | None) -> tuple[str | None, str, str | None]:
    """How the history names an instance or, where that is None, a job."""
    return (
        shortened(session) if session is not None else None,
        shortened(job),
        shortened(instance) if instance is not None else None,
    )
