"""Carries out what the engine asks for.

What is always true here: an effect that cannot be performed is answered to the engine as such, with the reason, and
nothing is waited for.  What becomes of processes afterwards is told to the engine by `children`.
"""

from __future__ import annotations

import time

from upstart.base.closing import close_given
from upstart.base.priority import DEBUG, WARN
from upstart.daemon import sessionfile
from upstart.daemon.children import Children
from upstart.daemon.following import warded
from upstart.daemon.running import name_of, others
from upstart.engine.effects import CancelSpawn, Gone, Spawn
from upstart.process import limits
from upstart.process.apparmor import available as apparmor_available
from upstart.process.cgroup import Cgroups
from upstart.process.group import Group
from upstart.process.helper import SETTLED
from upstart.process.kill import ALL, kill_members
from upstart.process.log import JobLog, log_path
from upstart.process.spawn import Spawner, SpawnError, SpawnRequest, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.daemon.keeping import Keeping
    from upstart.daemon.options import Options
    from upstart.engine import effects
    from upstart.engine.data import Instance
    from upstart.engine.engine import Engine

#: Seconds between attempts to spawn for which memory or processes lacked, and how many there are.
RETRY_SECONDS = 0.5
RETRIES = 20
#: Seconds between looks whether what watches the start of processes has become small.
READY_SECONDS = 5.0
#: What we raise our own descriptor limit to: a thousand logged jobs need it.
DESCRIPTORS = 65536


