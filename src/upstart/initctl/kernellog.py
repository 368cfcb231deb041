"""What the kernel has said, and PID 1 in its buffer: dmesg(1), read from /dev/kmsg.

What is always true here: reading waits for nothing. The times of the kernel's clock, which stands still while the
machine sleeps, are given as times of the epoch by the clocks as they are now.
"""

from __future__ import annotations

import posix
import re
import time

from upstart.initctl.logfiles import Line, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/dev/kmsg"
#: Bytes of the longest record.
_LARGEST = 8192
#: Begins what PID 1 writes there, and the facility of what programs do.
_INIT = "init: "
_KERNEL = 0
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")

KERNEL, INIT = Source("kernel"), Source("init")


class KernelLog:
    """The kernel's buffer, from its oldest record on."""

    __slots__ = ("_offset", "fd")

    def __init__(self, path: str = PATH) -> None:
        """Raises OSError."""
        self.fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        self._offset = time.time() - time.monotonic()

    def lines(self, since: float = 0.0) -> Iterator[Line]:
        """What is there and has not been given yet, from a time of the epoch on."""
        while True:
            try:
                record = posix.read(self.fd, _LARGEST)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # what came next is overwritten already
            except OSError:
                return
            if not record:
                return
            line = parse(record.decode("utf-8", "replace"), self._offset)
            if line is not None and line.place >= since:
                yield line

    def close(self) -> None:
        """Done."""
        posix.close(self.fd)


def parse(record: str, offset: float) -> Line | None:
    """A record as a line; ``offset`` is what time of the epoch the kernel's clock began at. ``None`` if it is none."""
    head, semicolon, rest = record.partition(";")
    fields = head.split(",")
    if not semicolon or len(fields) < 3 or not fields[0].isdecimal() or not fields[2].isdecimal():
        return None
    text = rest.partition("\n")[0]
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    text = raw.encode("latin-1").decode("utf-8", "replace") if raw.isascii() or max(raw) <= "\xff" else raw
    moment = int(fields[2]) / 1e6 + offset
    if int(fields[0]) >> 3 != _KERNEL and text.startswith(_INIT):
        return Line(INIT, text[len(_INIT) :], moment, moment)
    return Line(KERNEL, text.rstrip("\n"), moment, moment)
