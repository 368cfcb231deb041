"""Logs as they grow: what is added to each from now on, across rotation.

What is always true here: what was there before is not given, and nothing is given twice. A log that was renamed or cut
off has its rest read before the new one is begun. inotify(7) says when to look; where it cannot, it is looked in turns.
"""

from __future__ import annotations

import os

from upstart.initctl.logfiles import Line, Reader, decode
from upstart.initctl.logtimes import latest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Of inotify(7): written, made, moved away and in.
_EVENTS = 0x2 | 0x100 | 0x40 | 0x80
#: Seconds between two looks, with inotify and without it; and bytes read in one go.
RARELY, OFTEN = 5.0, 0.25
_BLOCK = 1 << 16
_LONGEST = 1 << 20


class _Followed:
    """A log that is followed: the open file, or -1, how far it was read, and what of a line is there so far."""

    __slots__ = ("fd", "inode", "offset", "part", "reader")

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.fd = -1
        self.inode = 0
        self.offset = 0
        self.part = b""

    def open(self) -> bool:
        """Have what has the name now; whether that is another file than before."""
        try:
            fd = os.open(self.reader.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return False
        inode = os.fstat(fd).st_ino
        if self.fd >= 0 and inode == self.inode:
            os.close(fd)
            return False
        self.close()
        self.fd, self.inode, self.offset, self.part = fd, inode, 0, b""
        return True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Follower:
    """Follows the logs of these readers. ``fd`` is ready when it is time to look, -1 where only time tells."""

    __slots__ = ("_followed", "_watched", "fd")

    def __init__(self, readers: Iterable[Reader]) -> None:
        self._followed: list[_Followed] = []
        self._watched: set[str] = set()
        self.fd = -1
        for reader in readers:
            followed = self._add(reader)
            if followed.open():
                followed.offset = os.lseek(followed.fd, 0, os.SEEK_END)

    @property
    def paths(self) -> set[str]:
        """The logs that are followed."""
        return {followed.reader.path for followed in self._followed}

    @property
    def patience(self) -> float:
        """Seconds until it is time to look whatever ``fd`` says."""
        return RARELY if self.fd >= 0 else OFTEN

    def add(self, readers: Iterable[Reader]) -> None:
        """Follow logs that have come into being, from their first byte on."""
        for reader in readers:
            self._add(reader)

    def _add(self, reader: Reader) -> _Followed:
        followed = _Followed(reader)
        self._followed.append(followed)
        directory = os.path.dirname(reader.path)
        if directory not in self._watched:
            self._watch(directory)
        return followed

    def _watch(self, directory: str) -> None:
        from upstart.base import syscalls

        try:
            fd = self.fd if self.fd >= 0 else syscalls.inotify_init()
            syscalls.inotify_add_watch(fd, directory, _EVENTS)
        except OSError:
            return
        self.fd = fd
        self._watched.add(directory)

    def lines(self) -> list[Line]:
        """What has been added since."""
        if self.fd >= 0:
            try:
                while os.read(self.fd, _BLOCK):
                    pass
            except OSError:
                pass  # nothing more for now
        found: list[Line] = []
        for followed in self._followed:
            self._read(followed, found)
            if followed.open():
                self._read(followed, found)
        return found

    def _read(self, followed: _Followed, found: list[Line]) -> None:
        if followed.fd < 0:
            return
        size = os.fstat(followed.fd).st_size
        if size < followed.offset:
            followed.offset, followed.part = 0, b""
        timeline = None
        while data := os.pread(followed.fd, _BLOCK, followed.offset):
            begin = followed.offset - len(followed.part)
            followed.offset += len(data)
            *whole, followed.part = (followed.part + data).split(b"\n")
            if len(followed.part) > _LONGEST:
                whole.append(followed.part)
                followed.part = b""
            for raw in whole:
                if timeline is None:
                    timeline = latest(followed.reader.path, size)
                time, _ = timeline.at(begin)
                begin += len(raw) + 1
                found.append(Line(followed.reader.source, decode(raw), time, time or 0.0))
