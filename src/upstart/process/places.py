"""Where the descriptors of a new process are: what is ours out of the way, what is the job's in its place.

It is done in the child, before the exec.
"""

from __future__ import annotations

import fcntl
import os

from upstart.process.kernel import F_DUPFD_CLOEXEC
from upstart.process.request import FIRST_SOCKET

#: Descriptors of ours are moved out of the way of the standard ones and of the script's.
_ABOVE = 10


def above_all(script_fd: int) -> int:
    """From where on a descriptor is in nobody's way."""
    return max(_ABOVE, script_fd + 1)


def move(fd: int, above: int) -> int:
    """Have a descriptor out of the way; gives what it is now."""
    if fd >= above or fd < 0:
        return fd
    moved: int = fcntl.fcntl(fd, F_DUPFD_CLOEXEC, above)
    os.close(fd)
    return moved


def place_sockets(sockets: list[int], above: int) -> None:
    """Have these be the descriptors from `FIRST_SOCKET` on, and cross the exec."""
    # Each may be at the place of another.
    copies = [fcntl.fcntl(fd, F_DUPFD_CLOEXEC, above) for fd in sockets]
    for place, fd in enumerate(copies, FIRST_SOCKET):
        os.dup2(fd, place)
        os.close(fd)
