"""What a person sees on the console: how each job of the boot, and of the machine's end, went.

A line for each as it ends: ok, failed and why, or skipped, which is a job that has found nothing to do before its main
process.  What is always true here:

- A console that is not read is not waited for: what it does not take is kept, up to `KEPT` bytes, and lost beyond.
  It is closed only once it has nothing more to send, for the last who closes a serial line waits for that.
- A re-exec changes nothing of that: the console and what it has not taken cross it.
- What is not printable in a name or a reason, which an event may have put there, is shown as the numbers of its bytes.
- A password that the boot asks for is not typed over: lines come when it has been typed.
- Shown are the system's own jobs that an event started and that have a process; of several instances of one job, and
  of those that a login could disturb, failures alone, and so all of them with the kernel's word ``quiet`` (which in a
  container is another system's) and init's option.  Logins are not shown at all.
- The boot is over when a login runs, or nothing has been on its way for some seconds, and `LONGEST` at most; then
  nothing is shown, and nothing is done about it any more, until the machine ends.
"""

from __future__ import annotations

import fcntl
import os
import stat
import termios
import time
from struct import unpack

from upstart.base.closing import close
from upstart.base.priority import ERROR
from upstart.daemon.boot import CONSOLE
from upstart.daemon.surroundings import container_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.engine.data import Instance
    from upstart.engine.effects import Report
    from upstart.engine.engine import Engine

CMDLINE = "/proc/cmdline"
QUIET = "quiet"
#: Who asks for a name, or a password: a line of ours would be in the middle of it.
LOGINS = frozenset(("getty", "agetty", "mgetty", "mingetty", "fgetty", "fbgetty", "sulogin", "login"))
#: Seconds: a login has nothing on the screen before; nothing is on its way for so long; in all; between two looks.
LOGIN_SECONDS = 1.0
REST_SECONDS = 5
LONGEST = 300.0
LOOK = 1.0
KEPT = 8192
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
_COLOURS = {OK: "32", FAILED: "1;31", SKIPPED: "33"}
_PLAIN_TERMINALS = ("", "dumb", "unknown")


