"""The processes of jobs, from their spawn until the engine has said that they are gone.

What is always true here: a `Running` is kept for each such process, with all that init holds for it; its descriptors
are closed and its output is taken to the end when it is dropped.  Every child is reaped, whoever's it was.  What a
process has said is in its log before its end is known to anybody, unless the log makes us wait for longer than
`LOG_SECONDS`: whoever waits for a job finds its output there.  Main processes that become daemons are the matter of
`following`.
"""

from __future__ import annotations

import os
import time

from upstart.base import utmp
from upstart.daemon.following import Daemons
from upstart.daemon.running import Running, name_of, others
from upstart.daemon.watching import Watching
from upstart.process import helper, warden
from upstart.process.kill import SIGKILL, kill_members, signal_job, signal_process
from upstart.process.log import JobLog, LogStore
from upstart.process.members import Members
from upstart.process.orphans import reaped
from upstart.process.procfs import look
from upstart.process.reaper import BATCH, CONTINUED, EXITED, STOPPED, reap
from upstart.process.writer import Writers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from resource import struct_rusage
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.daemon.following import Table
    from upstart.engine.data import Instance
    from upstart.engine.effects import Signal
    from upstart.engine.engine import Engine

#: Bytes that getrusage(2) counts disks by.
BLOCK = 512
#: How often it is tried to deal with what has become of a child.
TRIES = 8
#: Seconds that the end of a process waits for its output to be written, and the end of a session for all of it.
LOG_SECONDS = 0.5
#: Seconds between two looks whether all logs are written.
LOOK_SECONDS = 0.01
#: Seconds that a re-exec waits for what is being written.
HOLD_SECONDS = 0.05


