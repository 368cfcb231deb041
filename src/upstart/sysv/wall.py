"""The message that all logged-in users see on their terminals, in the form of wall(1).

It is sent by a child of its own, because a terminal may block whoever writes to it, and a shutdown must not wait.
"""

from __future__ import annotations

# As in shutdown, which loads this.
import _signal as signal  # type: ignore[import-not-found]
import os
import time

from upstart.base import utmp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: Seconds that one terminal may take.
PATIENCE = 2


def wall(message: str, utmp_file: str = utmp.UTMP) -> int:
    """Send *message* to all terminals with a login; the pid of the child that does.  Raises OSError if fork fails."""
    pid = os.fork()
    if pid == 0:
        try:
            _send(banner() + message, utmp_file)
        finally:
            os._exit(0)
    return pid


def banner() -> str:
    """The lines above the message: who sends it, from which terminal, and when."""
    try:
        terminal = os.ttyname(0)
    except OSError:
        terminal = "unknown"
    now = time.localtime()
    return (f"\a\r\nBroadcast message from {_user()}@{os.uname().nodename}\r\n"
            f"\t({terminal}) at {now.tm_hour}:{now.tm_min:02d} ...\r\n\r\n")


def terminals(utmp_file: str = utmp.UTMP) -> list[str]:
    """The device files of the terminals on which someone is logged in."""
    try:
        records = utmp.read(utmp_file)
    except OSError:
        return []
    lines = [os.fsdecode(record.line) for record in records if record.kind == utmp.USER_PROCESS and record.user]
    return [line if line.startswith("/dev/") else "/dev/" + line for line in lines]


def _user() -> str:
    try:
        return os.getlogin()
    except OSError:
        pass
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}" if os.getuid() else "root"


def _too_slow(number: int, frame: object) -> NoReturn:
    raise TimeoutError


def _send(text: str, utmp_file: str) -> None:
    data = text.encode(errors="surrogateescape")
    signal.signal(signal.SIGALRM, _too_slow)
    for terminal in terminals(utmp_file):
        try:
            signal.alarm(PATIENCE)
            fd = os.open(terminal, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            if os.isatty(fd):
                os.write(fd, data)
            os.close(fd)
        except OSError:
            continue
        finally:
            signal.alarm(0)
