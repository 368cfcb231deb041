"""A script that was started: what it says, when it has ended, and how that went."""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import time

from upstart.sysv.keeping import Output
from upstart.sysv.patience import Patience

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.sysv.keeping import Console

#: Statuses by which a script says that it has nothing to do (Linux Standard Base, init script actions).
NOT_INSTALLED, NOT_CONFIGURED = 5, 6


class Script:
    """A script that runs, or has run and waits to be heard.

    `ended` is the descriptor by which its end is seen, -1 once it has been; `outcome` says afterwards what went wrong.
    `target` is what kill(2) wants to end it with all that it waits for: its process group, or who leads the session of
    an interactive one.
    """

    __slots__ = ("ended", "name", "outcome", "output", "patience", "pid", "target")

    def __init__(self, name: str, pid: int, output: int, interactive: bool, log: str) -> None:
        self.name = name
        self.target = pid if interactive else -pid
        self.pid = pid
        self.output = Output(output, log)
        self.ended = posix.pidfd_open(pid, 0)
        self.outcome = ""
        self.patience = Patience(time.monotonic())

    def end(self) -> None:
        """It has ended, and what it has said is there."""
        status = posix.waitstatus_to_exitcode(posix.waitpid(self.pid, 0)[1])
        posix.close(self.ended)
        self.ended = -1
        self.output.drain()
        if status < 0:
            self.outcome = f"was killed by signal {-status}"
        elif status == NOT_INSTALLED:
            self.outcome = "was skipped: its program is not installed"
        elif status == NOT_CONFIGURED:
            self.outcome = "was skipped: it is not configured"
        elif status:
            self.outcome = f"failed with exit status {status}"

    def terminate(self) -> None:
        """Have it end."""
        try:
            posix.kill(self.target, signal.SIGTERM)
        except OSError:
            pass


def heard(running: list[Script], console: Console) -> Iterator[Script]:
    """Show what is to be heard of the first: those that have ended and been heard, each of which goes from *running*
    and has the next one heard."""
    while running:
        first = running[0]
        console.show(first.output.words)
        first.output.words = b""
        if first.ended >= 0:
            return
        yield first
        del running[0]
