"""The programs that mountall starts, from their start to their end.

What is always true here: nothing waits for one; the end of each is told once, by its pidfd.  What a program says is
gathered in memory of the kernel's, so that neither a program that fills a pipe, nor one that is left behind when
mountall is killed, hangs or dies over it.  Each leads a process group of its own.  A program that an earlier mountall
has left running is waited for as well (`Processes.adopt`): its pid and the time of its start are who it is.
"""

from __future__ import annotations

import errno
import os

from upstart.base import inherited, starting
from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

    from upstart.base.loop import Loop
else:
    import _signal as signal

#: Exit status of what is not there to be run, and what is added to the number of a signal.
NOT_FOUND = 127
SIGNALLED = 128
#: Bytes of what a program says that are kept, from the end.
KEPT = 64 << 10
PATH = b"/sbin:/usr/sbin:/bin:/usr/bin"
#: What a program is to find as by default; SIGPIPE stays ignored for one that tells of its progress.
_DEFAULTS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGXFSZ)


class Process:
    """A process that was started; ``started`` is when, in ticks since boot, as /proc/PID/stat has it."""

    __slots__ = ("_fd", "_output", "_then", "_watch", "cancelled", "pid", "started")

    def __init__(self, pid: int, output: int, then: Callable[[int, str], object]) -> None:
        self.pid = pid
        self.started = start_time(pid)
        self.cancelled = False
        self._output = output
        self._then = then
        self._fd = os.pidfd_open(pid)
        self._watch = 0

    def watch(self, loop: Loop) -> None:
        self._watch = loop.add_fd(self._fd, READ, lambda events: self._ended(loop))

    def _ended(self, loop: Loop) -> None:
        loop.remove(self._watch)
        os.close(self._fd)
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            code = NOT_FOUND  # no child of ours: how it ended only its parent knows
        words = ""
        if self._output >= 0:
            words = _read(self._output)
            os.close(self._output)
        self._then(code if code >= 0 else SIGNALLED - code, words)

    def cancel(self) -> None:
        """Have it end, with all that it has started; its end is still told."""
        self.cancelled = True
        for target in (-self.pid, self.pid):
            try:
                os.kill(target, signal.SIGTERM)
                return
            except ProcessLookupError:
                pass


class Processes:
    """Those of one mountall."""

    __slots__ = ("_loop",)

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def start(
        self, words: Sequence[str], then: Callable[[int, str], object], descriptors: Mapping[int, int] = {}
    ) -> Process:
        """Run a program, with /dev/null to read from; ``then`` gets its exit status and what it said, in English.

        ``words`` begin with its path; ``descriptors`` are more that it is to have, by its number for each.  128 and
        its number stand for a signal.  Raises OSError.
        """
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        null = -1
        try:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            # The lowest first, and none of ours is as low as any of the program's that comes later.
            files = [(null, 0), (output, 1), (output, 2)]
            files += [(ours, number) for number, ours in sorted(descriptors.items())]
            env = {b"PATH": PATH, **inherited.environment(), b"LC_ALL": b"C.UTF-8"}
            defaults = _DEFAULTS if descriptors else (*_DEFAULTS, signal.SIGPIPE)
            pid = starting.start(words[0], list(words), env, files, default=defaults, group=True)
        except OSError:
            os.close(output)
            raise
        finally:
            if null >= 0:
                os.close(null)
        return self._follow(Process(pid, output, then))

    def fork(self, call: Callable[[], int], then: Callable[[int, str], object]) -> Process:
        """Do ``call`` in a child, whose exit status is what it gives: at most 255.  Raises OSError."""
        pid = os.fork()
        if pid == 0:
            status = errno.EIO
            try:
                os.setpgid(0, 0)
                for number in _DEFAULTS:
                    signal.signal(number, signal.SIG_DFL)
                signal.set_wakeup_fd(-1)
                status = call()
            finally:
                os._exit(status)
        return self._follow(Process(pid, -1, then))

    def adopt(self, pid: int, started: str, then: Callable[[int, str], object]) -> Process | None:
        """Wait for a process of an earlier mountall; its status is `NOT_FOUND`.  ``None`` if it has ended."""
        try:
            process = Process(pid, -1, then)
        except OSError:
            return None
        if process.started != started:
            os.close(process._fd)
            return None
        return self._follow(process)

    def _follow(self, process: Process) -> Process:
        process.watch(self._loop)
        return process


def start_time(pid: int) -> str:
    """When a process was started, in ticks since boot; empty where there is none, or no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _read(output: int) -> str:
    """The end of what was said."""
    try:
        size = os.fstat(output).st_size
        return os.pread(output, KEPT, max(0, size - KEPT)).decode(errors="replace")
    except OSError:
        return ""
