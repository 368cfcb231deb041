"""Notice that job files change: inotify(7) over the configuration directories.

A `Watch` reports paths that `Sources.changed` should look at again: job files and overrides that were written, removed
or renamed, and directories whose content may differ.  It reports too much rather than too little.  A directory that
does not exist is waited for at the nearest one above it that does.  Where the kernel lost count, all has to be looked
at again.

What is always true here: what happened costs as much as it concerns, and is learned in short steps (`Watch.look`).
What has come into being below a directory is reported when all of it is watched, so that whoever looks then misses
nothing.

Directories are watched for the sake of one entry, too, and anything may happen beside it.  So whoever touches no file
can find out whether a look is worth it (`Watch.hear`), while nobody else takes events of the same instance.  What is
forgotten by that is what a look would do nothing for.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from upstart.base import syscalls
from upstart.base.closing import close
from upstart.conf.disk import BUFFER, DIRECT, DIRECTORY, is_directory
from upstart.conf.files import is_ignored_directory, is_job_file, is_passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from upstart.conf.disk import Disk

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
#: What is watched is no longer where it was.
_GONE = _IGNORED | _DELETE_SELF | _MOVE_SELF
_WANTED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR

_event = struct.Struct("iIII")
#: Events, and entries of a directory, that are dealt with in one step.
_EVENTS = 32
_ENTRIES = 32
#: Calls of read(2) after which what is left is heard another time: some two thousand events, a few milliseconds.
_READS = 4
#: Bytes that a read leaves free only where no event is left: that of the longest name takes no more.
_LONGEST = _event.size + 256


class Watch:
    """An inotify instance; ``fd`` becomes readable when there is something to `look` at.  Raises `OSError`.

    ``disk`` is what directories are looked at and watched by; it may be replaced between two steps.
    """

    __slots__ = (
        "_below", "_changed", "_entries", "_kept", "_overflow", "_paths", "_roots", "_singles", "_todo", "_warn",
        "_watches", "_ways", "disk", "fd", "lacks",
    )  # fmt: skip

    def __init__(
        self, paths: Iterable[str] = (), warn: Callable[[str], None] | None = None, disk: Disk = DIRECT
    ) -> None:
        self.fd = syscalls.inotify_init()
        self.disk = disk
        self._warn = warn
        self._roots: list[str] = []
        self._singles: set[str] = set()
        #: The roots, and all directories above them.
        self._ways: set[str] = set()
        #: Each way between a directory and its watch descriptor; symbolic links may give one several paths.
        self._watches: dict[str, int] = {}
        self._paths: dict[int, list[str]] = {}
        #: What is watched below a directory, by the next step of the path there.
        self._below: dict[str, set[str]] = {}
        #: Directories, watched already, whose own are to be watched; what is reported after that.
        self._todo: list[str] = []
        self._entries: list[str] = []
        self._changed: set[str] = set()
        self._overflow = False
        #: Events that were heard and not looked at, from the first on that may concern anybody.
        self._kept = b""
        #: Since all was watched anew there was a directory that could not be watched, or looked into.
        self.lacks = False
        for path in paths:
            self.add_tree(path)

    def add_tree(self, path: str) -> None:
        """Watch a directory and those below it, whether it exists or not."""
        self.begin_tree(path)
        while self.busy:
            self._watch_next()

    def begin_tree(self, path: str) -> None:
        """As `add_tree`, but what is below the directory is watched only by the next `look`."""
        self.expect_tree(path)
        self._watch_root(path.rstrip("/") or "/")

    def add_file(self, path: str) -> None:
        """Watch a single file, by way of its directory."""
        self.expect_file(path)
        self._watch_root(os.path.dirname(path))

    def expect_tree(self, path: str) -> None:
        """As `add_tree`, but nothing is watched before a `look` at everything (`look_again`)."""
        path = path.rstrip("/") or "/"
        if path not in self._roots:
            self._roots.append(path)
            self._lead_to(path)

    def expect_file(self, path: str) -> None:
        """As `add_file`, in the same way."""
        self._singles.add(path)

    def remove_tree(self, path: str) -> None:
        """Watch a directory no longer; what others have of it is watched on by the next `look`."""
        path = path.rstrip("/") or "/"
        if path in self._roots:
            self._roots.remove(path)
            self._ways.clear()
            for root in self._roots:
                self._lead_to(root)
            self._forget(path)
            self._watch_all()

    def renew(self) -> None:
        """Begin anew with another inotify instance, in which nothing is watched before the next `look`.

        Whoever shares the old one goes on with it alone.  Raises `OSError`, and then all is as it was.
        """
        new = syscalls.inotify_init()
        old, self.fd = self.fd, new
        self._watches.clear()
        self._paths.clear()
        self._below.clear()
        self._kept = b""
        self.look_again()
        close(old)

    def look_again(self) -> None:
        """Have the next `look` watch all directories that are to be watched, and tell that everything may differ."""
        self._overflow = True

    def close(self) -> None:
        """Give the descriptor back."""
        close(self.fd)

    def hear(self) -> bool | None:
        """Whether something has happened that is to be looked at; ``None`` where there is too much to tell in one go.

        Touches no file, and never blocks.  To be called between two looks that are done.  Raises `OSError`.
        """
        if self._kept:
            return True
        for _ in range(_READS):
            data = self._kept = DIRECT.read_events(self.fd)
            try:
                self._kept = self._from_first_concern(data)
            except MemoryError:
                return True  # nothing is forgotten that was not looked through
            if self._kept:
                return True
            if len(data) <= BUFFER - _LONGEST:
                return False
        return None

    def _from_first_concern(self, data: bytes) -> bytes:
        """What is left of events without those before the first that may concern anybody."""
        at = 0
        for pos, descriptor, mask, name in _each_of(data):
            if mask & _OVERFLOW or any(
                self._concerns(directory, mask, name) for directory in self._paths.get(descriptor, ())
            ):
                return data[at:]
            at = pos
        return b""

    def look(self) -> Iterator[None]:
        """Learn what has happened, in steps; once they are all taken, `take` tells.  Never blocks."""
        kept, self._kept = self._kept, b""
        again = self._overflow
        while True:
            if again:
                again = False
                self._todo.clear()
                self._entries.clear()
                self._watch_all()
            data, kept = kept or self.disk.read_events(self.fd), b""
            for count, (_, descriptor, mask, name) in enumerate(_each_of(data), 1):
                if mask & _OVERFLOW:
                    self._overflow = again = True
                else:
                    for directory in list(self._paths.get(descriptor, ())):
                        self._handle(directory, mask, name, self._changed)
                if not count % _EVENTS:
                    yield
            if not data and not again:
                break
            yield
        while self.busy:
            self._watch_next()
            yield

    def take(self) -> set[str] | None:
        """The paths to look at again since the last call; ``None`` if it has to be everything."""
        overflow, self._overflow = self._overflow, False
        changed, self._changed = self._changed, set()
        return None if overflow else changed

    @property
    def busy(self) -> bool:
        """Whether directories are known whose own are not watched yet."""
        return bool(self._todo or self._entries)

    def _concerns(self, directory: str, mask: int, name: str) -> bool:
        """Whether an event may be anything to us, for all that can be told without the disk."""
        if mask & _GONE:
            return True
        path = f"{directory.rstrip('/')}/{name}"
        if path in self._ways or path in self._singles:
            return True
        counts = not is_ignored_directory(name) if mask & _ISDIR else is_job_file(name)
        return counts and self._within(directory)

    def _handle(self, directory: str, mask: int, name: str, changed: set[str]) -> None:
        if not self._concerns(directory, mask, name):
            return
        if mask & _GONE:
            self._forget(directory)
            self._rewatch(directory, changed)
            return
        path = f"{directory.rstrip('/')}/{name}"
        if path in self._ways:
            self._forget(path)
            self._rewatch(path, changed)
        elif path in self._singles:
            changed.add(path)
        elif mask & _ISDIR:
            self._forget(path)
            if mask & (_CREATE | _MOVED_TO):
                self._watch_below(path)
            changed.add(path)
        elif not (mask & _CREATE and self._will_be_written(path)):
            changed.add(path)

    def _lead_to(self, path: str) -> None:
        """Have events on the way to a root known as such."""
        while path not in self._ways and path != "/":
            self._ways.add(path)
            path = os.path.dirname(path)

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

    def _watch_all(self) -> None:
        self.lacks = False
        for root in self._roots:
            self._watch_root(root)
        for single in self._singles:
            self._watch_root(os.path.dirname(single))

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
        if path != root and self._is_directory(root):
            self._watch_root(root)

    def _is_directory(self, path: str) -> bool:
        try:
            return is_directory(self.disk, path)
        except OSError:
            return False

    def _watch_below(self, path: str) -> bool:
        """Watch a directory, and in time those below it; whether it exists."""
        if not self._watch(path):
            return False
        self._todo.append(path)
        return True

    def _watch_next(self) -> None:
        """Watch some of what is in one of the directories."""
        if not self._entries:
            above = self._todo.pop()
            try:
                entries = self.disk.scandir(above)
            except OSError as error:
                self.lacks = self.lacks or is_passing(error)
                return
            above = above.rstrip("/")
            self._entries = [
                f"{above}/{name}" for name, kind in entries if kind == DIRECTORY and not is_ignored_directory(name)
            ]
        for _ in range(min(_ENTRIES, len(self._entries))):
            self._watch_below(self._entries.pop())

    def _watch(self, path: str) -> bool:
        """Watch one directory; whether it exists.  Warns of one that exists and cannot be watched."""
        try:
            descriptor = self.disk.add_watch(path, self.fd, _WANTED)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return False
            self.lacks = self.lacks or is_passing(error)
            if self._warn is not None:
                self._warn(f"{path}: Unable to watch configuration directory: {error.strerror}")
            return True
        if self._watches.get(path) != descriptor:
            if path in self._watches:
                self._unwatch(path)
            self._watches[path] = descriptor
            self._link(path)
            self._paths.setdefault(descriptor, []).append(path)
        return True

    def _forget(self, path: str) -> None:
        """Watch a directory and those below it no longer."""
        todo = [path]
        found = []
        while todo:
            each = todo.pop()
            if each in self._watches:
                found.append(each)
            todo += self._below.get(each, ())
        for each in reversed(found):
            self._drop(each)

    def _link(self, path: str) -> None:
        """Have the way to a directory that is watched lead there from all those above it."""
        while path != "/":
            above = os.path.dirname(path)
            known = self._below.setdefault(above, set())
            if path in known:
                break
            known.add(path)
            path = above

    def _unlink(self, path: str) -> None:
        while path != "/" and path not in self._watches and path not in self._below:
            above = os.path.dirname(path)
            known = self._below[above]
            known.discard(path)
            if known:
                break
            del self._below[above]
            path = above

    def _drop(self, directory: str) -> None:
        self._unwatch(directory)
        self._unlink(directory)

    def _unwatch(self, directory: str) -> None:
        descriptor = self._watches.pop(directory)
        paths = self._paths[descriptor]
        paths.remove(directory)
        if not paths:
            del self._paths[descriptor]
            self.disk.remove_watch(self.fd, descriptor)

    def _will_be_written(self, path: str) -> bool:
        """Whether a file that was just created is to be closed after writing, which is when to look at it."""
        try:
            mode, _, _, links, _ = self.disk.stat(path, False)
        except OSError:
            return False
        return stat.S_ISREG(mode) and links == 1


def _each_of(data: bytes) -> Iterator[tuple[int, int, int, str]]:
    """Of each event where it ends, its watch descriptor, its mask and its name."""
    pos = 0
    while pos < len(data):
        descriptor, mask, _, length = _event.unpack_from(data, pos)
        pos += _event.size
        name = os.fsdecode(data[pos : pos + length].rstrip(b"\0"))
        pos += length
        yield pos, descriptor, mask, name
