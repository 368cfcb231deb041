"""When what is in a job's log came from the job: an index beside the log, for the log itself has no times in it.

What is always true here: the log is what it would be without, and may be rotated, compressed, cut off or removed by
whoever likes; the index, ``.times/NAME`` in its directory, is only ever added to, and grows to a cap, at which it is
renamed to ``.old``. Each record says from which byte of the log on its time holds. One for the first byte begins
another log; one for a byte that an earlier one of the same log is for replaces that and what came behind. So a log is
known again by the time of its last change, whatever it is called by then.

Times are in microseconds: of the epoch, as the clock was set then, and since the machine was booted, which no change of
the clock moves. A time of 0 is not known.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from _struct import Struct  # the public module is no part of the interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    #: From which byte on, microseconds of the epoch, and since the boot.
    Mark: TypeAlias = tuple[int, int, int]

DIRECTORY = ".times"
#: Byte of the log, number of the boot, microseconds of the epoch, and since the boot.
RECORD = Struct("=IIQQ")
#: Bytes; of an index, two of which are the most that there are for a log.
CAP = 4 << 20
#: Times that are kept of what is still to be written; what comes when there are so many has none that is known.
MARKS = 512
_LAST = (1 << 32) - 1
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MODE = 0o640
_DIRECTORY_MODE = 0o755
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Marks:
    """When what is still to be written to a log has come: from which byte of that on holds what."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: list[Mark] = []

    def add(self, offset: int) -> None:
        """What is put behind so many bytes has come now."""
        if len(self._marks) < MARKS - 1:
            since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self._marks.append((offset, time.time_ns() // 1000, since // 1000))
        elif len(self._marks) < MARKS:
            self._marks.append((offset, 0, 0))

    def before(self, size: int) -> list[Mark]:
        """Those of the first bytes."""
        return [mark for mark in self._marks if mark[0] < size]

    def drop(self, count: int, left: int) -> None:
        """The first bytes are not kept any more, and so many are left."""
        marks = self._marks
        passed = sum(1 for mark in marks if mark[0] <= count)
        if not left:
            marks.clear()
        elif passed:
            _, wall, since = marks[passed - 1]
            marks[:] = [(0, wall, since), *((place - count, time, boot) for place, time, boot in marks[passed:])]
        else:
            marks[:] = [(place - count, time, boot) for place, time, boot in marks]

    def dump(self) -> list[list[int]]:
        """As plain values."""
        return [list(mark) for mark in self._marks]

    def load(self, saved: object, offset: int) -> None:
        """Take over what `dump` gave of what stands behind so many bytes.  Raises TypeError or ValueError."""
        if not isinstance(saved, list):
            raise TypeError("marks")
        self._marks += [(offset + int(place), int(wall), int(since)) for place, wall, since in saved]


def index_path(log: str) -> str:
    """Where the index of a log is."""
    directory, _, name = log.rpartition("/")
    return f"{directory}/{DIRECTORY}/{name}"


def boot_number() -> int:
    """A number for this boot; 0 where it cannot be told."""
    try:
        fd = os.open(_BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return int(os.read(fd, 8), 16)
    except (OSError, ValueError):
        return 0
    finally:
        os.close(fd)


def note(log: str, start: int, marks: Sequence[Mark], boot: int, cap: int = CAP) -> None:
    """Say of what is about to be written to a log, from its byte ``start`` on, when it came.

    Marks count from ``start``. Whatever goes wrong, the log counts more: nothing is raised.
    """
    records = b"".join(
        [RECORD.pack(start + offset, boot, wall, since) for offset, wall, since in marks if start + offset <= _LAST]
    )
    if not records:
        return
    path = index_path(log)
    try:
        fd = _open(path)
    except OSError:
        return
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return
        if info.st_size % RECORD.size:
            # A full disk has cut the last one short.
            os.ftruncate(fd, info.st_size - info.st_size % RECORD.size)
        if info.st_size >= cap:
            os.rename(path, path + ".old")
            os.close(fd)
            fd = -1
            fd = _open(path)
        os.write(fd, records)
    except OSError:
        pass
    finally:
        if fd >= 0:
            os.close(fd)


def _open(path: str) -> int:
    before = os.umask(0o117)
    try:
        return os.open(path, _FLAGS, _MODE)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    finally:
        os.umask(before)
    before = os.umask(0o022)
    try:
        os.mkdir(os.path.dirname(path), _DIRECTORY_MODE)
        os.umask(0o117)
        return os.open(path, _FLAGS, _MODE)
    finally:
        os.umask(before)
