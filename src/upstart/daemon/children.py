"""The processes of jobs, from their spawn until the engine has said that they are gone.

What is always true here: a `Running` is kept for each such process, with all that init holds for it; its descriptors
are closed and its output is taken to the end when it is dropped.  Every child is reaped, whoever's it was.  A main
process that ends where it was to become a daemon is first asked what it left; only then is its end the job's.  A
main process that is not the one spawned may be no child of ours: it is held by a pidfd, through which its end is seen
and signals go to it and to nobody else, whoever gets its number.  What a process has said is in its log before its
end is known to anybody, unless the log makes us wait for longer than `LOG_SECONDS`: whoever waits for a job finds its
output there.
"""

from __future__ import annotations

import os
import time

from upstart.base import utmp
from upstart.base.loop import READ, WRITE
from upstart.process import helper
from upstart.process.follow import FIRST_LOOK, Failed, Following, Forked, Wait
from upstart.process.held import Held
from upstart.process.kill import SIGKILL, kill_members, signal_job, signal_process
from upstart.process.log import JobLog, LogStore
from upstart.process.members import Members, reaped
from upstart.process.procfs import look
from upstart.process.reaper import BATCH, CONTINUED, EXITED, STOPPED, reap
from upstart.process.spawn import close, read_outcome
from upstart.process.writer import Writers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.engine.data import Instance
    from upstart.engine.effects import Signal
    from upstart.engine.engine import Engine
    from upstart.process.follow import Decision


#: How often it is tried to deal with what has become of a child.
TRIES = 8
#: Seconds that the end of a process waits for its output to be written, and the end of a session for all of it.
LOG_SECONDS = 0.5
#: Seconds between two looks whether all logs are written.
LOOK_SECONDS = 0.01
#: Seconds that a re-exec waits for what is being written.
HOLD_SECONDS = 0.05
#: Seconds until it is tried again to watch what could not be watched.
WATCH_SECONDS = 1.0


class Running:
    """A process of a job, and what init holds for it; watches and timers are ids of the loop or -1."""

    __slots__ = (
        "ended", "error_fd", "error_watch", "feed", "feed_watch", "follow_timer", "following", "held", "kills", "log",
        "log_timer", "log_watch", "members", "told",
    )  # fmt: skip

    def __init__(self, members: Members) -> None:
        self.members = members
        #: The engine knows of it.
        self.told = False
        #: Tells whether the program was executed; closed, and -1, once that is known.
        self.error_fd = -1
        self.error_watch = -1
        self.log: JobLog | None = None
        self.log_watch = -1
        #: Pid and status of a process that has ended while its output is being written.
        self.ended: tuple[int, int | None] | None = None
        self.log_timer = -1
        #: Descriptor of a script's pipe, and what must still be written to it.
        self.feed: tuple[int, bytes] | None = None
        self.feed_watch = -1
        self.following: Following | None = None
        self.follow_timer = -1
        self.held: Held | None = None
        #: How often SIGKILL was sent to it.
        self.kills = 0

    def descriptors(self) -> list[int]:
        """All that are open."""
        fds = [
            self.error_fd,
            self.log.fd if self.log is not None else -1,
            self.feed[0] if self.feed is not None else -1,
        ]
        return [fd for fd in fds if fd >= 0]


