"""The init.d scripts that run below a process, as /proc shows them: what sysv-rc and startpar(1) have started.

What is always true here: what has ended meanwhile is left out, and only what descends from the process is looked at.
"""

from __future__ import annotations

import posix
import time

from upstart.base.errors import DBusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

WAITS_EVENT = "boot-waits"
_SCRIPTS = b"/etc/init.d"
#: These run the others.
_RUNNERS = (b"rc", b"rcS")
_TICKS = posix.sysconf("SC_CLK_TCK")


class Running:
    """A script that runs; `age` in seconds."""

    __slots__ = ("age", "name", "pid")

    def __init__(self, pid: int, name: str, age: float) -> None:
        self.pid = pid
        self.name = name
        self.age = age


def below(pid: int) -> list[Running]:
    """The scripts that run below *pid*; what one of them runs belongs to it."""
    found = []
    children = _children()
    left = [pid]
    while left:
        for child in children.get(left.pop(), ()):
            name = _script(child)
            if name is None:
                left.append(child)
                continue
            age = _age(child)
            if age is not None:
                found.append(Running(child, name, age))
    return found


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children = _children()
    found = [pid]
    for each in found:
        found += children.get(each, ())
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each that is still there, as one: none sees another's end before its own."""
    for pid in pids:
        try:
            posix.kill(pid, number)
        except OSError:
            pass


def tell_init(name: str) -> None:
    """Have jobs know that a script holds up the boot."""
    from upstart.client.init import Init

    try:
        init = Init.open()
        init.emit(WAITS_EVENT, [f"SCRIPT={name}"], wait=False)
        init.close()
    except DBusError:
        pass  # without init nobody could log in


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _stat(pid: int) -> list[bytes]:
    """The fields of its stat(5) from the state on; none of one that has ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return [] if not fields or fields[0] == b"Z" else fields


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for word in posix.listdir("/proc"):
        if word.isdigit():
            fields = _stat(int(word))
            if fields:
                found.setdefault(int(fields[1]), []).append(int(word))
    return found


def _script(pid: int) -> str | None:
    for word in _read(f"/proc/{pid}/cmdline").split(b"\0")[:4]:
        name = _name_of(word)
        if name:
            return None if name in _RUNNERS else name.decode("utf-8", "surrogateescape")
    return None


def _name_of(path: bytes) -> bytes:
    """The name of a script in /etc/init.d, or of a link to one; nothing for any other path."""
    directory, _, name = path.rpartition(b"/")
    if directory == _SCRIPTS:
        return name
    is_runlevels = len(directory) == 10 and directory.startswith(b"/etc/rc") and directory.endswith(b".d")
    if is_runlevels and directory[7:8] in b"0123456S" and name[:1] in b"SK" and name[1:3].isdigit():
        return name[3:]
    return b""


def _age(pid: int) -> float | None:
    fields = _stat(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS if fields else None
