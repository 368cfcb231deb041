"""A child that reads configuration, so that no file system can hold init; and what init hears from it.

What is always true here: the child knows what init knew at the fork, does what init will do (`conf.record`), and sends
what the disk gave it; init takes that in pieces as it comes to them, never waits, and holds one piece at a time.
Before each operation the child notes, where init sees it, which path it is at.  What keeps it from going on it says in
place of the next piece.
"""

from __future__ import annotations

import marshal
import os
import select
import time
from struct import Struct

from upstart.base.closing import close
from upstart.base.loop import READ
from upstart.conf.record import Lost, Recorder
from upstart.process import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from upstart.base.loop import Loop
    from upstart.conf.record import Result

    #: How many steps the results are enough for, these, and whether no more come.
    Piece = tuple[int, list[Result], bool]
else:
    import _signal as signal

NAME = "upstart-reader"
#: Bytes after which a record is sent as far as it is; one step may add what two files and their overrides hold.
PIECE = 48 << 10
#: Bytes that no piece has; where one says it had, its child is out of its mind.
LARGEST = 64 << 20
#: Bytes that are read from the pipe at a time.
_CHUNK = 64 << 10

_LENGTH = Struct("=I")
#: A count, which grows with each note, and bytes of the path that follows.
_NOTE = Struct("=QH")
_LONGEST_PATH = 4096


class Reader:
    """A child that takes the steps of ``work`` (recorder); ``told`` () is called when there is something to `take`.

    The child has the descriptor ``shared``, unless that is -1.  Raises OSError where there can be none.
    """

    __slots__ = ("_at", "_buffer", "_listens", "_loop", "_notes", "_pid", "_pipe", "_since", "_watch", "told")

    def __init__(
        self,
        loop: Loop,
        shared: int,
        work: Callable[[Recorder], Iterator[object]],
        left_out: frozenset[str],
        told: Callable[[], object],
    ) -> None:
        self._loop = loop
        self.told = told
        self._buffer = bytearray()
        #: What it was at when we last looked, and since when.
        self._at = 0
        self._since = time.monotonic()
        self._listens = True
        self._notes = self._pipe = self._watch = -1
        write = -1
        try:
            self._notes = os.memfd_create("init-reader-note")
            self._pipe, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._pipe, False)
            self._watch = loop.add_fd(self._pipe, READ, lambda events: self.told())
            notes, end = self._notes, write
            keep = (notes, end) if shared < 0 else (notes, end, shared)
            self._pid = helper.start(NAME, keep, lambda: _serve(notes, end, work, left_out))
        except BaseException:
            self.close()
            raise
        finally:
            close(write)

    def close(self) -> None:
        """Hear no more of it; it ends as soon as it has something to say."""
        self._loop.remove(self._watch)
        fds = self._pipe, self._notes
        self._watch = self._pipe = self._notes = -1
        for fd in fds:
            close(fd)

    def listen(self, listens: bool) -> None:
        """Call ``told`` when there is more to take, or not."""
        if listens != self._listens:
            self._loop.modify(self._watch, READ if listens else 0)
            self._listens = listens

    def wait(self, seconds: float) -> None:
        """Wait until there may be something to take."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.poll(seconds * 1000)

    def take(self) -> Piece | None:
        """The next piece of the record, if it is there.  Raises `Lost` where there will be none."""
        buffer = self._buffer
        while True:
            if len(buffer) >= _LENGTH.size:
                end = _LENGTH.unpack_from(buffer)[0] + _LENGTH.size
                if end > LARGEST:
                    raise Lost("a piece of a record that is too long")
                if len(buffer) >= end:
                    break
            try:
                data = os.read(self._pipe, _CHUNK)
            except BlockingIOError:
                return None
            if not data:
                raise Lost("their reader has ended")
            buffer += data
        try:
            piece: Piece | str = marshal.loads(memoryview(buffer)[_LENGTH.size : end])
        except (EOFError, TypeError, ValueError) as error:
            raise Lost("a piece of a record that cannot be read") from error
        if isinstance(piece, str):
            raise Lost(piece)
        self._buffer = buffer[end:]
        return piece

    def held(self, now: float) -> tuple[float, str]:
        """For how many seconds it has been at one path, or at none, as far as we have seen, and which."""
        count, path = 0, ""
        data = os.pread(self._notes, _NOTE.size + _LONGEST_PATH, 0)
        if len(data) >= _NOTE.size:
            count, length = _NOTE.unpack_from(data)
            path = os.fsdecode(data[_NOTE.size : _NOTE.size + length])
        if count != self._at or not self._listens:
            self._at, self._since = count, now
        return now - self._since, path

    def kill(self) -> None:
        """End it; who is held by a file system may not be ended by that."""
        try:
            os.kill(self._pid, signal.SIGKILL)
        except OSError:
            pass


def _serve(notes: int, pipe: int, work: Callable[[Recorder], Iterator[object]], left_out: frozenset[str]) -> None:
    """In the child: take the steps, and send what comes of them."""
    count = 0

    def note(path: str) -> None:
        nonlocal count
        count += 1
        name = os.fsencode(path)[:_LONGEST_PATH]
        try:
            os.pwrite(notes, _NOTE.pack(count, len(name)) + name, 0)
        except OSError:
            pass  # no file may be so long: then nobody is told what does not answer

    def send(piece: Piece | str) -> None:
        data = marshal.dumps(piece)
        rest = memoryview(_LENGTH.pack(len(data)) + data)
        while rest:
            rest = rest[os.write(pipe, rest) :]

    recorder = Recorder(note, lambda steps, results, last: send((steps, results, last)), PIECE, left_out)
    try:
        for _ in work(recorder):
            recorder.step()
        recorder.flush(True)
    except Exception as error:
        send(f"{type(error).__name__}: {error}")
