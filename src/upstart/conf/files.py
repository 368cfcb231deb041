"""Job files on disk: which names are job files, when one has changed, and reading one.

Nothing here waits for the other end of a FIFO, a socket or a device that is called like a job file, and a file that is
too big is refused.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from upstart.base.closing import close

CONF = ".conf"
OVERRIDE = ".override"

#: Bytes of the biggest file that is read; the biggest job files in use have some 30 kB.
MAX_SIZE = 1 << 20

#: Errors that say that a directory is not there, or not for us to read; whatever else fails, its jobs stay.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES})
#: Errors that say something of a file; whatever else fails tells of the disk, the kernel, or what we lack.
_TELLING = GONE | {errno.EPERM, errno.EISDIR, errno.EFBIG, errno.ENXIO, errno.ENODEV}

#: Nanoseconds that time stamps may lag behind: two ticks of the slowest kernel clock.
_TICK = 20_000_000

_REVISION_CONTROL = frozenset({"RCS", "CVS", "CVS.adm", "SCCS", "BitKeeper", "{arch}", "_darcs"})
_BACKUP_OR_SWAP = ("~", ".bak", ".BAK", ".swp", ".swo", ".swn", ",v", ".rpmsave", ".rpmorig", ".rpmnew")
_HEX = frozenset("abcdefABCDEF0123456789")


def is_job_file(path: str) -> bool:
    """Whether a path is that of a job file or an override, by its name; ``.conf`` alone is none."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return bool(stem) and (extension == "conf" or extension == "override") and bool(dot)


def is_passing(error: OSError) -> bool:
    """Whether an error says nothing about a file or directory: what is there is to be found out another time."""
    return error.errno not in _TELLING


def is_ignored_directory(name: str) -> bool:
    """Whether a directory of this name holds no jobs: hidden, a backup, or of revision control or packaging."""
    if name.startswith(".") or name in _REVISION_CONTROL or name.endswith(_BACKUP_OR_SWAP):
        return True
    if name.startswith("#") and name.endswith("#") and len(name) > 1:
        return True
    _, dot, extension = name.rpartition(".")
    if dot and extension.startswith("dpkg-"):
        return True
    _, semicolon, suffix = name.rpartition(";")
    return bool(semicolon) and len(suffix) == 8 and _HEX.issuperset(suffix)


def stamp_of(info: os.stat_result) -> int:
    """A number that changes with the content of a file, as far as its inode tells."""
    return hash((info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino, info.st_dev))


def read_file(path: str) -> tuple[bytes, int | None]:
    """Read a regular file: its bytes, and its stamp, which is ``None`` if the file is too young for a stamp.

    Time stamps of files are as coarse as the kernel's tick: what has just been written can be written again without
    a trace in them.

    Raises `OSError`: also for what is no regular file (ENXIO), and for more than `MAX_SIZE` bytes (EFBIG).
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.ENXIO, os.strerror(errno.EINVAL))
        # One byte more than the file has shows its end without a further call.
        data = os.read(fd, min(info.st_size, MAX_SIZE) + 1)
        if len(data) > info.st_size:
            data = _read_rest(fd, data)
        if len(data) > MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        young = time.time_ns() - info.st_ctime_ns < _TICK
        return data, None if young else stamp_of(info)
    finally:
        close(fd)


def _read_rest(fd: int, data: bytes) -> bytes:
    """Read on in a file that grows, or that does not know its size."""
    while len(data) <= MAX_SIZE:
        more = os.read(fd, MAX_SIZE + 1 - len(data))
        if not more:
            break
        data += more
    return data
