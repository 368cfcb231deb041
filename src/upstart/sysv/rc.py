"""rc: have sysv-rc run the scripts of a runlevel, keep what they say, and not wait for ever for one that stops.

The job rc runs this around /etc/init.d/rc.  What is always true here:

- The scripts run as ever: in the group and session of the job, with the console as standard input.
- What is said is shown on the console as it comes, and kept in one log, but at the end of the machine: nothing may be
  open on file systems that are about to go.
- A script that takes long is named on the console; not sysv-rc, nor what a script runs.
- In runlevel 0 and 6 a script is ended when its time is over, and `GIVEN_UP` says that not even that helped.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import select
import termios
import time

from upstart.base import inherited
from upstart.base.errors import ClientError, UsageError
from upstart.sysv import keeping, scripts, spawning
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
#: Something is left that no signal ends; sysv-rc was ended for it, and the scripts after it have not run.
GIVEN_UP = 3
#: Seconds that a script may take to stop, where the job's variable does not say; and until the next signal.
LIMIT_VARIABLE = b"STOP_TIMEOUT"
LIMIT = 300.0
MERCY = 10.0
#: Seconds between two looks at the processes, once there is reason to look.
LOOK = 1.0


class Runlevel:
    """One run of sysv-rc for *level*; *say* gets the lines of our own.

    *limit* is what a script may take, in seconds, 0 for ever.
    """

    __slots__ = ("_console", "_ended", "_level", "_limit", "_next", "_output", "_pid", "_say", "_waits")

    def __init__(self, level: str, limit: float, say: Callable[[str], object]) -> None:
        self._level = level
        self._limit = limit if level in "06" else 0.0
        self._say = say
        self._console = Console()
        self._output = Output(-1, LOG)
        self._pid = 0
        self._ended = -1
        self._next = 0.0
        #: The scripts that were seen to take long, by pid: their line, and how many signals they have got.
        self._waits: dict[int, tuple[Patience, int]] = {}

    def start(self, program: str, env: dict[bytes, bytes]) -> None:
        """Start it.  Raises OSError."""
        actions: list[tuple[int, int, int]] = []
        terminal = -1
        if self._level not in "06":
            try:
                self._output.fd, terminal = posix.openpty()
                spawning.make_like_console(terminal)
                posix.set_blocking(self._output.fd, False)
                actions = [(posix.POSIX_SPAWN_DUP2, terminal, fd) for fd in (1, 2)]
            except (OSError, termios.error):
                self._output.close()
        try:
            self._pid = posix.posix_spawn(program, [program, self._level], env, file_actions=actions,
                                          setsigdef=inherited.IGNORED)
        finally:
            if terminal >= 0:
                posix.close(terminal)
        self._ended = posix.pidfd_open(self._pid, 0)
        first = Patience(0.0).due
        self._next = time.monotonic() + (min(first, self._limit) if self._limit else first)

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
                if not self._look(now):
                    self.part()
                    return GIVEN_UP

    def part(self) -> None:
        """Show and write what is there, and have the rest read by a process of its own."""
        self._output.drain()
        self._show()
        keeping.stay([self._output])

    def _show(self) -> None:
        self._console.show(self._output.words)
        self._output.words = b""
        self._output.write()

    def _look(self, now: float) -> bool:
        """Name what takes long, and end what takes too long; false where that cannot be done."""
        running = scripts.below(self._pid)
        self._waits = {each.pid: self._waits.get(each.pid, (Patience(now - each.age), 0)) for each in running}
        for each in running:
            patience, signals = self._waits[each.pid]
            over = now - patience.began - self._limit
            if self._limit and over >= signals * MERCY:
                if signals == 2:
                    self._tell(f"{each.name} cannot be ended: the rest of the scripts is given up")
                    scripts.signal_all(scripts.family(self._pid), signal.SIGKILL)
                    return False
                what = "is killed" if signals else "is told to end"
                self._tell(f"{each.name} has been at it for {patience.lasts(now)}, and {what}")
                scripts.signal_all(scripts.family(each.pid), signal.SIGKILL if signals else signal.SIGTERM)
                self._waits[each.pid] = patience, signals + 1
            elif not signals and patience.asks(now):
                self._name(each, patience, now)
        return True

    def _name(self, each: scripts.Running, patience: Patience, now: float) -> None:
        if self._level in "06":
            what = "the shutdown waits for it"
            if self._limit:
                what += f" until it has taken {self._limit:.0f} seconds"
        else:
            what = f"runlevel {self._level} waits for it"
        self._tell(f"{each.name} has been at it for {patience.lasts(now)}, and {what} (to end it: kill {each.pid})")
        if self._level not in "06":
            scripts.tell_init(each.name)

    def _tell(self, text: str) -> None:
        self._console.begin_line()
        self._say(text)
        self._output.keep(f"rc: {text}\n".encode())
        if self._level not in "06":
            self._output.write()


def limit_of(env: dict[bytes, bytes]) -> float:
    """What the job's variable says, which is no business of the scripts."""
    text = env.pop(LIMIT_VARIABLE, b"")
    return float(text) if text.isdigit() else LIMIT


def main(argv: list[str]) -> int:
    """Run the scripts of the runlevel that the argument names."""
    return run(PROGRAM, argv, Common(), _enter)


def _enter(context: Context, settings: Common, args: list[str]) -> int:
    if len(args) != 1 or args[0] not in tuple("0123456"):
        raise UsageError("missing runlevel" if not args else f"illegal runlevel: {' '.join(args)}")
    need_root(context)
    program = next((path for path in PROGRAMS if posix.access(path, posix.X_OK)), None)
    if program is None:
        raise ClientError(f"{PROGRAMS[0]} is missing")
    env = inherited.environment()
    level = Runlevel(args[0], limit_of(env), context.error)

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
