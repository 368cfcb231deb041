"""The logs of jobs as files: the one that is written now, those that were rotated, and their lines with their times.

What is always true here: nothing is changed, and a file that cannot be read is told of and passed over. Lines come in
their order, each with its time where that is known; where it is not, with the moment before which it came.
"""

from __future__ import annotations

import os
from collections import deque

from upstart.initctl.logtimes import Index, Timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

ENDING = ".log"
#: What compresses logs, by the ending of its files: the module that reads them.
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
#: Bytes read at a time, and the longest line that is shown as one.
_BLOCK = 1 << 16
_LONGEST = 1 << 20
#: Lines without a time that are kept until it is known whether they are too old; the oldest of more are taken to be.
_WAITING = 100_000


class Line:
    """A line of a log: its ``text``, its ``time`` in seconds of the epoch if that is known, and ``place``, the time by
    which it is put in order. ``source`` is who said it."""

    __slots__ = ("place", "source", "text", "time")

    def __init__(self, source: Source, text: str, time: float | None, place: float) -> None:
        self.source = source
        self.text = text
        self.time = time
        self.place = place


class Source:
    """Who says something: a ``job`` with its ``instance``, or what else ``kind`` names, "init" or "kernel"."""

    __slots__ = ("instance", "job", "kind")

    def __init__(self, kind: str, job: str = "", instance: str = "") -> None:
        self.kind = kind
        self.job = job
        self.instance = instance

    @property
    def label(self) -> str:
        """As lines begin with it."""
        if self.kind != "job":
            return self.kind
        return f"{self.job} ({self.instance})" if self.instance else self.job


class LogFile:
    """A file with a part of a log; ``current`` is what is written now."""

    __slots__ = ("changed", "current", "path", "size")

    def __init__(self, path: str, info: os.stat_result, current: bool) -> None:
        self.path = path
        self.current = current
        self.changed = info.st_mtime
        self.size = info.st_size

    def open(self) -> IO[bytes]:
        """Its content, no longer compressed. Raises OSError."""
        ending = os.path.splitext(self.path)[1]
        if self.current or ending not in _COMPRESSED:
            return open(self.path, "rb")
        module = __import__(_COMPRESSED[ending])
        opened: IO[bytes] = module.open(self.path, "rb")
        return opened


def files(path: str) -> list[LogFile]:
    """All that there is of a log called ``path``, the oldest first."""
    directory, name = os.path.split(path)
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    found = []
    for each in names:
        if each == name or _is_earlier(each, name):
            try:
                info = os.stat(os.path.join(directory, each))
            except OSError:
                continue
            found.append(LogFile(os.path.join(directory, each), info, each == name))
    return sorted(found, key=lambda file: (file.current, file.changed))


def _is_earlier(name: str, log: str) -> bool:
    """Whether a file is what logrotate(8), or init itself, makes of a log of that name."""
    if not name.startswith(log):
        return False
    rest = name[len(log) :]
    stem, ending = os.path.splitext(rest)
    if ending in _COMPRESSED:
        rest = stem
    return rest == ".old" or (rest[:1] in (".", "-") and rest[1:].replace("-", "").isdigit())


def names(directory: str) -> list[str]:
    """The logs in a directory, without their ending: those that are written now or were rotated."""
    try:
        found = os.listdir(directory)
    except OSError:
        return []
    logs = {name.partition(ENDING)[0] for name in found if name.endswith(ENDING)}
    for name in found:
        stem, ending, _ = name.partition(ENDING)
        if ending and _is_earlier(name, stem + ENDING):
            logs.add(stem)
    return sorted(logs)


class Reader:
    """Reads the logs of one source. ``complain`` is told of a file that cannot be read."""

    __slots__ = ("_complain", "_index", "path", "source")

    def __init__(self, path: str, source: Source, complain: Callable[[str], object]) -> None:
        self.path = path
        self.source = source
        self._complain = complain
        self._index: Index | None = None

    def timeline(self, file: LogFile) -> Timeline:
        """The times of a file."""
        if self._index is None:
            self._index = Index(self.path)
        return self._index.of_current(file.size) if file.current else self._index.of_earlier(file.changed)

    def lines(self, since: float = 0.0, boot: bool = False) -> Iterator[Line]:
        """All lines from a time of the epoch on, of this boot alone where ``boot`` says so."""
        for file in files(self.path):
            if file.changed >= since:
                yield from self._lines(file, since, boot)

    def last(self, count: int, since: float = 0.0, boot: bool = False) -> list[Line]:
        """The last lines."""
        found: list[Line] = []
        for file in reversed(files(self.path)):
            if len(found) >= count or file.changed < since:
                break
            start = 0
            try:
                start = _tail(file, count)
            except OSError:
                pass  # it is told of below
            found = [*self._lines(file, since, boot, start)][-count:] + found
        return found[-count:] if count else []

    def _lines(self, file: LogFile, since: float, boot: bool, start: int = 0) -> Iterator[Line]:
        """The lines of a file; of those without a time, such that come before one that is too old are too old."""
        timeline = self.timeline(file)
        waiting: deque[Line] = deque(maxlen=_WAITING)
        place = 0.0
        for offset, text in self._read(file, start):
            time, now = timeline.at(offset)
            if time is None and now is not False and not since and not boot:
                yield Line(self.source, text, None, place)
                continue
            if time is None and now is not False:
                waiting.append(Line(self.source, text, None, 0.0))
                continue
            if time is None or time < since or (boot and not now):
                waiting.clear()
                continue
            place = max(place, time)
            for line in waiting:
                line.place = place
                yield line
            waiting.clear()
            yield Line(self.source, text, time, place)
        for line in waiting:
            line.place = max(place, file.changed)
            yield line

    def _read(self, file: LogFile, start: int) -> Iterator[tuple[int, str]]:
        try:
            with file.open() as opened:
                if start:
                    opened.seek(start)
                offset = start
                while raw := opened.readline(_LONGEST):
                    yield offset, decode(raw)
                    offset += len(raw)
        except (OSError, EOFError) as error:
            self._complain(f"{file.path}: {getattr(error, 'strerror', None) or error}")


def decode(raw: bytes) -> str:
    """A line as text, without its end, which a terminal's are two characters of."""
    return raw.rstrip(b"\r\n").decode("utf-8", "replace")


def _tail(file: LogFile, count: int) -> int:
    """Where the last lines of a file begin; the start of one that is compressed. Raises OSError."""
    if not file.current and os.path.splitext(file.path)[1] in _COMPRESSED:
        return 0
    with open(file.path, "rb") as opened:
        at = opened.seek(0, os.SEEK_END)
        # The end of the last line is none of those before the first that is wanted.
        wanted = count + 1
        while at > 0 and wanted > 0:
            length = min(_BLOCK, at)
            at -= length
            opened.seek(at)
            block = opened.read(length)
            place = len(block)
            while wanted > 0 and (place := block.rfind(b"\n", 0, place)) >= 0:
                wanted -= 1
            if wanted == 0:
                return at + place + 1
    return 0
