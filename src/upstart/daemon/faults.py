"""What becomes of an error of our own: it is said with its place, and init begins anew with its state, or without.

What is always true here: a fault outside a client's call has the daemon re-execute itself with its state, but not again
within `FAULT_SECONDS`.  Where memory was lacking, a reserve is given back.
"""

from __future__ import annotations

import os
import time

from upstart.base.priority import ERROR, INFO
from upstart.daemon import boot, rescue
from upstart.daemon import options as command_line

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
#: Bytes given back when memory runs out, so that saying so and carrying on has some.
RESERVE = 256 << 10
#: In our environment once the startup event has been emitted: a later attempt does not start the system again.
BEGUN_VARIABLE = "UPSTART_INIT_BEGUN"
#: In our environment, after a fault that even the main loop did not survive: how many there were.
FAULTS_VARIABLE = "UPSTART_INIT_FAULTS"


class Faults:
    """The faults of one daemon: ``log`` (priority, text) says what happened, ``restart`` () has it begin anew."""

    __slots__ = ("_log", "_loop", "_reserve", "_restart", "last")

    def __init__(self, loop: Loop, log: Callable[[int, str], object], restart: Callable[[], object]) -> None:
        self._loop = loop
        self._log = log
        self._restart = restart
        self._reserve: bytearray | None = bytearray(RESERVE)
        #: When there was one that led to a re-exec, by the monotonic clock.
        self.last = -FAULT_SECONDS

    def in_call(self, error: BaseException) -> None:
        """A client's call failed for a reason that is ours: the client has its error, the log says where."""
        self._log(ERROR, f"Internal error in a call: {describe(error)}")
        self._relieve(error)

    def handle(self, error: BaseException) -> None:
        """Something of ours failed: say where, and begin anew with all state."""
        if isinstance(error, SystemExit):
            raise error
        self._log(ERROR, f"Internal error: {describe(error)}")
        self._relieve(error)
        now = time.monotonic()
        if now - self.last >= FAULT_SECONDS:
            self.last = now
            self._restart()

    def _relieve(self, error: BaseException) -> None:
        if isinstance(error, MemoryError) and self._reserve is not None:
            self._reserve = None
            self._loop.call_later(FAULT_SECONDS, self._replenish)

    def _replenish(self) -> None:
        self._reserve = bytearray(RESERVE)

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
    except OSError:
        pass


def last_resort(argv: list[str], reason: str) -> None:
    """PID 1 cannot go on: begin anew without state, and where even that fails, give the console to root; never
    returns."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    faults = int(os.environ.get(FAULTS_VARIABLE, "0") or "0") + 1
    os.environ[FAULTS_VARIABLE] = str(faults)
    while True:
        try:
            complain(f"init: Internal error: {reason}")
            if faults > 3:
                emergency_shell()
            time.sleep(1)
            os.execv(argv[0], command_line.arguments(argv, -1, INFO) if BEGUN_VARIABLE in os.environ else argv)
        except BaseException as error:
            reason = str(error)
            faults += 1


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
