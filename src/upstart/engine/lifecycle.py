"""The life of an instance: goal and state, and how one leads through the other.

What is always true here:

- The *goal* is what was asked for last, ``start`` or ``stop``; the *state* is how far the instance has come.  A third
  goal, ``respawn``, nobody asks for: the main process is to have a successor and has ended beside a post-start or
  pre-stop process; when that has ended too, the goal is ``start`` again and the way leads through ``stopping``.
- A change of goal moves nothing by itself except out of the two states of rest, ``waiting`` and ``running`` (and out
  of ``spawned``, where only a daemon that may never fork, or a process that may never come, would be waited for);
  elsewhere the work in hand ends first, and `NEXT` then leads the other way.
- On entering a state its work is begun (an event emitted, a process asked for) or, where there is none, the next
  state is entered.  The ``-ing`` states ask for a process; the state after each waits for it.  Nothing recurses
  through states: one loop enters state after state until one has work to wait for.
- While a ``starting`` or ``stopping`` event is unfinished, it is the instance's ``blocker`` and no state is left.
- Whoever waits for the instance (an event, a ``start`` or ``stop`` request) is let go exactly once: when the instance
  comes to rest, when another command overtakes it, when it fails, or when it is not ready in time.
- A timer is in ``timers`` exactly while what it is for goes on (`is_over`).
- An instance whose state is ``waiting`` is gone: it has been taken out of its job when ``stopped`` was emitted.

The table reads: in this state, with this goal, the next state is.  It is the figure of init(5), and the original's
order to the letter, for jobs observe it through StateChanged.
"""

from __future__ import annotations

from upstart.base.signals import signal_name
from upstart.engine.effects import (
    Announce,
    CancelSpawn,
    CancelTimer,
    Ended,
    Reply,
    ReplyError,
    Report,
    SetTimer,
    Signal,
    Spawn,
)  # fmt: skip
from upstart.engine.holding import WorkedOn
from upstart.engine.queue import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Event, Instance, Job

#: state -> (next state with goal start, next state with goal stop)
NEXT = {
    "waiting": ("starting", "waiting"),
    "starting": ("security-spawning", "stopping"),
    "security-spawning": ("security", "stopping"),
    "security": ("pre-starting", "stopping"),
    "pre-starting": ("pre-start", "stopping"),
    "pre-start": ("spawning", "stopping"),
    "spawning": ("spawned", "stopping"),
    "spawned": ("post-starting", "stopping"),
    "post-starting": ("post-start", "stopping"),
    "post-start": ("running", "stopping"),
    "running": ("stopping", "pre-stopping"),
    "pre-stopping": ("pre-stop", "pre-stop"),
    "pre-stop": ("running", "stopping"),
    "stopping": ("killed", "killed"),
    "killed": ("post-stopping", "post-stopping"),
    "post-stopping": ("post-stop", "post-stop"),
    "post-stop": ("starting", "waiting"),
}

#: The states that ask for a process, that process, and the state that waits for it.
SPAWNING = {
    "security-spawning": "security",
    "pre-starting": "pre-start",
    "spawning": "main",
    "post-starting": "post-start",
    "pre-stopping": "pre-stop",
    "post-stopping": "post-stop",
}
WAITING_FOR = {
    "security": "security",
    "pre-start": "pre-start",
    "spawned": "main",
    "post-start": "post-start",
    "pre-stop": "pre-stop",
    "post-stop": "post-stop",
}

#: The processes without which an instance can be stopped as well.
BEGINNING = ("security", "pre-start", "main", "post-start")

#: What a request that waits is told when the instance failed.
FAILURE_TEXT = {
    "start": "Job failed to start",
    "stop": "Job failed while stopping",
    "restart": "Job failed to restart",
}

SIGTERM = 15
SIGKILL = 9

#: What the names of the timers begin with after which a process is killed; its own name follows.
KILL_TIMER = "kill:"
#: Seconds that a process gets to end at most, once the machine ends.
LAST_SECONDS = 60
#: A main process that is to stop itself, and a job whose main process keeps ending before it is ready.
EXPECT_TIMER = "expect"
READY_TIMER = "ready"


