"""Carries out what the engine asks for, and tells it what became of it.

What is always true here: an effect that cannot be performed is answered to the engine as such, with the reason; nothing is waited for.
A `Running` is kept for each process from its spawn until the engine has said that it is gone; its descriptors are closed
and its output is taken to the end by then.
"""

from __future__ import annotations

import os
import time

from upstart.daemon.loop import READ, WRITE
from upstart.daemon.objects import path_of_instance
from upstart.engine.effects import WARN, Spawn
from upstart.process import limits
from upstart.process.apparmor import available as apparmor_available
from upstart.process.cgroup import Cgroups
from upstart.process.follow import FIRST_LOOK, Failed, Following, Forked, Wait
from upstart.process.kill import signal_job, signal_process
from upstart.process.log import JobLog, LogStore, log_path
from upstart.process.members import Members
from upstart.process.reaper import BATCH, CONTINUED, EXITED, STOPPED, reap
from upstart.process.spawn import Spawner, SpawnError, SpawnRequest, read_outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from upstart.daemon.daemon import Daemon
    from upstart.engine.effects import Announce, CancelTimer, CloseFd, Effect, Follow, Gone, Kill, Log, Reply, ReplyError
    from upstart.engine.effects import SetTimer
    from upstart.engine.instance import Instance
    from upstart.process.follow import Decision
    from upstart.process.spawn import SpawnResult

#: Seconds between attempts to spawn for which memory or processes lacked, and how many there are.
RETRY_SECONDS = 0.5
RETRIES = 20
#: What we raise our own descriptor limit to: a thousand logged jobs need it.
DESCRIPTORS = 65536


class Running:
    """A process of a job, and what init holds for it; watches are ids of the loop or -1."""

    __slots__ = ("error_fd", "error_watch", "exited", "feed", "feed_watch", "follow_timer", "following", "log", "log_watch",
                 "members", "ready")

    def __init__(self, members: Members) -> None:
        self.members = members
        self.ready = False
        self.error_fd = -1
        self.error_watch = -1
        self.log: JobLog | None = None
        self.log_watch = -1
        #: Descriptor of a script's pipe, and what must still be written to it.
        self.feed: tuple[int, bytes] | None = None
        self.feed_watch = -1
        self.following: Following | None = None
        self.follow_timer = -1
        #: Pid and status of a main process that has ended while it is not yet clear what it left.
        self.exited: tuple[int, int] | None = None


