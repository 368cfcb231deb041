"""What was cut short is brought to its end: the engine after an exception in the middle of an input.

An input changes several things, one after the other.  Where it fails between two of them, for want of memory say, an
instance may be in a state whose work was never begun, an event be held by nobody, a process be asked for and never
spawned; nothing would ever happen to it again.  `Mending.mend` looks at all there is, once, and has go on what stands
still.

What is always true here: it begins with what is written down (goals, states, pids, who waits for what) and makes anew
what only follows from that (counts, queues, indexes); it can be cut short itself, and be done again.  What was done
may be done once more: a signal announced twice, an event emitted twice, but no process started twice.
"""

from __future__ import annotations

from upstart.base.expect import EXPECT_SECONDS
from upstart.engine.awaited import count
from upstart.engine.commands import Commands
from upstart.engine.data import FINISHED, HANDLING, PENDING, Job
from upstart.engine.door import an_input
from upstart.engine.effects import CancelSpawn, CloseFd, Follow, Gone, SetTimer, Spawn
from upstart.engine.index import EventIndex
from upstart.engine.lifecycle import EXPECT_TIMER, KILL_TIMER, SPAWNING, WAITING_FOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Event, Instance

#: How often an event is handled that cannot be handled to the end.
TRIES = 4


class Mending(Commands):
    """The layer that knows what must be so when nothing is under way."""

    @an_input
    def mend(self, asked: list[tuple[int, str]], timers: list[tuple[int, str]]) -> None:
        """Bring to an end what an exception has cut short, in whatever input that was.

        ``asked`` are the processes that the owner has been asked for and has not spawned yet, by serial of their
        instance and name; ``timers`` the timers it has armed.
        """
        self._index_anew()
        if self.serving is not None and self.serving.progress == PENDING:
            self.tries += 1
            if self.tries >= TRIES:
                # It will never do: others wait.
                self.serving.progress = HANDLING
        self._count_anew()
        self._tell_again()
        spawns, armed = set(asked), set(timers)
        for effect in self.effects:
            if isinstance(effect, Spawn):
                spawns.add((effect.instance.serial, effect.process))
            elif isinstance(effect, SetTimer):
                armed.add((effect.instance.serial, effect.timer))
        for job in list(self.jobs.values()):
            for instance in list(job.instances.values()):
                self._mend_instance(instance, spawns, armed)
            if job.pending and not job.instances:
                self._reconsider(job)
        self._count_anew()
        for event in list(self.events.values()):
            if event.progress == FINISHED:
                self._finish(event)
        if self.tells_awaited:
            self._tell_awaited(self.awaited.listened_for())

    # What follows from the rest

    def _index_anew(self) -> None:
        start_index: EventIndex[Job] = EventIndex()
        stop_index: EventIndex[Instance] = EventIndex()
        pids: dict[int, tuple[Instance, str]] = {}
        instances: list[Instance] = []
        for job in self.jobs.values():
            if job.job_class.start_on is not None:
                start_index.add(job, job.job_class.start_on)
            instances += job.instances.values()
        for instance in sorted(instances, key=lambda instance: instance.serial):
            if instance.job_class.stop_on is not None:
                stop_index.add(instance, instance.job_class.stop_on, instance.env)
            for process, pid in instance.pids.items():
                pids[pid] = (instance, process)
        awaited = count([job.job_class for job in self.jobs.values()], self.environ)
        # None of them is ever there by half.
        self.start_index, self.stop_index, self.pids, self.awaited = start_index, stop_index, pids, awaited

    def _count_anew(self) -> None:
        """Who holds which event, which of them can go on, and which descriptors are in use."""
        users: dict[int, int] = {}
        for event in self.events.values():
            event.blockers = 0
            event.queued = False
            if event.fd >= 0:
                users[event.fd] = users.get(event.fd, 0) + 1
        for job in self.jobs.values():
            self._count_progress(job)
            for instance in job.instances.values():
                self._count_progress(instance)
                instance.blocking = [
                    blocked for blocked in instance.blocking
                    if blocked.event is None or blocked.event.serial in self.events
                ]  # fmt: skip
                for blocked in instance.blocking:
                    if blocked.event is not None:
                        blocked.event.blockers += 1
                for fd in instance.fds:
                    users[fd] = users.get(fd, 0) + 1
        for fd in self._fd_users:
            if fd not in users:
                self.effects.append(CloseFd(fd))
        self._fd_users = users
        self._pass, self._next_pass, self._cursor = [], [], 0
        for event in self.events.values():
            if event.progress == PENDING or (event.progress == HANDLING and not event.blockers):
                self._queue(event)

    def _count_progress(self, owner: Job | Instance) -> None:
        progress = owner.start_progress if isinstance(owner, Job) else owner.stop_progress
        for leaf, event in list((progress or {}).items()):
            if progress is not None and event.serial not in self.events:
                del progress[leaf]
            else:
                event.blockers += 1

    # What was told and not acted upon

    def _tell_again(self) -> None:
        """What became of a process, where the engine was told and has not come to the end of it."""
        told, self.told = self.told, None
        if told is None:
            return
        instance, process, state, pid, status, reason = told
        if instance.job.instances.get(instance.name) is not instance or instance.pids.get(process, pid) != pid:
            return
        if process in instance.pids:
            self._forget_process(instance, process, pid)
        elif pid:
            self.effects.append(Gone(instance, process, pid))
        instance.unready.discard(process)
        if instance.state == state:
            self.ended(instance, process, status, reason)

    # Instances

    def _mend_instance(self, instance: Instance, spawns: set[tuple[int, str]], armed: set[tuple[int, str]]) -> None:
        for timer, due in list(instance.timers.items()):
            if self.is_over(instance, timer):
                self.cancel_timer(instance, timer)
            elif (instance.serial, timer) not in armed:
                self.effects.append(SetTimer(instance, timer, max(0.0, due - self.clock())))
        for process in list(instance.unready):
            if process not in instance.pids and (instance.serial, process) not in spawns:
                # Nobody is about to spawn it.
                instance.unready.discard(process)
                if instance.entering is None and WAITING_FOR.get(instance.state) == process:
                    self._spawn(instance, process)
        blocker = instance.blocker
        if blocker is not None and blocker.serial in self.events and blocker.progress != FINISHED:
            blocker.waiting = instance
            if instance.state in ("starting", "stopping"):
                instance.entering = None
                return
        if blocker is not None:
            blocker.waiting = instance.blocker = None
        if instance.entering is not None:
            self._enter_again(instance)
        else:
            self._go_on(instance)

    def _enter_again(self, instance: Instance) -> None:
        """The work of a state was begun, and maybe done in part."""
        state = instance.state
        if state == "waiting" and instance.goal == "start":
            # Its life was at an end, and another has been asked for.
            instance.entering = None
            self.advance(instance)
        elif state in SPAWNING:
            process = SPAWNING[state]
            if process in instance.unready or process in instance.pids:
                instance.entering = None
                self.advance(instance)
            else:
                self.enter(instance, self.begin_state(instance))
        else:
            name = {"starting": "starting", "stopping": "stopping"}.get(state)
            emitted = self._emitted(instance, name) if name is not None else None
            if emitted is not None:
                emitted.waiting = instance
                instance.blocker = emitted
                instance.entering = None
            else:
                self.enter(instance, self.begin_state(instance))

    def _emitted(self, instance: Instance, name: str) -> Event | None:
        """The event that was emitted for the instance, and was not yet said to be what it waits for."""
        for event in self.events.values():
            if event.name == name and event.progress == PENDING and event.waiting in (None, instance):
                if (event.session, event.env.get("JOB"), event.env.get("INSTANCE")) == (
                    instance.job.session, instance.job.name, instance.name,
                ):  # fmt: skip
                    return event
        return None

    def _go_on(self, instance: Instance) -> None:
        """Between the work of one state and the next, or where it waits for something."""
        state = instance.state
        process = WAITING_FOR.get(state)
        if state == "waiting" and instance.goal == "stop":
            # Made for a start that did not come about.
            self.release(instance, failed=True)
            instance.job.instances.pop(instance.name, None)
            self._forget_instance(instance)
        elif process is not None and self._has_process(instance, process):
            if process in instance.pids or process in instance.unready:
                if state == "spawned" and (process not in instance.unready or instance.goal == "stop"):
                    self._go_on_spawned(instance)
            else:
                self.advance(instance)
        elif state == "killed" and instance.main_pid:
            if KILL_TIMER + "main" not in instance.timers:
                self.end_process(instance, "main", instance.job_class.kill_signal)
        elif state == "killed" and "main" in instance.unready:
            # It is yet to come, and ends then.
            pass
        elif state == "running":
            lost = "main" in instance.job_class.processes and not instance.main_pid
            if instance.goal != "start" or lost:
                self.advance(instance)
            elif not instance.job_class.task:
                self.release(instance)
        else:
            self.advance(instance)
        if instance.forced and instance.state != "waiting" and instance.goal == "stop":
            self.force(instance)

    def _go_on_spawned(self, instance: Instance) -> None:
        """Its main process runs, or is not to any more."""
        expect = instance.job_class.expect
        if expect == "none" or instance.goal == "stop":
            if not instance.main_pid:
                # It may not come for long, or never.
                self.effects.append(CancelSpawn(instance, "main"))
            self.advance(instance)
        elif expect != "stop":
            self.effects.append(Follow(instance))
        elif EXPECT_TIMER not in instance.timers:
            self.set_timer(instance, EXPECT_TIMER, EXPECT_SECONDS)
