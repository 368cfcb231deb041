"""Appending to the file of a log: everything about logs that touches a disk.

What is always true here: any call may wait for as long as the file system likes, so PID 1 makes none (`writer` has
helpers that do).  The file is opened, appended to and closed for each batch of output, so that a rotated or removed
file is never written to, nothing holds the file system busy at shutdown, and no descriptor has to survive a re-exec.
It is never followed through a symbolic link, never anything but a regular file, and grows to a cap, at which it is
renamed to ``.old``.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Size of a log file at which it is renamed, bytes; two of them are the most that a job can fill a disk with.
FILE_CAP = 128 * 1024 * 1024
MODE = 0o640

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def append(
    path: str, root: str | None, output: bytes, cap: int, begin: Callable[[os.stat_result], int] = lambda info: 0
) -> tuple[int, int]:
    """Append ``output``; gives how many bytes of it are in the file, and the number of the error that stopped it or 0.

    ``root`` is the root directory of a chroot session, which ``path`` is below: no link in it can lead out.  ``cap``
    is `FILE_CAP` or another size in bytes.  ``begin`` is told what the file is before anything is written, and says
    how many bytes of the output are in it already.
    """
    done = 0
    try:
        fd, info = _open(path, root, cap)
        try:
            done = begin(info)
            while done < len(output):
                count = os.write(fd, output[done:] if done else output)
                if count <= 0:
                    break
                done += count
        finally:
            os.close(fd)
    except OSError as error:
        return done, error.errno or errno.EIO
    return done, 0


def _open(path: str, root: str | None, cap: int) -> tuple[int, os.stat_result]:
    fd = _open_file(path, root)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if info.st_size < cap:
            return fd, info
        _rename(path, root, info)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    fd = _open_file(path, root)
    return fd, os.fstat(fd)


def _open_file(path: str, root: str | None) -> int:
    before = os.umask(0o117)
    try:
        if root is None:
            return os.open(path, _FLAGS, MODE)
        # Only here, for it takes a helper a megabyte.
        from upstart.base.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

        directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            below = os.fsencode(path[len(root) :])
            return openat2(directory, below, _FLAGS, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, MODE)
        finally:
            os.close(directory)
    finally:
        os.umask(before)


def _rename(path: str, root: str | None, info: os.stat_result) -> None:
    """Make room: the full log becomes ``PATH.old``, in place of an earlier one."""
    if root is not None:
        # A path inside a chroot cannot be renamed without resolving it outside: that log starts anew instead.
        fd = _open_file(path, root)
        try:
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)
        return
    now = os.stat(path, follow_symlinks=False)
    if (now.st_dev, now.st_ino) == (info.st_dev, info.st_ino):
        os.rename(path, path + ".old")
