"""Changing the runlevel: the records are written first, then Upstart is sent the ``runlevel`` event.

A runlevel is nothing that init knows; it is this event (runlevel(7)), with RUNLEVEL and PREVLEVEL as its first two
variables, and the record of it.  With the event init is told whether the machine ends.  Nothing is recorded when init
cannot be reached.  An init that re-executes itself is waited for (reconnect()).

Who enters a runlevel while the system boots leaves a mark first, so that the boot, which ends or goes on by that event,
does not enter another (rc-sysinit).
"""

from __future__ import annotations

import posix
import time

from upstart.base import utmp
from upstart.base.errors import DBusError
from upstart.base.names import LAST_RUNLEVELS, NO_EXTENSION, RUNLEVEL_EVENT, RUNLEVEL_MARK
from upstart.client.init import Init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds between two attempts to reach an init that re-executes itself, and after which it is given up.
RETRY_INTERVAL = 0.1
RESTART_PATIENCE = 60.0


def change_runlevel(runlevel: str, extra_env: Sequence[str] = (), address: str | None = None,
                    utmp_file: str = utmp.UTMP, wtmp_file: str = utmp.WTMP) -> None:
    """Record the change to *runlevel* and emit its event with *extra_env* (KEY=VALUE) after the two levels.

    Does not wait for the event's jobs, as sysvinit's telinit never did.  Raises DBusError, named NO_SERVER if Upstart
    is not there.
    """
    try:
        levels = utmp.get_runlevel(utmp_file)
    except OSError:
        levels = None
    previous = levels[0] if levels else "N"
    init = Init.open(address)
    try:
        utmp.write_runlevel(runlevel, previous, utmp_file, wtmp_file)
    except OSError:
        pass
    try:
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
        posix.close(posix.open(RUNLEVEL_MARK, flags, 0o644))
    except OSError:
        pass
    env = [f"RUNLEVEL={runlevel}", f"PREVLEVEL={previous}", *extra_env]
    try:
        init.emit_ending(RUNLEVEL_EVENT, env, runlevel in LAST_RUNLEVELS)
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        init.emit(RUNLEVEL_EVENT, env, wait=False)
    init.close()


def reconnect() -> Init:
    """Connect to an init that re-executes itself, once it answers.  Raises DBusError when it does not come back."""
    deadline = time.monotonic() + RESTART_PATIENCE
    while True:
        try:
            init = Init.open()
            # It has answered when it can say its version.
            _ = init.version
            return init
        except DBusError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_INTERVAL)
