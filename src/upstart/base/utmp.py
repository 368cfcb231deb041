"""The records of utmp(5): who is logged in, when the system booted, which runlevel it is in.

``/run/utmp``, that is ``/var/run/utmp``, holds the present state, one slot a kind of record; ``/var/log/wtmp`` is a
history that only grows.
Neither file is ever created here: ``/run/utmp`` is made at boot (`upstart.daemon.boot`), and where the other is missing
there is no history to keep. The commands wait a bounded time for a file's lock; `mark_dead` and
`record_runlevel`, the functions meant for PID 1, wait for no lock. Only who may write the file is waited for: a reader
takes no lock, for a record is written in one piece, and a lock for reading, which any user may hold on a world-readable
file, delays nothing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time

#: As it is to be found without /var, which may be a server's.
UTMP = "/run/utmp"
WTMP = "/var/log/wtmp"

# ut_type, from <bits/utmpx.h>.
RUN_LVL = 1
BOOT_TIME = 2
NEW_TIME = 3
OLD_TIME = 4
INIT_PROCESS = 5
LOGIN_PROCESS = 6
USER_PROCESS = 7
DEAD_PROCESS = 8

#: Seconds that a command waits for the locks of both files, all in all, before it writes without.
LOCK_PATIENCE = 1.0

#: Bytes of a utmp file that are looked at, so that a damaged file cannot cost PID 1 its memory.
READ_LIMIT = 1 << 20

# glibc gives 64-bit ports 32-bit times in this structure, so that 32-bit programs can share the file, wherever the
# processor family has such programs with the same alignment; the others have longs.
_LONG_TIMES = os.uname().machine in ("aarch64", "aarch64_be", "alpha", "ia64") and sys.maxsize > 1 << 32
_LAYOUT = struct.Struct("=h2xi32s4s32s256shhqqq16s24x" if _LONG_TIMES else "=h2xi32s4s32s256shhiII16s20x")
_KIND = struct.Struct("=h")
_KIND_AND_PID = struct.Struct("=h2xi")
SIZE = _LAYOUT.size
_MICROSECONDS = 1_000_000


class Record:
    """One record, its fields as in utmp(5): times in seconds and microseconds since the epoch, strings as bytes."""

    __slots__ = ("address", "exit_status", "host", "id", "kind", "line", "microseconds", "pid", "seconds", "session",
                 "termination", "user")

    def __init__(self, kind: int, pid: int, line: bytes, ident: bytes, user: bytes, host: bytes = b"",
                 seconds: int = 0, microseconds: int = 0) -> None:
        self.kind = kind
        self.pid = pid
        self.line = line
        self.id = ident
        self.user = user
        self.host = host
        self.termination = 0
        self.exit_status = 0
        self.session = 0
        self.seconds = seconds
        self.microseconds = microseconds
        self.address = b""

    def pack(self) -> bytes:
        """The record as the bytes of its file; what is too long for a field is cut as strncpy(3) would."""
        return _LAYOUT.pack(self.kind, self.pid, self.line, self.id, self.user, self.host, self.termination,
                            self.exit_status, self.session, self.seconds, self.microseconds, self.address)


def unpack(data: bytes, offset: int = 0) -> Record:
    """The record that starts at *offset* of *data*, which must hold at least SIZE bytes from there."""
    (kind, pid, line, ident, user, host, termination, exit_status, session, seconds, microseconds,
     address) = _LAYOUT.unpack_from(data, offset)
    line, ident, user, host = (field.partition(b"\0")[0] for field in (line, ident, user, host))
    record = Record(kind, pid, line, ident, user, host, seconds, microseconds)
    record.termination = termination
    record.exit_status = exit_status
    record.session = session
    record.address = address
    return record


def read(path: str = UTMP) -> list[Record]:
    """The whole records of the file, from the first on as far as READ_LIMIT.  Raises OSError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = _read_all(fd)
    finally:
        os.close(fd)
    return [unpack(data, offset) for offset in range(0, len(data) - SIZE + 1, SIZE)]


