"""The record of what comes into the engine, as init keeps it: `Recorder`.

What is always true here: init never waits for the file, which a program beside it writes (`recordserver`).  What that
has not taken yet is kept here, within a bound; beyond that the record ends, and the log says so.  The whole engine, by
which a record begins, is written down by a child that has it as it was at that moment.  While there is no record,
nothing of this is on an event's way; and whatever fails here, the engine is told what it was to be told.

A record goes on across a re-exec: the program that writes it, and the socket to it, stay.  An input that an exception
has cut short leads a replay to another state: the record then goes on from the state that has come of it.
"""

from __future__ import annotations

import _socket
import os
import time

from upstart.base import jsontext
from upstart.base.closing import close, close_given
from upstart.base.loop import READ, WRITE
from upstart.base.priority import INFO, WARN
from upstart.daemon.recordtalk import LENGTH, NAME, execute
from upstart.engine import snapshot
from upstart.engine.journal import observe
from upstart.process import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.engine.engine import Engine
    from upstart.engine.journal import Input, Journal
else:
    # The public module makes named tuples and loads what those need.
    from _collections import deque

#: Bytes of a record, if nothing else is said; and at least.
LIMIT = 64 << 20
LEAST = 64 << 10
#: Bytes that wait for the program that writes, and inputs that are gathered before they are written down.
KEPT = 8 << 20
GATHERED = 500
#: Inputs, and seconds, after which the state is noted, for a replay to compare.
CHECK_INPUTS = 5000
CHECK_SECONDS = 30.0
#: Seconds that the program gets to end the record, when it is asked to.
PATIENCE = 10.0
_BEHIND = "the program that writes it does not keep up"
#: Why a record goes on from another state than its inputs have led to.
FAULT = "fault"
REEXEC = "re-exec"

_text = jsontext.encoder(",", ":")


class NotPossible(Exception):
    """What was asked for cannot be done; ``str()`` says why."""


