"""Everything these programs do that a machine feels: signals to init, other programs in their place, reboot(2).

It stands alone so that a test can put harmless functions in its place and nothing can slip past them: the other modules
of this room call init's pid, exec or reboot(2) through here only.
"""

from __future__ import annotations

# As in shutdown, which loads this.
import _signal as signal  # type: ignore[import-not-found]
import errno
import os

from upstart.base import inherited, starting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

INIT = 1
WTMPDB = "/usr/bin/wtmpdb"

#: Seconds that wtmpdb may take, as it waits for a busy disk.
WTMPDB_PATIENCE = 3.0

# Commands of reboot(2), from <linux/reboot.h>.
RESTART = 0x01234567
HALT = 0xCDEF0123
POWER_OFF = 0x4321FEDC
CAD_ON = 0x89ABCDEF
CAD_OFF = 0x00000000


def become_root() -> tuple[bool, bool]:
    """Take the effective user as the real one: (whether that worked, whether it is root)."""
    try:
        os.setuid(os.geteuid())
        changed = True
    except OSError:
        changed = False
    return changed, os.getuid() == 0


def signal_init(number: int) -> None:
    """Send the init daemon a signal.  Raises OSError."""
    os.kill(INIT, number)


def init_is_interpreted() -> bool:
    """Whether PID 1 is a Python program, as no init but Upstart is."""
    try:
        return os.path.basename(os.readlink(f"/proc/{INIT}/exe")).startswith("python")
    except OSError:
        return False


def execute(path: str, arguments: list[str]) -> NoReturn:
    """Become the program *path*, with *arguments* from argv[0] on.  Raises OSError."""
    environment = inherited.environment()
    for number in inherited.IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, arguments, environment)
    finally:
        for number in inherited.IGNORED:
            signal.signal(number, signal.SIG_IGN)


def reboot(command: int, argument: str | None = None) -> bool:
    """Call reboot(2); with *argument*, restart handing that string to the firmware.

    Returns if the kernel has only taken note of *command*, or refuses: false where this process may not, as in a
    container without CAP_SYS_BOOT.
    """
    from upstart.base import syscalls

    return syscalls.reboot(command, argument) != errno.EPERM


def tell_wtmpdb(event: str) -> None:
    """Where last(1) reads wtmpdb(8)'s database instead of wtmp, record *event* (``shutdown``) there.

    Returns when it has ended, or has been ended for being late; failing is nobody's loss.
    """
    if not os.access(WTMPDB, os.X_OK):
        return
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = starting.start(WTMPDB, [WTMPDB, event], inherited.environment(), [(null, fd) for fd in range(3)])
    except OSError:
        return
    finally:
        os.close(null)

    def too_late(number: int, frame: object) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, WTMPDB_PATIENCE)
    os.waitpid(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
