"""The engine as a whole: conditions of jobs and instances meet events, definitions come and go.

See `lifecycle` for what an instance does, `processes` and `commands` for the other inputs, `core` for the queue.
"""

from __future__ import annotations

from upstart.conf.expand import ExpandError, expand
from upstart.conf.jobdata import same_definition
from upstart.engine import environ
from upstart.engine.condition import active_events, is_met, leaves, matches
from upstart.engine.data import Blocked, Event, Job
from upstart.engine.door import an_input
from upstart.engine.effects import Announce
from upstart.engine.history import LONGEST_REASON, shortened
from upstart.engine.holding import WorkedOn
from upstart.engine.lifecycle import KILL_TIMER
from upstart.engine.mend import Mending
from upstart.engine.rest import to_stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from upstart.conf.jobclass import Condition, JobClass, Match
    from upstart.engine.data import Instance, Progress


#: What a session init emits when its session ends.
SESSION_END = "session-end"


class Engine(Mending):
    """All of the engine; one thread, one owner.

    After each input (or a batch of them) the owner calls `run`, takes the effects (`take_effects`), performs them in
    order, and begins again where performing them was an input.  Every input is a method (`door`).
    """

    # Definitions

    @an_input
    def define(self, job_class: JobClass) -> Job:
        """Register a definition, or have it take over from the one of the same name.

        Instances keep theirs; while there are any, the job itself does.
        """
        key = (job_class.session, job_class.name)
        job = self.jobs.get(key)
        if job is None:
            job = self.jobs[key] = Job(job_class)
            if job_class.start_on is not None:
                self.start_index.add(job, job_class.start_on)
            self.note_definition(None, job_class)
            self.history.note_definition("added", *key)
            if self.announcing:
                self.effects.append(Announce("JobAdded", job))
        elif same_definition(job.job_class, job_class):
            job.pending, job.successor = False, None
        elif job.instances:
            job.pending, job.successor = True, job_class
        else:
            self._replace(job, job_class)
        return job

    @an_input
    def undefine(self, session: str | None, name: str) -> None:
        """Take a definition away; a job with instances goes when the last one has ended."""
        job = self.jobs.get((session, name))
        if job is None:
            return
        if job.instances:
            job.pending, job.successor = True, None
        else:
            self._remove(job)

    def _reconsider(self, job: Job) -> None:
        if not job.pending:
            return
        job.pending = False
        successor, job.successor = job.successor, None
        if successor is None:
            self._remove(job)
        else:
            self._replace(job, successor)

    def _replace(self, job: Job, job_class: JobClass) -> None:
        self.history.note_definition("changed", job.session, job.name)
        if self.announcing:
            self.effects.append(Announce("JobRemoved", job))
        # The order of jobs is that in which their conditions are served.
        self.jobs[job.session, job.name] = self.jobs.pop((job.session, job.name))
        old, held = job.job_class, job.start_progress
        if old.start_on is not None:
            self.start_index.remove(job, old.start_on)
        job.job_class, job.start_progress = job_class, None
        self.note_definition(old, job_class)
        if job_class.start_on is not None:
            self.start_index.add(job, job_class.start_on)
            # What the old condition has seen, the new one need not see again.
            for event in dict.fromkeys(held.values()) if held else ():
                job.start_progress = self._update(
                    job.start_progress, list(leaves(job_class.start_on)), event, None
                )[0]
        if held:
            self._reset(held)
        if self.announcing:
            self.effects.append(Announce("JobAdded", job))

    def _remove(self, job: Job) -> None:
        self.history.note_definition("removed", job.session, job.name)
        del self.jobs[job.session, job.name]
        if job.job_class.start_on is not None:
            self.start_index.remove(job, job.job_class.start_on)
        self.note_definition(job.job_class, None)
        if job.start_progress:
            self._reset(job.start_progress)
            job.start_progress = None
        if self.announcing:
            self.effects.append(Announce("JobRemoved", job))

    # Conditions

    def _handle(self, event: Event) -> None:
        """Stop, then start, what the event completes the condition of.

        Where that was cut short and is done again, those whose condition has been dealt with do not meet the event a
        second time.
        """
        self._stop_on(event)
        self._start_on(event)

    def _stop_on(self, event: Event) -> None:
        candidates = self.stop_index.candidates(event)
        for instance, found in sorted(candidates.items(), key=lambda candidate: candidate[0].serial):
            if event.session not in (None, instance.job.session) or instance.state == "waiting":
                continue
            if instance in self.served:
                continue
            condition = instance.job_class.stop_on
            progress, changed = self._update(instance.stop_progress, found, event, instance.env)
            instance.stop_progress = progress
            if not changed or condition is None or progress is None:
                continue
            met = is_met(condition, progress)
            if met and instance.goal != "stop":
                self._stop_by_events(instance, condition, progress)
            elif not met:
                self.history.note("half", instance.key, "stop", event.serial)
            if met or self.shutting_down:
                instance.stop_progress = self._served(instance)
                self._reset(progress)

    def _start_on(self, event: Event) -> None:
        if self.ending and not event.last:
            return
        for job, found in self.start_index.candidates(event).items():
            if event.session not in (None, job.session):
                continue
            if job in self.served:
                continue
            condition = job.job_class.start_on
            progress, changed = self._update(job.start_progress, found, event, None)
            job.start_progress = progress
            if not changed or condition is None or progress is None:
                continue
            met = is_met(condition, progress)
            if met:
                self._start_by_events(job, condition, progress)
            else:
                self.history.note("half", job.key, "start", event.serial)
            if met or self.shutting_down:
                job.start_progress = self._served(job)
                self._reset(progress)

    def _drop_half_met(self) -> None:
        for job in self.jobs.values():
            progress, job.start_progress = job.start_progress, None
            self._reset(progress or {})
            for instance in job.instances.values():
                progress, instance.stop_progress = instance.stop_progress, None
                self._reset(progress or {})

    def _update(
        self, progress: Progress | None, found: list[Match], event: Event, env: Mapping[str, str] | None
    ) -> tuple[Progress | None, bool]:
        """Have ``event`` meet those of the leaves that wait for it; it is blocked by each."""
        changed = False
        for leaf in found:
            if progress is not None and progress.get(leaf) is event:
                changed = True
            elif (progress is None or leaf not in progress) and matches(leaf, event, env):
                if progress is None:
                    progress = {}
                if not event.noted:
                    self.note_event(event, "job")
                progress[leaf] = event
                self.block(event)
                changed = True
        return progress, changed

    def _served(self, owner: Job | Instance) -> Progress | None:
        """Note that the event at hand has done its part for this one; gives the progress from then on, none."""
        self.served.add(owner)
        return None

    def _reset(self, progress: Progress) -> None:
        for event in progress.values():
            self.unblock(event)

    def _stop_by_events(self, instance: Instance, condition: Condition, progress: Progress) -> None:
        stop_env: dict[str, str] = {}
        events = list(active_events(condition, progress))
        for event in events:
            stop_env.update(event.env)
        stop_env["UPSTART_STOP_EVENTS"] = " ".join(event.name for event in events)
        instance.stop_env = stop_env
        instance.last = any(event.last for event in events)
        self._wait_for(instance, events)
        self.change_goal(instance, "stop", [event.serial for event in events])

    def _start_by_events(self, job: Job, condition: Condition, progress: Progress) -> None:
        env = self.job_environment(job)
        events = list(active_events(condition, progress))
        for event in events:
            env.update(event.env)
        env["UPSTART_EVENTS"] = " ".join(event.name for event in events)
        try:
            name = expand(job.job_class.instance, env)
        except ExpandError as error:
            self.warn("Failed to obtain %s instance: %s", job.name, error)
            text = shortened(f"Failed to obtain {job.name} instance: {error}", LONGEST_REASON)
            self.history.note("fail", job.key, None, None, text)
            return
        instance = job.instances.get(name)
        if instance is None:
            instance = self.new_instance(job, name)
        self.debug("New instance %s", instance.display)
        if instance.goal != "stop":
            return
        fds = tuple(event.fd for event in events if event.fd >= 0)
        connections = {event.fd for event in events if event.connection}
        if named_fds := [str(fd) for fd in fds if fd not in connections]:
            env["UPSTART_FDS"] = " ".join(named_fds)
        instance.start_env = env
        self.set_fds(instance, fds)
        instance.connection = max(connections, default=-1)
        instance.last = any(event.last for event in events)
        self._wait_for(instance, events)
        self.change_goal(instance, "start", [event.serial for event in events])

    def _wait_for(self, instance: Instance, events: list[Event]) -> None:
        """Let go of who waited for the instance, and have ``events`` wait for it.

        An instance that its own ``starting`` or ``stopping`` event affects does not hold that event, which it waits
        for itself.
        """
        self.release(instance)
        for event in events:
            if event.waiting is instance:
                continue
            self.block(event)
            instance.blocking.append(Blocked("event", event))

    def _forget_instance(self, instance: Instance) -> None:
        if instance.job_class.stop_on is not None:
            self.stop_index.remove(instance, instance.job_class.stop_on)
        if instance.stop_progress:
            self._reset(instance.stop_progress)
            instance.stop_progress = None
        self.set_fds(instance, ())

    # The end of the machine

    @an_input
    def set_ending(self, ending: bool) -> None:
        """The machine ends, or, where that is taken back, does not.

        While it ends nothing is respawned, and jobs start only by events that are part of its end (``last``): those
        that say so, and what comes of them; or by name, which whoever passes that on has to judge.  A start that has
        been called off waits for nothing any more.
        """
        if ending != self.ending:
            # Asked for again, it is still the same end.
            for event in self.events.values():
                event.last = False
            for instance in self.instances():
                instance.last = False
            self.history.note("ending", ending)
        self.ending = self.reporting = ending
        self.respawning_allowed = not ending
        for instance in list(self.instances()):
            if ending and instance.goal == "stop" and instance.state == "starting":
                self.let_go(instance)

    @an_input
    def stop_rest(
        self, force: bool, spared: list[int], later: list[str], env: dict[str, str], by: object = None
    ) -> None:
        """Stop, with ``env``, what still runs and is no part of the machine's end; whoever has one of the pids
        ``spared`` goes on, and so does whose job is named in ``later``, or is to be stopped by an event that is.

        With ``force``, none of their processes is waited for longer than a kill timeout.
        """
        worked_on = WorkedOn(self.events.values(), self.instances())
        for instance in to_stop(self.instances(), spared, later):
            if instance.goal != "stop":
                instance.stop_env = dict(env)
            self.change_goal(instance, "stop", by)
            if force and instance.state != "waiting" and not instance.forced:
                self.force(instance, worked_on)
            for process in instance.pids:
                if KILL_TIMER + process in instance.timers:
                    self.set_kill_timer(instance, process)

    @an_input
    def wait_no_longer(self, instance: Instance) -> None:
        """Have an instance go on that waits for its ``starting`` or ``stopping`` event."""
        self.let_go(instance)

    # The end of a session, and a beginning without state

    @an_input
    def end_session(self, reason: str) -> bool:
        """Emit ``session-end TYPE=REASON``, and respawn nothing from now on.

        At a logout, jobs that start on that event are waited for: True where there are any, and what runs already is
        stopped meanwhile.  Otherwise `shutdown` is next.
        """
        self.respawning_allowed = False
        env = {"TYPE": reason}
        waits = reason == "logout" and self._anyone_starts(Event(0, SESSION_END, env))
        running = list(self.instances())
        self.emit(SESSION_END, env)
        if waits:
            # What runs already does not care for the end of the session, and what does is only about to start.
            for instance in running:
                self.change_goal(instance, "stop", "session")
        return waits

    def _anyone_starts(self, event: Event) -> bool:
        found = self.start_index.candidates(event).values()
        return any(matches(leaf, event, None) for leaves_found in found for leaf in leaves_found)

    @an_input
    def adopt_process(self, job: Job, name: str, pid: int) -> Instance:
        """Have an instance that does not exist run with a main process that does: nothing else is known of it."""
        instance = self.new_instance(job, name)
        instance.env = self.job_environment(job)
        self.note_environ(instance)
        instance.goal, instance.state = "start", "running"
        instance.pids["main"] = pid
        self.pids[pid] = (instance, "main")
        instance.noted = instance.state
        self.history.note("adopted", instance.key, pid)
        return instance

    # The table of the environment that all jobs begin with

    @an_input
    def set_job_environ(self, entry: str, replace: bool) -> None:
        """Set ``KEY=VALUE`` (or ``KEY``, from init's own environment) for all jobs, those that run included."""
        environ.append(self.job_environ, (entry,), self.environ, replace)
        for instance in self.instances():
            environ.append(instance.env, (entry,), self.environ, replace)
            self.note_environ(instance)

    @an_input
    def unset_job_environ(self, key: str) -> None:
        """Remove a variable for all jobs, those that run included."""
        self.job_environ.pop(key, None)
        for instance in self.instances():
            instance.env.pop(key, None)
            self.note_environ(instance)

    @an_input
    def reset_job_environ(self, table: dict[str, str]) -> None:
        """Have jobs begin with ``table``; those that run keep what they have."""
        self.job_environ = table

    # The environment of one instance

    @an_input
    def set_instance_environ(self, instance: Instance, entry: str, replace: bool) -> None:
        """Set ``KEY=VALUE`` (or ``KEY``, from init's own environment) for what an instance starts from now on."""
        environ.append(instance.env, (entry,), self.environ, replace)
        self.note_environ(instance)

    @an_input
    def unset_instance_environ(self, instance: Instance, key: str) -> None:
        """Remove a variable of an instance."""
        instance.env.pop(key, None)
        self.note_environ(instance)

    @an_input
    def reset_instance_environ(self, instance: Instance) -> None:
        """Give an instance the environment that its job begins with."""
        instance.env = self.job_environment(instance.job)
        self.note_environ(instance)