def _last(path: str, kind: int) -> Record | None:
    """The last record of this kind, searched from the end since a wtmp file can be very long.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        end = os.fstat(fd).st_size // SIZE * SIZE
        while end > 0:
            start = max(0, end - READ_LIMIT // SIZE * SIZE)
            data = os.pread(fd, end - start, start)
            for offset in range(len(data) // SIZE * SIZE - SIZE, -1, -SIZE):
                if _KIND.unpack_from(data, offset)[0] == kind:
                    return unpack(data, offset)
            end = start
        return None
    finally:
        os.close(fd)


def _stamped(kind: int, pid: int, user: bytes, ago: float = 0.0) -> Record:
    """A record about the whole system rather than a terminal, dated *ago* seconds before now, its host the kernel's
    release."""
    moment = time.time_ns() // 1000 - int(ago * _MICROSECONDS)
    return Record(kind, pid, b"~", b"~~", user, os.uname().release.encode(), *divmod(moment, _MICROSECONDS))


def _seconds_up() -> float:
    """How long ago PID 1 was started: the age of the machine, or of the container; 0 if that is not known."""
    try:
        with open("/proc/1/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


def read_runlevel(path: str = UTMP) -> tuple[str, str] | None:
    """The current and previous runlevel that the most recent runlevel record of *path* tells, or None without one.

    A runlevel is one character, ``N`` where the record tells none: no previous one, or a shutdown record.
    Raises OSError if the file cannot be read.
    """
    record = _last(path, RUN_LVL)
    if record is None:
        return None
    if record.pid <= 0:
        return "N", "N"
    return chr(record.pid % 256 or ord("N")), chr(record.pid // 256 % 256 or ord("N"))


def get_runlevel(path: str = UTMP) -> tuple[str, str] | None:
    """The current and previous runlevel: those of the environment where it has RUNLEVEL, else `read_runlevel`."""
    runlevel = os.environ.get("RUNLEVEL")
    if runlevel is not None:
        return runlevel[:1] or "N", os.environ.get("PREVLEVEL", "")[:1] or "N"
    return read_runlevel(path)


def record_runlevel(runlevel: str, previous: str | None = None) -> str:
    """Record the change to *runlevel* without waiting for anything, as PID 1 must; the level before it, which is
    *previous* or on record.

    `append_runlevel` is not for PID 1: wtmp is on a disk.
    """
    try:
        if previous is None:
            levels = read_runlevel()
            previous = levels[0] if levels else "N"
        _put_runlevel(runlevel, previous, UTMP, _Left(0))
    except OSError:
        return previous or "N"
    return previous


def write_runlevel(runlevel: str, previous: str, utmp: str = UTMP, wtmp: str = WTMP,
                   patience: float = LOCK_PATIENCE) -> None:
    """Record the change from *previous* to *runlevel* in both files.

    Where a file's last runlevel is not *previous*, a boot went unrecorded and its record goes in first, dated when it
    was.
    Raises OSError if the runlevel could not be written to *utmp*; a missing *wtmp* is nobody's loss.
    """
    left = _Left(patience)
    _append_runlevel(runlevel, previous, wtmp, left)
    _put_runlevel(runlevel, previous, utmp, left)


def append_runlevel(runlevel: str, previous: str) -> None:
    """Add the change from *previous* to *runlevel* to the history; nothing where that cannot be."""
    _append_runlevel(runlevel, previous, WTMP, _Left(LOCK_PATIENCE))


def _runlevel_records(runlevel: str, previous: str) -> tuple[str, Record, Record]:
    """The runlevel before as it would be recorded, and the records of the boot and of the change."""
    before = "" if previous == "N" else previous
    boot = _stamped(BOOT_TIME, 0, b"reboot", _seconds_up())
    change = _stamped(RUN_LVL, ord(runlevel) + 256 * (ord(before) if before else 0), b"runlevel")
    return before, boot, change


def _append_runlevel(runlevel: str, previous: str, wtmp: str, left: _Left) -> None:
    before, boot, change = _runlevel_records(runlevel, previous)
    if _recorded_runlevel(wtmp) != before:
        _append_quietly(wtmp, boot, left())
    _append_quietly(wtmp, change, left())


def _put_runlevel(runlevel: str, previous: str, utmp: str, left: _Left) -> None:
    before, boot, change = _runlevel_records(runlevel, previous)
    if _recorded_runlevel(utmp) != before:
        put(utmp, boot, left())
    put(utmp, change, left())


def write_shutdown(utmp: str = UTMP, wtmp: str = WTMP) -> None:
    """Record in both files that the system goes down now, in the form last(1) expects: a runlevel record of pid 0.

    Raises OSError if *utmp* could not be written; a missing *wtmp* is nobody's loss.
    """
    record = _stamped(RUN_LVL, 0, b"shutdown")
    left = _Left(LOCK_PATIENCE)
    _append_quietly(wtmp, record, left())
    put(utmp, record, left())


def _recorded_runlevel(path: str) -> str | None:
    """The runlevel the file tells, None if it tells nothing."""
    try:
        levels = read_runlevel(path)
    except OSError:
        return None
    return levels[0] if levels else None


def _same_slot(a: Record, b: Record) -> bool:
    """Whether *b* takes the place of *a* in utmp, by the rules of getutxid(3)."""
    if b.kind in (RUN_LVL, BOOT_TIME, NEW_TIME, OLD_TIME):
        return a.kind == b.kind
    if not INIT_PROCESS <= a.kind <= DEAD_PROCESS:
        return False
    return a.id == b.id if a.id and b.id else a.line == b.line


def put(path: str, record: Record, patience: float = LOCK_PATIENCE) -> None:
    """Write the record over the one whose place it takes, or after the last.  Raises OSError; never makes the file.

    *patience* is how many seconds to wait for the lock before doing without it.
    """
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _lock(fd, patience)
        data = _read_all(fd)
        end = len(data) - len(data) % SIZE
        for offset in range(0, end, SIZE):
            if _same_slot(unpack(data, offset), record):
                end = offset
                break
        os.pwrite(fd, record.pack(), end)
    finally:
        os.close(fd)


def append(path: str, record: Record, patience: float = LOCK_PATIENCE) -> None:
    """Add the record to the end of a wtmp file, after cutting off a torn one.  Raises OSError; never makes the file.

    *patience* is how many seconds to wait for the lock before doing without it; with 0 a locked file is left alone.
    """
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not _lock(fd, patience) and not patience:
            return
        size = os.fstat(fd).st_size
        end = size - size % SIZE
        if end != size:
            os.ftruncate(fd, end)
        if os.pwrite(fd, record.pack(), end) != SIZE:
            os.ftruncate(fd, end)
    finally:
        os.close(fd)


def _append_quietly(path: str, record: Record, patience: float) -> None:
    try:
        append(path, record, patience)
    except OSError:
        pass


class Holders:
    """Which processes hold a terminal, for one who asks at the end of every process: mostly one stat(2) tells."""

    __slots__ = ("_path", "_pids", "_seen")

    def __init__(self, path: str = UTMP) -> None:
        self._path = path
        self._pids: frozenset[int] = frozenset()
        #: Time and size of the file that the pids are from.
        self._seen = (0, -1)

    def __contains__(self, pid: int) -> bool:
        try:
            status = os.stat(self._path)
            if (status.st_mtime_ns, status.st_size) != self._seen:
                self._read()
                # A file that was written just now may be so once more without looking any newer.
                fresh = time.time_ns() - status.st_mtime_ns < 1_000_000_000
                self._seen = (0, -1) if fresh else (status.st_mtime_ns, status.st_size)
        except OSError:
            return False
        return pid in self._pids

    def _read(self) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = _read_all(fd)
        finally:
            os.close(fd)
        found = [_KIND_AND_PID.unpack_from(data, offset) for offset in range(0, len(data) - SIZE + 1, SIZE)]
        self._pids = frozenset(pid for kind, pid in found if INIT_PROCESS <= kind <= USER_PROCESS)


def mark_dead(pid: int, utmp: str = UTMP) -> Record | None:
    """Note that process *pid*, which has ended, holds no terminal any more; the record for wtmp if it held one.

    Fit for PID 1: a file that is missing, damaged or locked by someone else is left alone.  `append_dead` is not, for
    wtmp is on a disk.
    """
    try:
        fd = os.open(utmp, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = _read_all(fd)
        if struct.pack("=i", pid) not in data or not _lock(fd, 0):
            return None
        for offset in range(0, len(data) - SIZE + 1, SIZE):
            record = unpack(data, offset)
            if record.pid == pid and INIT_PROCESS <= record.kind <= USER_PROCESS:
                break
        else:
            return None
        record.kind = DEAD_PROCESS
        record.user = record.host = b""
        record.seconds = record.microseconds = 0
        os.pwrite(fd, record.pack(), offset)
        record.seconds, record.microseconds = divmod(time.time_ns() // 1000, _MICROSECONDS)
        return record
    except OSError:
        return None
    finally:
        os.close(fd)


def append_dead(record: Record, wtmp: str = WTMP) -> None:
    """Add what `mark_dead` gave to the history; a file that is missing or locked by someone else is left alone."""
    _append_quietly(wtmp, record, 0)


def _read_all(fd: int) -> bytes:
    return os.pread(fd, READ_LIMIT, 0)


class _Left:
    """What is left of *patience* seconds; of a patience that has run out still the least that is one."""

    __slots__ = ("_deadline", "_least")

    def __init__(self, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._least = min(patience, 0.001)

    def __call__(self) -> float:
        return max(self._least, self._deadline - time.monotonic())


def _lock(fd: int, patience: float) -> bool:
    """Take the file's write lock, trying for *patience* seconds; whether no other writer has it.

    Where only readers have one, ours is one for reading too, and keeps writers out.
    """
    deadline = time.monotonic() + patience
    while True:
        for kind in (fcntl.LOCK_EX, fcntl.LOCK_SH):
            try:
                fcntl.lockf(fd, kind | fcntl.LOCK_NB)
                return True
            except OSError:
                pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
