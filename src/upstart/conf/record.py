"""Looking for jobs without touching the disk: a record that another process made of it.

What is always true here: who knew the same before does the same when it is given the same again.  `Recorder` does what
is asked for and keeps what came of it, `Replay` gives that without touching anything.  A record is a sequence; each
entry says what it is of, and one that is not asked for in its turn shows that the two do not know the same: `Lost`.

A `Recorder` tells before each operation which path it is at, and does none on paths that are known not to answer, nor
below them: they fail with ETIMEDOUT, which says nothing about what is there (`files.is_passing`).
"""

from __future__ import annotations

import errno
import time

from upstart.conf.disk import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from upstart.conf.disk import Entry, Status

    #: Operation, path, error number (0: none), and what it gave or the error's text.
    Result: TypeAlias = "tuple[str, str, int, Any]"

#: Calls of read(2) after which more events are for another time, for whoever makes them may do so for ever.
_READS = 64
#: Seconds after which an operation is told to have come back, whatever there is to tell.
_SLOW = 1.0
#: Bytes that an entry of a record takes beside its path and what it gave, about.
_ENTRY = 48


class Recorder:
    """The disk, with a record of what it gave.

    ``note`` (path) is called before each operation, and with "" after it; ``send`` (steps, results, last) gets the
    record in pieces of some ``piece`` bytes, with how many steps were done since the last.  ``left_out`` are the paths
    that do not answer.
    """

    __slots__ = ("_left_out", "_note", "_piece", "_reads", "_results", "_send", "_size", "_steps")

    def __init__(
        self,
        note: Callable[[str], object],
        send: Callable[[int, list[Result], bool], object],
        piece: int,
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        self._note = note
        self._send = send
        self._piece = piece
        self._left_out = left_out
        self._reads = 0
        self._results: list[Result] = []
        self._size = 0
        self._steps = 0

    def step(self) -> None:
        """What is read in one piece has been: the record may be sent as far as it is."""
        self._steps += 1
        if self._size >= self._piece:
            self.flush(False)

    def flush(self, last: bool) -> None:
        """Send what there is of the record."""
        steps, results = self._steps, self._results
        self._steps, self._size, self._results = 0, 0, []
        self._send(steps, results, last)

    def _keep(self, operation: str, path: str, number: int, value: Any, size: int = 0) -> None:
        self._results.append((operation, path, number, value))
        self._size += _ENTRY + len(path) + size

    def _do(self, operation: str, path: str, function: Callable[..., Any], *arguments: Any) -> Any:
        began = time.monotonic()
        try:
            if self._left_out and any(path == each or path.startswith(each + "/") for each in self._left_out):
                raise OSError(errno.ETIMEDOUT, "Does not answer")
            self._note(path)
            value = function(path, *arguments)
        except OSError as error:
            self._keep(operation, path, error.errno or errno.EIO, error.strerror)
            raise
        finally:
            self._note("")
            if time.monotonic() - began >= _SLOW:
                self.flush(False)
        return value

    def scandir(self, path: str) -> list[Entry]:
        """As said at `Disk`."""
        found: list[Entry] = self._do("scandir", path, DIRECT.scandir)
        self._keep("scandir", path, 0, found, sum(len(name) + 16 for name, _ in found))
        return found

    def stat(self, path: str, follow: bool) -> Status:
        """As said at `Disk`."""
        status: Status = self._do("stat", path, DIRECT.stat, follow)
        self._keep("stat", path, 0, status)
        return status

    def read_file(self, path: str) -> tuple[bytes, int | None]:
        """As said at `Disk`."""
        read: tuple[bytes, int | None] = self._do("read_file", path, DIRECT.read_file)
        self._keep("read_file", path, 0, read, len(read[0]))
        return read

    def add_watch(self, path: str, fd: int, mask: int) -> int:
        """As said at `Disk`."""
        watch: int = self._do("add_watch", path, DIRECT.add_watch, fd, mask)
        self._keep("add_watch", path, 0, watch)
        return watch

    def remove_watch(self, fd: int, watch: int) -> None:
        """As said at `Disk`."""
        DIRECT.remove_watch(fd, watch)

    def read_events(self, fd: int) -> bytes:
        """As said at `Disk`."""
        self._reads += 1
        data = DIRECT.read_events(fd) if self._reads <= _READS else b""
        self._keep("read_events", "", 0, data, len(data))
        return data


class Lost(Exception):
    """There is no record of what is asked for."""


class Replay:
    """What a `Recorder` kept; nothing is touched."""

    __slots__ = ("_at", "_results")

    def __init__(self) -> None:
        self._results: list[Result] = []
        self._at = 0

    def feed(self, results: list[Result]) -> None:
        """Take the next piece of a record; what is left of the last comes before it."""
        self._results, self._at = self._results[self._at :] + results, 0

    def finish(self) -> None:
        """See that all was asked for.  Raises `Lost`."""
        if self._at != len(self._results):
            raise Lost(f"{self._results[self._at][:2]} was not asked for")

    def drop(self) -> None:
        """Forget what is left."""
        self._results, self._at = [], 0

    def _next(self, operation: str, path: str) -> Any:
        if self._at >= len(self._results):
            raise Lost(f"no record of {operation} {path}")
        of, at, number, value = self._results[self._at]
        if of != operation or at != path:
            raise Lost(f"record of {of} {at} in place of {operation} {path}")
        self._at += 1
        if number:
            raise OSError(number, value)
        return value

    def scandir(self, path: str) -> list[Entry]:
        """As said at `Disk`."""
        found: list[Entry] = self._next("scandir", path)
        return found

    def stat(self, path: str, follow: bool) -> Status:
        """As said at `Disk`."""
        status: Status = self._next("stat", path)
        return status

    def read_file(self, path: str) -> tuple[bytes, int | None]:
        """As said at `Disk`."""
        read: tuple[bytes, int | None] = self._next("read_file", path)
        return read

    def add_watch(self, path: str, fd: int, mask: int) -> int:
        """As said at `Disk`."""
        watch: int = self._next("add_watch", path)
        return watch

    def remove_watch(self, fd: int, watch: int) -> None:
        """Nothing: it was done when this was recorded."""

    def read_events(self, fd: int) -> bytes:
        """As said at `Disk`."""
        data: bytes = self._next("read_events", "")
        return data
