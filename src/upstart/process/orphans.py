"""The orphans that init has adopted, of which there may be thousands that are no job's.

What is always true here: what was found out of one is known until init has reaped it, for until then its number is
nobody else's.  Of one that was seen as an orphan it is known that it had been started by then, so that it is nothing
that a job has started later; and it stays in the session that it was seen in, or makes one of its own.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_TICKS = os.sysconf("SC_CLK_TCK")
#: Orphans whose sessions are looked at in any case.
_FEW = 256
#: When they were started (clock ticks since boot), or until when they were, where nobody has looked at them.
starts: dict[int, int] = {}


def boot_ticks() -> int:
    """Now, in the unit and from the origin of a process's start time in /proc."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def seen(orphans: list[int]) -> None:
    """These are orphans of init's, or its own children."""
    now = boot_ticks()
    for pid in orphans:
        if pid not in starts:
            starts[pid] = now


def reaped(pid: int) -> None:
    """A child of init has been reaped: its number may be given out again."""
    starts.pop(pid, None)


class Sessions:
    """Which orphans were in none of a job's sessions and process groups."""

    __slots__ = ("_elsewhere", "_number")

    def __init__(self) -> None:
        #: By what `starts` says, which for another process with that number is something else.
        self._elsewhere: dict[int, int] = {}
        #: How many sessions and groups the job had then.
        self._number = 0

    def forget(self) -> None:
        """Have all of them looked at again."""
        self._elsewhere.clear()

    def find(self, orphans: list[int], sessions: Collection[int], until: float) -> list[int]:
        """Those that are in one of the ``sessions``, by number; others are not looked at again until there are more of
        these.  Ends when the thread has used ``until`` seconds of the processor: the next call goes on."""
        elsewhere = self._elsewhere
        if len(sessions) != self._number:
            elsewhere.clear()
            self._number = len(sessions)
        found = []
        done = 0
        for pid in orphans:
            start = starts.get(pid, 0)
            if elsewhere.get(pid) == start:
                continue
            if done >= _FEW and not done & 63 and time.thread_time() >= until:
                break
            done += 1
            try:
                if os.getsid(pid) in sessions or os.getpgid(pid) in sessions:
                    found.append(pid)
                    continue
            except ProcessLookupError:
                pass
            elsewhere[pid] = start
        return found
