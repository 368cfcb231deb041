"""The commands: start, stop, restart and reload of jobs and instances.

A command that cannot be carried out raises `CommandError` and has changed nothing.  One with a ``request`` is answered
later with `Reply` or `ReplyError`, exactly once; one without is answered by the caller when the method returns.
"""

from __future__ import annotations

from upstart.base.names import INVALID_ARGS
from upstart.base.priority import MESSAGE
from upstart.conf.expand import ExpandError, expand
from upstart.engine import environ
from upstart.engine.core import CommandError
from upstart.engine.data import Blocked, Instance
from upstart.engine.door import an_input
from upstart.engine.effects import Announce, Signal
from upstart.engine.holding import WorkedOn
from upstart.engine.processes import ProcessInputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from upstart.engine.data import Job



class Commands(ProcessInputs):
    """What clients ask for by name."""

    def job_environment(self, job: Job) -> dict[str, str]:
        """The environment an instance begins with: the table of all jobs, then the job's own ``env`` stanzas."""
        env = dict(self.job_environ)
        environ.append(env, job.job_class.env, self.environ)
        return env

    def new_instance(self, job: Job, name: str) -> Instance:
        """Make an instance that is at rest."""
        self._serial += 1
        instance = job.instances[name] = Instance(self._serial, job, job.job_class, name)
        if job.job_class.stop_on is not None:
            self.stop_index.add(instance, job.job_class.stop_on, instance.env)
        if self.announcing:
            self.effects.append(Announce("InstanceAdded", instance))
        return instance

    def find_instance(self, job: Job, env: Mapping[str, str]) -> Instance:
        """The instance that ``env`` names; UnknownInstance where it does not exist."""
        name = self._instance_name(job, self._full_environment(job, env), usage=True)
        return self.instance_named(job, name)

    def instance_named(self, job: Job, name: str) -> Instance:
        """The instance of that very name; UnknownInstance where it does not exist."""
        instance = job.instances.get(name)
        if instance is None:
            raise CommandError("UnknownInstance", f"Unknown instance: {name}")
        return instance

    @an_input
    def start_job(self, job: Job, env: Mapping[str, str], request: object = None, by: object = None) -> Instance:
        """Start the instance that ``env`` names, made where it does not exist; ``by`` is who asks, for the history."""
        start_env = self._full_environment(job, env)
        name = self._instance_name(job, start_env, usage=True)
        instance = job.instances.get(name)
        if instance is None:
            instance = self.new_instance(job, name)
        elif instance.goal != "stop":
            raise CommandError("AlreadyStarted", f"Job is already running: {instance.display}")
        instance.start_env = start_env
        self.set_fds(instance, ())
        self._take_over(instance, "start", request)
        instance.last = self.ending
        self.change_goal(instance, "start", by)
        return instance

    @an_input
    def stop_job(
        self, job: Job, env: Mapping[str, str], request: object = None, force: bool = False, by: object = None
    ) -> None:
        """Stop the instance that ``env`` names; its stopping processes get ``env``."""
        name = self._instance_name(job, self._full_environment(job, env), usage=False)
        self._stop(self.instance_named(job, name), dict(env), request, force, by)

    @an_input
    def restart_job(self, job: Job, env: Mapping[str, str], request: object = None, by: object = None) -> Instance:
        """Stop the instance that ``env`` names and start it again with that environment and its old definition."""
        restart_env = self._full_environment(job, env)
        name = self._instance_name(job, restart_env, usage=False)
        instance = self.instance_named(job, name)
        if instance.goal == "stop":
            raise CommandError("AlreadyStopped", f"Job has already been stopped: {instance.name}")
        self._restart(instance, restart_env, request, by)
        return instance

    @an_input
    def start(self, instance: Instance, request: object = None, by: object = None) -> None:
        """Start an instance that is stopping, with the environment it has."""
        if instance.goal != "stop":
            raise CommandError("AlreadyStarted", f"Job is already running: {instance.display}")
        instance.start_env = None
        self._take_over(instance, "start", request)
        instance.last = self.ending
        self.change_goal(instance, "start", by)

    @an_input
    def stop(self, instance: Instance, request: object = None, force: bool = False, by: object = None) -> None:
        """Stop an instance; with ``force`` none of its processes is waited for longer than a kill timeout."""
        self._stop(instance, None, request, force, by)

    @an_input
    def restart(self, instance: Instance, request: object = None, by: object = None) -> None:
        """Stop an instance and start it again with the environment it has and its old definition."""
        if instance.goal == "stop":
            raise CommandError("AlreadyStopped", f"Job has already been stopped: {instance.display}")
        self._restart(instance, None, request, by)

    @an_input
    def reload(self, instance: Instance) -> None:
        """Send the main process the reload signal."""
        if not instance.main_pid:
            raise CommandError("NotRunning", f"Job is not running: {instance.display}")
        signal = instance.job_class.reload_signal
        if signal:
            self.effects.append(Signal(instance, "main", instance.main_pid, signal, alone=True))

    @an_input
    def shutdown(self) -> None:
        """Stop every instance, and wait for none of their processes longer than a kill timeout.

        From now on a condition that is met by half holds no event: what would complete it may never happen.
        """
        self.shutting_down = True
        self._drop_half_met()
        worked_on = WorkedOn(self.events.values(), self.instances())
        for instance in list(self.instances()):
            self.change_goal(instance, "stop", "shutdown")
            if instance.state != "waiting":
                self.force(instance, worked_on)

    def _drop_half_met(self) -> None:
        raise NotImplementedError

    def _stop(
        self, instance: Instance, env: dict[str, str] | None, request: object, force: bool, by: object
    ) -> None:
        if instance.goal == "stop" and not force:
            raise CommandError("AlreadyStopped", f"Job has already been stopped: {instance.display}")
        if instance.goal != "stop":
            instance.stop_env = env
            instance.last = self.ending
        self._take_over(instance, "stop", request)
        self.change_goal(instance, "stop", by)
        if force and instance.state != "waiting":
            self.force(instance)

    def _restart(self, instance: Instance, env: dict[str, str] | None, request: object, by: object) -> None:
        if instance.job.pending:
            text = "restarts with its old definition: stop and start it to use the new one"
            self.log(MESSAGE, f"{instance.display} {text}")
        instance.start_env = env
        named_fds = instance.env.get("UPSTART_FDS") if instance.fds else None
        if env is not None and named_fds is not None:
            # What its events have brought is still its own.
            env["UPSTART_FDS"] = named_fds
        instance.stop_env = None
        self._take_over(instance, "restart", request)
        instance.last = self.ending
        self.change_goal(instance, "stop", by)
        self.change_goal(instance, "start", by)

    def _take_over(self, instance: Instance, kind: str, request: object) -> None:
        """Let go of whoever waited for the command before this one, and keep who waits for this one."""
        self.release(instance)
        if request is not None:
            instance.blocking.append(Blocked(kind, request=request))

    def set_fds(self, instance: Instance, fds: tuple[int, ...]) -> None:
        """Give an instance the descriptors of its events, in place of those it had."""
        old, instance.fds = instance.fds, fds
        if instance.connection not in fds:
            instance.connection = -1
        for fd in fds:
            self.hold_fd(fd)
        for fd in old:
            self.release_fd(fd)

    def _full_environment(self, job: Job, env: Mapping[str, str]) -> dict[str, str]:
        table = self.job_environment(job)
        table.update(env)
        return table

    def _instance_name(self, job: Job, env: Mapping[str, str], usage: bool) -> str:
        try:
            return expand(job.job_class.instance, env)
        except ExpandError as error:
            text = str(error)
            if usage and job.job_class.usage:
                text += f"\nUsage: {job.job_class.usage}"
            raise CommandError(INVALID_ARGS, text) from None
