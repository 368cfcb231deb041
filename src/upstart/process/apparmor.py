"""The AppArmor part of a job: whether the kernel confines at all, and the switch to a profile at the next exec.

Follows apparmor(7) and the kernel's /proc interface.  Where AppArmor is not in use every call quietly does nothing,
so that one job file serves machines with and without it.
"""

from __future__ import annotations

import os
import stat

from upstart.process.kernel import read_file, write_file

PARSER = "/sbin/apparmor_parser"
_ENABLED = "/sys/module/apparmor/parameters/enabled"
#: Marks of a container and of a live system, in which the host's profiles must not be loaded.
_ELSEWHERE = ("/run/container_type", "/rofs/etc/apparmor.d")


def available() -> bool:
    """Whether profiles can be loaded and switched to: the kernel has AppArmor and its parser is installed."""
    try:
        if not read_file(_ENABLED, 1).startswith(b"Y"):
            return False
        mode = os.stat(PARSER).st_mode
    except OSError:
        return False
    if not stat.S_ISREG(mode) or not mode & stat.S_IXUSR:
        return False
    return not any(os.path.exists(mark) for mark in _ELSEWHERE)


def switch_at_exec(profile: str) -> None:
    """Have the calling process enter ``profile`` when it next executes a program; nothing without AppArmor.

    Raises OSError as the kernel does: ENOENT for a profile that is not loaded, EACCES where it is not permitted.
    """
    if not available():
        return
    try:
        write_file("/proc/self/attr/apparmor/exec", b"exec " + os.fsencode(profile))
    except FileNotFoundError:
        if os.path.exists("/proc/self/attr/apparmor"):
            raise
        write_file("/proc/self/attr/exec", b"exec " + os.fsencode(profile))
