"""A FIFO on which PID 1 listens.

What is always true here: it is root's alone, and no link is followed to it.  It is open for both reading and writing,
so that it never ends, and whoever opens it for writing does not wait for a reader.  Where another FIFO has to take its
place, what has been written to it is read to its end before.
"""

from __future__ import annotations

import os
import stat

from upstart.base.closing import close
from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.base.loop import Loop

#: Bytes that are read at once.
CHUNK = 8192


class Fifo:
    """The FIFO at ``path``; `received` gets what is written to it.

    ``afresh``: its directory is init's too, mode 0755, and what else has its name makes way for it.  Otherwise
    other programs may have made it, and what is no FIFO stays.
    """

    __slots__ = ("_afresh", "_fd", "_loop", "_path", "_watch")

    def __init__(self, loop: Loop, path: str, afresh: bool = False) -> None:
        self._loop = loop
        self._path = path
        self._afresh = afresh
        self._fd = -1
        self._watch = -1

    def received(self, data: bytes) -> None:
        """What has been written, in pieces of any size."""
        raise NotImplementedError

    def open(self) -> None:
        """See that it is there and is listened on; harmless where that is so.  OSError where it fails."""
        parent, name = os.path.split(self._path)
        if self._afresh:
            directory = _own_directory(parent)
        else:
            directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = self._open_in(directory, name)
        finally:
            close(directory)
        if self._fd >= 0:
            if os.path.sameopenfile(self._fd, fd):
                close(fd)
                return
            while self._read():
                pass
        self.close()
        self._listen(fd)

    def _open_in(self, directory: int, name: str) -> int:
        if self._afresh:
            try:
                if not _is_our_fifo(os.stat(name, dir_fd=directory, follow_symlinks=False)):
                    os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass
        try:
            os.mkfifo(name, 0o600, dir_fd=directory)
        except FileExistsError:
            pass
        fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        status = os.fstat(fd)
        if not stat.S_ISFIFO(status.st_mode):
            close(fd)
            raise OSError(22, "not a FIFO", self._path)
        if not _is_our_fifo(status):
            os.fchown(fd, os.getuid(), -1)
            os.fchmod(fd, 0o600)
        return fd

    def in_place(self) -> bool:
        """Whether what is listened on is what others find at the path."""
        try:
            return self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.lstat(self._path))
        except OSError:
            return False

    def _listen(self, fd: int) -> None:
        self._fd = fd
        self._watch = self._loop.add_fd(fd, READ, self._readable)

    def _take(self, more: bool) -> None:
        """Read what comes, or leave it in the FIFO for now."""
        if self._fd >= 0:
            self._loop.modify(self._watch, READ if more else 0)

    def close(self) -> None:
        """Stop listening; the FIFO stays."""
        if self._fd >= 0:
            self._loop.remove(self._watch)
            fd, self._fd = self._fd, -1
            close(fd)

    def _readable(self, _events: int) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return False
        self.received(data)
        return bool(data)

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return [self._fd] if self._fd >= 0 else []


def _is_our_fifo(status: os.stat_result) -> bool:
    return status.st_mode == stat.S_IFIFO | 0o600 and status.st_uid == os.getuid()


def _own_directory(path: str) -> int:
    """Open a directory that is ours, after making it if need be.  OSError where something else has its name."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if stat.S_IMODE(status.st_mode) != 0o755 or status.st_uid != os.getuid():
            os.fchown(fd, os.getuid(), -1)
            os.fchmod(fd, 0o755)
    except OSError:
        close(fd)
        raise
    return fd