class Children:
    """The table of them for one engine.

    ``running`` is keyed by instance and process name, ``watching`` has the descriptors that they have open to us.

    ``noticed`` is told of each child that was stopped, and of each end of one that is no job's.
    """

    __slots__ = (
        "_daemons", "_due", "_engine", "_failed", "_logged_in", "_loop", "_noticed", "_of_job", "_warn", "_writers",
        "logs", "running", "watching",
    )  # fmt: skip

    def __init__(
        self, engine: Engine, loop: Loop, warn: Callable[[str], None], noticed: Callable[[int], object]
    ) -> None:
        self._noticed = noticed
        self._engine = engine
        self._loop = loop
        self._warn = warn
        #: How often what has become of a child could not be dealt with.
        self._failed = 0
        #: There are more ends than were taken in this turn, and they have the next.
        self._due = False
        self._writers = Writers(loop, warn)
        self.logs = LogStore(warn, self._writers)
        self._logged_in = utmp.Holders()
        #: The process of a job whose end was told and that is about to be taken from the kernel.
        self._of_job = 0
        self.running: Table = {}
        self.watching = Watching(engine, loop, self.running, warn)
        outcome = self.watching.outcome
        self._daemons = Daemons(engine, loop, warn, self.running, self.reap, outcome, self._tell_end)

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
        self._daemons.let_go(running)
        self._daemons.dismiss(running)
        self._loop.remove(running.follow_timer)
        self._loop.remove(running.log_timer)
        self.watching.end(running)
        return running.members

    def expect(self, instance: Instance, process: str, members: Members) -> Running:
        """Have a place for a process that is about to be spawned."""
        running = self.running[instance, process] = Running(members)
        return running

    def mend(self) -> None:
        """Tell the engine what it was not told for an exception that came between, and watch what is not watched."""
        self._due = False
        for (instance, process), running in list(self.running.items()):
            pid = running.members.pid
            if not pid:
                warden.dismiss(running.members)
                del self.running[instance, process]
                continue
            running.members.born()
            if not running.told and not self._engine.process_spawned(instance, process, pid):
                kill_members(running.members, others(instance, process))
                self.drop(instance, process)
                continue
            running.told = True
            if running.error_fd < 0 and process in instance.unready and instance.pids.get(process) == pid:
                self._engine.process_ready(instance, process)
            if process == "main":
                self._daemons.mend(instance, running)
            if running.ended is not None and running.log_timer < 0:
                self._end_told(running)
            self.watching.watch(instance, process, running)
            self.ward(instance, process, running)
        self._tell_lost_ends()

    def _tell_lost_ends(self) -> None:
        """Where a process is no more, and its end waits for nothing, that has come to nobody's knowledge."""
        waiting = {running.ended[0] for running in self.running.values() if running.ended is not None}
        for pid in list(self._engine.pids):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                if pid not in waiting:
                    self._end_of(pid, None)
            except OSError:
                pass

    def ward(self, instance: Instance, process: str, running: Running) -> None:
        """See to a process that is the child of a warden, if it is."""
        if process == "main":
            self._daemons.ward(instance, running)

    def follow(self, instance: Instance) -> None:
        """Watch the main process become a daemon."""
        self._daemons.follow(instance)

    # Signals

    def signal(self, effect: Signal) -> None:
        """Send a signal to a process of a job that the engine knows of.  Raises OSError."""
        instance, process, pid = effect.instance, effect.process, effect.pid
        running = self.running.get((instance, process))
        if running is not None and running.ended is not None:
            # It was reaped, and its number may be another's: what is left of it is all that there is to signal.
            if effect.signal == SIGKILL:
                kill_members(running.members, others(instance, process), instance.job_class.kill_mode)
            return
        held = running.held if running is not None else None
        pidfd = held.pidfd if held is not None else -1
        if held is not None and pidfd < 0 and not held.lives():
            return
        if effect.alone:
            signal_process(pid, effect.signal, pidfd)
            return
        if running is None:
            signal_job(pid, effect.signal, None, mode=instance.job_class.kill_mode)
            return
        if effect.signal == SIGKILL:
            running.kills += 1
            self._killed_again(instance, process, pid, running.kills)
        mode = instance.job_class.kill_mode
        signal_job(pid, effect.signal, running.members, others(instance, process), pidfd, mode)

    def _killed_again(self, instance: Instance, process: str, pid: int, times: int) -> None:
        """Say what keeps a process alive that SIGKILL was sent to before."""
        if times != 2:
            return
        try:
            info = look(pid)
        except OSError:
            return
        if info is not None:
            why = "it waits in the kernel (state D)" if info.state == "D" else f"it is in state {info.state}"
            self._warn(f"{instance.display} {process} process ({pid}) does not end by SIGKILL: {why}")

    # The end of processes

    def reap(self) -> None:
        """Take note of what has become of our children, and of the orphans that became ours (SIGCHLD): of a batch of
        them a turn, however often it is asked for."""
        if not self._due:
            self._reap()

    def _reap_on(self) -> None:
        self._due = False
        self._reap()

    def _reap(self) -> None:
        seen = 0
        for pid, kind, value in reap(used=self._used):
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
            self._loop.call_soon(self._reap_on)
            self._due = True

    def _used(self, pid: int, usage: struct_rusage) -> None:
        """What a child has used whose end has been told."""
        if pid == self._of_job:
            self._of_job = 0
            processor = round(usage.ru_utime + usage.ru_stime, 6)
            self._engine.process_used(pid, processor, usage.ru_inblock * BLOCK, usage.ru_oublock * BLOCK)

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
            warden.ended([running.members for running in self.running.values()], pid)
            self._noticed(pid)
            self._daemons.orphan_ended(pid)
            return
        self._of_job = pid
        if pid in self._logged_in:
            self._logged_out(pid)
        self._end_of(pid, status)

    def _end_of(self, pid: int, status: int | None) -> None:
        """A process that the engine knows of has ended."""
        instance, process = self._engine.pids[pid]
        running = self.running.get((instance, process))
        if running is not None:
            if self.watching.outcome(instance, process, running):
                return
            if process == "main":
                self._daemons.main_ended(instance, running, pid, status)
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
                self.watching.end_log(running)
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
        if running.ended is not None and running.looks:
            found = self._engine.pids.get(running.ended[0])
            if found is not None:
                self._daemons.main_ended(found[0], running, *running.ended)
        elif running.ended is not None:
            # Once more, should this fail: nobody else knows of it.
            running.log_timer = self._loop.call_later(LOG_SECONDS, lambda: self._end_told(running))
            self._engine.process_exited(*running.ended)
            running.ended = None
            self._loop.remove(running.log_timer)

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
                    "looks": running.looks,
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

    def leashes(self) -> list[int]:
        """Those by which wardens are held, who end where the next program does not know of them."""
        return [running.members.leash for running in self.running.values() if running.members.leash >= 0]

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
        ended = entry.get("ended")
        running.kills = entry.get("kills", 0)
        if saved_log is not None:
            log = JobLog.load(self.logs, saved_log)
            running.log = log
            if log.fd >= 0:
                self.watching.watch_log(running, log)
        if feed is not None:
            self.watching.watch_feed(running, feed[0], feed[1].encode("latin-1"))
        if error_fd >= 0:
            self.watching.watch_outcome(instance, process, running, error_fd)
        if ended is not None:
            running.ended = (ended[0], ended[1])
            running.looks = entry.get("looks", 0)
            self._loop.call_soon(lambda: self._end_told(running))
        self._daemons.restore(entry, instance, process, address)
