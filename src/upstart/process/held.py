"""A process that is followed and may be no child of init, held by a pidfd, pidfd_open(2).

No SIGCHLD tells of the end of such a process while its parent lives, and its number may be used again at any time.
What is always true here: the end is told once, whoever the parent is; a number that another process has got counts as
an end; without a descriptor to be had the process is looked at every second instead.
"""

from __future__ import annotations

import os

from upstart.base.closing import close
from upstart.base.loop import READ
from upstart.process.procfs import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

#: Seconds between two looks at a process that could not be held.
LOOK_SECONDS = 1.0


class Held:
    """The process ``pid`` that was started at ``start`` (clock ticks since boot).

    ``ended`` is called from the loop once it has ended, or had before: with True where init is to wait for it, so that
    its status will be known.  ``pidfd`` is -1 where there is none.
    """

    __slots__ = ("_ended", "_loop", "_watch", "pid", "pidfd", "start")

    def __init__(self, loop: Loop, pid: int, start: int, ended: Callable[[bool], object]) -> None:
        self._loop = loop
        self._ended = ended
        self._watch = -1
        self.pid = pid
        self.pidfd = -1
        self.start = start
        self._open()

    def _open(self) -> None:
        try:
            self.pidfd = os.pidfd_open(self.pid)
            if self.lives():
                # It is that of the process, and of no other that has got its number.
                self._watch = self._loop.add_fd(self.pidfd, READ, lambda events: self._tell())
                return
        except ProcessLookupError:
            pass
        except OSError:
            self._give_back()
            self._watch = self._loop.call_later(LOOK_SECONDS, self._look)
            return
        self._watch = self._loop.call_later(0.0, self._look)

    def lives(self) -> bool:
        """Whether it is there, and no other process with its number.  Raises OSError where that cannot be seen now."""
        info = look(self.pid)
        return info is not None and info.start == self.start

    def _look(self) -> None:
        if self._seen():
            self._open()
        else:
            self._tell()

    def _seen(self) -> bool:
        """Whether it may be there."""
        try:
            return self.pidfd < 0 and self.lives()
        except OSError:
            return True

    def _tell(self) -> None:
        self._loop.remove(self._watch)
        # Once more, should this fail: nobody else knows of it.
        self._watch = again = self._loop.call_later(LOOK_SECONDS, self._tell)
        self._ended(self._waits_for_us())
        self._loop.remove(again)

    def _waits_for_us(self) -> bool:
        kind, number = (os.P_PIDFD, self.pidfd) if self.pidfd >= 0 else (os.P_PID, self.pid)
        try:
            return os.waitid(kind, number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it; its end is not told any more."""
        self._loop.remove(self._watch)
        self._give_back()

    def _give_back(self) -> None:
        if self.pidfd >= 0:
            fd, self.pidfd = self.pidfd, -1
            close(fd)
