"""Calls that may hang, as for a disk or a server that is gone, are made in a child and not waited for without end.

What is always true here: all that hangs may cost a number of seconds together, however much of it there is; what gets
on, as a disk to which data are still written, is waited for as long as it does; who is waited for is named.  A child
that does not come back is left behind.
"""

from __future__ import annotations

import posix
import select
import time

from upstart.sysv.patience import milliseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

#: Seconds: in all, for one call, for each call however little is left, until one is named, and between two looks.
PURSE = 10.0
MOST = 5.0
LEAST = 0.5
NAMED_AFTER = 2.0
NAMED_AGAIN = 10.0
LOOK = 0.5
#: A call that failed for another reason than OSError.
BROKEN = 255

_MEMORY = "/proc/meminfo"
_UNWRITTEN = (b"Dirty:", b"Writeback:")
_SWAPS = "/proc/swaps"


class Hanging:
    """What may hang at the end of a machine; *say* gets a line about each that does."""

    __slots__ = ("_purse", "_say")

    def __init__(self, say: Callable[[str], object], purse: float = PURSE) -> None:
        self._purse = purse
        self._say = say

    def call(self, what: str, action: Callable[[], object]) -> int | None:
        """Do *action* in a child: 0, or the errno of the OSError that it raises; None where it does not come back.

        *what* is it for people, as in "Waiting for /srv to be unmounted".
        """
        try:
            pid = posix.fork()
        except OSError as error:
            return error.errno or BROKEN
        if pid == 0:
            _act(action)
        ended = posix.pidfd_open(pid, 0)
        try:
            if not self._wait(what, ended):
                return None
        finally:
            posix.close(ended)
        status = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
        return status if status >= 0 else BROKEN

    def _wait(self, what: str, ended: int) -> bool:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        began = looked = time.monotonic()
        left = max(min(MOST, self._purse), LEAST)
        named = began + NAMED_AFTER
        still = unwritten()
        while not poll.poll(milliseconds(looked + min(LOOK, left), looked)):
            now = time.monotonic()
            before, still = still, unwritten()
            if still >= before:
                left -= now - looked
                self._purse -= now - looked
            looked = now
            if left <= 0:
                self._say(f"No longer waiting for {what}")
                return False
            if now >= named:
                named = now + NAMED_AGAIN
                self._say(f"Waiting for {what}")
        return True


def _act(action: Callable[[], object]) -> NoReturn:
    status = BROKEN
    try:
        action()
        status = 0
    except OSError as error:
        status = error.errno or BROKEN
    finally:
        posix._exit(status)


def unwritten() -> int:
    """What is still to be written to disks, and read from swap space, in KiB."""
    total = 0
    try:
        with open(_MEMORY, "rb") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(_UNWRITTEN))
        with open(_SWAPS, "rb") as file:
            # From the end: a name may have what bytes are split at.
            total += sum(int(line.split()[-2]) for line in file.readlines()[1:])
    except (OSError, ValueError, IndexError):
        pass
    return total