class Performer:
    """Performs effects for one daemon; ``running`` is keyed by instance and process name."""

    def __init__(self, daemon: Daemon) -> None:
        options = daemon.options
        self._daemon = daemon
        self._engine = daemon.engine
        self._loop = daemon.loop
        limits.raise_descriptors(DESCRIPTORS)
        self._cgroups = Cgroups(session=options.user) if options.cgroups else None
        umask = os.umask(0o022)
        if options.user:
            os.umask(umask)
        else:
            os.umask(0)
        inherit = umask if options.user and options.inherit_env else None
        self._spawner = Spawner(options.user, self._cgroups, inherit)
        self._logs = LogStore(self._warn)
        self._engine.apparmor_available = apparmor_available()
        self.running: dict[tuple[Instance, str], Running] = {}
        self._timers: dict[tuple[Instance, str], tuple[int, float]] = {}
        self._retries: dict[tuple[Instance, str], tuple[Spawn, int]] = {}
        self._handlers: dict[str, Callable[[Any], object]] = {
            "spawn": self._spawn,
            "kill": self._kill,
            "set-timer": self._set_timer,
            "cancel-timer": self._cancel_timer,
            "follow": self._follow,
            "reply": self._reply,
            "reply-error": self._reply_error,
            "announce": self._announce,
            "log": self._log,
            "close": self._close,
            "gone": self._gone,
        }

    def perform(self, effect: Effect) -> None:
        """Perform one effect."""
        self._handlers[effect.kind](effect)

    def _warn(self, text: str) -> None:
        self._daemon.log(WARN, text)

    # Answers and announcements

    def _reply(self, effect: Reply) -> None:
        call: Any = effect.request
        if call.returns_path and effect.instance is not None:
            call.reply("o", path_of_instance(effect.instance))
        else:
            call.reply()

    def _reply_error(self, effect: ReplyError) -> None:
        call: Any = effect.request
        call.error(effect.name, effect.text)

    def _announce(self, effect: Announce) -> None:
        self._daemon.announce(effect)

    def _log(self, effect: Log) -> None:
        self._daemon.log(effect.priority, effect.text)

    def _close(self, effect: CloseFd) -> None:
        os.close(effect.fd)

    # Spawning

    def _spawn(self, effect: Spawn) -> None:
        instance, process = effect.instance, effect.process
        options = self._daemon.options
        console = instance.job_class.console or options.default_console
        logdir = self._daemon.logdir
        if console == "log" and (not options.job_logging or logdir is None):
            console = "none"
        session = instance.job.session
        request = SpawnRequest(instance.job_class, instance.display, process, instance.name, effect.env, effect.fds, console, session)
        try:
            result = self._spawner.spawn(request)
        except SpawnError as error:
            self._spawn_failed(effect, error)
            return
        self._retries.pop((instance, process), None)
        running = self._keep(instance, process, result)
        if result.output_fd >= 0 and logdir is not None:
            path = log_path(logdir, instance.job.name, instance.name, session)
            running.log = JobLog(self._logs, path, result.output_fd, session)
            self._watch_log(running)
        self._engine.process_spawned(instance, process, result.pid)
        if result.ready:
            running.ready = True
            self._engine.process_ready(instance, process)
        else:
            self._watch_outcome(instance, process, running, result.error_fd)

    def _keep(self, instance: Instance, process: str, result: SpawnResult) -> Running:
        running = self.running[instance, process] = Running(result.members)
        if result.script_feed is not None:
            running.feed = result.script_feed
            self._watch_feed(running)
        return running

    def _spawn_failed(self, effect: Spawn, error: SpawnError) -> None:
        key = (effect.instance, effect.process)
        tries = self._retries.get(key, (effect, 0))[1]
        if not error.temporary or tries >= RETRIES or effect.instance.goal == "stop":
            self._retries.pop(key, None)
            self._engine.spawn_failed(effect.instance, effect.process, str(error))
            return
        if not tries:
            self._warn(f"{effect.instance.display}: {error}")
        self._retries[key] = (effect, tries + 1)
        self._loop.call_later(RETRY_SECONDS, lambda: self._spawn(effect))

    def _watch_log(self, running: Running) -> None:
        log = running.log
        assert log is not None

        def readable(_events: int) -> None:
            if not log.on_readable():
                self._loop.remove(running.log_watch)
                running.log_watch = -1

        running.log_watch = self._loop.add_fd(log.fd, READ, readable)

    def _watch_feed(self, running: Running) -> None:
        def writable(_events: int) -> None:
            if running.feed is None:
                return
            fd, data = running.feed
            try:
                data = data[os.write(fd, data):]
            except BlockingIOError:
                return
            except OSError:
                data = b""
            running.feed = (fd, data)
            if not data:
                self._end_feed(running)

        assert running.feed is not None
        running.feed_watch = self._loop.add_fd(running.feed[0], WRITE, writable)

    def _end_feed(self, running: Running) -> None:
        if running.feed is not None:
            self._loop.remove(running.feed_watch)
            os.close(running.feed[0])
            running.feed = None

    def _watch_outcome(self, instance: Instance, process: str, running: Running, error_fd: int) -> None:
        running.error_fd = error_fd
        running.error_watch = self._loop.add_fd(error_fd, READ, lambda events: self._outcome(instance, process, running))

    def _outcome(self, instance: Instance, process: str, running: Running) -> bool:
        """Look at the error pipe: true if the process is known to have failed before its program ran."""
        if running.error_fd < 0:
            return False
        text = read_outcome(running.error_fd)
        if text is None:
            return False
        self._end_outcome(running)
        if text:
            if running.log is not None:
                running.log.discard()
            self._engine.spawn_failed(instance, process, text)
            return True
        running.ready = True
        self._engine.process_ready(instance, process)
        return False

    def _end_outcome(self, running: Running) -> None:
        if running.error_fd >= 0:
            self._loop.remove(running.error_watch)
            os.close(running.error_fd)
            running.error_fd = -1

    def busy(self) -> bool:
        """Whether any process is between its fork and its exec."""
        return any(running.error_fd >= 0 for running in self.running.values())

    # Signals and timers

    def _others(self, instance: Instance, process: str) -> list[int]:
        return [pid for name, pid in instance.pids.items() if name != process]

    def _kill(self, effect: Kill) -> None:
        try:
            if effect.alone:
                signal_process(effect.pid, effect.signal)
                return
            running = self.running.get((effect.instance, effect.process))
            members = running.members if running is not None else None
            signal_job(effect.pid, effect.signal, members, self._others(effect.instance, effect.process))
        except OSError as error:
            self._warn(f"Failed to send signal to {effect.instance.display} {effect.process} process ({effect.pid}): {error.strerror}")

    def _set_timer(self, effect: SetTimer) -> None:
        self._arm(effect.instance, effect.timer, time.monotonic() + effect.seconds)

    def _arm(self, instance: Instance, timer: str, due: float) -> None:
        key = (instance, timer)
        self._disarm(key)

        def fire() -> None:
            self._timers.pop(key, None)
            self._engine.timer_fired(instance, timer)

        self._timers[key] = (self._loop.call_later(max(0.0, due - time.monotonic()), fire), due)

    def _cancel_timer(self, effect: CancelTimer) -> None:
        self._disarm((effect.instance, effect.timer))

    def _disarm(self, key: tuple[Instance, str]) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            self._loop.remove(known[0])

    # Following daemons

    def _follow(self, effect: Follow) -> None:
        running = self.running.get((effect.instance, "main"))
        if running is not None and running.following is None:
            self._begin_following(effect.instance, running)
            self._look_later(effect.instance, running, FIRST_LOOK)

    def _begin_following(self, instance: Instance, running: Running) -> Following:
        expect = instance.job_class.expect
        running.following = Following(expect, instance.display, running.members, time.monotonic())
        return running.following

    def _look_later(self, instance: Instance, running: Running, seconds: float) -> None:
        self._loop.remove(running.follow_timer)
        running.follow_timer = self._loop.call_later(seconds, lambda: self._look(instance, running))

    def _look(self, instance: Instance, running: Running) -> None:
        running.follow_timer = -1
        if running.following is not None and self.running.get((instance, "main")) is running:
            decision = running.following.look(time.monotonic(), self._others(instance, "main"))
            self._decide(instance, running, decision)

    def _decide(self, instance: Instance, running: Running, decision: Decision) -> None:
        if isinstance(decision, Wait):
            self._look_later(instance, running, decision.seconds)
        elif isinstance(decision, Forked):
            running.exited = None
            if decision.note is not None:
                self._warn(decision.note)
            self._engine.process_forked(instance, decision.pid)
        elif isinstance(decision, Failed):
            if running.exited is not None:
                (pid, status), running.exited = running.exited, None
                self._engine.process_exited(pid, status)
        else:
            self._engine.follow_gave_up(instance, decision.text)

    # The end of processes

    def reap(self) -> None:
        """Take note of what has become of our children, and of the orphans that became ours (SIGCHLD)."""
        seen = 0
        for pid, kind, value in reap():
            seen += 1
            if kind == STOPPED:
                self._engine.process_stopped(pid, value)
            elif kind == CONTINUED:
                self._engine.process_continued(pid, value)
            else:
                self._ended(pid, value if kind == EXITED else value << 8)
        if seen == BATCH:
            self._loop.call_soon(self.reap)

    def _ended(self, pid: int, status: int) -> None:
        found = self._engine.pids.get(pid)
        if found is None:
            self._orphan_ended(pid)
            return
        instance, process = found
        running = self.running.get((instance, process))
        if running is not None:
            if self._outcome(instance, process, running):
                return
            if process == "main" and self._left_something(instance, running, pid, status):
                return
        self._engine.process_exited(pid, status)

    def _left_something(self, instance: Instance, running: Running, pid: int, status: int) -> bool:
        """A main process has ended that may have become a daemon before: true if its end is not the job's."""
        following = running.following
        if following is None:
            if instance.job_class.expect not in ("fork", "daemon") or instance.state != "spawned":
                return False
            following = self._begin_following(instance, running)
        self._loop.remove(running.follow_timer)
        running.exited = (pid, status)
        stopping = instance.goal == "stop"
        decision = following.main_ended(time.monotonic(), status, self._others(instance, "main"), stopping)
        if isinstance(decision, Failed):
            running.exited = None
            return False
        self._decide(instance, running, decision)
        return True

    def _orphan_ended(self, pid: int) -> None:
        for (instance, process), running in list(self.running.items()):
            if process == "main" and running.exited is not None and running.following is not None:
                decision = running.following.orphan_ended(pid, time.monotonic(), self._others(instance, "main"))
                if decision is not None:
                    self._decide(instance, running, decision)

    def _gone(self, effect: Gone) -> None:
        instance = effect.instance
        running = self.running.pop((instance, effect.process), None)
        if running is None:
            return
        self._end_outcome(running)
        self._end_feed(running)
        self._loop.remove(running.follow_timer)
        if running.log is not None:
            self._loop.remove(running.log_watch)
            running.log.ended()
        group = running.members.group
        if group is not None and self._cgroups is not None and not instance.pids:
            if instance.job.instances.get(instance.name) is not instance:
                self._cgroups.release(group)

    def flush_logs(self) -> None:
        """The disk is writable: write what the logs of ended processes hold, and those of living ones."""
        self._logs.flush_all()
        for running in self.running.values():
            if running.log is not None:
                running.log.flush()

    def close(self) -> None:
        """Give back what outlives us: the cgroups of a session."""
        self._spawner.close()
        if self._cgroups is not None:
            self._cgroups.close()

    # Across a re-exec

    def dump(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "limits": limits.dump(),
            "running": [self._dump_running(instance, process, running) for (instance, process), running in self.running.items()],
            "timers": [[*_name(instance), timer, due] for (instance, timer), (_, due) in self._timers.items()],
            "retries": [
                [*_name(instance), process, effect.env, list(effect.fds)]
                for (instance, process), (effect, _) in self._retries.items()
            ],
            "unflushed": [log.dump() for log in self._logs.unflushed],
        }

    @staticmethod
    def _dump_running(instance: Instance, process: str, running: Running) -> dict[str, Any]:
        return {
            "of": [*_name(instance), process],
            "members": running.members.dump(),
            "ready": running.ready,
            "error_fd": running.error_fd,
            "log": running.log.dump() if running.log is not None else None,
            "feed": [running.feed[0], running.feed[1].decode("latin-1")] if running.feed is not None else None,
            "following": running.following.dump() if running.following is not None else None,
            "exited": list(running.exited) if running.exited is not None else None,
        }

    def keep_open(self, kept: bool) -> None:
        """Have the descriptors held for processes cross an exec, or not (again)."""
        for running in self.running.values():
            fds = [running.error_fd, running.feed[0] if running.feed else -1, running.log.fd if running.log else -1]
            for fd in fds:
                if fd >= 0:
                    os.set_inheritable(fd, kept)

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over from the performer that made ``saved``; the engine has been loaded."""
        limits.restore(saved["limits"])
        for state in saved["unflushed"]:
            self._logs.unflushed.append(JobLog.load(self._logs, state))
        for entry in saved["running"]:
            self._restore_running(entry)
        for session, name, instance_name, timer, due in saved["timers"]:
            self._arm(self._instance(session, name, instance_name), timer, due)
        for session, name, instance_name, process, env, fds in saved["retries"]:
            self._spawn(Spawn(self._instance(session, name, instance_name), process, env, tuple(fds)))
        self.keep_open(False)

    def _instance(self, session: str | None, name: str, instance: str) -> Instance:
        return self._engine.jobs[session, name].instances[instance]

    def _restore_running(self, entry: dict[str, Any]) -> None:
        session, name, instance_name, process = entry["of"]
        instance = self._instance(session, name, instance_name)
        running = self.running[instance, process] = Running(Members.load(entry["members"]))
        running.ready = entry["ready"]
        if entry["log"] is not None:
            running.log = JobLog.load(self._logs, entry["log"])
            if running.log.fd >= 0:
                self._watch_log(running)
        if entry["feed"] is not None:
            running.feed = (entry["feed"][0], entry["feed"][1].encode("latin-1"))
            self._watch_feed(running)
        if entry["error_fd"] >= 0:
            self._watch_outcome(instance, process, running, entry["error_fd"])
        if entry["exited"] is not None:
            running.exited = (entry["exited"][0], entry["exited"][1])
        if entry["following"] is not None:
            running.following = Following.load(entry["following"], time.monotonic())
            if running.following.follower.phase in ("following", "settling"):
                self._look_later(instance, running, FIRST_LOOK)


def _name(instance: Instance) -> tuple[str | None, str, str]:
    return instance.job.session, instance.job.name, instance.name
