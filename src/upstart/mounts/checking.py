"""Checking file systems: which program does it, how far it has come, and what it has said.

What is always true here: a check is a process that nobody waits for; its progress is told at most `PER_SECOND` times a
second, and never goes back.  What a check says is kept until it can be written to `LOG`, as logsave(8) does.  Options
and statuses are those of fsck(8) and of the programs that it runs.
"""

from __future__ import annotations

import os
import time

from upstart.base.loop import READ
from upstart.mounts.mounting import program
from upstart.mounts.processes import NOT_FOUND
from upstart.mounts.values import Ended, Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.mounts.processes import Process, Processes
    from upstart.mounts.values import Check, Input

LOG = "/var/log/fsck/mountall"
#: They say how to check file systems in one boot.
FLAGS = ("/forcefsck", "/fastboot")
#: What an initrd of initramfs-tools has logged of its own checks, of the root and of /usr, as logsave(8) does.
INITRD_LOG = "/run/initramfs/fsck.log"
PER_SECOND = 10
#: fsck(8): checking was cancelled.
CANCELLED = 32
#: Bytes of what checks have said that wait to be written.
KEPT = 256 << 10
#: Types whose program tells of its progress by a descriptor.
_TELL_PROGRESS = ("ext2", "ext3", "ext4", "ext4dev")
#: The descriptor.
_PROGRESS = 3
#: Percent when a pass of e2fsck begins, and when the last has ended.
_PASSES = (0, 70, 90, 92, 95, 100)
_REPAIR = {"preen": "-a", "yes": "-y", "no": "-n"}


def percent(line: bytes) -> int | None:
    """How far a check has come, from a line of e2fsck's: pass, current value, largest value; ``None`` for others."""
    fields = line.split()
    try:
        number, current, most = (int(field) for field in fields[:3])
    except ValueError:
        return None
    if not 1 <= number < len(_PASSES) or most <= 0 or not 0 <= current <= most:
        return None
    begin, end = _PASSES[number - 1 : number + 1]
    return begin + (end - begin) * current // most


def command(check: Check) -> list[str] | None:
    """The words of the program for a check, ``None`` where it is not installed."""
    one = check.type not in ("", "auto") and "," not in check.type and "/" not in check.type
    name = f"fsck.{check.type}" if one else "fsck"
    path = program(name)
    if not path:
        return None
    words = [path, _REPAIR[check.repair]]
    if check.force:
        words.append("-f")
    if not one or check.type in _TELL_PROGRESS:
        words.append(f"-C{_PROGRESS}")
    return [*words, check.device]


class Checker:
    """The checks that run; ``feed`` gets `Progress` and `Ended`."""

    __slots__ = ("_feed", "_log", "_loop", "_processes")

    def __init__(self, loop: Loop, processes: Processes, feed: Callable[[Input], object]) -> None:
        self._loop = loop
        self._processes = processes
        self._feed = feed
        self._log = Log()

    def start(self, check: Check, ended: Callable[[Ended], object]) -> Process | None:
        """Start a check, whose end ``ended`` gets; ``None`` if it has got it."""
        words = command(check)
        if words is None:
            ended(Ended(check.number, NOT_FOUND, f"fsck.{check.type}: command not found"))
            return None
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            ended(Ended(check.number, NOT_FOUND, f"{words[0]}: {error.strerror}"))
            return None
        told = _Told(self._loop, reader, lambda value: self._feed(Progress(check.number, value)))
        process: Process | None = None

        def done(status: int, output: str) -> None:
            told.close()
            if process is not None and process.cancelled:
                status = CANCELLED
            self._log.add(words, output)
            ended(Ended(check.number, status, summary(output)))

        try:
            process = self._processes.start(words, done, {_PROGRESS: writer})
        except OSError as error:
            told.close()
            ended(Ended(check.number, NOT_FOUND, f"{words[0]}: {error.strerror}"))
            return None
        finally:
            os.close(writer)
        if check.idle:
            set_idle(process, True)
        return process

    def write_log(self) -> None:
        """Write what checks have said, if that can be written by now."""
        self._log.write()


class _Told:
    """What a check tells of its progress."""

    __slots__ = ("_last", "_loop", "_next", "_pending", "_reader", "_tell", "_watch")

    def __init__(self, loop: Loop, reader: int, tell: Callable[[int], object]) -> None:
        self._loop = loop
        self._reader = reader
        self._tell = tell
        self._pending = b""
        self._last = -1
        self._next = 0.0
        self._watch = loop.add_fd(reader, READ, self._readable)

    def close(self) -> None:
        if self._reader >= 0:
            self._loop.remove(self._watch)
            os.close(self._reader)
            self._reader = -1

    def _readable(self, _events: int) -> None:
        try:
            data = os.read(self._reader, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self.close()
            return
        *lines, self._pending = (self._pending[-1024:] + data).split(b"\n")
        values = [value for value in map(percent, lines) if value is not None]
        now = time.monotonic()
        if values and values[-1] > self._last and now >= self._next:
            self._last = values[-1]
            self._next = now + 1 / PER_SECOND
            self._tell(self._last)


def set_idle(process: Process, idle: bool) -> None:
    """Give a process the lowest I/O priority, or its usual one; one that has ended has none."""
    from upstart.base.syscalls import IOPRIO_IDLE, IOPRIO_NONE, set_io_priority

    try:
        set_io_priority(process.pid, IOPRIO_IDLE if idle else IOPRIO_NONE, 7 if idle else 0)
    except OSError:
        pass


def summary(output: str, lines: int = 4) -> str:
    """The last lines of what a program said, without those that are empty."""
    return "\n".join([line.rstrip() for line in output.splitlines() if line.strip()][-lines:])


def forget_flags() -> None:
    """Have the next boot check file systems as it does by itself."""
    for path in FLAGS:
        try:
            os.unlink(path)
        except OSError:
            pass


class Log:
    """What checks have said in this boot, those of the initrd first: it begins the file anew, and what comes later is
    added."""

    __slots__ = ("_begun", "_initrd", "_path", "_waiting")

    def __init__(self, path: str = LOG, initrd: str = INITRD_LOG) -> None:
        self._path = path
        self._initrd = initrd
        self._waiting = ""
        self._begun = False

    def add(self, words: list[str], output: str) -> None:
        """Keep what a check said that has ended now."""
        now = time.strftime("%a %b %e %H:%M:%S %Y")
        entry = f"Log of {' '.join(words)}\n{now}\n\n{output.rstrip()}\n\n{now}\n----------------\n"
        if len(self._waiting) + len(entry) <= KEPT:
            self._waiting += entry

    def write(self) -> None:
        """Write it; where that fails, it is kept."""
        text = self._waiting if self._begun else self._said_before() + self._waiting
        if not text:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_APPEND if self._begun else os.O_TRUNC)
        try:
            with open(self._open(flags), "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError:
            return
        self._waiting = ""
        self._begun = True

    def _said_before(self) -> str:
        """What the initrd has logged, "" where there was none, or none that checked anything."""
        try:
            with open(self._initrd, encoding="utf-8", errors="replace") as file:
                return file.read(KEPT)
        except OSError:
            return ""

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._path, flags, 0o640)
        except FileNotFoundError:
            # Nothing further up is made, for /var/log may have yet to be mounted.
            os.mkdir(os.path.dirname(self._path), 0o755)
            return os.open(self._path, flags, 0o640)
