"""A boot that comes to nothing: a shell for root on the console, and another try when it ends.

What is always true here: a boot is looked at until its first event has finished and a runlevel has been entered, or
some process that was there then has lasted.  If no job has a process before that, nothing is under way that could start
one, and no runlevel has been entered, this system will never be one that somebody can use.  No job is known by its
name, and init serves on while the shell is there.
"""

from __future__ import annotations

import os
import resource
import time

from upstart.base import utmp
from upstart.base.closing import close
from upstart.base.loop import READ
from upstart.base.names import RUNLEVEL_MARK
from upstart.base.priority import ERROR, WARN
from upstart.base.syscalls import Spawner
from upstart.daemon.boot import CONSOLE
from upstart.engine.awaited import AWAITED
from upstart.engine.data import FINISHED, PENDING
from upstart.process.child import SIGNALS
from upstart.process.limits import original_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.daemon.configuration import Configuration
    from upstart.engine.data import Event, Instance
    from upstart.engine.engine import Engine

SULOGIN = "/sbin/sulogin"
#: Seconds: what ends sooner may have been no shell, for want of a terminal, and the next try waits for a while.
SHORTEST = 1.0
PAUSE = 10.0
#: What runs for so long once the first event has finished is more than a step of the boot.
LASTING = 10.0


