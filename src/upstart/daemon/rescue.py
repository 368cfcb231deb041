"""A boot that comes to nothing: a shell for root on the console, and another try when it ends.

What is always true here: a boot is looked at until its first event has finished.  If no job has a process by then, or
before, nothing is under way that could start one, and no runlevel has been entered, this system will never be one that
somebody can use.  No job is known by its name, and init serves on while the shell is there.
"""

from __future__ import annotations

import os
import resource
import time

from upstart.base import utmp
from upstart.base.loop import READ
from upstart.base.priority import ERROR, WARN
from upstart.daemon.boot import CONSOLE
from upstart.engine.data import FINISHED, PENDING
from upstart.process.child import SIGNALS
from upstart.process.limits import original_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.daemon import Daemon
    from upstart.engine.data import Event

SULOGIN = "/sbin/sulogin"
#: Seconds: what ends sooner may have been no shell, for want of a terminal, and the next try waits for a while.
SHORTEST = 1.0
PAUSE = 10.0


class Boot:
    """The boot of one daemon by the event ``name``."""

    __slots__ = ("_began", "_daemon", "_event", "_name", "_shell")

    def __init__(self, daemon: Daemon, name: str) -> None:
        self._daemon = daemon
        self._name = name
        self._event: Event | None = None
        #: Descriptor of the shell's process, and its id in the loop.
        self._shell = (-1, -1)
        self._began = 0.0

    def begin(self) -> None:
        """Emit the event, and look at what comes of it."""
        self._event = self._daemon.engine.emit(self._name, {})
        self._daemon.loop.before_wait(self._look)

    def _look(self) -> None:
        if not self._goes_on():
            self._give_shell()
        elif self._event is not None and self._event.progress != FINISHED:
            self._daemon.loop.before_wait(self._look)

    def _goes_on(self) -> bool:
        """Whether a job has a process, something is under way that may yet start one, or the system is up."""
        engine = self._daemon.engine
        return bool(
            engine.pids
            or engine.effects
            or any(event.progress == PENDING for event in engine.events.values())
            or any(instance.unready for job in engine.jobs.values() for instance in job.instances.values())
            or has_runlevel()
        )

    def _give_shell(self) -> None:
        """Have root mend it."""
        daemon = self._daemon
        daemon.log(WARN, f"No job is left running after {self._name}: starting {SULOGIN}")
        try:
            console = os.open(CONSOLE, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._explain(console)
                os.set_blocking(console, True)
                pid = start_sulogin([(os.POSIX_SPAWN_DUP2, console, fd) for fd in range(3)])
            finally:
                os.close(console)
            process = os.pidfd_open(pid)
        except OSError as error:
            daemon.log(ERROR, f"Unable to start {SULOGIN}: {error.strerror}")
            return
        self._began = time.monotonic()
        self._shell = process, daemon.loop.add_fd(process, READ, self._ended)

    def _explain(self, console: int) -> None:
        """Say what is wrong where the shell will be."""
        lines = [
            f"No job is left running after {self._name}, and nothing more would happen.",
            *self._daemon.configuration.sources.standing(),
            "Mend it in the shell, after: mount -o remount,rw none /",
            "Leave the shell to try again.",
        ]
        program = self._daemon.options.program
        text = "".join(f"{program}: {line}\n" for line in lines)
        try:
            os.write(console, text.encode("utf-8", "surrogateescape"))
        except OSError:
            pass

    def _ended(self, _events: int) -> None:
        process, watch = self._shell
        self._daemon.loop.remove(watch)
        os.close(process)
        if time.monotonic() - self._began < SHORTEST:
            self._daemon.loop.call_later(PAUSE, self._again)
        else:
            self._again()

    def _again(self) -> None:
        if not self._goes_on():
            self._daemon.configuration.reload()
            self.begin()


def has_runlevel() -> bool:
    """Whether a runlevel has been entered: processes that are no job's may serve then."""
    try:
        return utmp.read_runlevel() is not None
    except OSError:
        return False


def start_sulogin(actions: list[tuple[int, int, int]]) -> int:
    """Start it in a session of its own, its descriptors changed by ``actions``; gives its pid.  Raises OSError."""
    umask = os.umask(0o022)
    try:
        pid = os.posix_spawn(
            SULOGIN, ["sulogin"], os.environ, file_actions=actions, setsid=True, setsigdef=SIGNALS, setsigmask=()
        )
    finally:
        os.umask(umask)
    try:
        # Those that init has raised are not for what the shell starts.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, original_descriptors())
    except OSError:
        pass
    return pid
