"""A child of init that may wait in its stead: for a file system that is frozen, a server, a program that has to allow
an access.

What is always true here: init never waits for the child.  It holds none of init's descriptors but those that it is
given, is in a session of its own, is shown by ps(1) under its own name, ends with init and never returns.  It shares
init's memory as it was at the fork, which for one that lives on comes to several megabytes when init changes its own:
such a one becomes, or is relieved by, a small program after `SETTLED` seconds, if that can be.  Not sooner, for a boot
has no processor to spare for one more interpreter before its login.
"""

from __future__ import annotations

import faulthandler
import gc
import os

from upstart.base import syscalls
from upstart.base.title import show_as
from upstart.process.child import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

#: Seconds until a helper that lives on becomes a small program.
SETTLED = 30.0

#: No descriptor is above it.
_MOST = 1 << 30


def start(name: str, keep: tuple[int, ...], work: Callable[[], object]) -> int:
    """Have a child called ``name`` (at most 15 letters) do ``work`` with the descriptors ``keep``; gives its pid.

    Descriptors 0 to 2 are /dev/null.  Raises OSError where there can be no new process.
    """
    # Our handlers must not run in the child: it shares the pipe that wakes our loop.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, SIGNALS)
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _run(name, keep, work, parent)
    finally:
        if os.getpid() != parent:
            # The child, for which there was no memory to begin: it must never do what is init's to do.
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _run(name: str, keep: tuple[int, ...], work: Callable[[], object], parent: int) -> NoReturn:
    status = 1
    try:
        # What the collector looks at it writes to, and would have to be copied.
        gc.disable()
        faulthandler.disable()
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        keep_only(keep)
        os.chdir("/")
        show_as(name, name)
        work()
        status = 0
    finally:
        os._exit(status)


def keep_only(keep: tuple[int, ...]) -> None:
    """Close all descriptors but ``keep``, and have 0 to 2 be /dev/null."""
    null = os.open(os.devnull, os.O_RDWR | os.O_NOCTTY)
    for fd in range(3):
        os.dup2(null, fd)
    above = 3
    for fd in sorted(keep):
        os.closerange(above, fd)
        above = fd + 1
    os.closerange(above, _MOST)
