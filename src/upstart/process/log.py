"""The output of jobs: read from their ptys or pipes, kept until it is in the log, within bounds.

What is always true here: no file is touched.  A `LogFile` is what is still to be appended to one path, whichever
processes it comes from, in the order in which it was read; a writer (`writer`) appends a piece of it at a time, and
only what is known to be in the file is forgotten.  What cannot be written is kept, the oldest first, within a bound for
each log and one for all of them; what goes beyond is counted and a line in the log says so.  Output is always read, so
that no job ever hangs on a full pipe, but while a writer that works is behind; and init warns once a log, not once a
line.  Beside what is to be written stands when it was read, within a bound as well (`base.logtimes` has what for).
"""

from __future__ import annotations

import errno
import os

from upstart.base.closing import close
from upstart.base.logtimes import Marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from upstart.base.logtimes import Mark

    class Writer(Protocol):
        """Whoever appends to files."""

        def submit(self, file: LogFile) -> None:
            """Append `LogFile.piece`, which came when `LogFile.marks` tells.

            Say so by `LogFile.written`, now or later; or say `LogFile.hangs`.
            """


#: Bytes: kept for one log, for all logs together, read in one go, and at most after the process has ended.
KEPT = 256 * 1024
KEPT_IN_ALL = 8 * 1024 * 1024
READ = 65536
LAST_READ = 1024 * 1024
#: Bytes that are given to a writer at a time, and read in one go while all logs together are much behind.
PIECE = 32768
SMALL_READ = 4096
#: Logs of ended processes that wait to be written.
UNFLUSHED = 4096


def log_path(logdir: str, job: str, instance: str, chroot: str | None) -> str:
    """Path of the log of a job instance; slashes of the names become underscores.

    ``chroot`` is the root of the job's session: its jobs log below it.
    """
    name = job if not instance else f"{job}-{instance}"
    return f"{chroot or ''}{logdir}/{name.replace('/', '_')}.log"


class LogStore:
    """All logs of one init: their common bound, and what is not written yet.  ``warn`` gets a text for init's log."""

    __slots__ = ("files", "kept", "unflushed", "warn", "writer")

    def __init__(self, warn: Callable[[str], None], writer: Writer) -> None:
        self.warn = warn
        self.writer = writer
        self.kept = 0
        #: By path: those that a process writes to or that still hold something, and of these the ones of no process.
        self.files: dict[str, LogFile] = {}
        self.unflushed: dict[str, LogFile] = {}

    def file(self, path: str, root: str | None = None) -> LogFile:
        """What is to be appended to ``path``; see `JobLog` for ``root``."""
        file = self.files.get(path)
        if file is None:
            file = self.files[path] = LogFile(self, path, root)
        return file

    def flush_all(self) -> bool:
        """Have written what the logs still hold (notify-disk-writeable); False if some of it has yet to be."""
        for file in list(self.files.values()):
            file.flush()
        return not any(file.holds for file in self.files.values())

    def dump(self) -> list[dict[str, object]]:
        """What is not known to be in its file, as plain values."""
        return [file.dump() for file in self.files.values() if file.holds]

    def load(self, saved: list[dict[str, object]]) -> None:
        """Take over what `dump` gave.  Raises KeyError or TypeError."""
        for state in saved:
            root = state.get("root")
            file = self.file(str(state["path"]), None if root is None else str(root))
            file.load(state)
            if not file.processes:
                self.unflushed[file.path] = file


