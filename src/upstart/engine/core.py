"""What all of the engine stands on: its data, what it is told of the world around it, and what it asks for.

What is always true here: nothing here has an event move or an instance change its state; whoever does (`queue`,
`lifecycle` and what stands on them) asks for effects and log lines, holds descriptors and notes failures by this.
"""

from __future__ import annotations

from upstart.base.priority import DEBUG, INFO, MESSAGE, WARN
from upstart.engine.awaited import Awaited, count
from upstart.engine.door import an_input
from upstart.engine.effects import CloseFd, Effect, Log, Reply
from upstart.engine.history import LONGEST_REASON, History, shortened
from upstart.engine.index import EventIndex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upstart.engine.data import Event, Instance, Job

#: Failure reasons kept for instances that are gone.
FAILURES_KEPT = 256


class CommandError(Exception):
    """A command that cannot be carried out; ``name`` is the D-Bus error's last element, or a full name with dots."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


class Core:
    """What all parts of the engine share.

    ``clock`` gives seconds that never go back.  ``effects`` is what must be performed next.  ``job_environ`` is the
    table that every job starts with, ``environ`` the variables that a bare ``env KEY`` takes its value from.
    ``announcing`` is False while nobody listens to signals, so that none are made.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.history = History(clock)
        self.effects: list[Effect] = []
        self.priority = MESSAGE
        self.announcing = True
        #: Somebody is shown what becomes of jobs: the machine boots, or ends.
        self.reporting = False
        self.apparmor_available = False
        self.respawning_allowed = True
        self.shutting_down = False
        #: The machine ends: jobs start only as a part of that.
        self.ending = False
        self.environ: dict[str, str] = {}
        self.job_environ: dict[str, str] = {}
        #: Added to the environment of every process after the job's own (a session init's UPSTART_SESSION).
        self.extra_environ: dict[str, str] = {}
        self.jobs: dict[tuple[str | None, str], Job] = {}
        self.events: dict[int, Event] = {}
        self.pids: dict[int, tuple[Instance, str]] = {}
        self.failures: dict[tuple[str | None, str, str], str] = {}
        self.start_index: EventIndex[Job] = EventIndex()
        self.stop_index: EventIndex[Instance] = EventIndex()
        self.awaited = Awaited()
        #: Who waits for an event to be awaited is told of it; not before there was a first event.
        self.tells_awaited = False
        #: The event that begins with it, where that is not the first; empty if it has begun, or is begun otherwise.
        self.awaits = ""
        self._serial = 0
        self._cursor = 0
        self._pass: list[tuple[int, Event]] = []
        self._next_pass: list[tuple[int, Event]] = []
        self._restless = 0
        #: The instances that have entered a state which the history has yet to know of.
        self._moved: dict[Instance, None] = {}
        self._fd_users: dict[int, int] = {}
        #: The event that is handled, and the jobs and instances whose condition it has completed.
        self.serving: Event | None = None
        #: How often that was cut short.
        self.tries = 0
        self.served: set[Job | Instance] = set()
        #: What became of a process, while that is being acted upon: instance, process, state before, pid or 0, status
        #: or None where it could not be spawned, reason.
        self.told: tuple[Instance, str, str, int, int | None, str] | None = None

    # What it is told of the world around it

    @an_input
    def set_environ(self, environ: dict[str, str]) -> None:
        """The variables that a bare ``env KEY`` takes its value from."""
        self.environ = environ
        self.awaited = count([job.job_class for job in self.jobs.values()], environ)

    @an_input
    def set_process_environ(self, key: str, value: str) -> None:
        """Give every process a variable from now on, after those of its job."""
        self.extra_environ[key] = value

    @an_input
    def set_apparmor(self, available: bool) -> None:
        """Whether profiles can be loaded, so that jobs have their ``security`` process."""
        self.apparmor_available = available

    @an_input
    def set_priority(self, priority: int) -> None:
        """Log from this priority on."""
        self.priority = priority

    @an_input
    def set_announcing(self, announcing: bool) -> None:
        """Whether anybody listens to signals."""
        self.announcing = announcing

    @an_input
    def set_reporting(self, reporting: bool) -> None:
        """Whether what becomes of jobs is to be shown."""
        self.reporting = reporting

    @an_input
    def note_program(self, what: str) -> None:
        """A program begins: the history has that (`history`), and all that comes from now on."""
        self.history.begun = True
        self.history.note("begin", what)

    @an_input
    def note_clock(self, suspended: float, wall: float) -> None:
        """The machine has slept for so many seconds that the clock leaves out, or the time of day was set: it is the
        clock's time, and these seconds, and ``wall``."""
        self.history.note("clock", suspended, wall)

    # What there is

    def instances(self) -> Iterator[Instance]:
        """All instances; the tables must not change meanwhile."""
        for job in self.jobs.values():
            yield from job.instances.values()

    def note_environ(self, instance: Instance) -> None:
        """The environment of an instance is another: its ``stop on`` may wait for other values."""
        if instance.job_class.stop_on is not None:
            self.stop_index.move(instance, instance.job_class.stop_on, instance.env)

    # What it asks for

    def take_effects(self) -> list[Effect]:
        """What must be performed next, in this order; the engine keeps none of it."""
        effects, self.effects = self.effects, []
        return effects

    def put_back(self, effects: list[Effect]) -> None:
        """Keep those of the effects taken that are still to be performed, before all that came since."""
        self.effects[:0] = effects

    @an_input
    def answer(self, request: object, instance: Instance | None = None) -> None:
        """Answer a request that does not wait, after the signals of what it did at once."""
        self.effects.append(Reply(request, instance))

    # Log lines: made only where init's log priority admits them.

    def log(self, priority: int, text: str) -> None:
        """Ask for a line in init's log, whatever the priority in force."""
        self.effects.append(Log(priority, text))

    def debug(self, text: str, *args: object) -> None:
        """Log ``text % args`` at debug priority."""
        if self.priority <= DEBUG:
            self.effects.append(Log(DEBUG, text % args))

    def info(self, text: str, *args: object) -> None:
        """Log ``text % args`` at info priority."""
        if self.priority <= INFO:
            self.effects.append(Log(INFO, text % args))

    def warn(self, text: str, *args: object) -> None:
        """Log ``text % args`` at warn priority."""
        if self.priority <= WARN:
            self.effects.append(Log(WARN, text % args))

    # Descriptors that came with events

    def hold_fd(self, fd: int) -> None:
        """Count one more user of a descriptor."""
        self._fd_users[fd] = self._fd_users.get(fd, 0) + 1

    def release_fd(self, fd: int) -> None:
        """Count one user less, and have the descriptor closed after the last."""
        left = self._fd_users.get(fd, 0) - 1
        if left > 0:
            self._fd_users[fd] = left
        else:
            self._fd_users.pop(fd, None)
            self.effects.append(CloseFd(fd))

    # Failures

    def note_failure(
        self, instance: Instance, text: str, process: str | None = None, status: int | None = None
    ) -> None:
        """Keep the reason of a failure, for `failure_reason`, in a bounded table.

        ``status`` where the instance has failed by it, through this ``process``.
        """
        self.history.note("fail", instance.key, process, status, shortened(text, LONGEST_REASON))
        instance.failure = text
        key = (instance.job.session, instance.job.name, instance.name)
        self.failures.pop(key, None)
        self.failures[key] = text
        if len(self.failures) > FAILURES_KEPT:
            del self.failures[next(iter(self.failures))]

    def forget_failure(self, instance: Instance) -> None:
        """It has run and stopped since, and nothing was wrong."""
        if self.failures:
            self.failures.pop((instance.job.session, instance.job.name, instance.name), None)

    def failure_reason(self, name: str, instance: str, session: str | None = None) -> str:
        """Why the instance last failed, or an empty string."""
        return self.failures.get((session, name, instance), "")
