"""The program that writes a record: init tells it what comes in, and it waits for the disk.

What is always true here: values are replaced before anything is written, unless the record is to have them, so that a
file which somebody finds half written has no secret either.  What is written are whole lines, and never more bytes than
were allowed.  Whatever ends the record, its last line says so, if there is any way to write it.

What init says to it is in `recordtalk`.
"""

from __future__ import annotations

import _socket
import errno
import json
import os
import select
import stat
import sys
import time
from array import array

from upstart.base.closing import close
from upstart.base.title import show_as
from upstart.daemon.recordtalk import LENGTH, NAME, VERSION
from upstart.engine.cleaning import Cleaner
from upstart.engine.record import Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, NoReturn
else:
    import _signal as signal

#: Bytes of a record that are kept for its last line.
RESERVE = 512
#: Bytes that are kept while there is no file yet, and seconds between two tries to make it.
KEPT = 16 << 20
AGAIN = 0.5
#: What a boot begins with: the directory is yet to be mounted, or to be writable.
NOT_YET = (errno.EROFS, errno.ENOENT, errno.EACCES)
#: Bytes that are read at once.
CHUNK = 1 << 18

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
MODE = 0o600

FULL = "it has reached its limit"
GONE = "init has ended, or could not wait for the file"
TOLD = "the program that writes it was told to end"


class _Ended(Exception):
    """The record has ended; ``str()`` says why."""


def open_new(path: str) -> int:
    """Make the file of a record that init itself is to keep; one that is there becomes ``PATH.old``.

    Raises OSError.
    """
    try:
        return os.open(path, FLAGS, MODE)
    except FileExistsError:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise
        os.rename(path, path + ".old")
        return os.open(path, FLAGS, MODE)


class Sink:
    """The file of a record: ``file`` is its descriptor, or -1 where ``path`` is yet to be made; ``limit`` bytes."""

    def __init__(self, file: int, path: str, limit: int) -> None:
        self._file = file
        self._path = path
        self._left = limit - RESERVE
        self._waiting: list[bytes] = []
        self._kept = 0
        self._next = 0.0

    def patience(self) -> float:
        """Seconds until it wants to be looked at again; negative for never."""
        return -1.0 if self._file >= 0 else max(0.0, self._next - time.monotonic())

    def look(self) -> None:
        """Try to make the file, if there is none yet.  Raises `_Ended`."""
        if self._file >= 0 or time.monotonic() < self._next:
            return
        try:
            self._file = open_new(self._path)
        except OSError as error:
            if error.errno not in NOT_YET:
                raise _Ended(f"{self._path}: {error.strerror}") from None
            self._next = time.monotonic() + AGAIN
            return
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._write(data)

    def add(self, text: str) -> None:
        """Write whole lines.  Raises `_Ended`."""
        data = text.encode("ascii")
        if len(data) > self._left:
            raise _Ended(FULL)
        self._left -= len(data)
        self.look()
        if self._file >= 0:
            self._write(data)
            return
        self._kept += len(data)
        if self._kept > KEPT:
            raise _Ended(f"{self._path}: there was no place to make it for too long")
        self._waiting.append(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            raise _Ended(f"{error.strerror}") from None

    def finish(self, line: str) -> None:
        """Write the last line; what cannot be done is left."""
        self._next = 0.0
        try:
            self.look()
            if self._file >= 0:
                self._write(line.encode("ascii"))
                os.fsync(self._file)
        except (_Ended, OSError):
            pass


class Server:
    """Writes the record of one init, which speaks by ``socket``."""

    def __init__(self, socket: _socket.socket, sink: Sink, values: bool) -> None:
        self._socket = socket
        self._sink = sink
        phrases = [os.strerror(number) for number in errno.errorcode]
        self._recording = Recording(None if values else Cleaner(os.urandom(32), [*phrases, *_steps()]))
        self._data = b""
        self._pipes: list[int] = []
        self._at = 0.0
        self._working = False
        self._told = False

    def serve(self) -> str:
        """Write what comes until the end; gives why that was."""
        try:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, self._told_to_end)
            while True:
                self._receive()
        except _Ended as ended:
            why = str(ended)
        self._working = True
        self._sink.finish(self._recording.end(self._at, why))
        return why

    def _told_to_end(self, _number: int, _frame: object) -> None:
        if not self._working:
            raise _Ended(TOLD)
        # What is being written is written to its end.
        self._told = True

    def _receive(self) -> None:
        if self._told:
            raise _Ended(TOLD)
        ready = select.poll()
        ready.register(self._socket.fileno(), select.POLLIN)
        patience = self._sink.patience()
        found = ready.poll(patience * 1000 if patience >= 0 else None)
        self._working = True
        self._sink.look()
        if found:
            data, ancillary, _, _ = self._socket.recvmsg(CHUNK, _socket.CMSG_SPACE(64), _socket.MSG_CMSG_CLOEXEC)
            for level, kind, payload in ancillary:
                if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                    fds = array("i")
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                    self._pipes += fds
            if not data:
                raise _Ended(GONE)
            *lines, self._data = (self._data + data).split(b"\n")
            for line in lines:
                self._add(json.loads(line))
        self._working = False

    def _add(self, entries: list[list[Any]]) -> None:
        before = self._recording.lines
        text = "".join(map(self._text, entries))
        try:
            self._sink.add(text)
        except _Ended:
            # What is not there has no number.
            self._recording.lines = before
            raise

    def _text(self, entry: list[Any]) -> str:
        """What a message of init's is in the record."""
        kind, self._at, *rest = entry
        if kind == "in":
            return self._recording.given(self._at, *rest)
        if kind == "begin":
            return self._recording.begin(rest[0], self._at, time.time())
        if kind == "end":
            raise _Ended(rest[0])
        snapshot = self._snapshot()
        if snapshot is None:
            return self._recording.note("A state of the engine could not be written down")
        if kind == "from":
            return self._recording.snapshot(self._at, rest[0], snapshot)
        return self._recording.check(self._at, snapshot)

    def _snapshot(self) -> dict[str, Any] | None:
        """What the child that came with a message tells; None where it has ended before it could."""
        pipe = self._pipes.pop(0)
        try:
            length = int.from_bytes(_read(pipe, LENGTH), "little")
            data = _read(pipe, length)
        finally:
            close(pipe)
        if not length or len(data) < length:
            return None
        found: dict[str, Any] = json.loads(data)
        return found


def _read(fd: int, count: int) -> bytes:
    parts = []
    while count > 0 and (part := os.read(fd, min(count, 1 << 20))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _steps() -> list[str]:
    """What init's own reasons begin with."""
    from upstart.process.errors import TEXTS

    return [text.partition(":")[0] for text in TEXTS.values()]


def run(socket: _socket.socket, file: int, path: str, values: bool, limit: int) -> None:
    """Write a record, and tell init why it has ended."""
    why = Server(socket, Sink(file, path, limit), values).serve()
    try:
        socket.sendall(why.encode("utf-8", "replace") + b"\n")
    except OSError:
        pass


def main() -> NoReturn:
    """The small program."""
    version, socket, file, values, limit = map(int, sys.argv[1:6])
    if version == VERSION:
        show_as(NAME, NAME)
        run(_socket.socket(fileno=socket), file, sys.argv[6], bool(values), limit)
    sys.exit(0)
