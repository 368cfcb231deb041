"""Control groups as init mounts them when it boots a machine, for the time of the measurements.

Without the kernel's favordynmods a start that does not closely follow another is made by a fork, or waits for a grace
period of the kernel. The cells cannot mount their hierarchy so, since that is one with this machine's, and only this
machine's own group namespace decides on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OPTION = "favordynmods"


def mounted() -> tuple[str, list[str]] | None:
    """Where the hierarchy of version 2 is mounted, and with which options; None without one."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2":
            return place, options.split(",")
    return None


def remount(place: str, options: list[str]) -> None:
    """Has it mounted with these options and no others; where the kernel does not know one, all stays as it is."""
    command = ["mount", "--options-source=disable", "-o", ",".join(["remount", *options]), place]
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


@contextmanager
def as_init_mounts_it() -> Iterator[str]:
    """Gives what there is to say of it. HIERARCHY=found leaves it as it is."""
    before = mounted()
    if before is None or OPTION in before[1] or os.environ.get("HIERARCHY") == "found":
        yield "" if before is None else f"control groups as found: {','.join(before[1])}"
        return
    place, options = before
    remount(place, [*options, OPTION])
    try:
        now = mounted()
        yield f"control groups meanwhile as init mounts them: {','.join(now[1] if now else options)}"
    finally:
        remount(place, options)