class LogFile:
    """What is to be appended to the file ``path``; ``root`` as for `JobLog`.

    ``sent`` bytes of it are with the writer.  ``processes`` is how many log here.
    """

    __slots__ = (
        "_again", "_data", "_dropped", "_failing", "_hangs", "_marks", "_store", "_waiting", "_warned", "path",
        "processes", "root", "sent",
    )  # fmt: skip

    def __init__(self, store: LogStore, path: str, root: str | None) -> None:
        self._store = store
        self.path = path
        self.root = root
        self.processes = 0
        self.sent = 0
        self._data = bytearray()
        self._marks = Marks()
        self._dropped = 0
        self._failing = False
        #: There has been more to write since the writer got its piece: it is to try once more if that one fails.
        self._again = False
        self._hangs = False
        self._warned = False
        self._waiting: list[Callable[[], object]] = []

    @property
    def holds(self) -> bool:
        """Whether there is anything that is not known to be in the file."""
        return bool(self._data or self._dropped)

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for: all is written, or cannot be written now."""
        return not self.holds or self._hangs or (self._failing and not self.sent)

    @property
    def behind(self) -> bool:
        """Whether a writer that works has so much to write yet that no more should be read."""
        if not self.sent or self._failing or self._hangs:
            return False
        return len(self._data) >= PIECE or self._store.kept >= KEPT_IN_ALL // 2

    def when_answered(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, when the writer has next said something of this file."""
        self._waiting.append(callback)

    def append(self, output: bytes) -> None:
        """Take more to write."""
        self.flush()
        room = min(KEPT - len(self._data), KEPT_IN_ALL - self._store.kept)
        taken = output[: max(room, 0)] if not self._dropped else b""
        if taken:
            self._marks.add(len(self._data))
        self._data += taken
        self._store.kept += len(taken)
        self._dropped += len(output) - len(taken)
        self.flush()

    def flush(self) -> None:
        """Have a piece written, now or after the one that is being written."""
        if self.sent:
            self._again = True
        if self.sent or not self.holds:
            return
        self._again = False
        if not self._data:
            self._marks.add(0)
            self._data += b"(%d bytes of output are missing here)\n" % self._dropped
            self._store.kept += len(self._data)
            self._dropped = 0
        self.sent = min(len(self._data), PIECE)
        self._store.writer.submit(self)

    def piece(self) -> bytes:
        """What is to be written now."""
        return bytes(self._data[: self.sent])

    def marks(self) -> list[Mark]:
        """When that came."""
        return self._marks.before(self.sent)

    def written(self, count: int, error: int) -> None:
        """The writer has appended ``count`` bytes of the piece, and stopped for ``error`` if that is not 0."""
        self.sent = 0
        self._hangs = False
        # There is nothing left of a file that was forgotten meanwhile.
        self._store.kept -= min(count, len(self._data))
        del self._data[:count]
        self._marks.drop(count, len(self._data))
        self._failing = bool(error) or not count
        if error:
            self._complain(error)
        if self._again or not self._failing:
            self.flush()
        self._wake()
        if not self.holds:
            self.forget()

    def hangs(self, say: bool = True) -> None:
        """The writer cannot go on, and it is not known when it can: because of the file, if that is to be said."""
        if not self._hangs:
            self._hangs = True
            if say:
                self._store.warn(f"{self.path}: Log file does not answer")
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()

    def _complain(self, error: int) -> None:
        if not self._warned and error not in (errno.EROFS, errno.ENOENT):
            self._warned = True
            self._store.warn(f"Failed to write to log file {self.path}: {os.strerror(error)}")

    def forget(self) -> None:
        """Keep nothing of a file that has no process any more: its output is written, or there is too much."""
        if self.processes:
            return
        self._store.kept -= len(self._data)
        self._data.clear()
        self._marks = Marks()
        self._dropped = 0
        self._store.files.pop(self.path, None)
        self._store.unflushed.pop(self.path, None)

    def dump(self) -> dict[str, object]:
        """As plain values."""
        data = self._data.decode("latin-1")
        marks = self._marks.dump()
        return {
            "path": self.path, "root": self.root, "fd": -1, "data": data, "dropped": self._dropped, "marks": marks,
        }  # fmt: skip

    def load(self, state: dict[str, object]) -> None:
        """Take over what `dump` gave; TypeError if that is none."""
        data, dropped = state.get("data", ""), state.get("dropped", 0)
        if not isinstance(data, str) or not isinstance(dropped, int):
            raise TypeError("log")
        self._marks.load(state.get("marks", []), len(self._data))
        self._data += data.encode("latin-1")
        self._dropped += dropped
        self._store.kept += len(data)


class JobLog:
    """The log of one process: reads ``fd`` (pty master or pipe, non-blocking, owned from now on) for ``path``.

    ``root`` is the root directory of a chroot session, which ``path`` is below: no link in it can lead out.
    """

    __slots__ = ("_ended", "_store", "fd", "file")

    def __init__(self, store: LogStore, path: str, fd: int, root: str | None = None) -> None:
        self._store = store
        self.file = store.file(path, root)
        self.file.processes += 1
        self._ended = False
        store.unflushed.pop(path, None)
        self.fd = fd

    def on_readable(self) -> bool:
        """Take what the descriptor has; False when it is at its end: stop watching it, and `close` it then.

        Never the other way round: a child between its fork and its exec still has it open, and what is closed here
        while it is watched would be reported for as long as that child takes.
        """
        return self._take(READ if self._store.kept < KEPT_IN_ALL // 2 else SMALL_READ)

    def take_rest(self) -> bool:
        """The process has ended: take the last of its output; False when the descriptor is at its end."""
        return self.fd >= 0 and self._take(LAST_READ)

    def _take(self, limit: int) -> bool:
        parts: list[bytes] = []
        size = 0
        more = True
        while size < limit:
            try:
                part = os.read(self.fd, min(READ, limit))
            except BlockingIOError:
                break
            except InterruptedError:
                continue
            except OSError:
                # EIO: no process has the slave side of the pty open any more.
                more = False
                break
            if not part:
                more = False
                break
            parts.append(part)
            size += len(part)
        if parts:
            self.file.append(parts[0] if len(parts) == 1 else b"".join(parts))
        return more

    def ended(self) -> None:
        """The process is gone: take the last of its output, and leave what is not written yet to the store.

        The descriptor is closed even if the process has left others that hold the other end.
        """
        self.take_rest()
        self._leave()

    def discard(self) -> None:
        """Forget the log: its process could not be started."""
        self._leave()

    def _leave(self) -> None:
        self.close()
        if self._ended:
            return
        self._ended = True
        file, unflushed = self.file, self._store.unflushed
        file.processes -= 1
        if file.processes:
            return
        if file.holds and len(unflushed) < UNFLUSHED:
            unflushed[file.path] = file
        else:
            file.forget()

    def close(self) -> None:
        """Close the descriptor, keeping what has been read."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            close(fd)

    def dump(self) -> dict[str, object]:
        """As plain values; what has been read is in the store's."""
        return {"path": self.file.path, "root": self.file.root, "fd": self.fd}

    @classmethod
    def load(cls, store: LogStore, state: dict[str, object]) -> JobLog:
        """From what `dump` gave.  Raises KeyError, TypeError or OSError (the descriptor is not open)."""
        fd, root = state["fd"], state.get("root")
        if not isinstance(fd, int):
            raise TypeError("log")
        if fd >= 0:
            os.set_inheritable(fd, False)
        log = cls(store, str(state["path"]), fd, None if root is None else str(root))
        # An earlier build has here what it had read.
        log.file.load(state)
        return log