class Boot:
    """The boot of one init, whose messages begin with ``program``; ``log`` (priority, text) is its own log.

    ``begun`` () is called when the first event has been emitted.
    """

    __slots__ = (
        "_again_at", "_began", "_begun", "_configuration", "_engine", "_event", "_lasting", "_log", "_loop", "_name",
        "_program", "_shell", "_timer", "_watched",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        loop: Loop,
        configuration: Configuration,
        program: str,
        begun: Callable[[], object],
        log: Callable[[int, str], object],
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._configuration = configuration
        self._program = program
        self._begun = begun
        self._log = log
        #: The first event's name, and the event itself where it has not finished.
        self._name = ""
        self._event: Event | None = None
        self._watched = False
        #: The processes that were there when the first event had finished, while it is seen whether one lasts.
        self._lasting: list[int] = []
        self._timer = -1
        #: Descriptor of the shell's process, and its id in the loop.
        self._shell = (-1, -1)
        self._began = 0.0
        #: When the next try is due, by the monotonic clock; 0 where none is waited for.
        self._again_at = 0.0

    def begin(self, name: str) -> None:
        """Emit the event ``name``, and look at what comes of it."""
        self._name = name
        self._event = self._engine.emit(name, {})
        self._begun()
        self._watch()

    def _watch(self) -> None:
        self._watched = True
        self._lasting = []
        self._loop.remove(self._timer)
        self._loop.before_wait(self._look)

    def _look(self) -> None:
        if not self._watched:
            return
        if not self._goes_on():
            self._watched = False
            self._give_shell()
            return
        begun = self._moves() or (self._event is not None and self._event.progress != FINISHED)
        if not begun and not self._lasting:
            self._lasting = self._own()
            if not self._lasting:
                self._watched = False
                return
            self._timer = self._loop.call_later(LASTING, self._see_what_lasts)
        self._loop.before_wait(self._look)

    def _see_what_lasts(self) -> None:
        if any(pid in self._engine.pids for pid in self._lasting) or has_runlevel():
            self._watched = False
        self._lasting = []

    def _own(self) -> list[int]:
        """The processes of jobs but for those that run only because others wait for what they tell: these start nothing
        of their own."""
        engine = self._engine
        return [pid for pid, (instance, _) in engine.pids.items() if not serves_others(engine, instance)]

    def _goes_on(self) -> bool:
        """Whether a job has a process, something is under way that may yet start one, or the system is up."""
        return bool(self._own()) or self._moves() or has_runlevel()

    def _moves(self) -> bool:
        """Whether something is under way that may yet start a process."""
        engine = self._engine
        return bool(
            engine.effects
            or any(event.progress == PENDING for event in engine.events.values())
            or any(instance.unready for job in engine.jobs.values() for instance in job.instances.values())
        )

    def _give_shell(self) -> None:
        """Have root mend it."""
        self._log(WARN, f"No job is left running after {self._name}: starting {SULOGIN}")
        try:
            console = os.open(CONSOLE, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._explain(console)
                os.set_blocking(console, True)
                pid = start_sulogin([(os.POSIX_SPAWN_DUP2, console, fd) for fd in range(3)])
            finally:
                close(console)
            process = os.pidfd_open(pid)
        except OSError as error:
            self._log(ERROR, f"Unable to start {SULOGIN}: {error.strerror}")
            return
        self._began = time.monotonic()
        self._shell = process, self._loop.add_fd(process, READ, self._ended)

    def _explain(self, console: int) -> None:
        """Say what is wrong where the shell will be."""
        lines = [
            f"No job is left running after {self._name}, and nothing more would happen.",
            *self._configuration.sources.standing(),
            "Mend it in the shell, after: mount -o remount,rw none /",
            "Leave the shell to try again.",
        ]
        text = "".join(f"{self._program}: {line}\n" for line in lines)
        try:
            os.write(console, text.encode("utf-8", "surrogateescape"))
        except OSError:
            pass

    def _ended(self, _events: int) -> None:
        process, watch = self._shell
        self._loop.remove(watch)
        close(process)
        self._shell = (-1, -1)
        now = time.monotonic()
        if now - self._began < SHORTEST:
            self._again_later(now + PAUSE)
        else:
            self._again()

    def _again_later(self, when: float) -> None:
        self._again_at = when
        self._loop.call_later(max(0.0, when - time.monotonic()), self._again)

    def _again(self) -> None:
        self._again_at = 0.0
        if not self._goes_on():
            # A re-exec meanwhile tries again as well.
            self._again_at = time.monotonic()
            self._configuration.reload(self._begin_again)

    def _begin_again(self, _problem: str) -> None:
        self._again_at = 0.0
        self.begin(self._name)

    # Across a re-exec

    def dump(self) -> dict[str, Any] | None:
        """How far it has come, None where nothing is looked at."""
        if not (self._watched or self._again_at or self._shell[0] >= 0):
            return None
        return {
            "name": self._name,
            "event": self._event.serial if self._watched and self._event is not None else None,
            "watched": self._watched,
            "shell": self._shell[0],
            "began": self._began,
            "again_at": self._again_at,
        }

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return [self._shell[0]] if self._shell[0] >= 0 else []

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave."""
        if saved is None:
            return
        self._name = saved["name"]
        self._event = self._engine.events.get(saved["event"])
        self._began = saved["began"]
        if saved["watched"]:
            self._watch()
        if saved["shell"] >= 0:
            self._shell = saved["shell"], self._loop.add_fd(saved["shell"], READ, self._ended)
        if saved["again_at"]:
            self._again_later(saved["again_at"])


def serves_others(engine: Engine, instance: Instance) -> bool:
    """Whether it runs only because others wait for what it tells, or to be the process of a job that does."""
    cause = instance.env.get("UPSTART_EVENTS")
    if cause != "starting":
        return cause == AWAITED
    job = engine.jobs.get((None, instance.env.get("JOB", "")))
    instances = job.instances.values() if job is not None else ()
    return bool(instances) and all(each.env.get("UPSTART_EVENTS") == AWAITED for each in instances)


def has_runlevel() -> bool:
    """Whether a runlevel has been entered, or init is about to hear of it: what is no job's may serve then."""
    if os.path.exists(RUNLEVEL_MARK):
        return True
    try:
        return utmp.read_runlevel() is not None
    except OSError:
        return False


def start_sulogin(actions: list[tuple[int, int, int]]) -> int:
    """Start it in a session of its own, its descriptors changed by ``actions``; gives its pid.  Raises OSError."""
    umask = os.umask(0o022)
    try:
        pid = Spawner(SIGNALS).spawn(SULOGIN, ["sulogin"], os.environ, actions)
    finally:
        os.umask(umask)
    try:
        # Those that init has raised are not for what the shell starts.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, original_descriptors())
    except OSError:
        pass
    return pid
