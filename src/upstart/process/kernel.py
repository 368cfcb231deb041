"""The few system calls that Python does not have: openat2(2), and a pty made without a name.

Nothing here blocks.  Numbers are those of the kernel's headers and the same on every architecture Debian has; the
library is loaded once, when the module is imported, so that an upgrade under a running init changes nothing.
"""

from __future__ import annotations

import ctypes
import fcntl
import os

_OPENAT2 = 437  # the same number on every architecture, openat2(2)
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441

#: How openat2(2) resolves a path.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
#: Only what the kernel has in its cache: the call never waits for a device or a server.
RESOLVE_CACHED = 0x20

#: fcntl(2): keep the descriptor across exec or not; duplicate to a number not below the argument.
F_DUPFD_CLOEXEC = 1030

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t]
_UNLOCKED = (0).to_bytes(4, "little")


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(dirfd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below ``dirfd``, close-on-exec, resolving it as the RESOLVE_ flags say, openat2(2).

    Raises OSError; ENOSYS on a kernel older than 5.6, EINVAL for flags it does not know.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = _syscall(_OPENAT2, dirfd, path, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return fd


def open_pty() -> tuple[int, int]:
    """A new pty, pty(7): (master, non-blocking; slave), both close-on-exec and nobody's controlling terminal.

    The slave is opened through the master, so neither /dev/pts nor a name is needed.  Raises OSError.
    """
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(master, _TIOCSPTLCK, _UNLOCKED)
        slave: int = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    return master, slave


def write_file(path: str, text: bytes) -> None:
    """Write ``text`` in one write(2) to an existing file of /proc, /sys or a cgroup.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def read_file(path: str, limit: int = 65536) -> bytes:
    """At most ``limit`` bytes of a file of /proc, /sys or a cgroup.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        left = limit
        while left > 0:
            part = os.read(fd, left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(fd)

