"""The manager object: init itself on D-Bus, and the extension that answers in one call what took many.

What is always true here: a method checks who asks before it looks at anything else, in the order and with the texts
of the original.  Callers from a chroot session see and change that session's jobs only.
"""

from __future__ import annotations

import os

from upstart.base.names import FAILED, INVALID_ARGS, PATH
from upstart.base.paths import escape, unescape
from upstart.base.priority import DEBUG, INFO, PRIORITIES, WARN
from upstart.daemon import paths
from upstart.daemon.callers import who_asks
from upstart.daemon.ending import Ending
from upstart.daemon.environment import environment
from upstart.daemon.forbridges import DENIED, EMPTY_NAME, ForBridges
from upstart.daemon.forenvironments import ForEnvironments
from upstart.daemon.forhistory import ForHistory
from upstart.daemon.forrecords import ForRecords
from upstart.daemon.interfaces import MANAGER_OBJECT, STATUS
from upstart.daemon.machineid import MachineId
from upstart.daemon.objects import InstanceObject, JobObject, status, statuses
from upstart.daemon.once import Once
from upstart.daemon.paths import path_of_job
from upstart.daemon.service import LONGEST_PATH, Service, steps
from upstart.daemon.statefile import Teller
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.daemon.call import Call
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.configuration import Configuration
    from upstart.daemon.document import Document
    from upstart.daemon.endpoints import Endpoints
    from upstart.daemon.keeping import Keeping
    from upstart.daemon.performer import Performer
    from upstart.daemon.quiesce import Quiesce
    from upstart.daemon.recorder import Recorder
    from upstart.daemon.restart import Restarter
    from upstart.dbus.connection import Work
    from upstart.dbus.wire import UnixFd
    from upstart.engine.data import Job
    from upstart.engine.engine import Engine

NO_STATE = "The state cannot be written down now"


