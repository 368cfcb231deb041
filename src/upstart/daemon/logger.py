"""Init's own log: the kernel's ring buffer for PID 1 once it is up, standard output and error otherwise.

What is always true here: writing a line never waits and never fails.  A descriptor that is not ready for writing (a
terminal that is stopped, a pipe that nobody reads) gets nothing, and the line is lost.
"""

from __future__ import annotations

import os
import select

from upstart.engine.effects import MESSAGE, WARN

KMSG = "/dev/kmsg"
#: syslog(3) levels of our priorities, debug first.
_LEVELS = "765432"
#: A pipe that is ready takes this much without blocking, and the kernel's ring buffer little more in one record.
MAX_LINE = 976


class Logger:
    """Writes lines of at least ``priority``; with ``to_kernel`` they go to the kernel's ring buffer."""

    __slots__ = ("_program", "priority", "to_kernel")

    def __init__(self, program: str, priority: int = MESSAGE) -> None:
        self._program = program
        self.priority = priority
        self.to_kernel = False

    def write(self, priority: int, text: str) -> None:
        """Log a line if its priority is high enough."""
        if priority < self.priority:
            return
        if self.to_kernel:
            # Opened for every line: the kernel limits the rate of lines of one open file.
            line = f"<{_LEVELS[priority]}>{self._program}: {text}"
            try:
                fd = os.open(KMSG, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return
            try:
                os.write(fd, _encode(line))
            except OSError:
                pass
            finally:
                os.close(fd)
        elif priority >= WARN:
            # GNU's convention: no blank before a message of the form "something: what is wrong with it".
            blank = "" if ":" in text.partition(" ")[0] else " "
            self._put(2, f"{self._program}:{blank}{text}")
        else:
            self._put(1, text)

    @staticmethod
    def _put(fd: int, line: str) -> None:
        try:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            if poll.poll(0):
                os.write(fd, _encode(line))
        except OSError:
            pass


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")[:MAX_LINE] + b"\n"