class Recorder:
    """The record of one engine, if there is one; ``program`` is init's version, ``log`` (priority, text) its log."""

    __slots__ = (
        "_checked", "_entries", "_engine", "_inputs", "_journal", "_kept", "_log", "_loop", "_lost", "_ours",
        "_program", "_queue", "_stopping", "_timer", "_watch", "_writing", "file", "on",
    )  # fmt: skip

    def __init__(self, engine: Engine, loop: Loop, program: str, log: Callable[[int, str], object]) -> None:
        self._engine = engine
        self._loop = loop
        self._program = program
        self._log = log
        #: Whether inputs are recorded, and to which file, as whoever asked for it calls it.
        self.on = False
        self.file = ""
        self._journal: Journal | None = None
        #: What was told since it was last written down, and whether something of it could not even be kept.
        self._entries: list[list[Any]] = []
        self._lost = False
        #: What the socket has not taken, each with a descriptor that goes along, or -1.
        self._queue: deque[tuple[bytes, int]] = deque()
        self._kept = 0
        self._ours: _socket.socket | None = None
        self._watch = self._timer = -1
        self._writing = False
        self._inputs = 0
        self._checked = 0.0
        #: Who waits for the end of the record.
        self._stopping: list[Callable[[str], object]] | None = None

    # Beginning and ending

    def begin(self, file: int, path: str, values: bool = False, limit: int = 0) -> None:
        """Record from now on to the open ``file``, which is closed here, or to ``path``, which is made, where it is -1.

        ``values``: with all values.  ``limit`` is in bytes, 0 for `LIMIT`.  Raises `NotPossible`, or OSError.
        """
        try:
            if self._ours is not None:
                raise NotPossible(f"Already recording to {self.file}")
            if limit and limit < LEAST:
                raise NotPossible(f"A record takes {LEAST} bytes at least")
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
            self._ours, theirs = _socket.socket(fileno=ours.detach()), _socket.socket(fileno=theirs.detach())
            bytes_at_most = limit or LIMIT

            def work() -> None:
                execute(theirs.fileno(), file, path, values, bytes_at_most)

            try:
                helper.start(NAME, (theirs.fileno(), *((file,) if file >= 0 else ())), work)
                self._watch_ours()
            except BaseException:
                self._close()
                raise
            finally:
                theirs.close()
        finally:
            if file >= 0:
                close_given(file)
        self.file = path
        self._entries = [["begin", time.monotonic(), self._program]]
        self._observe("begin")
        self._log(INFO, f"Recording to {path}")

    def _watch_ours(self) -> None:
        assert self._ours is not None
        self._ours.setblocking(False)
        self._watch = self._loop.add_fd(self._ours.fileno(), READ, self._ready)
        self._writing = False

    def _observe(self, why: str) -> None:
        """Have the state written down, and all that comes after it."""
        try:
            self._snapshot(["from", time.monotonic(), why])
        except BaseException:
            self._close()
            raise
        self._journal = observe(self._engine, self._note)
        self.on = True
        self._inputs, self._checked = 0, time.monotonic()

    def stop(self, told: Callable[[str], object]) -> None:
        """End the record; ``told`` gets what went wrong, or "", once it is whole.  Raises `NotPossible`."""
        if self._ours is None:
            raise NotPossible("There is no record")
        if self._stopping is not None:
            self._stopping.append(told)
            return
        self._wait_for_end(told)
        self._end_with("it was stopped")

    def _wait_for_end(self, *told: Callable[[str], object]) -> None:
        self._stopping = list(told)
        self._timer = self._loop.call_later(PATIENCE, lambda: self._ended(f"{self.file} does not answer"))

    def finish(self, seconds: float) -> None:
        """Init ends: have what there is written, for so long at most."""
        if self._ours is None:
            return
        self._end_with("init ended")
        deadline = time.monotonic() + seconds
        self._ours.setblocking(True)
        self._ours.settimeout(seconds)
        try:
            while self._queue and time.monotonic() < deadline:
                self._send()
            self._ours.recv(4096)
        except OSError:
            pass
        self._close()

    def _end_with(self, why: str) -> None:
        """Say that nothing follows, and in which state the engine is."""
        try:
            self._snapshot(["check", time.monotonic()])
        except OSError:
            pass  # it is good without
        self._unobserve()
        self._entries.append(["end", time.monotonic(), why])
        self._encode()
        self._send()

    def _unobserve(self) -> None:
        self.on = False
        if self._journal is not None:
            self._journal.end()
            self._journal = None

    def _ended(self, why: str = "") -> None:
        """The record has ended: because it was to, where ``why`` is empty."""
        stopping, self._stopping = self._stopping, None
        self._loop.remove(self._timer)
        self._timer = -1
        if stopping is None:
            self._log(WARN, f"Recording to {self.file} has ended: {why}")
        self._close()
        for told in stopping or ():
            told(why)

    def _close(self) -> None:
        self._unobserve()
        self._loop.remove(self._watch)
        self._watch = -1
        for _, fd in self._queue:
            close(fd)
        self._queue.clear()
        self._entries = []
        self._kept = 0
        if self._ours is not None:
            self._ours.close()
            self._ours = None

    # What comes in

    def _note(self, given: Input) -> None:
        try:
            self._entries.append(["in", given.at, given.name, given.args])
            self._inputs += 1
            if len(self._entries) >= GATHERED:
                self._encode()
        except BaseException:
            # For want of memory, maybe: what is recorded goes on from the state that comes of it.
            self._lost = True

    def flush(self, calm: bool) -> None:
        """Once a turn: write down what has come; ``calm``: nothing is cut short."""
        try:
            if self._lost or (self._journal is not None and self._journal.torn):
                if not calm:
                    return
                self._lost = False
                if self._journal is not None:
                    self._journal.torn = False
                self._snapshot(["from", time.monotonic(), FAULT])
            elif self._inputs >= CHECK_INPUTS and time.monotonic() - self._checked >= CHECK_SECONDS:
                self._inputs, self._checked = 0, time.monotonic()
                self._snapshot(["check", time.monotonic()])
            self._encode()
            if self._queue and not self._writing:
                self._send()
        except Exception as error:
            self._ended(f"{type(error).__name__}: {error}")
            return
        if self._kept > KEPT:
            self._ended(_BEHIND)

    def _encode(self) -> None:
        if self._entries:
            entries, self._entries = self._entries, []
            self._put(_text(entries).encode() + b"\n", -1)

    def _put(self, data: bytes, fd: int) -> None:
        self._queue.append((data, fd))
        self._kept += len(data)

    def _snapshot(self, entry: list[Any]) -> None:
        """Have a child write the engine down as it is now; ``entry`` says what for.  Raises OSError."""
        self._encode()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            helper.start("upstart-state", (writer,), lambda: _write(writer, self._engine))
            self._put(_text([entry]).encode() + b"\n", reader)
        except BaseException:
            close(reader)
            raise
        finally:
            close(writer)

    # The socket

    def _send(self) -> None:
        ours = self._ours
        while self._queue and ours is not None:
            data, fd = self._queue[0]
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))] if fd >= 0 else []
            try:
                sent = ours.sendmsg([data], rights, _socket.MSG_NOSIGNAL)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # It has ended, and what it has said of that is yet to be read.
                break
            self._kept -= sent
            close(fd)
            if sent < len(data):
                self._queue[0] = (data[sent:], -1)
            else:
                self._queue.popleft()
        self._wait_for_room(bool(self._queue))

    def _wait_for_room(self, wanted: bool) -> None:
        if wanted != self._writing and self._watch >= 0:
            self._writing = wanted
            self._loop.modify(self._watch, READ | WRITE if wanted else READ)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._send()
        if self._ours is None or not events & ~WRITE:
            return
        try:
            try:
                said = self._ours.recv(4096)
            except ConnectionResetError:
                # It has not read all; what it has said comes after that.
                said = self._ours.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            said = b""
        text = said.decode("utf-8", "replace").strip()
        if self._stopping is not None and text == "it was stopped":
            self._ended()
        else:
            self._ended(text or "the program that writes it has ended")

    # Across a re-exec

    def dump(self) -> dict[str, Any] | None:
        """The record that is kept, if there is one."""
        if self._ours is None:
            return None
        self._encode()
        queue = [[data.decode("latin-1"), fd] for data, fd in self._queue]
        return {"file": self.file, "socket": self._ours.fileno(), "queue": queue, "stopping": not self.on}

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        if self._ours is None:
            return []
        return [self._ours.fileno(), *(fd for _, fd in self._queue if fd >= 0)]

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave; nothing is done for it before `go_on`."""
        if saved is not None:
            self.file = saved["file"]
            for text, fd in saved["queue"]:
                self._put(text.encode("latin-1"), fd)
            self._ours = _socket.socket(fileno=saved["socket"])
            self.on = not saved.get("stopping", False)

    def go_on(self) -> None:
        """Record what comes into the new program's engine, or have what was to end come to its end."""
        if self._ours is None or self._journal is not None:
            return
        try:
            self._watch_ours()
            if self.on:
                self._observe(REEXEC)
                return
        except OSError as error:
            self._ended(f"{error.strerror}")
            return
        # Who asked for it had a connection to the program before us.
        self._wait_for_end()
        self._send()


def _write(pipe: int, engine: Engine) -> None:
    """In a child: what the engine is, for the program that writes."""
    engine.take_effects()
    data = _text(snapshot.take(engine)).encode()
    rest = memoryview(len(data).to_bytes(LENGTH, "little") + data)
    while rest:
        rest = rest[os.write(pipe, rest) :]
