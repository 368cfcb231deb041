"""What is on the disk, for `upstart.bridges.filetree`, and the kernel's watch over it, by pyinotify.

What is always true here: a symbolic link on the way is followed only if root or our own user has made it, whoever else
may change it while we look; nothing that is found is opened but directories; where inotify has no room that is said
once, with the setting that would give it some.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import stat
import struct
import termios
import time

from upstart.bridges.filenews import DIR, IN_OVERFLOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upstart.bridges.filenews import Stamp

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40
_KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFSOCK: "s", stat.S_IFIFO: "p",
          stat.S_IFBLK: "b", stat.S_IFCHR: "c"}  # fmt: skip
_HEAD = struct.Struct("iIII")
#: Bytes read at once, and the flag of a socket in /proc/net/unix that accepts connections.
_READ = 1 << 14
_ACCEPTS = 0x10000
#: The settings that make room, by what inotify says.
_ROOM = {errno.ENOSPC: "fs.inotify.max_user_watches", errno.EMFILE: "fs.inotify.max_user_instances"}


class Found:
    """What is at a path, as `upstart.bridges.filenews.Entry` has it."""

    __slots__ = ("changed", "kind", "links", "stamp")

    def __init__(self, found: os.stat_result) -> None:
        self.kind = _KINDS.get(stat.S_IFMT(found.st_mode), "?")
        # What is in a directory is no change of its own.
        change = DIR if self.kind == "d" else (found.st_mtime_ns, found.st_size)
        self.stamp: Stamp = (found.st_ino, *change)
        self.links = found.st_nlink
        # As the monotonic clock would have it.
        self.changed = time.monotonic() - max(0.0, time.time() - found.st_mtime)


class RealDisk:
    """The disk; ``complain`` (text) is told where there is no room for watches.  ``fd`` is inotify's, -1 without."""

    def __init__(self, complain: Callable[[str], object]) -> None:
        # As long as it takes to load, and only where it runs: --help does without.
        import pyinotify

        self._complain = complain
        self._told: set[str] = set()
        self._uids = (0, os.getuid())
        self._error: type[Exception] = pyinotify.WatchManagerError
        self._read = 0
        #: Watch descriptors by paths, and for each the masks of its paths.
        self._watches: dict[str, int] = {}
        self._paths: dict[int, dict[str, int]] = {}
        self.fd = -1
        try:
            self._manager = pyinotify.WatchManager()
        except OSError as error:
            self._no_room(errno.EMFILE, str(error))
            return
        self.fd = self._manager.get_fd()
        os.set_inheritable(self.fd, False)
        os.set_blocking(self.fd, False)

    def close(self) -> None:
        """Watch nothing any more."""
        if self.fd >= 0:
            self._manager.close()
            self.fd = -1

    # Looking

    def now(self) -> float:
        """Seconds, of a clock that only goes forward."""
        return time.monotonic()

    def _open(self, path: str) -> int:
        """A directory, for `dir_fd`.  Raises OSError."""
        todo = _raw(path).split(b"/")[::-1]
        links = 0
        fd = os.open("/", _PATH)
        try:
            while todo:
                name = todo.pop()
                if name in (b"", b"."):
                    continue
                new = os.open(name, _PATH, dir_fd=fd)
                found = os.fstat(new)
                if stat.S_ISLNK(found.st_mode):
                    links += 1
                    target = os.readlink(b"", dir_fd=new) if found.st_uid in self._uids else b""
                    os.close(new)
                    if not target or links > _LINKS:
                        raise OSError(errno.ELOOP, "a link of somebody else's")
                    todo += target.split(b"/")[::-1]
                    if target.startswith(b"/"):
                        new, fd = fd, os.open("/", _PATH)
                        os.close(new)
                    continue
                fd, new = new, fd
                os.close(new)
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.ENOTDIR, "no directory")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def look(self, directory: str, name: str) -> Found | None:
        """What is there."""
        try:
            fd = self._open(directory)
        except OSError:
            return None
        try:
            return Found(os.lstat(_raw(name), dir_fd=fd))
        except OSError:
            return None
        finally:
            os.close(fd)

    def names(self, directory: str) -> list[str] | None:
        """The names in a directory."""
        try:
            fd = self._open(directory)
        except OSError:
            return None
        try:
            # By its descriptor: what is at its path may be another one by now.
            return [_text(name) for name in os.listdir(b"/proc/self/fd/%d" % fd)]
        except OSError:
            return None
        finally:
            os.close(fd)

    def identity(self, directory: str) -> tuple[int, int] | None:
        """File system and inode of a directory."""
        try:
            fd = self._open(directory)
        except OSError:
            return None
        found = os.fstat(fd)
        os.close(fd)
        return found.st_dev, found.st_ino

    def connectable(self, directory: str, name: str) -> bool | None:
        """Whether a socket can be connected to, None where nobody has it open; who has is not troubled."""
        entry = self.look(directory, name)
        if entry is None:
            return None
        path = f"{directory}/{name}".replace("//", "/")
        found: bool | None = None
        for accepts, bound in _unix_sockets():
            if bound == path or (bound.endswith("/" + name) and _same(bound, entry)):
                if accepts:
                    return True
                found = False
        return found if found is not None else _connects(path)

    # Watching

    def watch(self, directory: str, mask: int) -> bool:
        """Be told of what happens in a directory; False where that cannot be."""
        if self.fd < 0:
            return False
        try:
            fd = self._open(directory)
        except OSError:
            return True  # its end is told of
        try:
            place = f"/proc/self/fd/{fd}"
            number = self._add(place, mask)
            if number < 0:
                return False
            if self._watches.get(directory) != number:
                self.unwatch(directory)
                self._watches[directory] = number
            paths = self._paths.setdefault(number, {})
            paths[directory] = mask
            together = 0
            for each in paths.values():
                together |= each
            if together != mask:
                self._add(place, together)
        finally:
            os.close(fd)
        return True

    def _add(self, place: str, mask: int) -> int:
        try:
            (number,) = self._manager.add_watch(place, mask, quiet=False).values()
        except self._error as error:
            self._no_room(errno.ENOSPC, str(error))
            return -1
        # It would keep one for each, with a path that means nothing.
        self._manager.watches.pop(number, None)
        return int(number)

    def unwatch(self, directory: str) -> None:
        """Be told no more."""
        number = self._watches.pop(directory, -1)
        paths = self._paths.get(number, {})
        paths.pop(directory, None)
        if number >= 0 and not paths:
            self._paths.pop(number, None)
            try:
                self._manager.rm_watch(number, quiet=False)
            except self._error:
                pass  # it has gone with its directory

    def _no_room(self, number: int, text: str) -> None:
        setting = _ROOM[number]
        if setting not in self._told:
            self._told.add(setting)
            self._complain(f"inotify has no room: {text}; see the setting {setting} of sysctl. "
                           "What is not watched is looked at every 5 seconds")  # fmt: skip

    def position(self) -> int:
        """How many bytes the kernel has told, or has to tell by now."""
        return self._read + (self._unread() if self.fd >= 0 else 0)

    def _unread(self) -> int:
        (number,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0" * 4))
        return int(number)

    def events(self) -> Iterator[tuple[str, str, int, int]]:
        """What the kernel tells: for each path of a directory the path, a name in it, a mask and the position of that.

        pyinotify's own reading throws away what it cannot decode, and all that came with it.
        """
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return
        position = self._read
        self._read += len(data)
        at = 0
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            name = _text(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
            if mask & IN_OVERFLOW:
                yield "", "", mask, position + at
            else:
                for path in list(self._paths.get(number, ())):
                    yield path, name, mask, position + at
            at += _HEAD.size + length


def _raw(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _unix_sockets() -> Iterator[tuple[bool, str]]:
    """The sockets of unix(7) that have a path: whether each can be connected to, and that path."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.rstrip("\n").split(" ", 7)
                if len(fields) == 8 and fields[7].lstrip().startswith("/"):
                    # Streams and sequences of packets are listened to, datagrams just come.
                    yield bool(int(fields[3], 16) & _ACCEPTS) or fields[4] == "0002", fields[7].lstrip()
    except (OSError, ValueError):
        return


def _same(path: str, entry: Found) -> bool:
    try:
        return os.lstat(_raw(path)).st_ino == entry.stamp[0]
    except OSError:
        return False


def _connects(path: str) -> bool | None:
    """Whether somebody answers at a socket that none of our network namespace's is: True, or None."""
    for kind in (_socket.SOCK_STREAM, _socket.SOCK_DGRAM, _socket.SOCK_SEQPACKET):
        sock = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(_raw(path))
            return True
        except BlockingIOError:
            return True
        except OSError:
            continue
        finally:
            sock.close()
    return None
