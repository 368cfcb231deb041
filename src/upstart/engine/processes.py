"""What happens to an instance when its processes start, fork, stop and end.

What is always true here: a pid is in ``Engine.pids`` exactly while it is in its instance's ``pids``; a process that
ends moves the state only where the state waits for that process; a main process that ends while a post-start or
pre-stop process runs leaves the state to that one; dying when asked to is never a failure.  What comes late, from a
process, a try to start one or a timer that the instance has no more, changes nothing.
"""

from __future__ import annotations

from upstart.base.expect import EXPECT_SECONDS
from upstart.base.priority import INFO, WARN
from upstart.base.signals import signal_name
from upstart.engine.door import an_input
from upstart.engine.effects import Follow, Gone, SetTimer, Signal
from upstart.engine.lifecycle import EXPECT_TIMER, KILL_TIMER, READY_TIMER, SIGKILL, SIGTERM, WAITING_FOR, LifeCycle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance

#: Respawns from which on a main process keeps ending, and the seconds that one may last on average.
LOOPING = 3
LOOPING_SECONDS = 60
#: Seconds between two attempts to kill what survived SIGKILL (a process in the kernel, or no child of ours).
KILL_AGAIN_SECONDS = 5

#: The least seconds that a job has to become ready once its main process has ended before it was.
READY_SECONDS = 5
NOT_READY = ("spawned", "post-starting", "post-start")

SIGCONT = 18

#: The status of a process that another than init has waited for.
UNKNOWN = -2


