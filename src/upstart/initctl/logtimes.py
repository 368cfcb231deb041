"""When the lines of a log came: its index, which init writes beside it, read for the log as it is now or was rotated.

What is always true here: a log is found in the index by the time of its last change, which renaming and compressing
leave as it is. What is of this boot is told by the clock that nothing moves, and shown by the clock as it is set now.
"""

from __future__ import annotations

from bisect import bisect_right

from upstart.base.logtimes import RECORD, boot_number, index_path
from upstart.initctl import processfacts

#: Seconds by which what came from a job may seem younger than its log, whose time is that of the kernel's last tick.
SLACK = 0.05


class Timeline:
    """From which byte of one log on what holds: a time in seconds of the epoch (0.0 where it is not known), and
    whether it is of this boot."""

    __slots__ = ("offsets", "recorded", "times")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.times: list[tuple[float, bool]] = []
        #: The last time, by the clock as it was set then.
        self.recorded = 0.0

    def add(self, offset: int, time: float, recorded: float, now: bool) -> None:
        """Another byte; those behind it were cut off before that was written."""
        if self.offsets and self.offsets[-1] >= offset:
            keep = bisect_right(self.offsets, offset - 1)
            del self.offsets[keep:], self.times[keep:]
        self.offsets.append(offset)
        self.times.append((time, now))
        self.recorded = max(self.recorded, recorded)

    def at(self, offset: int) -> tuple[float | None, bool | None]:
        """When a byte came, and whether in this boot; ``None`` is not known."""
        place = bisect_right(self.offsets, offset) - 1
        if place < 0:
            return None, None
        time, now = self.times[place]
        return (time, now) if time else (None, now)


#: Bytes of the end of an index, in which the times of what has just been written are.
_LATEST = RECORD.size << 12


def latest(path: str, size: int) -> Timeline:
    """The times of the end of the log called ``path``, which has so many bytes."""
    return Index(path, _LATEST).of_current(size)


class Index:
    """The times of a log called ``path``, and of those that had its name before.

    With ``most`` no more than so many bytes are read of the end.
    """

    __slots__ = ("_timelines",)

    def __init__(self, path: str, most: int = 0) -> None:
        self._timelines: list[Timeline] = []
        boot = boot_number()
        index = index_path(path)
        for name in (index,) if most else (index + ".old", index):
            try:
                with open(name.encode("utf-8", "surrogateescape"), "rb") as file:
                    if most:
                        end = file.seek(0, 2)
                        file.seek(max(end - end % RECORD.size - most, 0))
                    data = file.read()
            except OSError:
                continue
            for offset, of, wall, since in RECORD.iter_unpack(data[: len(data) - len(data) % RECORD.size]):
                if offset == 0 or not self._timelines:
                    self._timelines.append(Timeline())
                now = boot != 0 and of == boot
                time = processfacts.to_wall(since / 1e6) if now and since else wall / 1e6
                self._timelines[-1].add(offset, time, wall / 1e6, now)

    def of_current(self, size: int) -> Timeline:
        """Of the log that has the name now, and so many bytes."""
        last = self._timelines[-1] if self._timelines else Timeline()
        return last if not last.offsets or last.offsets[-1] < size else Timeline()

    def of_earlier(self, changed: float) -> Timeline:
        """Of a log that was rotated, and changed last at this time of the epoch."""
        for timeline in reversed(self._timelines):
            if timeline.recorded and timeline.recorded <= changed + SLACK:
                return timeline
        return Timeline()
