"""/etc/mtab: programs of long ago look there for what is mounted, and find the kernel's table.

What is always true here: it is replaced only by a link that is whole, and where root cannot be written nothing changes.
"""

from __future__ import annotations

import os

MTAB = "/etc/mtab"
#: Relative, so that it holds in a root that is looked at from outside as well.
TARGET = "../proc/self/mounts"
_KERNELS = ("/proc/mounts", "/proc/self/mounts", TARGET)


def make_link(path: str = MTAB) -> None:
    """Have ``path`` be a link to the kernel's table, unless it is one."""
    try:
        if os.readlink(path) in _KERNELS:
            return
    except OSError:
        pass
    fresh = f"{path}.{os.getpid()}"
    try:
        os.symlink(TARGET, fresh)
        try:
            os.rename(fresh, path)
        except OSError:
            os.unlink(fresh)
    except OSError:
        pass
