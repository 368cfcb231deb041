"""The engine's data, and the queue of events that move through it.

Events are handled in passes, oldest first, as the original does: within a pass each event that is pending is handled,
and each that nothing blocks any more is finished; what is emitted meanwhile joins the pass at its end, and an older
event that becomes free waits for the next pass.  Nothing recurses: handling an event may queue others, never handle
them.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from upstart.base.priority import DEBUG, INFO, MESSAGE, WARN
from upstart.engine.awaited import AWAITED, JOB, NONE, Awaited, count, told
from upstart.engine.data import FINISHED, HANDLING, PENDING, Event
from upstart.engine.door import an_input
from upstart.engine.effects import Announce, CloseFd, Effect, Log, Reply, ReplyError
from upstart.engine.history import LONGEST_REASON, History, shortened
from upstart.engine.index import EventIndex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from upstart.conf.jobclass import JobClass
    from upstart.engine.awaited import Leaf
    from upstart.engine.data import Instance, Job

#: Runs in a row that used up their limit before that is worth a warning, and before a pass that goes on is cut short.
RESTLESS_RUNS = 40
LONGEST_PASS = 4

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

    # Events

    @property
    def eventful(self) -> bool:
        """Whether `run` has anything to do."""
        return bool(self._pass or self._next_pass or self._moved)

    @an_input
    def emit(
        self,
        name: str,
        env: dict[str, str],
        request: object = None,
        fd: int = -1,
        session: str | None = None,
        last: bool = False,
        tested: dict[str, str] | None = None,
        connection: bool = False,
        by: object = None,
    ) -> Event:
        """Queue an event; ``request`` is answered when it has finished, ``fd`` is closed when nothing needs it.

        ``last``: it is part of the machine's end (`Engine.set_ending`).  ``tested`` are variables for conditions only,
        which count there before those of ``env``.  ``connection``: ``fd`` is for the standard input and output.
        ``by`` is who emits it, for the history.
        """
        self._serial += 1
        event = Event(self._serial, name, env, session)
        event.request = request
        event.last = last
        event.connection = connection
        if tested:
            event.values = env | tested
        if fd >= 0:
            event.fd = fd
            self.hold_fd(fd)
        event.at = self.clock()
        self.events[event.serial] = event
        if by != "job":
            self.note_event(event, by)
        self.debug("Pending %s event", name)
        self._queue(event)
        if name == self.awaits and session is None:
            self.tell_awaited()
        return event

    def note_event(self, event: Event, by: object) -> None:
        """Have the history know of an event: of a job's own once something comes of it, of any other at once."""
        event.noted = True
        self.history.note_event(event.serial, event.name, event.env, by)

    @an_input
    def await_event(self, serial: int, request: object) -> bool:
        """Have ``request`` answered when an event of an earlier program has finished; false if there is none."""
        event = self.events.get(serial)
        if event is None:
            return False
        event.request = request
        return True

    def block(self, event: Event) -> None:
        """Keep ``event`` from finishing."""
        event.blockers += 1

    def unblock(self, event: Event) -> None:
        """Undo one `block`; the last one lets the event finish."""
        event.blockers -= 1
        if event.blockers == 0 and event.progress == HANDLING:
            self._queue(event)

    @an_input
    def run(self, limit: int = 500) -> bool:
        """Handle events until each of them is blocked or gone, or ``limit`` of them were handled.

        Returns whether there are more.  Jobs that start each other in a circle go on for ever; the caller then
        performs the effects and serves others in between, so that such jobs can be stopped.
        """
        while self._pass or self._next_pass:
            if limit <= 0:
                self._note_moved()
                self._note_restless()
                return True
            limit -= 1
            if not self._pass:
                self._pass, self._next_pass = self._next_pass, self._pass
                heapify(self._pass)
                self._cursor = 0
            serial, event = heappop(self._pass)
            self._cursor = serial
            event.queued = False
            if event.progress == HANDLING and not event.blockers:
                self.history.note("done", serial, event.failed)
            if event.progress == PENDING:
                self.info("Handling %s event", event.name)
                # Pending until it is handled as a whole: where that is cut short, it is handled again (`mend`).
                if self.serving is not event:
                    self.served.clear()
                    self.serving = event
                    self.tries = 0
                self._handle(event)
                event.progress = HANDLING
            if event.progress == HANDLING and not event.blockers:
                self._finish(event)
        self._cursor = 0
        self._restless = 0
        if self._moved:
            self._note_moved()
        return False

    def _note_moved(self) -> None:
        """Have the history know of the states that instances have come to wait in."""
        moved, self._moved = self._moved, {}
        for instance in moved:
            if instance.noted != instance.state:
                instance.noted = instance.state
                instance.since = self.clock()
                self.history.note("state", instance.key, instance.state)

    def _note_restless(self) -> None:
        self._restless += 1
        if not self._restless % LONGEST_PASS:
            # A pass that jobs keep alive has no next one: what waits for that would only become more.
            self._pass += self._next_pass
            self._next_pass.clear()
            heapify(self._pass)
            self._cursor = 0
        if self._restless == RESTLESS_RUNS:
            names = sorted({event.name for _, event in self._pass + self._next_pass})
            self.warn(
                "Events do not come to rest, some jobs seem to start each other in a circle; in progress now: %s",
                " ".join(names[:8]),
            )

    def _queue(self, event: Event) -> None:
        if event.queued:
            return
        event.queued = True
        if event.serial > self._cursor:
            heappush(self._pass, (event.serial, event))
        else:
            self._next_pass.append((event.serial, event))

    def _handle(self, event: Event) -> None:
        raise NotImplementedError

    def _unblocked(self, instance: Instance) -> None:
        raise NotImplementedError

    def _finish(self, event: Event) -> None:
        self.debug("Finished %s event", event.name)
        event.progress = FINISHED
        if event.waiting is not None:
            instance, event.waiting = event.waiting, None
            instance.blocker = None
            self._unblocked(instance)
        if event.request is not None:
            if event.failed:
                self.effects.append(ReplyError(event.request, "EventFailed", "Event failed"))
            else:
                self.effects.append(Reply(event.request))
            event.request = None
        if event.fd >= 0:
            self.release_fd(event.fd)
            event.fd = -1
        if event.failed and not event.name.endswith("/failed"):
            self.emit(event.name + "/failed", event.env, session=event.session, last=event.last, by=event.serial)
            event.failed = False
        # Known until all has been done that its end asks for.
        del self.events[event.serial]
        if self.announcing:
            # Last, after all that its end lets go on: whoever listens finds it done.
            self.effects.append(Announce("EventEmitted", None, (event.name, event.env)))

    # What is awaited

    @an_input
    def tell_awaited(self) -> None:
        """From now on tell who waits for it which events are awaited; and of those that are so already."""
        self.tells_awaited = True
        self.awaits = ""
        self._tell_awaited(self.awaited.listened_for())

    @an_input
    def tell_awaited_after(self, name: str) -> None:
        """Do so once there is an event of that name, and not before."""
        self.awaits = name

    def note_definition(self, old: JobClass | None, new: JobClass | None) -> None:
        """A definition has taken the place of another, so that other events may be awaited."""
        change = self.awaited.change(old, new, self.environ)
        if not self.tells_awaited:
            return
        if change.names:
            self.effects.append(Announce("AwaitedChanged", None, tuple(change.names)))
        self._tell_awaited(change.news)
        if NONE in self.awaited.names:
            for job in change.left:
                self.emit(NONE, {JOB: job})

    def _tell_awaited(self, leaves: Iterable[Leaf]) -> None:
        for leaf in leaves:
            self.emit(AWAITED, told(leaf))

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
