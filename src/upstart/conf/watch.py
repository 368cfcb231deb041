"""Notice that job files change: inotify(7) over the configuration directories.

A `Watch` reports paths that `Sources.changed` should look at again: job files and overrides that were written, removed
or renamed, and directories whose content may differ.  It reports too much rather than too little.  A directory that
does not exist is waited for at the nearest one above it that does.  Where the kernel lost count, everything has to be
looked at again.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from upstart.base import syscalls
from upstart.conf.files import is_ignored_directory, is_job_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CLOSE_WRITE = 0x8
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_DELETE_SELF = 0x400
_MOVE_SELF = 0x800
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x1000000
_ISDIR = 0x40000000
_WANTED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

_event = struct.Struct("iIII")
#: Bytes of events that one call of read(2) takes, and how many such calls `Watch.read` makes at most: whoever floods
#: a directory does not hold up the caller, who is told again that there is more.
_BUFFER = 65536
_READS = 16


class Watch:
    """An inotify instance; ``fd`` becomes readable when `read` has something to tell.  Raises `OSError`."""

    __slots__ = ("_paths", "_roots", "_singles", "_warn", "_watches", "fd")

    def __init__(self, paths: Iterable[str] = (), warn: Callable[[str], None] | None = None) -> None:
        self.fd = syscalls.inotify_init()
        self._warn = warn
        self._roots: list[str] = []
        self._singles: set[str] = set()
        #: Each way between a directory and its watch descriptor; symbolic links may give one several paths.
        self._watches: dict[str, int] = {}
        self._paths: dict[int, list[str]] = {}
        for path in paths:
            self.add_tree(path)

    def add_tree(self, path: str) -> None:
        """Watch a directory and those below it, whether it exists or not."""
        path = path.rstrip("/") or "/"
        if path not in self._roots:
            self._roots.append(path)
        self._watch_root(path)

    def add_file(self, path: str) -> None:
        """Watch a single file, by way of its directory."""
        self._singles.add(path)
        self._watch_root(os.path.dirname(path))

    def remove_tree(self, path: str) -> None:
        """Watch a directory no longer."""
        path = path.rstrip("/") or "/"
        if path in self._roots:
            self._roots.remove(path)
            self._forget(path)
            for root in self._roots:
                self._watch_root(root)
            for single in self._singles:
                self._watch_root(os.path.dirname(single))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    def read(self) -> set[str] | None:
        """The paths to look at again since the last call; ``None`` if it has to be everything.  Never blocks."""
        changed: set[str] = set()
        overflow = False
        for _ in range(_READS):
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                break
            pos = 0
            while pos < len(data):
                descriptor, mask, _, length = _event.unpack_from(data, pos)
                pos += _event.size
                name = os.fsdecode(data[pos : pos + length].rstrip(b"\0"))
                pos += length
                if mask & _OVERFLOW:
                    overflow = True
                else:
                    for directory in list(self._paths.get(descriptor, ())):
                        self._handle(directory, mask, name, changed)
        if not overflow:
            return changed
        for root in self._roots:
            self._watch_root(root)
        return None

    def _handle(self, directory: str, mask: int, name: str, changed: set[str]) -> None:
        if mask & (_IGNORED | _DELETE_SELF | _MOVE_SELF):
            self._forget(directory)
            self._rewatch(directory, changed)
            return
        path = f"{directory.rstrip('/')}/{name}"
        if any(root == path or root.startswith(path + "/") for root in self._roots):
            self._forget(path)
            self._rewatch(path, changed)
        elif path in self._singles:
            changed.add(path)
        elif not self._within(directory):
            return
        elif mask & _ISDIR:
            if not is_ignored_directory(name):
                self._forget(path)
                if mask & (_CREATE | _MOVED_TO):
                    self._watch_below(path)
                changed.add(path)
        elif is_job_file(name) and not (mask & _CREATE and _will_be_written(path)):
            changed.add(path)

    def _within(self, directory: str) -> bool:
        return any(directory == root or directory.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _rewatch(self, path: str, changed: set[str]) -> None:
        """A directory came or went: watch again what was to be watched there."""
        for root in self._roots:
            if root == path or root.startswith(path + "/"):
                self._watch_root(root)
                changed.add(root)
        for single in self._singles:
            if single.startswith(path + "/"):
                self._watch_root(os.path.dirname(single))
                changed.add(single)
        if self._within(path):
            changed.add(path)

    def _watch_root(self, root: str) -> None:
        """Watch a directory, or the nearest above it."""
        path = root
        while True:
            if root in self._roots and path == root:
                found = self._watch_below(path)
            else:
                found = self._watch(path)
            if found or path == "/":
                break
            path = os.path.dirname(path)
        # It may have come into being while the one above it was not watched yet.
        if path != root and os.path.isdir(root):
            self._watch_root(root)

    def _watch_below(self, path: str) -> bool:
        """Watch a directory and those below it; whether it exists."""
        if not self._watch(path):
            return False
        todo = [path]
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    below = [
                        entry.path
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False) and not is_ignored_directory(entry.name)
                    ]
            except OSError:
                continue
            todo += [directory for directory in below if self._watch(directory)]
        return True

    def _watch(self, path: str) -> bool:
        """Watch one directory; whether it exists.  Warns of one that exists and cannot be watched."""
        try:
            descriptor = syscalls.inotify_add_watch(self.fd, path, _WANTED)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            if self._warn is not None:
                self._warn(f"{path}: Unable to watch configuration directory: {error.strerror}")
            return True
        if self._watches.get(path) != descriptor:
            if path in self._watches:
                self._drop(path)
            self._watches[path] = descriptor
            self._paths.setdefault(descriptor, []).append(path)
        return True

    def _forget(self, path: str) -> None:
        """Watch a directory and those below it no longer."""
        for directory in [known for known in self._watches if known == path or known.startswith(path + "/")]:
            self._drop(directory)

    def _drop(self, directory: str) -> None:
        descriptor = self._watches.pop(directory)
        paths = self._paths[descriptor]
        paths.remove(directory)
        if not paths:
            del self._paths[descriptor]
            syscalls.inotify_rm_watch(self.fd, descriptor)


def _will_be_written(path: str) -> bool:
    """Whether a file that was just created is to be closed after writing, which is when to look at it."""
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