class Console:
    """What is written to the console at *path*, without waiting for it."""

    __slots__ = ("_fd", "_left", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        #: What it has not taken yet.
        self._left = b""

    def write(self, text: bytes, polite: bool = False) -> None:
        """Have it take this, if it has room for all that is left; no error where there is no console."""
        if len(self._left) + len(text) <= KEPT:
            self._left += text
        self.flush(polite)

    def flush(self, polite: bool = False) -> None:
        """Have it take what is left; if ``polite``, not while somebody is typing a password."""
        for _ in range(2):
            if not self._left:
                return
            try:
                if self._fd < 0:
                    self._fd = self._open()
                if polite and self._hides_what_is_typed():
                    return
                self._left = self._left[os.write(self._fd, self._left) :]
            except BlockingIOError:
                return
            except OSError:
                # Whoever opens a login on it has hung up on all others; then it is opened once more.
                self._drop()

    def _hides_what_is_typed(self) -> bool:
        try:
            return not termios.tcgetattr(self._fd)[3] & termios.ECHO
        except termios.error:
            return False

    def _open(self) -> int:
        fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            close(fd)
            raise OSError("it is a file, which would fill a disk")
        return fd

    def close(self) -> bool:
        """Close it, unless that would have to wait; whether it is closed."""
        self.flush()
        if self._fd >= 0 and not self._left:
            try:
                (waiting,) = unpack("i", fcntl.ioctl(self._fd, termios.TIOCOUTQ, b"\0" * 4))
            except OSError:
                waiting = 0
            if not waiting:
                self._drop()
        return self._fd < 0

    def descriptors(self) -> list[int]:
        """Those that the next program needs: closed by the exec, it would wait as `close` does not."""
        return [self._fd] if self._fd >= 0 else []

    def dump(self) -> dict[str, Any]:
        """What crosses a re-exec."""
        return {"fd": self._fd, "left": self._left.decode("latin-1")}

    def restore(self, saved: dict[str, Any]) -> bool:
        """Go on where the program before us was; whether there is anything still to be done."""
        self._fd = saved.get("fd", -1)
        self._left = saved.get("left", "").encode("latin-1")
        return self._fd >= 0 or bool(self._left)

    def _drop(self) -> None:
        if self._fd >= 0:
            close(self._fd)
            self._fd = -1

    def has_colours(self, environ: Mapping[str, str]) -> bool:
        """Whether the kind of terminal that init was told of has colours, and nobody has asked for none."""
        return environ.get("TERM", "") not in _PLAIN_TERMINALS and "NO_COLOR" not in environ


class Reporter:
    """Shows what becomes of jobs; ``environ`` is init's environment.

    It does so from `begin` until the boot is over, and when the machine ends; never where ``console`` is "", as of the
    init of a session.
    """

    __slots__ = (
        "_began", "_begun", "_coloured", "_console", "_engine", "_environ", "_login", "_loop", "_on", "_quiet",
        "_resting", "_shown", "_watch",
    )  # fmt: skip

    def __init__(self, engine: Engine, loop: Loop, environ: Mapping[str, str], console: str = CONSOLE) -> None:
        self._engine = engine
        self._loop = loop
        self._environ = environ
        self._console = Console(console)
        self._coloured = self._console.has_colours(environ)
        self._quiet = False
        self._on = False
        #: Since when jobs are shown, when there was the first login (0 for none), and for how many looks nothing moves.
        self._began = 0.0
        self._login = 0.0
        self._resting = 0
        #: Instances whose main process was to begin, or that are up; and those that have been shown.
        self._begun: set[Instance] = set()
        self._shown: set[Instance] = set()
        self._watch = -1

    def begin(self) -> None:
        """The machine boots."""
        self._start()

    def perform(self, effect: Report) -> None:
        """Show what the engine tells of an instance."""
        instance, what = effect.instance, effect.what
        if not self._console.path:
            return
        if not self._on:
            # The machine ends; all that is there has begun.
            self._start()
            self._begun.update(self._engine.instances())
        ends = self._engine.ending
        if what == "begun":
            self._begun.add(instance)
        elif what == "up":
            self._begun.add(instance)
            if _is_login(instance):
                self._login = self._login or time.monotonic()
            elif not ends:
                self._say(OK, instance)
        elif what == "failed":
            self._say(FAILED, instance, effect.reason.removeprefix(instance.display).strip())
        else:
            if ends and instance.goal == "stop" and not instance.job_class.task:
                self._shown.discard(instance)
                self._say(OK if not instance.failed else FAILED, instance, "stopped")
            elif not instance.failed and instance not in self._shown:
                self._say(OK if instance in self._begun else SKIPPED, instance)
            self._begun.discard(instance)
            self._shown.discard(instance)

    def dump(self) -> dict[str, Any]:
        """What crosses a re-exec."""
        return {
            "on": self._on,
            "seconds": time.monotonic() - self._began if self._on else 0.0,
            "login": bool(self._login),
            "console": self._console.dump(),
        }

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return self._console.descriptors()

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on where the program before us was."""
        if self._console.restore(saved.get("console", {})):
            self._look_later()
        if saved.get("on", False) and self._console.path:
            self._start()
            self._began -= saved.get("seconds", 0.0)
            if saved.get("login", False):
                self._login = self._began
            # What they have said before is not known, nor needs it be said again.
            self._begun.update(self._engine.instances())
            self._shown.update(
                each for each in self._engine.instances() if each.state == "running" and not each.job_class.task
            )

    def _start(self) -> None:
        self._quiet = self._engine.priority >= ERROR or (not container_type(self._environ) and _asked(QUIET))
        self._on = True
        self._began = time.monotonic()
        self._resting = 0
        self._engine.set_reporting(True)
        self._look_later()

    def _stop(self) -> None:
        self._on = False
        self._engine.set_reporting(False)
        self._begun.clear()
        self._shown.clear()

    def _look_later(self) -> None:
        if self._watch < 0:
            self._watch = self._loop.call_later(LOOK, self._look)

    def _look(self) -> None:
        """See whether the boot is over."""
        self._watch = -1
        self._console.flush(self._is_polite())
        if self._on and not self._engine.ending and self._is_over():
            self._stop()
        if self._on or not self._console.close():
            self._look_later()

    def _is_over(self) -> bool:
        now = time.monotonic()
        moves = any(each.state != "running" or each.job_class.task for each in self._engine.instances())
        self._resting = 0 if moves else self._resting + 1
        if now - self._began >= LONGEST:
            return True
        return not moves and (self._resting >= REST_SECONDS or self._disturbs())

    def _is_polite(self) -> bool:
        """Whether who asks for a password is a program of the boot; a login hides what is typed all the time."""
        return not self._login and not self._engine.ending

    def _disturbs(self) -> bool:
        """Whether somebody may be typing."""
        return bool(self._login) and not self._engine.ending and time.monotonic() - self._login >= LOGIN_SECONDS

    def _say(self, word: str, instance: Instance, text: str = "") -> None:
        job = instance.job_class
        if instance in self._shown and word == OK:
            return
        if job.session is not None or not job.processes or _is_login(instance):
            return
        if word != FAILED:
            by_event = "UPSTART_EVENTS" in instance.env or self._engine.ending
            if self._quiet or instance.name or not by_event or job.console == "owner":
                return
            if self._disturbs():
                return
        self._shown.add(instance)
        line = self._line(word, instance.display, text).encode("utf-8", "surrogateescape")
        self._console.write(line, self._is_polite())

    def _line(self, word: str, name: str, text: str) -> str:
        centred = f"{word:^7}"
        if self._coloured:
            centred = f"\x1b[{_COLOURS[word]}m{centred}\x1b[0m"
        # Where somebody types, a line of its own.
        begin = "\n" if self._disturbs() else ""
        between = (": " if word == FAILED else " ") if text else ""
        return f"{begin}[{centred}] {_printable(name + between + text)}\n"


def _printable(text: str) -> str:
    """Text that does nothing to a terminal but appear on it."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _numbers(char) for char in text])


def _numbers(char: str) -> str:
    return "".join([f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape")])


def _is_login(instance: Instance) -> bool:
    """Whether the main process asks somebody for a name or a password."""
    main = instance.job_class.processes.get("main")
    if main is None or main.script:
        return False
    words = main.command.split(None, 1)
    return bool(words) and words[0].rpartition("/")[2] in LOGINS


def _asked(word: str) -> bool:
    """Whether the kernel's command line has a word."""
    try:
        with open(CMDLINE, encoding="utf-8", errors="replace") as file:
            return word in file.read().split()
    except OSError:
        return False
