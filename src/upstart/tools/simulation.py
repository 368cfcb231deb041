"""Jobs that run in virtual time on the real engine, `Simulation`.

What is always true here: nothing of the system is touched and no clock is asked; the same jobs, events and durations
lead to the same end.  What falls due at the same moment happens in the order in which it was begun.
"""

from __future__ import annotations

from heapq import heappop, heappush

from upstart.base.priority import WARN
from upstart.engine import effects as fx
from upstart.engine.data import Instance
from upstart.engine.world import END, World
from upstart.tools import playing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from upstart.conf.jobclass import JobClass
    from upstart.tools.playing import Event, Steps

#: Virtual seconds after which whatever still goes on goes on for ever.
LIMIT = 600.0
#: Changes of state, for each job and by themselves, after which jobs must be starting each other for ever.
MOST_CHANGES = 50
ANYHOW = 5000
#: The events of a job's life by the states that they come with.
_EVENTS = {"starting": "starting", "running": "started", "stopping": "stopping", "waiting": "stopped"}
#: Signals that end no process: a reload, and the leave to go on.
_HARMLESS = (1, 18)


class Began:
    """An instance that came to be started: when, by which events, and when it was up (None where it was not yet)."""

    __slots__ = ("at", "display", "ended", "events", "job", "up")

    def __init__(self, job: str, display: str, at: float, events: list[str]) -> None:
        self.job = job
        self.display = display
        self.at = at
        self.events = events
        self.up: float | None = None
        self.ended: float | None = None


class Waiting:
    """A program that waits for events that it has emitted: what it is, their serial numbers, and how it goes on."""

    __slots__ = ("requests", "steps", "who")

    def __init__(self, who: str, steps: Steps) -> None:
        self.who = who
        self.steps = steps
        self.requests: list[int] = []


class _Quiet(World):
    """A world of many jobs: what must hold at any moment is for the engine's own tests to see to."""

    def __init__(self) -> None:
        self.changed: Callable[[Instance, str], None] = lambda instance, state: None
        #: The event that somebody waits for, by request.
        self.requested: dict[int, int] = {}
        super().__init__()
        self.engine.set_priority(WARN)

    def check(self) -> None:
        pass

    def _announce(self, effect: fx.Announce) -> None:
        if effect.signal == "StateChanged" and isinstance(effect.subject, Instance):
            self.changed(effect.subject, str(effect.value))

    def begin(self, name: str, env: dict[str, str]) -> int:
        """Emit an event, and wait for its end."""
        request = self.request()
        self.requested[request] = self.engine.emit(name, env, request=request).serial
        self.settle()
        return request


