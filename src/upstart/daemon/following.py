"""The main processes that are to become daemons, from the spawn until it is known who the daemon is, and after that.

What is always true here: what a process is to become is decided by `upstart.process.follow`, this acts upon it.  A
main process that ends where it was to become a daemon is first asked what it left; only then is its end the job's.  A
main process that is not the one spawned may be no child of ours: it is held by a pidfd, through which its end is seen
and signals go to it and to nobody else, whoever gets its number.  One that has a warden, too, until that is dismissed:
when a daemon has been found and has lasted, or once it matters how a process of the warden's has ended.
"""

from __future__ import annotations

import time

from upstart.daemon.running import others
from upstart.process import warden
from upstart.process.follow import FIRST_LOOK, PATIENCE, Failed, Forked, Wait
from upstart.process.following import Following
from upstart.process.held import Held
from upstart.process.kill import ALL
from upstart.process.procfs import begun, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.conf.jobclass import JobClass
    from upstart.daemon.running import Running
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine
    from upstart.process.follow import Decision

    #: An instance and the name of one of its processes, and what is held for it.
    Table = dict[tuple[Instance, str], Running]


#: Seconds between two looks at what a main process has left, where we lack what it takes to look, and how many.
BLIND_SECONDS = 0.25
BLIND_LOOKS = 40


def warded(job_class: JobClass) -> bool:
    """Whether init has to know what the main process of a job leaves, whatever that does.  (Of a process that is the
    child of a warden nobody learns that it has stopped.)"""
    return job_class.expect in ("fork", "daemon") or (job_class.kill_mode == ALL and job_class.expect != "stop")


