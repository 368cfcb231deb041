"""What somebody at the machine sees of mountall, and the keys that they press.

What is always true here: nothing written to the console is waited for; a console that takes nothing, or that is not
there, is nobody's error.  Keys are read only while a prompt is up and nobody else has the console for their terminal,
and its settings are put back when the prompt goes.  Where plymouth runs it shows the prompts and reads the keys, and
the console has the text as well; where it does not, nothing is missing.
"""

from __future__ import annotations

import errno
import os
import termios
import time

from upstart.base.loop import HANGUP, READ
from upstart.mounts.plymouth import Plymouth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

CONSOLE = "/dev/console"
_ACTIVE = "/sys/class/tty/console/active"
#: Seconds between two pictures of a line in which only numbers change.
_REPAINT = 0.5
#: Seconds after which a prompt is shown as a whole even if only numbers have changed.
_REPEAT = 20.0


class Console:
    """The console at ``path``; ``key`` gets a letter of the prompt that is up.

    ``quiet``: only what is urgent, and prompts, are shown.  ``log`` gets every message as well, and
    whether it is urgent.
    """

    __slots__ = (
        "_base", "_fd", "_key", "_keys", "_log", "_loop", "_painted", "_path", "_plymouth", "_quiet", "_running_line",
        "_settings", "_text", "_watch",
    )  # fmt: skip

    def __init__(
        self, loop: Loop, key: Callable[[str], object], log: Callable[[str, bool], object], quiet: bool = False,
        path: str = CONSOLE,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._key = key
        self._log = log
        self._quiet = quiet
        self._path = path
        self._plymouth = Plymouth(loop, self._pressed)
        self._text = ""
        self._keys = ""
        #: Of the console as keys are read from it, -1 while none are; its settings before.
        self._fd = -1
        self._watch = 0
        self._settings: list[object] = []
        #: The cursor stands behind a line of this length that is painted again and again.
        self._running_line = 0
        #: When the prompt was last shown, as a whole or in part, and as what.
        self._painted = 0.0
        self._base = ""

    def close(self) -> None:
        """Take away what is up, and put back the console's settings."""
        self.prompt("", "")
        self._plymouth.close()

    def tell(self, text: str, urgent: bool = False) -> None:
        """Show a message, and log it."""
        if urgent or not self._quiet or not self._log_is_console():
            self._log(text, urgent)
        if urgent or not self._quiet:
            self._show(f"mountall: {text}")
        if urgent:
            self._plymouth.message(text)

    def prompt(self, text: str, keys: str) -> None:
        """Show a text, and read the keys that it offers, in the place of the last; nothing without a text."""
        before, self._text = self._text, text
        keys = keys if text else ""
        if keys != self._keys:
            self._plymouth.ignore_keys()
        if not keys:
            self._ignore_keys()
        if self._fd >= 0 and text != before and is_controlling(terminal_of(self._path)):
            # Somebody has got a shell there meanwhile, or asks for a passphrase, which nobody is to see.
            self._leave_keys()
        # Whoever sees the text may answer it at once.
        self._keys = keys
        if keys and self._fd < 0 and not self._plymouth.read_keys(keys):
            self._read_keys()
        if not text:
            self._plymouth.hide()
        elif text != before and self._paint(before, text):
            self._plymouth.message(text)

    # Text

    def _paint(self, before: str, text: str) -> bool:
        """Show a prompt; where only numbers have changed lately, those lines alone, in the place of the last; whether
        it was time to."""
        now = time.monotonic()
        since = now - self._painted
        if since < _REPEAT and _without_numbers(text) == _without_numbers(before):
            if since < _REPAINT:
                return False
            old = self._base.split("\n")
            changed = [line.strip() for line in text.split("\n") if line not in old]
            line = ", ".join(changed)
            self._painted = now
            self._base = text
            _write(self._path, f"\r{line.ljust(self._running_line)}")
            self._running_line = len(line)
            return True
        self._painted = now
        self._base = text
        self._log(text, True)
        self._show(text)
        return True

    def _show(self, text: str) -> None:
        begin = "\n" if self._running_line else ""
        self._running_line = 0
        if not self._log_is_console():
            _write(self._path, f"{begin}{text}\n")

    def _log_is_console(self) -> bool:
        """Whether what we log stands on the console anyway: it would be there twice."""
        try:
            log = os.fstat(1).st_rdev
            return bool(log) and log in (os.stat(self._path).st_rdev, terminal_of(self._path))
        except OSError:
            return False

    # Keys

    def _pressed(self, key: str) -> None:
        for each in self._keys:
            if each.upper() == key.upper():
                self._key(each)
                return

    def _read_keys(self) -> None:
        if is_controlling(terminal_of(self._path)):
            return
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            settings = termios.tcgetattr(fd)
            wanted = list(settings)
            wanted[3] &= ~(termios.ICANON | termios.ECHO)
            wanted[6] = [*settings[6]]
            wanted[6][termios.VMIN], wanted[6][termios.VTIME] = 1, 0
            # Now, for what is to be shown may take long; and what was typed before is no answer to this.
            termios.tcsetattr(fd, termios.TCSANOW, wanted)
            termios.tcflush(fd, termios.TCIFLUSH)
            self._watch = self._loop.add_fd(fd, READ, self._readable)
        except (OSError, termios.error):
            os.close(fd)
            return
        self._fd = fd
        # Whoever is killed with a prompt up leaves the terminal as it then was: a console has lines, and shows them.
        settings[3] |= termios.ICANON | termios.ECHO
        self._settings = settings

    def _ignore_keys(self) -> None:
        if self._fd < 0:
            return
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._settings)  # type: ignore[arg-type]
        except (OSError, termios.error):
            pass
        self._leave_keys()

    def _leave_keys(self) -> None:
        """Read no keys, with the settings as they are."""
        self._loop.remove(self._watch)
        os.close(self._fd)
        self._fd = -1

    def _readable(self, events: int) -> None:
        if is_controlling(terminal_of(self._path)):
            # Since the last prompt: what is typed is not for us.
            self._leave_keys()
            return
        try:
            data = os.read(self._fd, 64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or events & HANGUP:
            self._ignore_keys()
            return
        for character in data.decode("ascii", "ignore"):
            if self._fd >= 0:
                self._pressed(character)


def _without_numbers(text: str) -> str:
    return "".join(character for character in text if not character.isdigit() and character != " ")


def _write(path: str, text: str) -> None:
    """Show a text, as far as the console takes it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        data = text.replace("\n", "\r\n").encode(errors="replace")
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EIO):
            raise
    finally:
        os.close(fd)


def terminal_of(path: str) -> int:
    """The device number of the terminal that a console is; 0 where that cannot be found out."""
    try:
        number = os.stat(path).st_rdev
        if number != os.makedev(5, 1):
            return number
        with open(_ACTIVE) as file:
            return os.stat("/dev/" + file.read().split()[-1]).st_rdev
    except (OSError, IndexError):
        return 0


def is_controlling(number: int) -> bool:
    """Whether a process has this terminal for its own: what is typed is meant for that, a shell perhaps."""
    if not number:
        return False
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    if int(file.read().rpartition(b")")[2].split()[4]) == number:
                        return True
            except (OSError, IndexError):
                pass
    return False
