"""Where sockets and FIFOs are in the file system: found, made and removed without being led elsewhere.

What is always true here: what is made, changed or removed is in the directory that a path of a job's file leads to.  A
symbolic link counts on the way only if nobody but root, or ourselves, can have put it there.  Where others may move a
directory of the way, all goes by the directory that was found, and the socket has a name that shows this.
"""

from __future__ import annotations

import _socket
import errno
import os
import stat

from upstart.bridges.unixdiag import is_bound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.base.socketwords import Wanted

#: Symbolic links that are followed.
_LINKS = 40
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """The place ``name`` in an open directory; ``safe``: nobody else can make the path lead elsewhere."""

    __slots__ = ("directory", "name", "path", "safe")

    def __init__(self, directory: int, name: str, path: str, safe: bool) -> None:
        self.directory = directory
        self.name = name
        self.path = path
        self.safe = safe

    @property
    def bound(self) -> str:
        """What bind(2) and connect(2) are told."""
        return self.path if self.safe else f"/proc/self/fd/{self.directory}/{self.name}"

    def close(self) -> None:
        """Give the directory back."""
        os.close(self.directory)

    def kind(self) -> int:
        """The kind of what is there, 0 if nothing is."""
        try:
            return stat.S_IFMT(os.stat(self.name, dir_fd=self.directory, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return 0

    def remove(self) -> None:
        """Remove what is there."""
        os.unlink(self.name, dir_fd=self.directory)

    def belong(self, kind: int, mode: int | None, owner: int, group: int) -> None:
        """Give what is there, which is of this kind, its owner and mode; -1, None where it keeps its own."""
        fd = os.open(self.name, _PATH, dir_fd=self.directory)
        try:
            found = os.fstat(fd)
            if stat.S_IFMT(found.st_mode) != kind or found.st_nlink != 1:
                raise OSError(errno.EEXIST, "Something else is there")
            itself = f"/proc/self/fd/{fd}"
            if owner >= 0 or group >= 0:
                os.chown(itself, owner, group)
            if mode is not None and stat.S_IMODE(found.st_mode) != mode:
                os.chmod(itself, mode)
        finally:
            os.close(fd)


def find(path: str, dirmode: int | None = None) -> Place:
    """The place that a path leads to; missing directories are made where ``dirmode`` is a mode.  Raises OSError."""
    ours = (0, os.geteuid())
    steps = [step for step in path.split("/") if step]
    name = steps.pop()
    directory = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    safe = _is_safe(os.fstat(directory), ours)
    links = 0
    try:
        while steps:
            step = steps.pop(0)
            found = _enter(directory, step, dirmode)
            info = os.fstat(found)
            if stat.S_ISLNK(info.st_mode):
                target = os.readlink("", dir_fd=found)
                os.close(found)
                links += 1
                if info.st_uid not in ours or not safe or links > _LINKS:
                    raise OSError(errno.ELOOP, f"Not following the symbolic link {step} in {path}")
                steps = [step for step in target.split("/") if step] + steps
                if target.startswith("/"):
                    os.close(directory)
                    directory = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            elif stat.S_ISDIR(info.st_mode):
                os.close(directory)
                directory = found
                safe = safe and _is_safe(info, ours)
            else:
                os.close(found)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except BaseException:
        os.close(directory)
        raise
    return Place(directory, name, path, safe)


def _enter(directory: int, step: str, dirmode: int | None) -> int:
    try:
        return os.open(step, _PATH, dir_fd=directory)
    except FileNotFoundError:
        if dirmode is None:
            raise
    mask = os.umask(0)
    try:
        os.mkdir(step, dirmode, dir_fd=directory)
    except FileExistsError:
        pass
    finally:
        os.umask(mask)
    return os.open(step, _PATH, dir_fd=directory)


def _is_safe(info: os.stat_result, ours: tuple[int, int]) -> bool:
    """Whether nobody else can move what we, or root, have in a directory."""
    return info.st_uid in ours and (not info.st_mode & 0o022 or bool(info.st_mode & stat.S_ISVTX))


def is_left_over(place: Place, kind: int) -> bool:
    """Whether the socket there is one that nobody has any more; ``kind`` is that of sockets (SOCK_STREAM, ...)."""
    if place.kind() != stat.S_IFSOCK or is_bound(os.stat(place.name, dir_fd=place.directory, follow_symlinks=False)):
        return False
    with _socket_of(kind) as probe:
        try:
            probe.connect(place.bound)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


class _socket_of:
    """A socket of AF_UNIX that is closed at the end."""

    def __init__(self, kind: int) -> None:
        flags = _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._socket = _socket.socket(_socket.AF_UNIX, kind | flags)

    def __enter__(self) -> _socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def owner_of(wanted: Wanted) -> tuple[int, int]:
    """The numbers of the user and group that are to own it, -1 where nobody is named; a named user's own group goes
    with it.  Raises OSError where there is no such one."""
    owner = group = -1
    if wanted.owner:
        import pwd

        try:
            entry = pwd.getpwuid(int(wanted.owner)) if wanted.owner.isdigit() else pwd.getpwnam(wanted.owner)
        except KeyError:
            raise OSError(errno.ENOENT, f"There is no user {wanted.owner}") from None
        owner, group = entry.pw_uid, entry.pw_gid
    if wanted.group:
        import grp

        try:
            group = (grp.getgrgid(int(wanted.group)) if wanted.group.isdigit() else grp.getgrnam(wanted.group)).gr_gid
        except KeyError:
            raise OSError(errno.ENOENT, f"There is no group {wanted.group}") from None
    return owner, group
