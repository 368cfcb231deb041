"""rc: have sysv-rc run the scripts of a runlevel, and keep what they say.

The job rc runs this around /etc/init.d/rc.  What is always true here:

- The scripts run as ever: in the group and session of the job, with the console as standard input.
- What is said is shown on the console as it comes, and kept in one log.
- A script that takes long is named on the console; not sysv-rc, nor what a script runs.
- In runlevel 0 and 6 there is no sysv-rc: those scripts are run that come before processes are ended
  (`upstart.sysv.endscripts`).
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import select
import termios
import time

from upstart.base import inherited, starting
from upstart.base.errors import ClientError, UsageError
from upstart.base.names import LAST_RUNLEVELS
from upstart.sysv import endscripts, keeping, scripts, spawning
from upstart.sysv.keeping import Console, Output
from upstart.sysv.patience import Patience, milliseconds
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from upstart.initctl.context import Context

PROGRAMS = ("/etc/init.d/rc", "/lib/init/rc")
LOG = "rc"
#: Seconds between two looks at the processes, once there is reason to look.
LOOK = 1.0


class Runlevel:
    """One run of sysv-rc for *level*; *say* gets the lines of our own."""

    __slots__ = ("_console", "_ended", "_level", "_next", "_output", "_pid", "_say", "_waits")

    def __init__(self, level: str, say: Callable[[str], object]) -> None:
        self._level = level
        self._say = say
        self._console = Console()
        self._output = Output(-1, LOG)
        self._pid = 0
        self._ended = -1
        self._next = 0.0
        #: How long the scripts have been at it that were seen to take long, by pid.
        self._waits: dict[int, Patience] = {}

    def start(self, program: str, env: dict[bytes, bytes]) -> None:
        """Start it.  Raises OSError."""
        files: list[tuple[int, int]] = []
        terminal = -1
        try:
            self._output.fd, terminal = posix.openpty()
            spawning.make_like_console(terminal)
            posix.set_blocking(self._output.fd, False)
            files = [(terminal, fd) for fd in (1, 2)]
        except (OSError, termios.error):
            self._output.close()
        try:
            self._pid = starting.start(program, [program, self._level], env, files)
        finally:
            if terminal >= 0:
                posix.close(terminal)
        self._ended = posix.pidfd_open(self._pid, 0)
        self._next = Patience(time.monotonic()).due

    def wait(self) -> int:
        """See to it until it has ended: its exit status, as a shell has it."""
        while True:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            if self._output.fd >= 0:
                poll.register(self._output.fd, select.POLLIN)
            ready = {fd for fd, _ in poll.poll(milliseconds(self._next, time.monotonic()))}
            if self._output.fd in ready:
                self._output.read()
                self._show()
            if self._ended in ready:
                status = posix.waitstatus_to_exitcode(posix.waitpid(self._pid, 0)[1])
                self.part()
                return status if status >= 0 else 128 - status
            now = time.monotonic()
            if now >= self._next:
                self._next = now + LOOK
                self._look(now)

    def part(self) -> None:
        """Show and write what is there, and have the rest read by a process of its own."""
        self._output.drain()
        self._show()
        keeping.stay([self._output])

    def _show(self) -> None:
        self._console.show(self._output.words)
        self._output.words = b""
        self._output.write()

    def _look(self, now: float) -> None:
        """Name what takes long."""
        running = scripts.below(self._pid)
        self._waits = {each.pid: self._waits.get(each.pid, Patience(now - each.age)) for each in running}
        for each in running:
            patience = self._waits[each.pid]
            if patience.asks(now):
                what = f"runlevel {self._level} waits for it (to end it: kill {each.pid})"
                self._tell(f"{each.name} has been at it for {patience.lasts(now)}, and {what}")
                scripts.tell_init(each.name)

    def _tell(self, text: str) -> None:
        self._console.begin_line()
        self._say(text)
        self._output.keep(f"rc: {text}\n".encode())
        self._output.write()


def main(argv: list[str]) -> int:
    """Run the scripts of the runlevel that the argument names."""
    return run(PROGRAM, argv, Common(), _enter)


def _enter(context: Context, settings: Common, args: list[str]) -> int:
    if len(args) != 1 or args[0] not in tuple("0123456"):
        raise UsageError("missing runlevel" if not args else f"illegal runlevel: {' '.join(args)}")
    need_root(context)
    env = inherited.environment()
    if args[0] in LAST_RUNLEVELS:
        keeping.wait_for_no_console()
        limit = endscripts.limit_of(env)
        endscripts.EndScripts(args[0], limit, env, context.error).run(endscripts.PROCESSES)
        return 0
    env.pop(endscripts.LIMIT_VARIABLE, None)
    program = next((path for path in PROGRAMS if posix.access(path, posix.X_OK)), None)
    if program is None:
        raise ClientError(f"{PROGRAMS[0]} is missing")
    level = Runlevel(args[0], context.error)

    def stop(number: int, frame: object) -> NoReturn:
        # The runlevel changes again; sysv-rc has had the same signal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        level.part()
        posix.kill(posix.getpid(), signal.SIGTERM)
        posix._exit(1)  # not reached

    try:
        level.start(program, env)
    except OSError as error:
        raise ClientError(f"Unable to run {program}: {error.strerror}")
    signal.signal(signal.SIGTERM, stop)
    return level.wait()


PROGRAM = Program(
    "RUNLEVEL",
    "Run the scripts of a runlevel.",
    COMMON,
    "The job rc runs this. RUNLEVEL is one of 0123456.\n",
)
