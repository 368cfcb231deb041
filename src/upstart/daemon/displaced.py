"""Notices that something init has in /run may no longer be where others look for it.

What is always true here: nothing wakes up unless a file system is mounted or unmounted, or a name below the watched
directory is removed; whoever does that again and again has it looked at once in `PAUSE` seconds.
"""

from __future__ import annotations

import os
import select

from upstart.base import syscalls
from upstart.base.closing import close
from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

MOUNTS = "/proc/self/mountinfo"
PAUSE = 1.0
#: inotify(7): DELETE, MOVED_FROM, DELETE_SELF, MOVE_SELF, and only of a directory.
_REMOVED = 0x200 | 0x40 | 0x400 | 0x800 | 0x1000000


class Displaced:
    """Watches ``directory`` and what is mounted; ``look`` () is called then, and says whether it had to do
    anything."""

    __slots__ = ("_directory", "_inotify", "_look", "_loop", "_mounts", "_pause", "_watches")

    def __init__(self, loop: Loop, directory: str, look: Callable[[], bool]) -> None:
        self._loop = loop
        self._directory = directory
        self._look = look
        self._inotify = -1
        self._mounts = -1
        self._watches: list[int] = []
        self._pause = -1

    def watch(self) -> None:
        """Begin, or watch the directory that is there now; what cannot be watched is not."""
        try:
            if self._mounts < 0:
                self._mounts = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
                self._watches.append(self._loop.add_fd(self._mounts, select.EPOLLPRI, self._mounted))
            if self._inotify < 0:
                self._inotify = syscalls.inotify_init()
                self._watches.append(self._loop.add_fd(self._inotify, READ, self._removed))
            syscalls.inotify_add_watch(self._inotify, self._directory, _REMOVED)
        except OSError:
            pass

    def _mounted(self, _events: int) -> None:
        self._changed()

    def _removed(self, _events: int) -> None:
        try:
            while os.read(self._inotify, 4096):
                pass
        except BlockingIOError:
            pass
        self._changed()

    def _changed(self) -> None:
        if self._pause < 0 and self._look():
            self._pause = self._loop.call_later(PAUSE, self._after_pause)

    def _after_pause(self) -> None:
        self._pause = -1
        self._changed()

    def close(self) -> None:
        """Watch no more."""
        for watch in self._watches:
            self._loop.remove(watch)
        for fd in (self._mounts, self._inotify):
            close(fd)
        self._watches = []
        self._mounts = self._inotify = -1
