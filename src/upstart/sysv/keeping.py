"""What scripts say: shown on the console, kept for their logs, and read for as long as anybody can say more.

What is always true here: nobody who writes is made to wait or is cut off, whether rcS or rc has ended, or a log cannot
be written.  The console shows what is said while the scripts run and nothing afterwards, for there is a login then;
that goes to the log alone.  Logs are appended to as those of jobs are, in the same directory.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import select

from upstart.base.logfile import FILE_CAP, append
from upstart.base.logtimes import Marks, boot_number, note
from upstart.base.title import show_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

LOGS = "/var/log/upstart"
#: How ps(1) shows the process that goes on reading.
NAME = "upstart-output"
#: Bytes that are read at a time, and kept of what cannot be shown or written yet.
CHUNK, KEPT = 4096, 1 << 20
#: No descriptor is above it.
_MOST = 1 << 30
_ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def wait_for_no_console() -> None:
    """Have what is written to the console lost from now on, where it would be waited for: somebody may have stopped it
    (Scroll Lock, Control-S) and gone away.

    The others who have it open are not concerned: it is opened again.
    """
    for fd in (1, 2):
        try:
            if posix.isatty(fd):
                own = posix.open(f"/proc/self/fd/{fd}", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY)
                posix.dup2(own, fd)
                posix.close(own)
        except OSError:
            pass


class Console:
    """Standard output.  `fresh` tells whether a line begins there."""

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        self.fresh = True

    def show(self, words: bytes) -> None:
        """Write all of it, or what it takes; a console that is gone is nobody's error."""
        left = memoryview(words)
        try:
            while left:
                left = left[posix.write(1, left) :]
        except OSError:
            pass
        shown = words[: len(words) - len(left)]
        if shown:
            self.fresh = shown.endswith(b"\n")

    def begin_line(self) -> None:
        """Have what is written next stand on a line of its own."""
        if not self.fresh:
            self.show(b"\n")


class Output:
    """What comes from one terminal, *fd*: `words` are still to be shown, `log` to be written to the log *name*."""

    __slots__ = ("fd", "log", "marks", "path", "words")

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.path = f"{LOGS}/{name}.log"
        self.words = b""
        self.log = b""
        self.marks = Marks()

    def read(self) -> bool:
        """Take a piece of what there is; false where there is nothing more for now, or for ever (`fd` is -1 then)."""
        try:
            words = posix.read(self.fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            words = b""  # nobody is left who could say anything
        if not words:
            self.close()
            return False
        self.words += words
        self.keep(words)
        return True

    def drain(self) -> None:
        """Take all that there is."""
        while self.fd >= 0 and self.read():
            pass

    def keep(self, words: bytes) -> None:
        """Have this in the log; its end, where there is too much to be kept."""
        self.marks.add(len(self.log))
        self.log += words
        if len(self.log) > KEPT:
            self.marks.drop(len(self.log) - KEPT, KEPT)
            self.log = self.log[-KEPT:]

    def write(self) -> None:
        """Append to the log what is kept for it, as far as that can be."""
        if self.log:
            done, _ = append(self.path, None, self.log, FILE_CAP, self._note)
            self.log = self.log[done:]
            self.marks.drop(done, len(self.log))

    def _note(self, info: posix.stat_result) -> int:
        """Say when what is about to be written came."""
        note(self.path, info.st_size, self.marks.before(len(self.log)), boot_number())
        return 0

    def take_lines(self) -> bytes:
        """What is to be shown of it now: whole lines, or all where nothing more comes or a line has no end."""
        end = self.words.rfind(b"\n") + 1 if self.fd >= 0 and len(self.words) < CHUNK else len(self.words)
        words, self.words = self.words[:end], self.words[end:]
        return words

    def close(self) -> None:
        """Hear nothing more of it."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def stay(outputs: Sequence[Output]) -> None:
    """Have a process go on that reads these and writes to their logs, until nobody can say anything more.

    They are that process's from then on.  Where there can be none, who still writes is cut off.
    """
    outputs = [each for each in outputs if each.fd >= 0]
    if not outputs:
        return
    try:
        if posix.fork() == 0:
            _go_on(outputs)
    except OSError:
        pass
    for each in outputs:
        each.close()


def _go_on(outputs: list[Output]) -> NoReturn:
    status = 1
    try:
        posix.setsid()
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = posix.open("/dev/null", posix.O_RDWR | posix.O_NOCTTY)
        for fd in range(3):
            posix.dup2(null, fd)
        above = 3
        for fd in sorted(each.fd for each in outputs):
            posix.closerange(above, fd)
            above = fd + 1
        posix.closerange(above, _MOST)
        posix.chdir("/")
        show_as(NAME, NAME)
        while outputs:
            _write_next(outputs)
        status = 0
    finally:
        posix._exit(status)


def _write_next(outputs: list[Output]) -> None:
    poll = select.poll()
    for each in outputs:
        poll.register(each.fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll()}
    for each in list(outputs):
        if each.fd not in ready:
            continue
        each.read()
        each.words = b""
        each.write()
        if each.fd < 0:
            outputs.remove(each)