class Daemons:
    """Those among the processes ``running`` of one engine.

    ``reap`` () is called when one has ended that is ours to wait for, ``outcome`` (instance, process, running) tells
    whether it is known that the program of one was not executed, ``ended`` (running, pid, status or None) is called
    when the end of one is to be told to the engine.
    """

    __slots__ = ("_end", "_engine", "_loop", "_outcome", "_reap", "_running", "_warn")

    def __init__(
        self,
        engine: Engine,
        loop: Loop,
        warn: Callable[[str], None],
        running: Table,
        reap: Callable[[], object],
        outcome: Callable[[Instance, str, Running], bool],
        ended: Callable[[Running, int, int | None], object],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._warn = warn
        self._running = running
        self._reap = reap
        self._outcome = outcome
        self._end = ended

    # Following

    def follow(self, instance: Instance) -> None:
        """Watch the main process become a daemon."""
        running = self._running.get((instance, "main"))
        if running is not None and running.following is None:
            self._begin_following(instance, running)
            self._look_later(instance, running, FIRST_LOOK)

    @staticmethod
    def _begin_following(instance: Instance, running: Running) -> Following:
        expect = instance.job_class.expect
        running.members.note_user()
        running.following = Following(expect, instance.display, running.members, time.monotonic())
        return running.following

    def _look_later(self, instance: Instance, running: Running, seconds: float) -> None:
        self._loop.remove(running.follow_timer)
        running.follow_timer = self._loop.call_later(seconds, lambda: self._look(instance, running))

    def _look(self, instance: Instance, running: Running) -> None:
        running.follow_timer = -1
        if running.following is not None and self._running.get((instance, "main")) is running:
            decision = running.following.look(time.monotonic(), others(instance, "main"))
            self._decide(instance, running, decision)

    def _decide(self, instance: Instance, running: Running, decision: Decision) -> None:
        if isinstance(decision, Wait):
            if decision.pid != instance.main_pid or (decision.running and instance.state == "spawned"):
                self._engine.process_forked(instance, decision.pid, decision.running)
            self._look_later(instance, running, decision.seconds)
        elif isinstance(decision, Forked):
            if decision.note is not None:
                self._warn(decision.note)
            self._engine.process_forked(instance, decision.pid)
            self._hold(instance, running, decision.pid, decision.start)
            self._dismiss_later(instance, running)
        elif isinstance(decision, Failed):
            # Nothing is left, and the end of the last is not yet told.
            self._hold(instance, running, instance.main_pid, -1)
        else:
            self._engine.follow_gave_up(instance, decision.text)

    # Main processes that may be no children of ours

    def _hold(self, instance: Instance, running: Running, pid: int, start: int) -> None:
        """Have the end of the main process seen, whoever its parent is."""
        running.members.note_session(pid)
        self._watch_end(instance, running, pid, start)

    def _watch_end(self, instance: Instance, running: Running, pid: int, start: int) -> None:
        self.let_go(running)

        def ended(waits_for_us: bool) -> None:
            if waits_for_us:
                self._reap()
            elif self._running.get((instance, "main")) is running and instance.main_pid == pid and not running.ended:
                self._ended_elsewhere(instance, running, pid)

        running.held = Held(self._loop, pid, start, ended)

    @staticmethod
    def let_go(running: Running) -> None:
        """Have the end of a main process seen no more."""
        if running.held is not None:
            running.held.close()
            running.held = None

    # Wardens

    def ward(self, instance: Instance, running: Running) -> None:
        """Have the end of a process seen that is the child of a warden, if it is."""
        pid = running.members.pid
        if running.members.warden and running.held is None and instance.main_pid == pid:
            self._watch_end(instance, running, pid, begun(pid) or -1)

    def _dismiss_later(self, instance: Instance, running: Running) -> None:
        """The daemon has been found: should it be another after all, that is seen in the time to come."""
        self._loop.remove(running.ward_timer)
        running.ward_timer = -1
        if running.members.warden and instance.job_class.kill_mode != ALL:
            running.ward_timer = self._loop.call_later(PATIENCE, lambda: self._dismiss_seen(instance, running))

    def _dismiss_seen(self, instance: Instance, running: Running) -> None:
        """Have the warden end; what it was given is known as the job's."""
        try:
            running.members.processes(others(instance, "main"), fresh=True)
        except OSError:
            pass  # what was seen before is known
        self.dismiss(running)

    def dismiss(self, running: Running) -> None:
        """Have the warden end; nobody looks what the job consists of."""
        self._loop.remove(running.ward_timer)
        running.ward_timer = -1
        warden.dismiss(running.members)

    # Ends

    def _ended_elsewhere(self, instance: Instance, running: Running, pid: int) -> None:
        """A main process has ended that init does not wait for; for a warden's it will, where the status matters."""
        if self._outcome(instance, "main", running):
            return
        following = running.following
        if following is None:
            deciding = self._unfollowed(instance, running, pid)
        else:
            deciding = following.undecided
        if not deciding and warden.has(running.members, pid):
            self._dismiss_seen(instance, running)
        else:
            self.main_ended(instance, running, pid, None)

    def main_ended(self, instance: Instance, running: Running, pid: int, status: int | None) -> None:
        """A main process has ended that may have become a daemon before: tell the engine, unless it has left one."""
        following = running.following
        if following is None and self._unfollowed(instance, running, pid):
            following = self._begin_following(instance, running)
        if following is not None:
            self._loop.remove(running.follow_timer)
            stopping = instance.goal == "stop" or instance.state == "killed"
            try:
                decision = following.main_ended(time.monotonic(), status, others(instance, "main"), stopping)
            except OSError:
                if running.looks < BLIND_LOOKS:
                    self._look_once_more(instance, running, pid, status)
                    return
                decision = Failed()
            running.looks, running.ended = 0, None
            if not isinstance(decision, Failed):
                self._decide(instance, running, decision)
                return
            if status is None and warden.has(running.members, pid):
                # Nothing is left, and we shall be told how it ended.
                self.dismiss(running)
                return
        self._end(running, pid, status)

    def _look_once_more(self, instance: Instance, running: Running, pid: int, status: int | None) -> None:
        """What the main process has left cannot be seen now; its end is kept until it can be."""
        running.looks += 1
        running.ended = (pid, status)

        def look() -> None:
            running.log_timer = -1
            self.main_ended(instance, running, pid, status)

        self._loop.remove(running.log_timer)
        running.log_timer = self._loop.call_later(BLIND_SECONDS, look)

    @staticmethod
    def _unfollowed(instance: Instance, running: Running, pid: int) -> bool:
        """Whether a process that was to become a daemon has ended before anybody looked: the job may be being stopped
        since before that process was there."""
        expected = instance.job_class.expect in ("fork", "daemon") and running.members.pid == pid
        return expected and instance.state in ("spawned", "stopping", "killed")

    def orphan_ended(self, pid: int) -> None:
        """A child that is no job's has ended: it may be what a followed process has left."""
        for (instance, _), running in list(self._running.items()):
            if running.following is not None:
                decision = running.following.orphan_ended(pid, time.monotonic(), others(instance, "main"))
                if decision is not None:
                    self._decide(instance, running, decision)

    # Mending, and across a re-exec

    def mend(self, instance: Instance, running: Running) -> None:
        """Look again at a process that is followed, if nobody is about to."""
        if running.following is not None and running.follow_timer < 0 and instance.main_pid:
            self._look_later(instance, running, FIRST_LOOK)

    def restore(self, entry: dict[str, Any], instance: Instance, process: str, address: str | None) -> None:
        """Take over what the document's entry says of a process; ``address`` is what UPSTART_SESSION says to our
        jobs."""
        running = self._running[instance, process]
        exited, following, held = entry.get("exited"), entry.get("following"), entry.get("held")
        if following is not None:
            running.following = Following.load(following, time.monotonic(), address)
            running.following.members = running.members
            if running.following.follower.phase in ("following", "settling"):
                self._look_later(instance, running, FIRST_LOOK)
        main = instance.main_pid
        if exited is not None:
            # An older build kept it while it was not yet clear what the process had left.
            self._loop.call_soon(lambda: self.main_ended(instance, running, *exited))
        if held is None and exited is None and process == "main" and main not in (0, running.members.pid):
            # An older build held nothing: what has the number now is what it followed, if anything is.
            info = look(main)
            held = [main, info.start if info is not None else -1]
        if held is not None:
            self._hold(instance, running, *held)
        if process == "main":
            self.ward(instance, running)
            if running.following is not None and not running.following.undecided:
                self._dismiss_later(instance, running)