class Children:
    """The table of them for one engine; ``running`` is keyed by instance and process name.

    ``noticed`` is told of each child that was stopped, and of each end of one that is no job's.
    """

    __slots__ = ("_engine", "_failed", "_logged_in", "_loop", "_noticed", "_warn", "_writers", "logs", "running")

    def __init__(
        self, engine: Engine, loop: Loop, warn: Callable[[str], None], noticed: Callable[[int], object]
    ) -> None:
        self._noticed = noticed
        self._engine = engine
        self._loop = loop
        self._warn = warn
        #: How often what has become of a child could not be dealt with.
        self._failed = 0
        self._writers = Writers(loop, warn)
        self.logs = LogStore(warn, self._writers)
        self._logged_in = utmp.Holders()
        self.running: dict[tuple[Instance, str], Running] = {}

    def others(self, instance: Instance, process: str) -> list[int]:
        """The pids of the other processes of an instance."""
        return [pid for name, pid in instance.pids.items() if name != process]

    def close(self) -> None:
        """The end has come: have written what was said."""
        self._writers.finish(LOG_SECONDS)

    def flush_logs(self, done: Callable[[], object]) -> None:
        """Have written what the logs hold; ``done`` () is called when that is so, or is not to be soon."""
        self.logs.flush_all()
        deadline = time.monotonic() + LOG_SECONDS

        def look() -> None:
            if time.monotonic() >= deadline or all(file.settled for file in self.logs.files.values()):
                done()
            else:
                self._loop.call_later(LOOK_SECONDS, look)

        look()

    def hold_logs(self, held: bool) -> None:
        """Have nothing written any more of what the document has, for the next program writes it; or go on."""
        if held:
            self._writers.hold(HOLD_SECONDS)
        else:
            self._writers.resume()

    def drop(self, instance: Instance, process: str) -> Members | None:
        """The process is gone: take the last of its output and forget it; gives what it consisted of."""
        running = self.running.pop((instance, process), None)
        if running is None:
            return None
        self._end_outcome(running)
        self._end_feed(running)
        self._let_go(running)
        self._loop.remove(running.follow_timer)
        self._loop.remove(running.log_timer)
        if running.log is not None:
            self._watch_log_no_more(running)
            running.log.ended()
        return running.members

    def expect(self, instance: Instance, process: str, members: Members) -> Running:
        """Have a place for a process that is about to be spawned."""
        running = self.running[instance, process] = Running(members)
        return running

    def mend(self) -> None:
        """Tell the engine what it was not told for an exception that came between, and watch what is not watched."""
        for (instance, process), running in list(self.running.items()):
            pid = running.members.pid
            if not pid:
                del self.running[instance, process]
                continue
            running.members.born()
            if not running.told:
                self._engine.process_spawned(instance, process, pid)
                running.told = True
            if running.error_fd < 0 and process in instance.unready and instance.pids.get(process) == pid:
                self._engine.process_ready(instance, process)
            if running.following is not None and running.follow_timer < 0 and instance.pids.get(process):
                self._look_later(instance, running, FIRST_LOOK)
            if running.ended is not None and running.log_timer < 0:
                self._end_told(running)
            self.watch(instance, process, running)
        self._tell_lost_ends()

    def _tell_lost_ends(self) -> None:
        """Where a process is no more, and its end waits for nothing, that has come to nobody's knowledge."""
        waiting = {running.ended[0] for running in self.running.values() if running.ended is not None}
        for pid in list(self._engine.pids):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                if pid not in waiting:
                    self._engine.process_exited(pid, None)
            except OSError:
                pass

    # Descriptors

    def watch(self, instance: Instance, process: str, running: Running) -> None:
        """Watch what the process has open to us; where that fails now, try again later."""
        try:
            if running.error_fd >= 0 and running.error_watch < 0:
                self.watch_outcome(instance, process, running, running.error_fd)
            if running.log is not None and running.log.fd >= 0 and running.log_watch < 0:
                self.watch_log(running, running.log)
            if running.feed is not None and running.feed_watch < 0:
                self.watch_feed(running, *running.feed)
        except OSError as error:
            self._warn(f"{instance.display} {process} process: unable to watch it: {error.strerror}")
            self._loop.call_later(WATCH_SECONDS, lambda: self._watch_again(instance, process, running))

    def _watch_again(self, instance: Instance, process: str, running: Running) -> None:
        if self.running.get((instance, process)) is running:
            self.watch(instance, process, running)

    def watch_log(self, running: Running, log: JobLog) -> None:
        """Take the output as it comes."""
        running.log = log
        self._read_on(running, log)

    # Functions within that name each other would be left to the garbage collector, with all they hold.

    def _read_on(self, running: Running, log: JobLog) -> None:
        if running.log is log and running.log_watch < 0 and log.fd >= 0:
            running.log_watch = self._loop.add_fd(log.fd, READ, lambda events: self._readable(running, log))

    def _readable(self, running: Running, log: JobLog) -> None:
        if log.file.behind:
            self._watch_log_no_more(running)
            log.file.when_answered(lambda: self._read_on(running, log))
        elif not log.on_readable():
            self._watch_log_no_more(running)
            log.close()

    def _watch_log_no_more(self, running: Running) -> None:
        watch, running.log_watch = running.log_watch, -1
        self._loop.remove(watch)

    def watch_feed(self, running: Running, fd: int, data: bytes) -> None:
        """Write the rest of a script as its shell reads it."""
        running.feed = (fd, data)

        def writable(_events: int) -> None:
            if running.feed is None:
                return
            rest = running.feed[1]
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                return
            except OSError:
                rest = b""
            running.feed = (fd, rest)
            if not rest:
                self._end_feed(running)

        running.feed_watch = self._loop.add_fd(fd, WRITE, writable)

    def _end_feed(self, running: Running) -> None:
        if running.feed is not None:
            (fd, _), running.feed = running.feed, None
            watch, running.feed_watch = running.feed_watch, -1
            self._loop.remove(watch)
            close(fd)

    def watch_outcome(self, instance: Instance, process: str, running: Running, error_fd: int) -> None:
        """Tell the engine whether the program was executed, once that is known."""
        running.error_fd = error_fd
        running.error_watch = self._loop.add_fd(
            error_fd, READ, lambda events: self._outcome(instance, process, running)
        )

    def _outcome(self, instance: Instance, process: str, running: Running) -> bool:
        """Look at the error pipe: true if the process is known to have failed before its program ran."""
        if running.error_fd < 0:
            return False
        text = read_outcome(running.error_fd)
        if text is None:
            return False
        self._end_outcome(running)
        if not text:
            self._engine.process_ready(instance, process)
            return False
        if running.log is not None:
            self._watch_log_no_more(running)
            running.log.discard()
            running.log = None
        self._engine.spawn_failed(instance, process, text)
        return True

    def _end_outcome(self, running: Running) -> None:
        if running.error_fd >= 0:
            fd, running.error_fd = running.error_fd, -1
            watch, running.error_watch = running.error_watch, -1
            self._loop.remove(watch)
            close(fd)

    # Following daemons

    def follow(self, instance: Instance) -> None:
        """Watch the main process become a daemon."""
        running = self.running.get((instance, "main"))
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
        if running.following is not None and self.running.get((instance, "main")) is running:
            decision = running.following.look(time.monotonic(), self.others(instance, "main"))
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
        elif isinstance(decision, Failed):
            # Nothing is left, and the end of the last is not yet told.
            self._hold(instance, running, instance.main_pid, -1)
        else:
            self._engine.follow_gave_up(instance, decision.text)

    # Main processes that may be no children of ours

    def _hold(self, instance: Instance, running: Running, pid: int, start: int) -> None:
        """Have the end of the main process seen, whoever its parent is."""
        self._let_go(running)

        def ended(waits_for_us: bool) -> None:
            if waits_for_us:
                self.reap()
            elif self.running.get((instance, "main")) is running and instance.main_pid == pid and not running.ended:
                self._main_ended(instance, running, pid, None)

        running.held = Held(self._loop, pid, start, ended)

    @staticmethod
    def _let_go(running: Running) -> None:
        if running.held is not None:
            running.held.close()
            running.held = None

    def kill(self, effect: Signal) -> None:
        """Send a signal to a process of a job that the engine knows of.  Raises OSError."""
        instance, process, pid = effect.instance, effect.process, effect.pid
        running = self.running.get((instance, process))
        if running is not None and running.ended is not None:
            # It was reaped, and its number may be another's: what is left of it is all that there is to signal.
            if effect.signal == SIGKILL:
                kill_members(running.members, self.others(instance, process))
            return
        held = running.held if running is not None else None
        pidfd = held.pidfd if held is not None else -1
        if held is not None and pidfd < 0 and not held.lives():
            return
        if effect.alone:
            signal_process(pid, effect.signal, pidfd)
            return
        if running is None:
            signal_job(pid, effect.signal, None)
            return
        if effect.signal == SIGKILL:
            running.kills += 1
            self._killed_again(instance, process, pid, running.kills)
        signal_job(pid, effect.signal, running.members, self.others(instance, process), pidfd)

    def _killed_again(self, instance: Instance, process: str, pid: int, times: int) -> None:
        """Say what keeps a process alive that SIGKILL was sent to before."""
        info = look(pid)
        if times == 2 and info is not None:
            why = "it waits in the kernel (state D)" if info.state == "D" else f"it is in state {info.state}"
            self._warn(f"{instance.display} {process} process ({pid}) does not end by SIGKILL: {why}")

    # The end of processes

    def reap(self) -> None:
        """Take note of what has become of our children, and of the orphans that became ours (SIGCHLD)."""
        seen = 0
        for pid, kind, value in reap():
            seen += 1
            try:
                self._changed(pid, kind, value)
                self._failed = 0
            except Exception:
                # Reported again by the next call, but not for ever: the others would never have their turn.
                self._failed += 1
                if self._failed % TRIES:
                    raise
        if seen == BATCH:
            self._loop.call_soon(self.reap)

    def _changed(self, pid: int, kind: str, value: int) -> None:
        if kind == STOPPED:
            self._noticed(pid)
            self._engine.process_stopped(pid, value)
        elif kind == CONTINUED:
            self._engine.process_continued(pid, value)
        else:
            self._ended(pid, value if kind == EXITED else value << 8)

    def _ended(self, pid: int, status: int) -> None:
        reaped(pid)
        found = self._engine.pids.get(pid)
        if found is None:
            self._noticed(pid)
            self._orphan_ended(pid)
            return
        if pid in self._logged_in:
            self._logged_out(pid)
        instance, process = found
        running = self.running.get((instance, process))
        if running is not None:
            if self._outcome(instance, process, running):
                return
            if process == "main":
                self._main_ended(instance, running, pid, status)
                return
            self._tell_end(running, pid, status)
            return
        self._engine.process_exited(pid, status)

    def _logged_out(self, pid: int) -> None:
        record = utmp.mark_dead(pid)
        if record is not None:
            try:
                # The history is on a disk, which may be frozen, or a server's.
                helper.start("upstart-wtmp", (), lambda: utmp.append_dead(record))
            except OSError as error:
                self._warn(f"Unable to note in wtmp that process {pid} has ended: {error.strerror}")

    def _tell_end(self, running: Running, pid: int, status: int | None) -> None:
        """Tell the engine that a process has ended, once its output is written or will not be soon."""
        log = running.log
        if log is not None:
            if not log.take_rest():
                self._watch_log_no_more(running)
                log.close()
            if not log.file.settled:
                running.ended = (pid, status)
                running.log_timer = self._loop.call_later(LOG_SECONDS, lambda: self._end_told(running))
                self._look_at_log(running, log)
                return
        self._engine.process_exited(pid, status)

    def _look_at_log(self, running: Running, log: JobLog) -> None:
        if log.file.settled:
            self._end_told(running)
        elif running.ended is not None:
            log.file.when_answered(lambda: self._look_at_log(running, log))

    def _end_told(self, running: Running) -> None:
        self._loop.remove(running.log_timer)
        running.log_timer = -1
        if running.ended is not None:
            # Once more, should this fail: nobody else knows of it.
            running.log_timer = self._loop.call_later(LOG_SECONDS, lambda: self._end_told(running))
            self._engine.process_exited(*running.ended)
            running.ended = None
            self._loop.remove(running.log_timer)

    def _main_ended(self, instance: Instance, running: Running, pid: int, status: int | None) -> None:
        """A main process has ended that may have become a daemon before: tell the engine, unless it has left one."""
        following = running.following
        if following is None and self._unfollowed(instance, running, pid):
            following = self._begin_following(instance, running)
        if following is not None:
            self._loop.remove(running.follow_timer)
            stopping = instance.goal == "stop" or instance.state == "killed"
            decision = following.main_ended(time.monotonic(), status, self.others(instance, "main"), stopping)
            if not isinstance(decision, Failed):
                self._decide(instance, running, decision)
                return
        self._tell_end(running, pid, status)

    @staticmethod
    def _unfollowed(instance: Instance, running: Running, pid: int) -> bool:
        """Whether a process that was to become a daemon has ended before anybody looked: the job may be being stopped
        since before that process was there."""
        expected = instance.job_class.expect in ("fork", "daemon") and running.members.pid == pid
        return expected and instance.state in ("spawned", "stopping", "killed")

    def _orphan_ended(self, pid: int) -> None:
        for (instance, _), running in list(self.running.items()):
            if running.following is not None:
                decision = running.following.orphan_ended(pid, time.monotonic(), self.others(instance, "main"))
                if decision is not None:
                    self._decide(instance, running, decision)

    # Across a re-exec

    def dump(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "running": [
                {
                    "of": [*name_of(instance), process],
                    "members": running.members.dump(),
                    "error_fd": running.error_fd,
                    "log": running.log.dump() if running.log is not None else None,
                    "feed": [running.feed[0], running.feed[1].decode("latin-1")] if running.feed is not None else None,
                    "following": running.following.dump() if running.following is not None else None,
                    "ended": list(running.ended) if running.ended is not None else None,
                    "held": [running.held.pid, running.held.start] if running.held is not None else None,
                    "kills": running.kills,
                }
                for (instance, process), running in self.running.items()
            ],
            "unflushed": self.logs.dump(),
        }

    def descriptors(self) -> list[int]:
        """Those held for processes, which the next program needs."""
        return [fd for running in self.running.values() for fd in running.descriptors()]

    def restore(self, saved: dict[str, Any], find: Callable[[list[Any]], Instance], address: str | None) -> None:
        """Take over what `dump` gave; ``find`` gives the instance for what `name_of` said, ``address`` is what
        UPSTART_SESSION says to our jobs."""
        self.logs.load(saved.get("unflushed", []))
        for entry in saved["running"]:
            self._restore_one(entry, find(entry["of"]), entry["of"][-1], address)
        self._loop.call_soon(self.logs.flush_all)

    def _restore_one(self, entry: dict[str, Any], instance: Instance, process: str, address: str | None) -> None:
        running = self.running[instance, process] = Running(Members.load(entry["members"], address))
        running.told = True
        saved_log, feed, error_fd = entry.get("log"), entry.get("feed"), entry.get("error_fd", -1)
        exited, ended, following = entry.get("exited"), entry.get("ended"), entry.get("following")
        held = entry.get("held")
        running.kills = entry.get("kills", 0)
        if saved_log is not None:
            log = JobLog.load(self.logs, saved_log)
            running.log = log
            if log.fd >= 0:
                self.watch_log(running, log)
        if feed is not None:
            self.watch_feed(running, feed[0], feed[1].encode("latin-1"))
        if error_fd >= 0:
            self.watch_outcome(instance, process, running, error_fd)
        if ended is not None:
            running.ended = (ended[0], ended[1])
            self._loop.call_soon(lambda: self._end_told(running))
        if following is not None:
            running.following = Following.load(following, time.monotonic(), address)
            running.following.members = running.members
            if running.following.follower.phase in ("following", "settling"):
                self._look_later(instance, running, FIRST_LOOK)
        main = instance.main_pid
        if exited is not None:
            # An older build kept it while it was not yet clear what the process had left.
            self._loop.call_soon(lambda: self._main_ended(instance, running, *exited))
        if held is None and exited is None and process == "main" and main not in (0, running.members.pid):
            # An older build held nothing: what has the number now is what it followed, if anything is.
            info = look(main)
            held = [main, info.start if info is not None else -1]
        if held is not None:
            self._hold(instance, running, *held)


def name_of(instance: Instance) -> tuple[str | None, str, str]:
    """Session, job and name of an instance."""
    return instance.job.session, instance.job.name, instance.name
