"""Init's own log: the kernel's ring buffer for PID 1, and standard output and error where those lead anywhere.

What is always true here: writing a line never waits for a reader and never fails.  What does not take it at once (a
terminal that is stopped, a pipe that nobody reads) gets nothing, or as much as it takes, and the rest is lost.

poll(2) does not tell how much a terminal takes, and to have it not wait would change it for all who share it with us.
So a terminal, or a pipe, is opened once more for each line, by a description of our own; a terminal that may not be,
being another user's, gets nothing.
"""

from __future__ import annotations

import os
import select
import stat

from upstart.base.priority import MESSAGE, WARN

KMSG = "/dev/kmsg"
#: Its first number: lines of lower levels are shown on the console.
PRINTK = "/proc/sys/kernel/printk"
_CONSOLE = os.makedev(5, 1)
#: syslog(3) levels of our priorities, debug first.
_LEVELS = "765432"
#: A pipe that is ready takes this much at once, and the kernel's ring buffer little more in one record.
MAX_LINE = 976


class Logger:
    """Writes lines of at least ``priority``: ``to_kernel`` to its ring buffer, ``to_standard`` to output and error.

    PID 1 does both until it has read its jobs: the console shows what is wrong with them whatever the kernel may show
    there, and whoever was not at the console finds it in the kernel's log. What the kernel shows on the console by
    itself is not written there again.
    """

    __slots__ = ("_program", "priority", "to_kernel", "to_standard")

    def __init__(self, program: str, priority: int = MESSAGE) -> None:
        self._program = program
        self.priority = priority
        self.to_kernel = False
        self.to_standard = True

    def write(self, priority: int, text: str) -> None:
        """Log a line if its priority is high enough."""
        if priority < self.priority:
            return
        try:
            self._write(priority, text)
        except (OSError, MemoryError):
            # The line is lost, and nothing else.
            pass

    def _write(self, priority: int, text: str) -> None:
        shown = False
        if self.to_kernel:
            level = _LEVELS[priority]
            shown = self._put_in_kernel(f"<{level}>{self._program}: {text}") and _shows_on_console(level)
        if shown or not self.to_standard:
            return
        if priority >= WARN:
            # GNU's convention: no blank before a message of the form "something: what is wrong with it".
            blank = "" if ":" in text.partition(" ")[0] else " "
            self._put(2, f"{self._program}:{blank}{text}")
        else:
            self._put(1, text)

    @staticmethod
    def _put_in_kernel(line: str) -> bool:
        """Whether the kernel took it."""
        try:
            # Opened for every line: the kernel limits the rate of lines of one open file.
            fd = os.open(KMSG, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return os.write(fd, _encode(line)) > 0
        except OSError:
            return False
        finally:
            os.close(fd)

    @staticmethod
    def _put(fd: int, line: str) -> None:
        try:
            own = _open_again(fd)
            if own < 0:
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                if poll.poll(0):
                    os.write(fd, _encode(line))
                return
            try:
                os.write(own, _encode(line))
            finally:
                os.close(own)
        except OSError:
            pass


def _shows_on_console(level: str) -> bool:
    """Whether standard error is the kernel's console, and the kernel shows lines of that level there.

    In a container it is a terminal of the manager's, and what the kernel shows is shown elsewhere.
    """
    try:
        if os.fstat(2).st_rdev != _CONSOLE:
            return False
        fd = os.open(PRINTK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return int(os.read(fd, 64).split()[0]) > int(level)
    except (OSError, ValueError, IndexError):
        return False
    finally:
        os.close(fd)


def _open_again(fd: int) -> int:
    """A descriptor for what ``fd`` is open for, which never waits; -1 for what poll(2) tells the truth of."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISCHR(mode) and not stat.S_ISFIFO(mode):
        return -1
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        if stat.S_ISCHR(mode):
            raise
        return -1


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape")[:MAX_LINE] + b"\n"