class LifeCycle(Queue):
    """Goals, states, and what entering each state does."""

    def change_goal(self, instance: Instance, goal: str, cause: object) -> None:
        """Set the goal, and get the instance moving where it rests; ``cause`` is for the history."""
        if instance.goal == goal:
            return
        instance.goal_since = self.clock()
        instance.cause = cause
        self.history.note("goal", instance.key, goal, cause)
        self.info("%s goal changed from %s to %s", instance.display, instance.goal, goal)
        instance.goal = goal
        if goal == "stop":
            instance.respawning = False
            self.cancel_timer(instance, READY_TIMER)
        if self.announcing:
            self.effects.append(Announce("GoalChanged", instance, goal))
        state = instance.state
        if goal == "start":
            if state == "waiting":
                self.advance(instance)
        elif goal == "stop":
            process = WAITING_FOR.get(state)
            if process in BEGINNING and process in instance.unready and process not in instance.pids:
                # It may not come for long, or never.
                self.effects.append(CancelSpawn(instance, process))
            if state == "running" or (state == "spawned" and ("main" in instance.unready or instance.main_pid)):
                # Where there is no process yet, the state "killed" has what becomes of it.
                self.advance(instance)
            elif self.ending and state == "starting":
                self.let_go(instance)

    def let_go(self, instance: Instance) -> None:
        """Have an instance wait no longer for its ``starting`` or ``stopping`` event, if it does."""
        blocker = instance.blocker
        if blocker is not None:
            blocker.waiting = instance.blocker = None
            self.history.note("freed", instance.key, blocker.serial)
            self.advance(instance)

    def next_state(self, instance: Instance) -> str:
        """The state to enter when the work of the present one is done."""
        state = instance.state
        if instance.goal == "respawn":
            # The main process ended while a process beside it ran; now that this has ended too, begin anew.
            self.change_goal(instance, "start", "respawn")
            return "stopping"
        lost = instance.goal == "start" and "main" in instance.job_class.processes
        if not instance.main_pid and (state == "running" or (lost and state in ("post-start", "pre-stop"))):
            # Nothing runs that could be stopped gently, or that "running" could be said of.
            return "stopping"
        return NEXT[state][0 if instance.goal == "start" else 1]

    def advance(self, instance: Instance) -> None:
        """Enter the next state, and on until one has something to wait for."""
        self.enter(instance, self.next_state(instance))

    def enter(self, instance: Instance, state: str | None) -> None:
        """Enter ``state``, and on until one has something to wait for."""
        while state is not None and instance.blocker is None and instance.state != state:
            self.info("%s state changed from %s to %s", instance.display, instance.state, state)
            instance.entering, instance.state = instance.state, state
            state = self.begin_state(instance)
        self._moved[instance] = None

    def begin_state(self, instance: Instance) -> str | None:
        """Begin the work of the state just entered; returns the state to go on to, if any.

        ``entering`` says until the end that this is under way.
        """
        state = instance.state
        following: str | None = None
        if instance.entering == "spawned":
            self.cancel_timer(instance, EXPECT_TIMER)
        if self.announcing:
            self.effects.append(Announce("StateChanged", instance, state))
        if state in SPAWNING:
            if self._has_process(instance, SPAWNING[state]):
                self._spawn(instance, SPAWNING[state])
            following = self.next_state(instance)
        elif state in WAITING_FOR:
            if not self._has_process(instance, WAITING_FOR[state]):
                following = self.next_state(instance)
        else:
            following = self._enter_rest(instance, state, instance.entering or "")
        instance.entering = None
        return following

    def _enter_rest(self, instance: Instance, state: str, came_from: str) -> str | None:
        """Enter one of the states that wait for no process of their own; returns the state to go on to, if any."""
        if state == "starting":
            self._begin(instance)
        elif state == "running":
            return self._run(instance, came_from)
        elif state == "stopping":
            instance.blocker = self._emit_job_event(instance, "stopping", blocking=True)
        elif state == "killed":
            if instance.main_pid:
                self.end_process(instance, "main", instance.job_class.kill_signal)
            elif "main" not in instance.unready:
                return self.next_state(instance)
        else:
            self._end(instance)
        return None

    def _begin(self, instance: Instance) -> None:
        if instance.start_env is not None:
            instance.env, instance.start_env = instance.start_env, None
            self.note_environ(instance)
        instance.stop_env = None
        instance.failed = False
        instance.failed_process = None
        instance.exit_status = 0
        instance.forced = False
        instance.respawning = False
        instance.blocker = self._emit_job_event(instance, "starting", blocking=True)

    def _run(self, instance: Instance, came_from: str) -> str | None:
        if came_from == "pre-stop":
            # A start overtook the stop while pre-stop ran: the attempt is off, nothing was started anew.
            instance.stop_env = None
            self.release(instance)
            return None
        self.cancel_timer(instance, READY_TIMER)
        self._emit_job_event(instance, "started")
        if not instance.job_class.task:
            if self.reporting:
                self.effects.append(Report(instance, "up"))
            self.release(instance)
        elif "main" not in instance.job_class.processes:
            # A task ends with its main process; one that has none has done all it does.
            self.change_goal(instance, "stop", "ended")
        return None

    def _end(self, instance: Instance) -> None:
        self._emit_job_event(instance, "stopped")
        if self.reporting:
            self.effects.append(Report(instance, "down"))
        self.release(instance)
        job = instance.job
        job.instances.pop(instance.name, None)
        self._forget_instance(instance)
        self.effects.append(Ended(instance))
        self.debug("Destroyed inactive instance %s", instance.display)
        if self.announcing:
            self.effects.append(Announce("InstanceRemoved", instance))
        if not job.instances:
            self._reconsider(job)

    def _forget_instance(self, instance: Instance) -> None:
        raise NotImplementedError

    def _reconsider(self, job: Job) -> None:
        raise NotImplementedError

    def _unblocked(self, instance: Instance) -> None:
        self.advance(instance)

    def _has_process(self, instance: Instance, process: str) -> bool:
        return process in instance.job_class.processes and (process != "security" or self.apparmor_available)

    def _spawn(self, instance: Instance, process: str) -> None:
        env = dict(instance.env)
        if instance.stop_env and process in ("pre-stop", "post-stop"):
            env.update(instance.stop_env)
        env["UPSTART_JOB"] = instance.job.name
        env["UPSTART_INSTANCE"] = instance.name
        if instance.job.session is not None:
            env["UPSTART_CHROOT"] = instance.job.session
        env.update(self.extra_environ)
        # An event may carry "=VALUE", which no program can be given.
        env.pop("", None)
        instance.unready.add(process)
        fds = tuple([fd for fd in instance.fds if fd != instance.connection])
        if self.reporting and process == "main":
            self.effects.append(Report(instance, "begun"))
        self.effects.append(Spawn(instance, process, env, fds))

    def end_process(self, instance: Instance, process: str, signal: int) -> None:
        """Send ``signal`` to a process, and arm the timer after which it is killed."""
        pid = instance.pids[process]
        self.info("Sending %s signal to %s %s process (%d)", signal_name(signal), instance.display, process, pid)
        self.history.note("signal", instance.key, process, pid, signal)
        self.effects.append(Signal(instance, process, pid, signal))
        self.set_kill_timer(instance, process)

    # Timers: each is the instance's exactly while what it was set for goes on

    def set_timer(self, instance: Instance, timer: str, seconds: float) -> None:
        """Have `timer_fired` called after ``seconds``, unless the timer is cancelled before."""
        instance.timers[timer] = self.clock() + seconds
        self.effects.append(SetTimer(instance, timer, seconds))

    def set_kill_timer(self, instance: Instance, process: str) -> None:
        """Have a process killed after its job's kill timeout, from the first time on that it is asked to end."""
        timer, seconds = KILL_TIMER + process, instance.job_class.kill_timeout
        if self.ending and seconds > LAST_SECONDS:
            seconds = LAST_SECONDS
            if instance.timers.get(timer, 0) > self.clock() + seconds:
                self.set_timer(instance, timer, seconds)
        if timer not in instance.timers:
            self.set_timer(instance, timer, seconds)

    @staticmethod
    def is_over(instance: Instance, timer: str) -> bool:
        """Whether what a timer is for has ended."""
        if timer == EXPECT_TIMER:
            return instance.state != "spawned"
        if timer == READY_TIMER:
            return instance.goal == "stop" or instance.state == "running"
        return timer.removeprefix(KILL_TIMER) not in instance.pids

    def cancel_timer(self, instance: Instance, timer: str) -> None:
        """What the timer was for has ended; there may be no such timer."""
        if instance.timers.pop(timer, None) is not None:
            self.effects.append(CancelTimer(instance, timer))

    def force(self, instance: Instance, worked_on: WorkedOn | None = None) -> None:
        """Wait for no process of a stopping instance longer than a kill timeout (`stop --force`, shutdown).

        The main process has its own turn in the state ``killed``.  A ``starting`` or ``stopping`` event that no
        instance works on, but a half-met condition or a circle of jobs holds, is not waited for either.  ``worked_on``
        is what is known of that where many instances are forced.
        """
        instance.forced = True
        for process in list(instance.pids):
            if process != "main" and KILL_TIMER + process not in instance.timers:
                self.end_process(instance, process, SIGTERM)
        blocker = instance.blocker
        if blocker is None:
            return
        if worked_on is None:
            worked_on = WorkedOn(self.events.values(), self.instances())
        if blocker not in worked_on:
            worked_on.add(instance)
            self.let_go(instance)

    def fail(self, instance: Instance, process: str | None, status: int, reason: str) -> None:
        """Mark the instance as failed, once, and let go of who waits for it with an error."""
        if instance.failed:
            self.note_failure(instance, reason)
            return
        self.note_failure(instance, reason, process, status)
        instance.failed_process = process
        instance.exit_status = status
        if self.announcing:
            self.effects.append(Announce("Failed", instance, status))
        if self.reporting:
            self.effects.append(Report(instance, "failed", reason))
        self.release(instance, failed=True)
        instance.failed = True

    def release(self, instance: Instance, failed: bool = False, fail_events: bool = True) -> None:
        """Let go of everything that waits for the instance, where it ``failed`` with an error; events fail then unless
        ``fail_events`` is False."""
        blocking = instance.blocking
        while blocking:
            blocked = blocking[0]
            if blocked.event is not None:
                if failed and fail_events:
                    blocked.event.failed = True
                self.unblock(blocked.event)
            elif failed:
                self.effects.append(ReplyError(blocked.request, "JobFailed", FAILURE_TEXT[blocked.kind]))
            else:
                self.effects.append(Reply(blocked.request, instance))
            # Only now, so that nobody is forgotten.
            del blocking[0]

    def _emit_job_event(self, instance: Instance, name: str, blocking: bool = False) -> Event:
        env = {"JOB": instance.job.name, "INSTANCE": instance.name}
        if name in ("stopping", "stopped"):
            self._add_result(instance, env)
        if name == "stopped" and not instance.failed:
            self.forget_failure(instance)
        for key in instance.job_class.export:
            if key in instance.env:
                env.setdefault(key, instance.env[key])
        event = self.emit(name, env, session=instance.job.session, last=instance.last, by="job")
        if blocking:
            event.waiting = instance
        return event

    def _add_result(self, instance: Instance, env: dict[str, str]) -> None:
        if not instance.failed:
            env["RESULT"] = "ok"
            return
        env["RESULT"] = "failed"
        env["PROCESS"] = instance.failed_process or "respawn"
        if instance.failed_process is None or instance.exit_status == -1:
            return
        if instance.exit_status & ~0xFF:
            env["EXIT_SIGNAL"] = signal_name(instance.exit_status >> 8)
        else:
            env["EXIT_STATUS"] = str(instance.exit_status)