class ProcessInputs(LifeCycle):
    """The inputs that tell of processes and timers."""

    @an_input
    def process_spawned(self, instance: Instance, process: str, pid: int) -> bool:
        """The process asked for with `Spawn` exists; its program is not yet known to run.

        False where nobody asked for it, or for no more than one: whoever made it has to end it.
        """
        known = instance.pids.get(process)
        if known != pid and (known is not None or process not in instance.unready):
            return False
        instance.pids[process] = pid
        self.pids[pid] = (instance, process)
        if known is None:
            instance.began[process] = self.clock()
            self.history.note("process", instance.key, process, pid)
        self.info("%s %s process (%d)", instance.display, process, pid)
        if instance.forced and process != "main" and instance.goal == "stop":
            if process in ("pre-stop", "post-stop"):
                # It is there to clean up, and has only begun: it gets the kill timeout to do so.
                self.set_kill_timer(instance, process)
            else:
                self.end_process(instance, process, SIGTERM)
        if process == "main" and instance.state == "killed":
            self.end_process(instance, "main", instance.job_class.kill_signal)
        return True

    @an_input
    def process_ready(self, instance: Instance, process: str) -> None:
        """The process has executed its program."""
        if process not in instance.unready:
            return
        instance.unready.discard(process)
        if process != "main" or instance.state != "spawned":
            return
        expect = instance.job_class.expect
        if expect == "none":
            self.advance(instance)
        elif expect == "stop":
            self.set_timer(instance, EXPECT_TIMER, EXPECT_SECONDS)
        else:
            self.effects.append(Follow(instance))

    @an_input
    def spawn_failed(self, instance: Instance, process: str, reason: str) -> None:
        """The process could not be made, or could not be set up; its exit will not be reported."""
        if process not in instance.unready:
            return
        reason = f"Failed to spawn {instance.display} {process} process: {reason}"
        self.warn("%s", reason)
        pid = instance.pids.get(process, 0)
        self.told = (instance, process, instance.state, pid, None, reason)
        instance.unready.discard(process)
        if pid:
            self._forget_process(instance, process, pid)
        self.ended(instance, process, None, reason)
        self.told = None

    def ended(self, instance: Instance, process: str, status: int | None, reason: str) -> None:
        """A process that is forgotten already has ended with ``status``, or, None, was never there."""
        if status is None:
            self._not_spawned(instance, process, reason)
        elif process == "main":
            self._main_ended(instance, status, reason)
        else:
            self._other_ended(instance, process, status, reason)

    def _not_spawned(self, instance: Instance, process: str, reason: str) -> None:
        state = instance.state
        if self._spawn_matters(instance, process):
            self.fail(instance, process, -1, reason)
            self.change_goal(instance, "stop", "failed")
        else:
            self.note_failure(instance, reason)
        if WAITING_FOR.get(state) == process or (process == "main" and state == "killed"):
            self.advance(instance)

    @staticmethod
    def _spawn_matters(instance: Instance, process: str) -> bool:
        """Whether an instance has failed without the process."""
        if process == "main":
            # What is to be stopped before it runs has not come too short of that.
            return instance.state not in ("stopping", "killed")
        # post-start and pre-stop are on their own, and a respawn goes on.
        return process not in ("post-start", "pre-stop") and not (process == "post-stop" and instance.respawning)

    @an_input
    def spawn_withdrawn(self, instance: Instance, process: str) -> None:
        """The process was not started, as `CancelSpawn` asks."""
        if process not in instance.unready or process in instance.pids:
            return
        instance.unready.discard(process)
        waiting = WAITING_FOR.get(instance.state) == process
        if waiting and instance.goal == "start":
            # Started again since.
            self._spawn(instance, process)
        elif waiting or (process == "main" and instance.state == "killed"):
            self.advance(instance)

    @an_input
    def process_forked(self, instance: Instance, pid: int, ready: bool = True) -> None:
        """The main process has become a daemon: it is ``pid`` now; unless ``ready``, it may become another yet."""
        old = instance.main_pid
        if not old:
            return
        if old != pid:
            self.info("%s %s process (%d) became new process (%d)", instance.display, "main", old, pid)
            self.history.note("became", instance.key, "main", old, pid)
            self.pids.pop(old, None)
            instance.pids["main"] = pid
            instance.doomed.discard("main")
            self.pids[pid] = (instance, "main")
        if instance.state == "spawned" and ready:
            self.advance(instance)
        elif instance.state == "killed" and old != pid:
            self.cancel_timer(instance, KILL_TIMER + "main")
            self.end_process(instance, "main", instance.job_class.kill_signal)

    @an_input
    def follow_gave_up(self, instance: Instance, text: str) -> None:
        """The main process has not forked as ``expect`` says: it counts as running; ``text`` says what was seen."""
        self.warn("%s", text)
        if instance.state == "spawned" and instance.main_pid:
            self.advance(instance)

    @an_input
    def process_stopped(self, pid: int, signal: int = 19) -> None:
        """A process was stopped by a signal."""
        found = self.pids.get(pid)
        if found is None:
            return
        instance, process = found
        self.info("%s %s process (%d) stopped by %s signal", instance.display, process, pid, signal_name(signal))
        if signal != 19 or process != "main" or instance.job_class.expect != "stop":
            return
        if instance.state == "spawned" and "main" not in instance.unready:
            self.effects.append(Signal(instance, process, pid, SIGCONT, alone=True))
            self.advance(instance)

    @an_input
    def process_continued(self, pid: int, signal: int = SIGCONT) -> None:
        """A process was continued by a signal."""
        found = self.pids.get(pid)
        if found is not None:
            name = signal_name(signal)
            self.info("%s %s process (%d) continued by %s signal", found[0].display, found[1], pid, name)

    @an_input
    def process_exited(self, pid: int, status: int | None) -> None:
        """A process has ended: ``status`` is its exit code, or the signal that killed it shifted left by 8.

        ``None``: that is not known, for another process than init waits for it.
        """
        found = self.pids.get(pid)
        if found is None:
            return
        instance, process = found
        if process in instance.unready:
            # Nothing was wrong with its set-up, or that would have been reported first: it was just quick.
            self.process_ready(instance, process)
        began = instance.began.get(process)
        seconds = round(self.clock() - began, 6) if began is not None else None
        self.history.note_end(instance.key, process, pid, status, seconds)
        if status is None:
            status = UNKNOWN
        reason = self._log_exit(instance, process, pid, status)
        self.told = (instance, process, instance.state, pid, status, reason)
        self._forget_process(instance, process, pid)
        self.ended(instance, process, status, reason)
        self.told = None

    @an_input
    def process_used(self, pid: int, processor: float, read: int, written: int) -> None:
        """What a process of a job has used that has ended: seconds of a processor, bytes read and written by disks."""
        self.history.note_use(pid, processor, read, written)

    @an_input
    def timer_fired(self, instance: Instance, timer: str) -> None:
        """A timer set with `SetTimer` has run out; where it was cancelled meanwhile, that means nothing."""
        due = instance.timers.get(timer)
        if due is None:
            return
        early = due - self.clock()
        if early > 0:
            # This was an older one of that name.
            self.effects.append(SetTimer(instance, timer, early))
            return
        del instance.timers[timer]
        if timer == EXPECT_TIMER:
            self._expect_ran_out(instance)
        elif timer == READY_TIMER:
            self._not_ready_in_time(instance)
        else:
            self._kill_timeout(instance, timer.removeprefix(KILL_TIMER))

    def _kill_timeout(self, instance: Instance, process: str) -> None:
        pid = instance.pids[process]
        self.info("Sending %s signal to %s %s process (%d)", "KILL", instance.display, process, pid)
        self.history.note("signal", instance.key, process, pid, SIGKILL)
        self.effects.append(Signal(instance, process, pid, SIGKILL))
        instance.doomed.add(process)
        self.set_timer(instance, KILL_TIMER + process, KILL_AGAIN_SECONDS)

    def _expect_ran_out(self, instance: Instance) -> None:
        self.warn(
            "%s main process (%d) has not stopped itself with SIGSTOP within %d seconds, as 'expect stop' says; "
            "it counts as running: a job without expect would fit",
            instance.display, instance.main_pid, EXPECT_SECONDS,
        )  # fmt: skip
        self.advance(instance)

    def _not_ready_in_time(self, instance: Instance) -> None:
        """Its respawns go on, and whoever waits for it is told why it is not there; no event has failed by that."""
        if instance.blocking:
            self.note_failure(instance, instance.failure or "")
            self.release(instance, failed=True, fail_events=False)

    def _forget_process(self, instance: Instance, process: str, pid: int) -> None:
        self.cancel_timer(instance, KILL_TIMER + process)
        del instance.pids[process]
        instance.doomed.discard(process)
        self.pids.pop(pid, None)
        instance.began.pop(process, None)
        self.effects.append(Gone(instance, process, pid))

    def _log_exit(self, instance: Instance, process: str, pid: int, status: int) -> str:
        """Log how a process ended; returns that as a reason."""
        if status == UNKNOWN:
            text = f"{instance.display} {process} process ({pid}) ended with unknown status: it is no child of init"
            self.warn("%s", text)
            return text
        if status == 0:
            self.info("%s %s process (%d) exited normally", instance.display, process, pid)
            return f"{instance.display} {process} process ({pid}) exited normally"
        priority = WARN
        if status & ~0xFF:
            # A normal exit or not, death by a signal always was worth a warning.
            name = signal_name(status >> 8)
            text = f"killed by signal {name}" if name.isdigit() else f"killed by {name} signal"
            asked = process == "main" and instance.state == "killed" and status >> 8 == instance.job_class.kill_signal
            if asked and self.ending:
                # At the end of the machine nobody wants to be told of each login that it is gone, as it was asked to.
                priority = INFO
        else:
            if status in instance.job_class.normal_exit:
                priority = INFO
            text = f"terminated with status {status}"
        text = f"{instance.display} {process} process ({pid}) {text}"
        if self.priority <= priority:
            self.log(priority, text)
        return text

    def _main_ended(self, instance: Instance, status: int, reason: str) -> None:
        state = instance.state
        if state == "killed":
            self.advance(instance)
            return
        if state == "stopping":
            # The stopping event is under way with its RESULT said; whatever follows it finds no process to kill.
            return
        beside = WAITING_FOR.get(state)
        held = beside != "main" and (beside in instance.pids or beside in instance.unready)
        if self._is_failure(instance, status):
            if instance.job_class.respawn and self.respawning_allowed:
                if not self._runs_away(instance):
                    self.warn("%s %s process ended, respawning", instance.display, "main")
                    instance.respawning = True
                    if state in NOT_READY:
                        self._note_not_ready(instance, reason)
                    limit, interval = instance.job_class.respawn_limit, instance.job_class.respawn_interval
                    self.history.note("respawn", instance.key, instance.respawn_total, limit, interval)
                    if held:
                        self.change_goal(instance, "respawn", "respawn")
                    else:
                        self.enter(instance, "stopping")
                    return
                reason = f"{instance.display} respawning too fast, stopped"
                self.warn("%s", reason)
                self.fail(instance, None, 0, reason)
            else:
                self.fail(instance, "main", status, reason)
        self.change_goal(instance, "stop", "failed" if instance.failed else "ended")
        if state != "running" and not held:
            self.advance(instance)

    def _note_not_ready(self, instance: Instance, reason: str) -> None:
        """It has ended before it was ready: who waits for it does so for a respawn interval from the first time on."""
        instance.failure = reason
        if instance.blocking and READY_TIMER not in instance.timers:
            self.set_timer(instance, READY_TIMER, max(instance.job_class.respawn_interval, READY_SECONDS))

    def _is_failure(self, instance: Instance, status: int) -> bool:
        """Whether this end of the main process is one that respawn or failure follows."""
        job_class = instance.job_class
        if status == UNKNOWN:
            return job_class.respawn and self.respawning_allowed and instance.goal == "start"
        if instance.goal != "start" or status in job_class.normal_exit:
            return False
        if status or (job_class.respawn and not job_class.task):
            return True
        # A daemon that ends before it has forked or stopped as it should never began to serve.
        return instance.state == "spawned" and job_class.expect != "none"

    def keeps_ending(self, instance: Instance) -> str:
        """That the main process of a job that is to run ends again and again, in words; "" where it does not.

        It does so if it has been respawned a few times since it was started, and once a minute at least: what has run
        for long since then is none of those.
        """
        total = instance.respawn_total
        seconds = self.clock() - instance.respawn_since
        if instance.goal == "stop" or total < LOOPING or seconds > total * LOOPING_SECONDS:
            return ""
        return f"{instance.display} main process keeps ending: respawned {total} times in {seconds:.0f} seconds"

    def _runs_away(self, instance: Instance) -> bool:
        """Count a respawn; True where there were more than the limit within the interval."""
        now = self.clock()
        limit, interval = instance.job_class.respawn_limit, instance.job_class.respawn_interval
        if limit and interval:
            if instance.respawn_count and now - instance.respawn_time < interval:
                instance.respawn_count += 1
                if instance.respawn_count > limit:
                    return True
            else:
                instance.respawn_time = now
                instance.respawn_count = 1
        if not instance.respawn_total:
            instance.respawn_since = now
        instance.respawn_total += 1
        # Where all respawns fall within the last interval, the limit may still catch them.
        slow = instance.respawn_count < instance.respawn_total
        if limit and interval and slow and instance.respawn_total in (10, 100, 1000, 10000):
            self.warn(
                "%s main process keeps ending: respawned %d times in %d seconds, which its respawn limit "
                "(%d in %d seconds) does not catch",
                instance.display, instance.respawn_total, now - instance.respawn_since, limit, interval,
            )  # fmt: skip
        return False

    def _other_ended(self, instance: Instance, process: str, status: int, reason: str) -> None:
        if status > 0 and not (instance.forced and instance.goal == "stop"):
            # post-start and pre-stop are on their own: their failure is logged and changes nothing.
            if process == "pre-start" or (process == "post-stop" and not instance.respawning):
                self.fail(instance, process, status, reason)
                self.change_goal(instance, "stop", "failed")
        if WAITING_FOR.get(instance.state) == process:
            self.advance(instance)
