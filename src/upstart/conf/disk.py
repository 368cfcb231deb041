"""What is done to the disk to know job files, and with inotify(7) to hear of their changes.

What is always true here: whoever looks for jobs (`sources`, `listing`, `watch`) touches the disk by the operations of
`Disk` and in no other way, and what it does next follows from what it knew and what they gave; so these may be done
by somebody else (`record`).  An operation takes as long as a path's file system does, for ever perhaps.
"""

from __future__ import annotations

import os
import stat

from upstart.base import syscalls
from upstart.conf.files import is_job_file, is_passing, read_file, stamp_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, TypeAlias

    #: Name, and one of the kinds below.
    Entry: TypeAlias = "tuple[str, str]"
    #: Mode, device, inode, links, and the stamp (`files.stamp_of`).
    Status: TypeAlias = "tuple[int, int, int, int, int]"

    class Disk(Protocol):
        """The operations.  Each raises `OSError`, but for the last two."""

        def scandir(self, path: str) -> list[Entry]:
            """The directories in a directory, and what is called like a job file, in any order."""

        def stat(self, path: str, follow: bool) -> Status:
            """What an inode is, that of a symbolic link itself unless ``follow``."""

        def read_file(self, path: str) -> tuple[bytes, int | None]:
            """As `files.read_file`."""

        def add_watch(self, path: str, fd: int, mask: int) -> int:
            """Have the inotify instance ``fd`` watch a path; the watch's descriptor."""

        def remove_watch(self, fd: int, watch: int) -> None:
            """Have it watch no longer; a watch that is gone already is no error."""

        def read_events(self, fd: int) -> bytes:
            """Events of an inotify instance, empty where there are none (for now)."""


#: Kinds of entries of a directory; of an unknown one it can only be asked.
DIRECTORY, FILE, LINK, OTHER, UNKNOWN = "dflo?"

#: Bytes of events that one call of read(2) takes, some hundred of them.
BUFFER = 16384


class Direct:
    """The disk itself."""

    __slots__ = ()

    def scandir(self, path: str) -> list[Entry]:
        """As said at `Disk`."""
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == DIRECTORY or is_job_file(entry.name):
                    found.append((entry.name, kind))
        return found

    def stat(self, path: str, follow: bool) -> Status:
        """As said at `Disk`."""
        info = os.stat(path, follow_symlinks=follow)
        return info.st_mode, info.st_dev, info.st_ino, info.st_nlink, stamp_of(info)

    def read_file(self, path: str) -> tuple[bytes, int | None]:
        """As said at `Disk`."""
        return read_file(path)

    def add_watch(self, path: str, fd: int, mask: int) -> int:
        """As said at `Disk`."""
        return syscalls.inotify_add_watch(fd, path, mask)

    def remove_watch(self, fd: int, watch: int) -> None:
        """As said at `Disk`."""
        syscalls.inotify_rm_watch(fd, watch)

    def read_events(self, fd: int) -> bytes:
        """As said at `Disk`."""
        try:
            return os.read(fd, BUFFER)
        except BlockingIOError:
            return b""


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_symlink():
            return LINK
        if entry.is_dir(follow_symlinks=False):
            return DIRECTORY
        return FILE if entry.is_file(follow_symlinks=False) else OTHER
    except OSError:
        return UNKNOWN


DIRECT = Direct()


def stamp_path(disk: Disk, path: str, *, follow: bool) -> int | None:
    """The stamp of a regular file, or ``None`` where there is none.

    Raises `OSError` where it cannot be told (`files.is_passing`).
    """
    try:
        mode, _, _, _, stamp = disk.stat(path, follow)
    except OSError as error:
        if is_passing(error):
            raise
        return None
    return stamp if stat.S_ISREG(mode) else None


def is_directory(disk: Disk, path: str) -> bool:
    """Whether there is a directory, or a link to one.

    Raises `OSError` where it cannot be told (`files.is_passing`).
    """
    try:
        return stat.S_ISDIR(disk.stat(path, True)[0])
    except OSError as error:
        if is_passing(error):
            raise
        return False