class Simulation:
    """``takes`` are seconds, by ``JOB`` for what a start of it takes most of, or by ``JOB:PROCESS``; what is not named
    takes none.  So do ``mountall:PART`` and ``init:EVENT`` for a part of mountall and for an event of the start."""

    def __init__(self, jobs: Iterable[JobClass], takes: Mapping[str, float] | None = None, container: str = "") -> None:
        self.takes = dict(takes or {})
        self.container = container
        self.world = _Quiet()
        self.world.changed = self._changed
        self.jobs: list[JobClass] = list(jobs)
        for job in self.jobs:
            self.world.engine.define(job)
        self.world.engine.run()
        self.begun: list[Began] = []
        #: Every event that something emitted, in that order, as it is written.
        self.events: list[str] = []
        #: The same with the events of the lives of jobs, by name and job.
        self.history: list[str] = []
        self.waiting: list[Waiting] = []
        self.restless = False
        #: Of what has begun before: the jobs that had started, and those of which a process is yet to come to its end.
        self.started_before: set[str] = set()
        self.under_way: list[str] = []
        #: There was something before that of which nothing is known.
        self.begins_late = False
        self._start = self.world.now
        self._latest: dict[int, Began] = {}
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._seen = self._killed = 0
        self._changes = 0
        self._told: set[str] = set()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.world.now - self._start

    def run(self, events: list[Event], limit: float = LIMIT) -> Simulation:
        """Have these events come, each when what came of the one before has come to rest."""
        for name, env in events:
            if name == "startup":
                for each in playing.events_of_start(self.container):
                    self._emit_from("init", *each)
                self._rest(limit)
            else:
                self._emit(name, env)
                self._rest(limit)
        return self

    def running(self) -> set[str]:
        """The jobs that have an instance which runs."""
        return {i.job.name for i in self.world.engine.instances() if (i.goal, i.state) == ("start", "running")}

    def states(self) -> dict[str, str]:
        """How each instance stands in the end, by its name; a job without any by its own."""
        found: dict[str, str] = {}
        for job in self.world.engine.jobs.values():
            if not job.instances:
                found[job.name] = "stop/waiting"
            for instance in job.instances.values():
                found[instance.display] = f"{instance.goal}/{instance.state}"
        return found

    # What happens

    def _at(self, seconds: float, what: Callable[[], object]) -> None:
        self._number += 1
        heappush(self._due, (self.world.now + seconds, self._number, what))

    def _emit(self, name: str, env: dict[str, str]) -> int:
        self.events.append(" ".join((name, *(f"{key}={value}" for key, value in env.items()))))
        self.history.append(self.events[-1])
        return self.world.begin(name, env)

    def _emit_from(self, who: str, name: str, env: dict[str, str]) -> None:
        """Emit an event that may come later than its like."""
        delay = self.takes.get(f"{who}:{name}", 0.0)
        if delay:
            self._at(delay, lambda: self._emit(name, env))
        else:
            self._emit(name, env)

    def _changed(self, instance: Instance, state: str) -> None:
        self._changes += 1
        if state in _EVENTS:
            self.history.append(f"{_EVENTS[state]} {instance.display}")
        if state == "starting":
            env = instance.start_env or instance.env
            began = Began(instance.job.name, instance.display, self.now, env.get("UPSTART_EVENTS", "").split())
            self.begun.append(began)
            self._latest[instance.serial] = began
        elif instance.serial in self._latest:
            began = self._latest[instance.serial]
            if state == "running" and began.up is None:
                began.up = self.now
                if not self.job_of(instance).processes.get("main"):
                    self._at(0.0, lambda: self._is_up(instance))
            elif state == "waiting":
                began.ended = self.now

    def job_of(self, instance: Instance) -> JobClass:
        """The definition that an instance was made with."""
        return instance.job_class

    def _rest(self, limit: float) -> None:
        """Let time pass until nothing is to come."""
        end = self._start + limit
        most = MOST_CHANGES * len(self.jobs) + ANYHOW
        while not self.restless:
            self._look()
            timers = self.world.timers
            due = self._due[0][0] if self._due else END
            following = min(due, min((when for when, _ in timers.values()), default=END))
            if following > end:
                return
            if self._changes > most:
                self.restless = True
                return
            if following > self.world.now:
                # What falls due on the way are timers.
                self.world.sleep(following - self.world.now)
            while self._due and self._due[0][0] <= self.world.now and self._changes <= most:
                heappop(self._due)[2]()
                self._look()

    def _look(self) -> None:
        """See to the processes that are new, the signals that were sent, and the programs that wait for events."""
        moved = True
        while moved:
            moved = False
            spawned = self.world.spawned
            while self._seen < len(spawned):
                _, process, pid, _ = spawned[self._seen]
                self._seen += 1
                moved = True
                known = self.world.engine.pids.get(pid)
                if known is not None:
                    self._began(known[0], process, pid)
            while self._killed < len(self.world.kills):
                pid, signal = self.world.kills[self._killed]
                self._killed += 1
                moved = True
                if signal in _HARMLESS:
                    continue
                self._at(0.0, lambda pid=pid, signal=signal: self._end(pid, signal))  # type: ignore[misc]
            for waiting in list(self.waiting):
                if all(self.world.answers.get(request) for request in waiting.requests):
                    moved = True
                    self._go_on(waiting)

    def _go_on(self, waiting: Waiting) -> None:
        if waiting in self.waiting:
            self.waiting.remove(waiting)
        try:
            events = self._play(waiting)
        except StopIteration:
            return
        requests = [(name, self._emit(name, env)) for name, env in events]
        waiting.requests = [request for name, request in requests if name in playing.WAITED_FOR]
        self.waiting.append(waiting)

    def _play(self, waiting: Waiting) -> list[Event]:
        """What a program emits next.  StopIteration where there is nothing left."""
        return next(waiting.steps)

    def _end(self, pid: int, status: int = 0) -> None:
        if pid in self.world.alive:
            self.world.end(pid, status)

    # Processes

    def _began(self, instance: Instance, process: str, pid: int) -> None:
        job = instance.job_class
        if process != "main":
            self._at(self._seconds(job, process), lambda: self._done(instance, process, pid))
        elif job.expect in ("fork", "daemon"):
            self._at(0.0 if job.task else self._seconds(job, "main"), lambda: self._fork(instance, pid))
        elif job.expect == "stop":
            self._at(0.0 if job.task else self._seconds(job, "main"), lambda: self._stop_itself(instance, pid))
        else:
            self._runs(instance, pid)

    def _runs(self, instance: Instance, pid: int) -> None:
        """A main process is at its work."""
        job = instance.job_class
        if playing.is_mountall(job):
            self._mountall(pid)
        elif job.task:
            self._at(self._seconds(job, "main"), lambda: self._done(instance, "main", pid))
        elif job.name == "failsafe":
            self._at(self.takes.get("failsafe", playing.FAILSAFE_SECONDS), lambda: self._failsafe(pid))
        else:
            self._at(0.0, lambda: self._is_up(instance))

    def _seconds(self, job: JobClass, process: str) -> float:
        """How long a process takes."""
        exactly = self.takes.get(f"{job.name}:{process}")
        if exactly is not None:
            return exactly
        return self.takes.get(job.name, 0.0) if process == main_effort(job) else 0.0

    def _done(self, instance: Instance, process: str, pid: int) -> None:
        if pid not in self.world.alive:
            return
        self._emit_all(playing.emitted(instance.job_class, process))
        if process == "main":
            self._is_up(instance)
        if process == "main" and playing.brings_runlevel(instance.job_class) and "runlevel" not in self._told:
            self._told.add("runlevel")
            self._emit("runlevel", {"RUNLEVEL": "2", "PREVLEVEL": "N"})
        self._end(pid)

    def _fork(self, instance: Instance, pid: int) -> None:
        if pid in self.world.alive and instance.pids.get("main") == pid:
            self._runs(instance, self.world.become_daemon(instance))

    def _stop_itself(self, instance: Instance, pid: int) -> None:
        if pid in self.world.alive:
            self.world.engine.process_stopped(pid)
            self.world.settle()
            self._runs(instance, pid)

    def _failsafe(self, pid: int) -> None:
        if pid in self.world.alive:
            self._emit("failsafe-boot", {})
            self._end(pid)

    def _is_up(self, instance: Instance) -> None:
        """What a job emits once it runs; each of it once."""
        job = instance.job_class
        if instance.goal != "start":
            return
        events = playing.declared(job)
        if not job.task:
            events = playing.emitted(job, "main") + events
        if playing.brings_network(job) and "static-network-up" not in self._told:
            self._told.add("static-network-up")
            events.append(("static-network-up", {}))
        self._emit_all(events)

    def _emit_all(self, events: list[Event]) -> None:
        for name, env in events:
            self._emit(name, env)

    def _mountall(self, pid: int) -> None:
        mountall = playing.Mountall()

        def finished(steps: Steps) -> Steps:
            yield from steps
            if mountall.finished():
                self._end(pid)

        for part, steps in mountall.parts():
            waiting = Waiting("mountall", finished(steps))
            self._at(self.takes.get(f"mountall:{part}", 0.0), lambda waiting=waiting: self._go_on(waiting))  # type: ignore[misc]


def main_effort(job: JobClass) -> str:
    """The process of a job that its start waits for longest: the main one of a task, or of one that has to fork."""
    if job.task or job.expect != "none":
        return "main"
    for process in ("pre-start", "post-start"):
        if process in job.processes:
            return process
    return ""