class Performer:
    """Performs effects for one engine.

    ``logdir`` is where jobs log, None where nowhere.  ``pid`` is init's, ``original_umask`` the file mode mask it was
    started with.  ``log`` (priority, text) is its own log, ``announce`` sends a signal to all who listen, ``keeping``
    has the descriptors that jobs are given.
    """

    def __init__(
        self,
        options: Options,
        engine: Engine,
        loop: Loop,
        logdir: str | None,
        pid: int,
        original_umask: int,
        log: Callable[[int, str], object],
        announce: Callable[[effects.Announce], object],
        keeping: Keeping,
        report: Callable[[effects.Report], object],
    ) -> None:
        self._options = options
        self._engine = engine
        self._loop = loop
        self._logdir = logdir
        self._write_log = log
        self._keeping = keeping
        limits.raise_descriptors(DESCRIPTORS)
        self._cgroups = Cgroups(session=options.user, pid=pid) if options.cgroups else None
        inherited = original_umask if options.user and options.inherit_env else None
        self._spawner = Spawner(options.user, self._cgroups, inherited, options.priority == DEBUG)
        self._engine.set_apparmor(apparmor_available())
        self.children = Children(self._engine, self._loop, self._warn, self._spawner.noticed)
        self._timers: dict[tuple[Instance, str], tuple[int, float]] = {}
        #: Spawns that will be tried again: how often they were, when that will be, and the timer of that.
        self._retries: dict[tuple[Instance, str], tuple[Spawn, int, float, int]] = {}
        #: Groups that cgroup stanzas name, of instances that have had a process in them.
        self._shared: dict[Instance, Group] = {}
        self._handlers: dict[str, Callable[[Any], object]] = {
            "spawn": self._spawn,
            "cancel-spawn": self._cancel_spawn,
            "signal": self._signal,
            "set-timer": self._set_timer,
            "cancel-timer": self._cancel_timer,
            "follow": self._follow,
            "reply": self._reply,
            "reply-error": self._reply_error,
            "announce": announce,
            "report": report,
            "log": self._log,
            "close": self._close,
            "gone": self._gone,
            "ended": self._ended,
        }

    @property
    def logdir(self) -> str | None:
        """Where jobs log, None where nowhere."""
        return self._logdir

    def perform(self, effect: effects.Effect) -> None:
        """Perform one effect."""
        self._handlers[effect.kind](effect)

    def offer_controllers(self) -> None:
        """Have groups that others make limited by controllers, where we have control groups."""
        if self._cgroups is not None:
            self._cgroups.offer_controllers()

    def begin_boot(self, program: str) -> None:
        """While this boot is young, be patient with the disk, and run programs that are installed with ``program``,
        which is ours, without executing them."""
        self._spawner.begin_boot(program)

    def guard(self, now: bool = False) -> None:
        """Have the start of processes watched, as others run by now that might hold us in it."""
        if self._spawner.guard(now):
            self._loop.call_later(SETTLED, self._settle_guard)

    def _settle_guard(self) -> None:
        """Now that there is time for it, have that done by as little as can be, and all programs executed."""
        self._spawner.own = None
        if not self._spawner.settle_guard():
            self._loop.call_later(READY_SECONDS, self._settle_guard)

    def _warn(self, text: str) -> None:
        self._write_log(WARN, text)

    def _reply(self, effect: effects.Reply) -> None:
        call: Any = effect.request
        if call.returns_path and effect.instance is not None:
            call.reply_instance(effect.instance)
        else:
            call.reply()

    def _reply_error(self, effect: effects.ReplyError) -> None:
        call: Any = effect.request
        call.error(effect.name, effect.text)

    def _log(self, effect: effects.Log) -> None:
        self._write_log(effect.priority, effect.text)

    def _close(self, effect: effects.CloseFd) -> None:
        close_given(effect.fd)
        self._keeping.closed(effect.fd)

    def _follow(self, effect: effects.Follow) -> None:
        self.children.follow(effect.instance)

    # Spawning

    def _spawn(self, effect: Spawn) -> None:
        instance, process = effect.instance, effect.process
        if process not in instance.unready or process in instance.pids:
            # Asked for twice, when something was cut short and mended, and spawned already.
            self._retries.pop((instance, process), None)
            return
        job_class = instance.job_class
        session = instance.job.session
        logdir = self._logdir
        console = job_class.console or self._options.default_console
        if console == "log" and (logdir is None or not self._options.job_logging):
            console = "none"
        request = SpawnRequest(
            job_class, instance.display, process, instance.name, effect.env, effect.fds, console, session
        )
        if process == "main":
            request.connection = instance.connection
            request.warded = warded(job_class)
            if session is None:
                request.sockets = self._keeping.given(instance.job.name)
            if request.sockets:
                # The environment will tell of them, this time.
                request.env = dict(effect.env)
        children = self.children
        # Known before it exists: once it does, nothing may lose it.
        running = children.expect(instance, process, prepare(request))
        try:
            result = self._spawner.spawn(request, running.members)
        except SpawnError as error:
            children.running.pop((instance, process), None)
            self._spawn_failed(effect, error)
            return
        except Exception as error:
            if running.members.pid:
                # Mending tells of it (`Children.mend`).
                raise
            children.running.pop((instance, process), None)
            self._retries.pop((instance, process), None)
            self._engine.spawn_failed(instance, process, f"{type(error).__name__}: {error}")
            raise
        running.error_fd = result.error_fd
        running.feed = result.script_feed
        self._engine.process_spawned(instance, process, result.pid)
        running.told = True
        if self._retries:
            self._retries.pop((instance, process), None)
        if result.ready:
            self._engine.process_ready(instance, process)
        if result.output_fd >= 0 and logdir is not None:
            path = log_path(logdir, instance.job.name, instance.name, session)
            running.log = JobLog(children.logs, path, result.output_fd, session)
        children.watching.watch(instance, process, running)
        children.ward(instance, process, running)
        if self._spawner.unprepared:
            # While the program begins its work: nobody waits for us then.
            self._spawner.unprepared = False
            self._loop.call_soon(self._spawner.prepare)

    def _spawn_failed(self, effect: Spawn, error: SpawnError) -> None:
        key = (effect.instance, effect.process)
        tries = self._retries[key][1] if key in self._retries else 0
        if not error.temporary or tries >= RETRIES or effect.instance.goal == "stop":
            self._retries.pop(key, None)
            self._engine.spawn_failed(effect.instance, effect.process, str(error))
            return
        if not tries:
            self._warn(f"{effect.instance.display}: {error}")
        self._retry(effect, tries + 1, time.monotonic() + RETRY_SECONDS)

    def _retry(self, effect: Spawn, tries: int, due: float) -> None:
        timer = self._loop.call_later(max(0.0, due - time.monotonic()), lambda: self._spawn(effect))
        self._retries[effect.instance, effect.process] = (effect, tries, due, timer)

    def _cancel_spawn(self, effect: effects.CancelSpawn) -> None:
        known = self._retries.pop((effect.instance, effect.process), None)
        if known is not None:
            self._loop.remove(known[3])
            self._engine.spawn_withdrawn(effect.instance, effect.process)

    def mend(self, waiting: list[tuple[int, str]]) -> None:
        """Bring to an end what an exception has cut short, here and in the engine; it may be cut short as well, and be
        done again.

        ``waiting`` are the processes whose turn to be spawned is still to come.
        """
        self._let_go_of_lost()
        self.children.mend()
        asked = waiting + [(instance.serial, process) for instance, process in self._retries]
        timers = [(instance.serial, timer) for instance, timer in self._timers]
        self._engine.mend(asked, timers)

    def _let_go_of_lost(self) -> None:
        """Give back what is held for instances that are no more: that they have ended was told, and came to nothing."""
        for instance, process in list(self.children.running):
            if not self._is_there(instance):
                self._gone(Gone(instance, process, 0))
        for instance, process in list(self._retries):
            if not self._is_there(instance):
                self._cancel_spawn(CancelSpawn(instance, process))
        for instance in list(self._shared):
            if not self._is_there(instance):
                shared = self._shared.pop(instance)
                if self._cgroups is not None:
                    self._cgroups.release(shared)

    def _is_there(self, instance: Instance) -> bool:
        job = self._engine.jobs.get((instance.job.session, instance.job.name))
        return job is not None and job.instances.get(instance.name) is instance

    def _gone(self, effect: effects.Gone) -> None:
        members = self.children.drop(effect.instance, effect.process)
        if members is None:
            return
        if effect.process == "main" and effect.instance.job_class.kill_mode == ALL:
            # Whatever ended it: nothing of such a job outlives its main process.
            kill_members(members, others(effect.instance, "main"), ALL)
        if members.group is not None and not members.group.exclusive:
            self._shared[effect.instance] = members.group

    def _ended(self, effect: effects.Ended) -> None:
        # Its last process may have ended long before.
        instance = effect.instance
        shared = self._shared.pop(instance, None)
        if self._cgroups is not None:
            self._cgroups.release_of(instance.job.name, instance.name, instance.job.session)
            if shared is not None:
                self._cgroups.release(shared)
        self._keeping.ended(instance)

    # Signals and timers

    def _signal(self, effect: effects.Signal) -> None:
        instance, process = effect.instance, effect.process
        if instance.pids.get(process) != effect.pid:
            return  # it has ended since this was asked for, and its number may be another's
        try:
            self.children.signal(effect)
        except OSError as error:
            self._warn(
                f"Failed to send signal {effect.signal} to {instance.display} {process} process ({effect.pid}): "
                f"{error.strerror}"
            )

    def _set_timer(self, effect: effects.SetTimer) -> None:
        self._arm(effect.instance, effect.timer, time.monotonic() + effect.seconds)

    def _arm(self, instance: Instance, timer: str, due: float) -> None:
        key = (instance, timer)
        self._disarm(key)

        def fire() -> None:
            self._timers.pop(key, None)
            self._engine.timer_fired(instance, timer)

        self._timers[key] = (self._loop.call_later(max(0.0, due - time.monotonic()), fire), due)

    def _cancel_timer(self, effect: effects.CancelTimer) -> None:
        self._disarm((effect.instance, effect.timer))

    def _disarm(self, key: tuple[Instance, str]) -> None:
        known = self._timers.pop(key, None)
        if known is not None:
            self._loop.remove(known[0])

    def close(self) -> None:
        """Give back what outlives us: the cgroups of a session."""
        self.children.close()
        self._spawner.close()
        if self._cgroups is not None:
            self._cgroups.close()

    # Across a re-exec

    def dump(self) -> dict[str, Any]:
        """All of it as plain values; times are those of the monotonic clock, which goes on."""
        return {
            "limits": limits.dump(),
            "address": self._engine.extra_environ.get("UPSTART_SESSION"),
            "groups": self._cgroups.dump() if self._cgroups is not None else [],
            "shared": [[*name_of(instance), group.path] for instance, group in self._shared.items()],
            "children": self.children.dump(),
            "timers": [[*name_of(instance), timer, due] for (instance, timer), (_, due) in self._timers.items()],
            "retries": [
                [*name_of(instance), process, effect.env, list(effect.fds), tries, due]
                for (instance, process), (effect, tries, due, _) in self._retries.items()
            ],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over from the performer that made ``saved``; the engine has been loaded."""
        limits.restore(saved["limits"])
        if self._cgroups is not None:
            self._cgroups.restore(saved.get("groups", []))
        address = saved.get("address", sessionfile.address()) if self._options.user else None
        self.children.restore(saved["children"], self.find, address)
        for entry in saved.get("shared", ()):
            self._shared[self.find(entry)] = Group(entry[3], False)
        for session, job, name, timer, due in saved["timers"]:
            # Of an instance that is gone there may have been one in older documents.
            known = self._engine.jobs.get((session, job))
            instance = known.instances.get(name) if known is not None else None
            if instance is not None and timer in instance.timers:
                self._arm(instance, timer, due)
        for entry in saved.get("retries", ()):
            effect = Spawn(self.find(entry), entry[3], entry[4], tuple(entry[5]))
            self._retry(effect, *(entry[6:8] or (0, 0.0)))

    def find(self, entry: list[Any]) -> Instance:
        """The instance that the beginning of ``entry`` says, as `name_of` gave it."""
        session, name, instance = entry[:3]
        return self._engine.jobs[session, name].instances[instance]
