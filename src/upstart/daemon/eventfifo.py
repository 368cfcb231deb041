"""The FIFO on which root's programs emit events, ``/run/upstart/events``: a line of text for each, and no process.

What is always true here: a line is taken when all of it has come, also when that takes several reads, or a re-exec
comes between.  One that is no event is dropped, and the log says so, at most once every `LOG_SECONDS`.  Work is done in
slices of `SLICE` seconds, between which clients are served; while those are not through with what has been read, or
`ROOM` of the events from here are under way, the rest is left in the FIFO, where it keeps its writers waiting and
nobody else.
"""

from __future__ import annotations

import time

from upstart.base.priority import WARN
from upstart.conf.eventline import LONGEST, parse_event
from upstart.daemon.callers import FIFO
from upstart.daemon.fifo import Fifo
from upstart.engine.data import FINISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.engine.data import Event
    from upstart.engine.engine import Engine

PATH = "/run/upstart/events"
#: Seconds, and lines: what a line costs shows only when the engine handles its event.
SLICE = 0.002
LINES = 32
ROOM = 1024
LOG_SECONDS = 1.0
#: Bytes of a dropped line that the log shows.
SHOWN = 60


class EventFifo(Fifo):
    """Listens on ``path``, for ``engine``; ``log`` (priority, text) is init's own.

    ``emit`` (name, variables) is asked first, and gives None where the event is an ordinary one.
    """

    __slots__ = (
        "_data", "_dropped", "_emit", "_engine", "_log", "_log_again_at", "_skipping", "_under_way", "_working",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        path: str,
        engine: Engine,
        log: Callable[[int, str], object],
        emit: Callable[[str, dict[str, str]], Event | None] = lambda name, env: None,
    ) -> None:
        super().__init__(loop, path, afresh=True)
        self._engine = engine
        self._emit = emit
        self._log = log
        #: What has been read and not yet been taken; it begins within a line that is too long where we are skipping.
        self._data = b""
        self._skipping = False
        self._working = False
        #: Events from here, those that have not finished among them.
        self._under_way: list[Event] = []
        self._log_again_at = 0.0
        self._dropped = 0

    def open(self) -> None:
        """See that it is there and is listened on.  OSError where it fails."""
        before = self._fd
        super().open()
        if before >= 0 and self._fd != before and self._data and not self._data.endswith(b"\n"):
            # Of another FIFO, to which nobody writes the rest any more.
            self._data += b"\n"
        self._take(not self._working)

    def received(self, data: bytes) -> None:
        """Take the lines that are whole, before the engine's next turn."""
        self._data += data
        if not self._working:
            self._work_soon()

    def _work(self) -> None:
        """Take lines for a slice of time, and go on later if there are more."""
        self._working = False
        room = self._room()
        if not room:
            self._working = True
            self._loop.before_wait(self._look_for_room)
            return
        deadline = time.monotonic() + SLICE
        data, at = self._data, 0
        try:
            for _ in range(min(LINES, room)):
                end = data.find(b"\n", at)
                if end < 0:
                    break
                line, at = data[at:end], end + 1
                self._line(line)
                if time.monotonic() > deadline:
                    break
        finally:
            # Whatever has failed, the next line is another.
            self._data = data[at:]
            if b"\n" in self._data:
                self._work_soon()
            else:
                if len(self._data) >= LONGEST:
                    self._too_long()
                self._take(True)

    def _work_soon(self) -> None:
        """Go on in the next turn, and read nothing until then."""
        self._working = True
        self._take(False)
        self._loop.call_soon(self._work)

    def _look_for_room(self) -> None:
        """Go on in the turn after that in which there is room, whenever that is."""
        if self._room():
            self._loop.call_soon(self._work)
        else:
            self._loop.before_wait(self._look_for_room)

    def _room(self) -> int:
        """For how many more events there is."""
        if len(self._under_way) + LINES > ROOM:
            self._under_way = [event for event in self._under_way if event.progress != FINISHED]
        return ROOM - len(self._under_way)

    def _too_long(self) -> None:
        """What has come of a line is more than a line may be: it ends with the next newline."""
        if not self._skipping:
            self._skipping = True
            self._drop(self._data, "it is too long")
        self._data = b""

    def _line(self, line: bytes) -> None:
        if self._skipping:
            self._skipping = False
            return
        if len(line) >= LONGEST:
            self._drop(line, "it is too long")
            return
        if not line.strip():
            return
        try:
            name, env = parse_event(line)
        except ValueError as error:
            self._drop(line, str(error))
            return
        self._under_way.append(self._emit(name, env) or self._engine.emit(name, env, by=FIFO))

    def _drop(self, line: bytes, reason: str) -> None:
        """Tell of a line that is dropped, and with the next that is told of those before it that were not."""
        now = time.monotonic()
        if now < self._log_again_at:
            self._dropped += 1
            return
        shown = line[:SHOWN].decode("utf-8", "backslashreplace") + ("..." if len(line) > SHOWN else "")
        more = f"; {self._dropped} others since the last such message" if self._dropped else ""
        self._log(WARN, f"{self._path}: Dropped {shown!r}: {reason}{more}")
        self._log_again_at, self._dropped = now + LOG_SECONDS, 0

    # Across a re-exec

    def dump(self) -> dict[str, Any] | None:
        """The descriptor, what has been read of it, and what has come of that; None where none is open."""
        if self._fd < 0:
            return None
        return {
            "fd": self._fd,
            "data": self._data.decode("latin-1"),
            "skipping": self._skipping,
            "events": [event.serial for event in self._under_way if event.progress != FINISHED],
        }

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave."""
        if saved is None:
            return
        self._data = saved["data"].encode("latin-1")
        self._skipping = saved["skipping"]
        events = self._engine.events
        self._under_way = [events[serial] for serial in saved["events"] if serial in events]
        self._listen(saved["fd"])
        self._work_soon()
