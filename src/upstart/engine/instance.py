"""An instance of a job: all that changes while it lives.

An instance exists from the first time it is started until it is back at rest (goal stop, state waiting).  It keeps
the definition it was made with until then, however often the file is edited.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass
    from upstart.engine.condition import Progress
    from upstart.engine.event import Event
    from upstart.engine.job import Job


class Blocked:
    """What waits for an instance to come to rest: an event, or a request (``start``, ``stop``, ``restart``)."""

    __slots__ = ("event", "kind", "request")

    def __init__(self, kind: str, event: Event | None = None, request: object = None) -> None:
        self.kind = kind
        self.event = event
        self.request = request


class Instance:
    """The state of one instance.

    ``pids`` holds the live processes by their name; ``unready`` those of them that have not yet executed their
    program. ``blocker`` is the ``starting`` or ``stopping`` event that must finish before the state may change.
    ``respawning`` is set from the end of a main process that is to have a successor until ``starting``, unless a
    command comes between.  ``exit_status`` is the status that made it fail: an exit code, a signal shifted left by 8,
    or -1 where the process could not be run at all.
    """

    __slots__ = (
        "blocker", "blocking", "env", "exit_status", "failed", "failed_process", "failure", "fds", "forced", "goal",
        "job", "job_class", "killed", "name", "pids", "respawn_count", "respawn_total", "respawn_since", "respawn_time",
        "respawning", "serial", "start_env", "state", "stop_env", "stop_progress", "unready",
    )  # fmt: skip

    def __init__(self, serial: int, job: Job, job_class: JobClass, name: str) -> None:
        #: Orders instances by the time they were made.
        self.serial = serial
        self.job = job
        self.job_class = job_class
        self.name = name
        self.goal = "stop"
        self.state = "waiting"
        self.env: dict[str, str] = {}
        self.start_env: dict[str, str] | None = None
        self.stop_env: dict[str, str] | None = None
        self.stop_progress: Progress | None = None
        self.fds: tuple[int, ...] = ()
        self.pids: dict[str, int] = {}
        self.unready: set[str] = set()
        #: Processes that a signal was sent to and whose kill timer runs.
        self.killed: set[str] = set()
        #: The stop was forced: no process is waited for longer than a kill timeout.
        self.forced = False
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
