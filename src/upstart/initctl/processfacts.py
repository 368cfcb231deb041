"""What the kernel knows of the processes of an instance: since when they run, and how much memory they use.

What is always true here: times are seconds of CLOCK_BOOTTIME, which no correction of the clock moves, until they are
shown. A process may be gone at any moment; then nothing is known.
"""

from __future__ import annotations

import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TICKS = posix.sysconf(posix.sysconf_names["SC_CLK_TCK"])
_PAGE = posix.sysconf(posix.sysconf_names["SC_PAGE_SIZE"])
#: The directory of cgroups that an init makes for its jobs, each of which has one below it to itself.
_OF_JOBS = "upstart"
#: The text of /proc and of a cgroup's files is small; a list of pids may be longer.
_MOST = 1 << 20


def boottime() -> float:
    """Seconds since the machine was booted, the time that it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def to_wall(moment: float) -> float:
    """The time of day, in seconds of the epoch, by the clock as it is set now."""
    return time.time() - boottime() + moment


def started(pid: int) -> float | None:
    """When a process was started."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) / _TICKS if len(fields) > 19 else None


def command(pid: int) -> str:
    """The command line of a process as one text; its name in brackets where it has none."""
    words = _text(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
    if words != [""]:
        return "".join(char if char.isprintable() else "?" for char in " ".join(words))
    name = _text(f"/proc/{pid}/comm").rstrip("\n")
    return f"[{name}]" if name else ""


class Memory:
    """How much memory an instance uses, in bytes, and of how many ``processes`` that is the sum.

    ``counted`` says what it is: what the kernel charges to the instance's cgroup, "cgroup", or else what is resident of
    all processes in it, or of those of the instance that are known, "resident".
    """

    __slots__ = ("bytes", "counted", "processes")

    def __init__(self, size: int, counted: str, processes: int) -> None:
        self.bytes = size
        self.counted = counted
        self.processes = processes


def memory(pids: Sequence[int]) -> Memory | None:
    """Of an instance with these processes."""
    for pid in pids:
        directory = own_cgroup(pid)
        if directory is None:
            continue
        members = [int(word) for word in _text(directory + "/cgroup.procs").split()]
        charged = _text(directory + "/memory.current").strip()
        if charged.isdecimal() and members:
            return Memory(int(charged), "cgroup", len(members))
        pids = members or pids
        break
    sizes = [size for size in map(_resident, pids) if size]
    return Memory(sum(sizes), "resident", len(sizes)) if sizes else None


def own_cgroup(pid: int) -> str | None:
    """The directory of the cgroup that init has made for the instance of a process, and for nothing else."""
    path = next((line[3:] for line in _text(f"/proc/{pid}/cgroup").split("\n") if line.startswith("0::/")), "")
    if _OF_JOBS not in path.split("/")[-2:-1]:
        return None
    for line in _text("/proc/self/mountinfo").split("\n"):
        fields, separator, kind = line.partition(" - ")
        words = fields.split(" ")
        if separator and kind.startswith("cgroup2 ") and len(words) > 5:
            root, point = words[3].rstrip("/"), words[4]
            if path.startswith(root + "/"):
                return point + path[len(root) :]
    return None


def _resident(pid: int) -> int:
    fields = _text(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _text(path: str) -> str:
    """A file of the kernel's; empty where it cannot be read."""
    try:
        fd = posix.open(path.encode("utf-8", "surrogateescape"), posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        parts = []
        while part := posix.read(fd, _MOST):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        posix.close(fd)
