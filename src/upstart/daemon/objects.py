"""Jobs and their instances on D-Bus.

What is always true here: an object of this module lives for one call only; what it shows and changes is the engine's.
The texts of errors are the original's.
"""

from __future__ import annotations

from upstart.base.paths import escape
from upstart.conf.condition import condition_to_rpn
from upstart.conf.jobclass import PROCESSES
from upstart.daemon.callers import who_asks
from upstart.daemon.environment import environment
from upstart.daemon.interfaces import INSTANCE_OBJECT, JOB_OBJECT
from upstart.daemon.paths import path_of_instance, path_of_job
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.call import Call
    from upstart.daemon.service import Service
    from upstart.dbus.connection import Work
    from upstart.engine.data import Instance, Job
    from upstart.engine.engine import Engine

    Status = tuple[str, str, str, str, list[tuple[str, int]]]


def processes(instance: Instance) -> list[tuple[str, int]]:
    """The live processes, main first."""
    pids = instance.pids
    if len(pids) == 1:
        return list(pids.items())
    return [(name, pids[name]) for name in PROCESSES if name in pids]


def status(instance: Instance) -> Status:
    """The status of an instance."""
    return (instance.job.name, instance.name, instance.goal, instance.state, processes(instance))


def statuses(job: Job) -> list[Status]:
    """The status of each instance, or of the job where it has none."""
    if not job.instances:
        return [(job.name, "", "stop", "waiting", [])]
    return [status(instance) for instance in job.instances.values()]


def reply_unless(engine: Engine, wait: bool, call: Call, instance: Instance | None = None) -> None:
    """Answer a command that is not waited for, after the signals of what it did at once."""
    if not wait:
        engine.answer(call, instance)


class JobObject:
    """A job."""

    __slots__ = ("_engine", "_job", "_service", "path", "session")
    interfaces = JOB_OBJECT

    def __init__(self, service: Service, engine: Engine, job: Job, session: str | None) -> None:
        self._service = service
        self._engine = engine
        self._job = job
        self.session = session
        self.path = path_of_job(job)

    def children(self) -> list[str]:
        """Elements of the paths of the instances."""
        return [escape(name) for name in self._job.instances]

    def _may_change(self, call: Call) -> None:
        if self.session != self._job.session or not self._service.may_change(call):
            raise CommandError("PermissionDenied", f"You do not have permission to modify job: {self._job.name}")

    def do_GetInstance(self, call: Call, env: list[str]) -> None:
        call.reply("o", path_of_instance(self._engine.find_instance(self._job, environment(env))))

    def do_GetInstanceByName(self, call: Call, name: str) -> None:
        call.reply("o", path_of_instance(self._engine.instance_named(self._job, name)))

    def do_GetAllInstances(self, call: Call) -> Work:
        return call.reply_array("o", map(path_of_instance, list(self._job.instances.values())))

    def do_Start(self, call: Call, env: list[str], wait: bool) -> None:
        self._may_change(call)
        self._service.check_start(call.pid)
        call.returns_path = True
        by = who_asks(self._engine, call)
        instance = self._engine.start_job(self._job, environment(env), call if wait else None, by)
        reply_unless(self._engine, wait, call, instance)

    def do_Stop(self, call: Call, env: list[str], wait: bool, force: bool = False) -> None:
        self._may_change(call)
        self._engine.stop_job(self._job, environment(env), call if wait else None, force, who_asks(self._engine, call))
        reply_unless(self._engine, wait, call)

    def do_Restart(self, call: Call, env: list[str], wait: bool) -> None:
        self._may_change(call)
        self._service.check_start(call.pid)
        call.returns_path = True
        by = who_asks(self._engine, call)
        instance = self._engine.restart_job(self._job, environment(env), call if wait else None, by)
        reply_unless(self._engine, wait, call, instance)

    def get_name(self) -> str:
        return self._job.name

    def get_description(self) -> str:
        return self._job.job_class.description or ""

    def get_author(self) -> str:
        return self._job.job_class.author or ""

    def get_version(self) -> str:
        return self._job.job_class.version or ""

    def get_usage(self) -> str:
        return self._job.job_class.usage or ""

    def get_start_on(self) -> list[list[str]]:
        return condition_to_rpn(self._job.job_class.start_on)

    def get_stop_on(self) -> list[list[str]]:
        return condition_to_rpn(self._job.job_class.stop_on)

    def get_emits(self) -> list[str]:
        return list(self._job.job_class.emits)


class InstanceObject:
    """An instance of a job."""

    __slots__ = ("_engine", "_instance", "_service", "path", "session")
    interfaces = INSTANCE_OBJECT

    def __init__(self, service: Service, engine: Engine, instance: Instance, session: str | None) -> None:
        self._service = service
        self._engine = engine
        self._instance = instance
        self.session = session
        self.path = path_of_instance(instance)

    def children(self) -> list[str]:
        """None: nothing is below an instance."""
        return []

    def _may_change(self, call: Call) -> None:
        if self.session != self._instance.job.session or not self._service.may_change(call):
            raise CommandError(
                "PermissionDenied", f"You do not have permission to modify job: {self._instance.display}"
            )

    def do_Start(self, call: Call, wait: bool) -> None:
        self._may_change(call)
        self._service.check_start(call.pid)
        self._engine.start(self._instance, call if wait else None, who_asks(self._engine, call))
        reply_unless(self._engine, wait, call)

    def do_Stop(self, call: Call, wait: bool, force: bool = False) -> None:
        self._may_change(call)
        self._engine.stop(self._instance, call if wait else None, force, who_asks(self._engine, call))
        reply_unless(self._engine, wait, call)

    def do_Restart(self, call: Call, wait: bool) -> None:
        self._may_change(call)
        self._service.check_start(call.pid)
        self._engine.restart(self._instance, call if wait else None, who_asks(self._engine, call))
        reply_unless(self._engine, wait, call)

    def do_Reload(self, call: Call) -> None:
        self._may_change(call)
        self._engine.reload(self._instance)
        call.reply()

    def get_name(self) -> str:
        return self._instance.name

    def get_goal(self) -> str:
        return self._instance.goal

    def get_state(self) -> str:
        return self._instance.state

    def get_processes(self) -> list[tuple[str, int]]:
        return processes(self._instance)
