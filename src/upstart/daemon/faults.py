"""What becomes of an error of our own: it is said with its place, and init begins anew with its state, or without.

What is always true here: from a fault to the next turn nothing needs memory that is not held ready.  Where memory is
lacking the reserve is given back first of all; then a line is said, at most `LINES` in `FAULT_SECONDS`, the others
being counted; all else waits for `Faults.mended`, when the next turn has mended what the fault has cut short.  A fault
outside a client's call has the daemon re-execute itself with its state, but not again within `FAULT_SECONDS`, and not
before the reserve is whole again: the new program needs memory too.
"""

from __future__ import annotations

import os
import time

from upstart.base.priority import ERROR, INFO
from upstart.daemon import boot, rescue
from upstart.daemon import options as command_line
from upstart.daemon.listening import hand_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
else:
    import _signal as signal

#: Seconds.
FAULT_SECONDS = 60.0
#: Bytes given back when memory runs out, so that saying so, mending and carrying on has some; nobody touches them, so
#: that they are nowhere but in the limits.
RESERVE = 2 << 20
#: Bytes without which no event is handled while the reserve is away.
LEAST = 128 << 10
#: Lines about faults within `FAULT_SECONDS`, and seconds between two tries to get the reserve back.
LINES = 10
CALM_SECONDS = 5.0
#: Our interpreter, and seconds after which one that has not begun does not.
PYTHON = "/proc/self/exe"
BEGIN_SECONDS = 10.0
#: In our environment once the startup event has been emitted: a later attempt does not start the system again.
BEGUN_VARIABLE = "UPSTART_INIT_BEGUN"
#: In our environment, after a fault that even the main loop did not survive: how many there were.
FAULTS_VARIABLE = "UPSTART_INIT_FAULTS"
NO_MEMORY = "no memory"


class Faults:
    """The faults of one daemon: ``log`` (priority, text) says what happened, ``restart`` () has it begin anew."""

    __slots__ = (
        "_again", "_calming", "_checked", "_left_out", "_lines", "_log", "_loop", "_reserve", "_restart", "_since",
        "last", "torn",
    )  # fmt: skip

    def __init__(self, loop: Loop, log: Callable[[int, str], object], restart: Callable[[], object]) -> None:
        self._loop = loop
        self._log = log
        self._restart = restart
        self._reserve: bytes | None = bytes(RESERVE)
        #: When there was one that led to a re-exec, by the monotonic clock.
        self.last = -FAULT_SECONDS
        #: Something may have been cut short, and is not mended yet.
        self.torn = False
        #: Since the last one all has been looked at once more, when it was calm.
        self._checked = True
        #: A re-exec is still to come.
        self._again = False
        #: Whether `_calm` will be called.
        self._calming = False
        #: Lines said since then, and how many were not.
        self._since = -FAULT_SECONDS
        self._lines = 0
        self._left_out = 0

    @property
    def short(self) -> bool:
        """Whether memory ran out, and the reserve is not back."""
        return self._reserve is None

    def in_call(self, error: BaseException) -> None:
        """A client's call failed for a reason that is ours: the client has its error, the log says where."""
        self.torn = True
        self._checked = False
        if isinstance(error, MemoryError):
            self._reserve = None
        self._say("Internal error in a call", error)

    def handle(self, error: BaseException) -> None:
        """Something of ours failed: say where, and have all of it mended, and begun anew with all state."""
        if isinstance(error, SystemExit):
            raise error
        self.torn = True
        self._checked = False
        self._again = True
        if isinstance(error, MemoryError):
            self._reserve = None
        self._say("Internal error", error)

    def _say(self, what: str, error: BaseException) -> None:
        try:
            if time.monotonic() - self._since >= FAULT_SECONDS:
                self._since, self._lines = time.monotonic(), 0
            if self._lines < LINES:
                self._lines += 1
                self._log(ERROR, f"{what}: {describe(error)}")
                return
        except Exception:
            pass
        self._left_out += 1

    def check(self) -> None:
        """While memory is short: MemoryError where there is too little to handle an event."""
        if self._reserve is None:
            bytes(LEAST)

    def mended(self) -> None:
        """All that was cut short goes on: what is left to do may need memory."""
        self.torn = False
        if not self._calming and not self._checked:
            self._calming = True
            self._loop.call_later(CALM_SECONDS, self._calm)
        self._begin_anew()

    def _begin_anew(self) -> None:
        now = time.monotonic()
        if self._again and self._reserve is not None and now - self.last >= FAULT_SECONDS:
            self._again = False
            self.last = now
            self._restart()

    def _calm(self) -> None:
        """Get the reserve back, say how many lines were left out, and have all be looked at once more."""
        self._calming = False
        if not self._checked:
            self._checked = self.torn = True
        try:
            if self._reserve is None:
                self._reserve = bytes(RESERVE)
            if self._left_out and time.monotonic() - self._since >= FAULT_SECONDS:
                left_out, self._left_out = self._left_out, 0
                self._log(ERROR, f"{left_out} more internal errors were left out")
            self._begin_anew()
        except MemoryError:
            pass
        if self._again or self._left_out or self._reserve is None:
            self._calming = True
            self._loop.call_later(CALM_SECONDS, self._calm)

    # Across a re-exec

    def dump(self) -> float:
        """When the last of them was."""
        return self.last

    def restore(self, saved: Any) -> None:
        """Take over what `dump` gave."""
        self.last = saved


def describe(error: BaseException) -> str:
    """What was raised, and where: innermost place last."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({' < '.join(reversed(places[-6:]))})"


def complain(text: str) -> None:
    """A line on standard error."""
    try:
        os.write(2, text.encode("utf-8", "surrogateescape") + b"\n")
    except (OSError, MemoryError):
        pass


def last_resort(argv: list[str], reason: str) -> None:
    """Init cannot go on: begin anew without state, and where even that fails as PID 1, give the console to root; never
    returns.

    Nothing that is done here may fail for want of memory but to be done again a second later.
    """
    faults = 0
    while True:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            complain(f"init: Internal error: {reason}")
            faults = faults or int(os.environ.get(FAULTS_VARIABLE, "0") or "0") + 1
            os.environ[FAULTS_VARIABLE] = str(faults)
            if faults > 3 and os.getpid() == 1:
                emergency_shell()
            time.sleep(1)
            if not comes_up():
                reason = NO_MEMORY
                continue
            begun = BEGUN_VARIABLE in os.environ or "--restart" in argv
            if begun:
                hand_over()
            os.execv(argv[0], command_line.arguments(argv, -1, INFO) if begun else argv)
        except MemoryError:
            reason = NO_MEMORY
            pause()
        except BaseException as error:
            reason = type(error).__name__
            faults += 1
            pause()


def comes_up() -> bool:
    """Whether an interpreter with our limits begins: one that does not, for want of memory, takes with it whoever
    executes it.  From there on the program itself tries again."""
    program = [PYTHON, "-IS", "-c", f"bytes({LEAST})"]
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    pid = os.posix_spawn(PYTHON, program, os.environ, file_actions=actions, setsigmask=())
    deadline = time.monotonic() + BEGIN_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def pause() -> None:
    """A moment before the next try."""
    try:
        time.sleep(0.2)
    except BaseException:
        pass


def emergency_shell() -> None:
    """Run sulogin on the console, and reap whatever ends meanwhile, until it ends itself."""
    boot.set_up_console(True, complain)
    pid = rescue.start_sulogin([])
    while True:
        try:
            if os.waitpid(-1, 0)[0] == pid:
                return
        except ChildProcessError:
            return