class Manager(ForBridges, ForEnvironments, ForHistory, ForRecords):
    """``/com/ubuntu/Upstart``; ``initial_environ`` () is what the table of all jobs begins with, ``set_priority``
    (priority) has init log from there on, ``log`` (priority, text) is its log, ``version`` what it says it is."""

    __slots__ = (
        "_chroots", "_configuration", "_ending", "_endpoints", "_engine", "_initial_environ", "_keeping", "_log",
        "_performer", "_quiescer", "_recorder", "_restarter", "_set_priority", "_teller", "_version", "once", "service",
    )  # fmt: skip
    interfaces = MANAGER_OBJECT
    path = PATH

    def __init__(
        self,
        version: str,
        engine: Engine,
        chroots: Chroots,
        configuration: Configuration,
        performer: Performer,
        quiescer: Quiesce,
        document: Document,
        keeping: Keeping,
        recorder: Recorder,
        loop: Loop,
        initial_environ: Callable[[], dict[str, str]],
        set_priority: Callable[[int], object],
        log: Callable[[int, str], object],
    ) -> None:
        self._version = version
        self._engine = engine
        self._chroots = chroots
        self._configuration = configuration
        self._performer = performer
        self._quiescer = quiescer
        self._teller = Teller(document, loop)
        self._keeping = keeping
        self._recorder = recorder
        self._initial_environ = initial_environ
        self._set_priority = set_priority
        self._log = log
        self.service = Service(
            self.find, self._registered_below, self._knows_jobs, configuration.passes.when_current, MachineId(loop)
        )
        self.once = Once(engine)
        self._ending = Ending(engine, loop, log)
        self._ending.watch()
        self.service.check_start = self._ending.check_start

    def connect(self, endpoints: Endpoints, restarter: Restarter) -> None:
        """Have what serves by our `service`, and so is made after us."""
        self._endpoints = endpoints
        self._restarter = restarter

    def children(self) -> list[str]:
        """The step to the jobs, where there are any."""
        return ["jobs"] if self._engine.jobs else []

    def find(self, path: str, call: Call) -> Manager | JobObject | InstanceObject | None:
        """The object at a path, None where there is none."""
        if path == PATH:
            return self
        for session, name, instance_name in paths.candidates(path):
            job = self._engine.jobs.get((session, name))
            if job is None:
                continue
            if instance_name is None:
                return JobObject(self.service, self._engine, job, self._chroots.session_of(call.pid))
            instance = job.instances.get(instance_name)
            if instance is not None:
                return InstanceObject(self.service, self._engine, instance, self._chroots.session_of(call.pid))
        return None

    def _knows_jobs(self, call: Call) -> bool:
        """Whether the jobs that the caller means are known as they now are; else that is under way."""
        self._chroots.session_of(call.pid)
        return self._configuration.passes.current()

    def _registered_below(self, path: str) -> list[str]:
        jobs = self._engine.jobs.values()
        if path == paths.JOBS:
            return sorted({escape(job.name if job.session is None else job.session) for job in jobs})
        if path.startswith(paths.JOBS + "/"):
            # What is no job there may be the root of a session.
            root = unescape(path[len(paths.JOBS) + 1 :]) if len(path) <= LONGEST_PATH else None
            return sorted({escape(job.name) for job in jobs if root is not None and job.session == root})
        return steps(path, [paths.JOBS if jobs else PATH])

    def _check(self, call: Call, action: str) -> None:
        if not self.service.may_change(call):
            raise CommandError(DENIED, f"You do not have permission to {action}")

    def _from_chroot(self, call: Call, request: str) -> bool:
        """Whether the caller lives in a chroot session, which must not reach the system outside."""
        if self._chroots.session_of(call.pid) is None:
            return False
        self._log(WARN, f"Ignoring {request} from chroot session")
        return True

    def do_ReloadConfiguration(self, call: Call) -> None:
        self._check(call, "reload configuration")
        self._configuration.reload(lambda problem: call.error(FAILED, problem) if problem else call.reply())

    def _job_by_name(self, call: Call, name: str) -> Job:
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_NAME)
        session = self._chroots.session_of(call.pid)
        job = self._engine.jobs.get((session, name))
        if job is None:
            raise CommandError("UnknownJob", f"Unknown job: {name}")
        return job

    def do_GetJobByName(self, call: Call, name: str) -> None:
        call.reply("o", path_of_job(self._job_by_name(call, name)))

    def _jobs(self, call: Call) -> list[Job]:
        session = self._chroots.session_of(call.pid)
        return [job for job in self._engine.jobs.values() if job.session == session]

    def do_GetAllJobs(self, call: Call) -> Work:
        return call.reply_array("o", map(path_of_job, self._jobs(call)))

    def do_EmitEvent(self, call: Call, name: str, env: list[str], wait: bool) -> None:
        self._emit(call, name, env, wait, -1)

    def do_EmitEventWithFile(self, call: Call, name: str, env: list[str], wait: bool, file: UnixFd) -> None:
        self._emit(call, name, env, wait, file)

    def _emit(self, call: Call, name: str, env: list[str], wait: bool, file: int) -> None:
        self._check(call, "emit an event")
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_NAME)
        table = environment(env)
        fd = call.take_fd(file) if file >= 0 else -1
        session = self._chroots.session_of(call.pid)
        last, by = self._ending.belongs(call.pid), who_asks(self._engine, call)
        self._engine.emit(name, table, call if wait else None, fd, session, last, by=by)
        if not wait:
            call.reply()

    def do_EmitOnce(self, call: Call, name: str, env: list[str], key: str) -> None:
        self._check(call, "emit an event")
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_NAME)
        session = self._chroots.session_of(call.pid)
        last = self._ending.belongs(call.pid)
        self.once.emit(call, name, environment(env), key, session, last, who_asks(self._engine, call))

    def do_GetState(self, call: Call) -> None:
        self._check(call, "request state")
        if self._from_chroot(call, "state query"):
            call.reply("s", "")
        else:
            self._teller.tell(lambda text: call.reply("s", text) if text is not None else call.error(FAILED, NO_STATE))

    def do_Restart(self, call: Call) -> None:
        self._check(call, "request restart")
        if self._from_chroot(call, "restart request"):
            call.reply()
            return
        self._log(INFO, "Restarting")
        self._restarter.begin(call)

    def do_NotifyDiskWriteable(self, call: Call) -> None:
        self._check(call, "notify disk is writeable")
        if self._chroots.session_of(call.pid) is None:
            self._performer.children.flush_logs(call.reply)
        else:
            call.reply()

    def do_NotifyDBusAddress(self, call: Call, address: str) -> None:
        if os.getpid() == 1:
            raise CommandError(DENIED, "Not permissible to notify D-Bus address for PID 1")
        self._check(call, "notify D-Bus address")
        if self._endpoints.bus_connected():
            call.reply()
            return
        self._endpoints.connect_bus(address, lambda error: call.error(*error) if error else call.reply())

    def do_NotifyCGroupManagerAddress(self, call: Call, address: str) -> None:
        self._check(call, "notify cgroup manager address")
        # Our cgroups need no manager: the call is there for those who make it.
        self._log(DEBUG, "cgroup manager not needed")
        call.reply()

    def do_EndSession(self, call: Call) -> None:
        if os.getpid() != 1:
            self._check(call, "end session")
            if not self._from_chroot(call, "session end request"):
                self._quiescer.begin("logout")
        call.reply()

    # Properties

    def get_version(self) -> str:
        return self._version

    def get_log_priority(self) -> str:
        return PRIORITIES[self._engine.priority]

    def set_log_priority(self, call: Call, name: str) -> None:
        self._check(call, "set log priority")
        if name not in PRIORITIES:
            raise CommandError(INVALID_ARGS, "The log priority given was not recognised")
        self._set_priority(PRIORITIES.index(name))

    # The extension

    def do_GetStatusAll(self, call: Call) -> Work:
        return call.reply_array(STATUS[1:], (each for job in self._jobs(call) for each in statuses(job)))

    def do_GetStatus(self, call: Call, name: str, env: list[str]) -> None:
        job = self._job_by_name(call, name)
        try:
            instance = self._engine.find_instance(job, environment(env))
        except CommandError as error:
            if env or error.name != "UnknownInstance":
                raise
            call.reply(STATUS, [(job.name, "", "stop", "waiting", [])])
            return
        call.reply(STATUS, [status(instance)])

    def do_StopForce(self, call: Call, path: str, env: list[str], wait: bool) -> None:
        target = self.find(path, call)
        if isinstance(target, JobObject):
            target.do_Stop(call, env, wait, force=True)
        elif isinstance(target, InstanceObject):
            target.do_Stop(call, wait, force=True)
        else:
            raise CommandError("UnknownJob", f"Unknown job: {path}")

    def do_FailureReason(self, call: Call, name: str, instance: str) -> None:
        session = self._chroots.session_of(call.pid)
        engine = self._engine
        if (session, name) not in engine.jobs:
            # No job, because of its file perhaps: why it failed when there was one is no reason for that.
            call.reply("s", (self._configuration.sources.error(name, session) or "").partition("\n")[0])
            return
        reason = engine.failure_reason(name, instance, session)
        if not reason and not instance:
            for (of_session, of_name, _), text in reversed(engine.failures.items()):
                if of_session == session and of_name == name:
                    reason = text
                    break
        call.reply("s", reason.partition("\n")[0])

    def do_Directories(self, call: Call) -> None:
        session = self._chroots.session_of(call.pid)
        logs = self._performer.logdir or ""
        call.reply("ass", self._configuration.sources.directories(session), f"{session or ''}{logs}")

    def do_Failures(self, call: Call) -> Work:
        session = self._chroots.session_of(call.pid)
        found = [
            (name, instance, reason.partition("\n")[0])
            for (of_session, name, instance), reason in self._engine.failures.items()
            if of_session == session
        ]
        return call.reply_array("(sss)", found)

    def do_KeepsEnding(self, call: Call, name: str, instance: str) -> None:
        job = self._engine.jobs.get((self._chroots.session_of(call.pid), name))
        found = job.instances.get(instance) if job is not None else None
        call.reply("s", self._engine.keeps_ending(found) if found is not None else "")

    def do_ConfigurationErrors(self, call: Call) -> Work:
        session = self._chroots.session_of(call.pid)
        # Each text begins with the path of its file; those of a chroot session are below its root.
        found = self._configuration.sources.standing()
        if session is not None:
            found = [error for error in found if error.startswith(session + "/")]
        else:
            roots = tuple(root + "/" for root in self._chroots.roots)
            found = [error for error in found if not error.startswith(roots)]
        return call.reply_array("s", (error.partition("\n")[0] for error in found))

    def do_EmitEnding(self, call: Call, name: str, env: list[str], ending: bool) -> None:
        self._check(call, "end the machine")
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_NAME)
        table = environment(env)
        if not self._from_chroot(call, "end of the machine"):
            self._ending.emit(name, table, ending, who_asks(self._engine, call))
        call.reply()

    def do_Rest(
        self, call: Call, stop: bool, force: bool, env: list[str], spared: list[int], later: list[str]
    ) -> None:
        self._check(call, "stop all jobs")
        if not self._engine.ending:
            raise CommandError("Ending", "The machine does not end: there are no jobs that are left over from before")
        table = environment(env)
        left = []
        if not self._from_chroot(call, "stop of all jobs"):
            left = self._ending.rest(call.pid, stop, force, table, spared, later, who_asks(self._engine, call))
        call.reply("a(ss)", left)

    def do_Quiet(self, call: Call) -> None:
        self.do_Hear(call, [])

    def do_Hear(self, call: Call, signals: list[str]) -> None:
        if call.connection.uid >= 0:
            call.connection.hears = frozenset(signals)
            self._endpoints.listeners_changed()
        call.reply()

    def do_Awaited(self, call: Call, events: list[str]) -> Work:
        # Jobs of chroot sessions are not among what is counted.
        of_system = self._chroots.session_of(call.pid) is None
        return call.reply_array("(sas)", self._engine.awaited.leaves(events) if of_system else ())
