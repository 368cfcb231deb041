"""The control groups of this machine's version 2 hierarchy, in which inits under test make theirs."""

from __future__ import annotations

import os
from pathlib import Path


def unified_hierarchy() -> Path | None:
    """Where cgroup v2 is mounted on this machine (also beside v1), with our own group below it; None without one."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(points[0] + own[0]) if points and own else None


def remove_groups(top: Path) -> bool:
    """Removes emptied control groups, deepest first; whether none is left."""
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(directory)
        except OSError:
            return False
    return True
