"""What jobs' processes need of the kernel besides system calls: a pty made without a name, files of /proc and cgroups.

Nothing here blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os

from upstart.base.closing import close

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

#: fcntl(2): keep the descriptor across exec or not; duplicate to a number not below the argument.
F_DUPFD_CLOEXEC = 1030

_UNLOCKED = (0).to_bytes(4, "little")


#: Bytes read at once.
_PIECE = 1 << 16
#: What says that a file of /proc or of a cgroup is gone, or not for us to see; root is refused nothing by the kernel.
_GONE = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR, errno.EACCES, *([errno.EPERM] if os.geteuid() else [])}
)


def is_gone(error: OSError) -> bool:
    """Whether an error tells something of what was looked at, and not of what we lack to look at it."""
    return error.errno in _GONE


def open_pty() -> tuple[int, int]:
    """A new pty, pty(7): (master, non-blocking; slave), both close-on-exec and nobody's controlling terminal.

    The slave is opened through the master, so neither /dev/pts nor a name is needed.  Raises OSError.
    """
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, _UNLOCKED)
        slave: int = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        close(master)
        raise
    return master, slave


def write_file(path: str, text: bytes) -> None:
    """Write ``text`` in one write(2) to an existing file of /proc, /sys or a cgroup.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        close(fd)


def read_file(path: str, limit: int = 65536) -> bytes:
    """At most ``limit`` bytes of a file of /proc, /sys or a cgroup.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        left = limit
        while left > 0:
            # No more than may be needed: what is given to read(2) is allocated first.
            part = os.read(fd, min(left, _PIECE))
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        close(fd)

