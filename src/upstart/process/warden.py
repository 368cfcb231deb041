"""A warden: the process between init and the main process of a job, which the kernel gives what that leaves.

Where a job has no cgroup of its own nothing that it cannot forge says whose an orphan is: a daemon that forks twice
within a millisecond is seen by nobody while its parents stand, and leaves the session it was born in.  So a job that is
to become a daemon there is not init's own child at first, but that of a warden, which is a subreaper, prctl(2): what
the job leaves is the warden's by the kernel's word, and nothing else ever is.

What is always true here: a warden waits for nobody, so that its children stay what they are, living or zombies, until
it ends; then all of them are init's, with the status that they ended with.  It is a fork of init that holds no
descriptor but its leash, and ends when init lets go of that, or ends.  Init waits for one only until the job's process
has been forked, and not for long; if that takes longer there is no such process, for it does nothing before init has
heard of it.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import os
import select

from upstart.base import syscalls
from upstart.base.closing import close
from upstart.base.title import show_as
from upstart.process.helper import keep_only
from upstart.process.procfs import children, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Collection

    from upstart.process.members import Members
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

#: What ps(1) shows of one.
NAME = "upstart-warden"
#: Milliseconds that init waits for the job's process to be there.
WAIT = 250


def fork(members: Members) -> int:
    """Start a warden, and by it the process of the job, in which this returns 0.

    For init it returns the pid of that process; ``members`` is told of both, and of the leash, as soon as they are
    there.  Raises OSError, with EAGAIN where that takes too long, if there is no such process, nor will be.
    """
    init = os.getpid()
    leash = report = go = (-1, -1)
    try:
        leash, report, go = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        members.warden = pid = os.fork()
        if pid == 0 and _is_job(init, leash[0], report[1], go):
            return 0
        members.leash, leash = leash[1], (leash[0], -1)
        close(report[1])
        report = (report[0], -1)
        members.pid = job = _told(report[0])
        os.write(go[1], b"\n")
    finally:
        if os.getpid() == init:
            for fd in (*leash, *report, *go):
                close(fd)
            if not members.pid:
                dismiss(members)
    return job


def _is_job(init: int, leash: int, report: int, go: tuple[int, int]) -> bool:
    """In the new child: be the warden, and never return; true in the process of the job, once it may go on."""
    gc.disable()
    os.setsid()
    syscalls.die_with_parent(signal.SIGKILL)
    syscalls.become_subreaper()
    if os.getppid() == init and os.fork() == 0:
        close(go[1])
        os.write(report, b"%d" % os.getpid())
        if not os.read(go[0], 1):
            os._exit(255)  # it has taken too long, and nobody knows of us
        return True
    try:
        faulthandler.disable()
        signal.set_wakeup_fd(-1)
        keep_only((leash,))
        os.chdir("/")
        show_as(NAME, NAME)
        while os.read(leash, 1):
            pass
    finally:
        os._exit(0)


def _told(report: int) -> int:
    """The pid of the job's process, when the warden has forked it."""
    poll = select.poll()
    poll.register(report, select.POLLIN)
    said = os.read(report, 32) if poll.poll(WAIT) else b""
    if not said:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(said)


def has(members: Members, pid: int) -> bool:
    """Whether a process, living or a zombie, is the child of the job's warden; false where that cannot be seen now."""
    try:
        return bool(members.warden) and pid in (children(members.warden) or ())
    except OSError:
        return False


def dismiss(members: Members) -> None:
    """Have the warden end, if there is one: what it has is init's from then on, and whoever has ended is told of by
    SIGCHLD.  What belongs to the job should have been looked at right before."""
    warden, members.warden = members.warden, 0
    try:
        info = look(warden) if warden else None
        # The trial of a re-exec knows of it, too, and is not the one who holds it.
        if info is not None and info.ppid == os.getpid():
            os.kill(warden, signal.SIGKILL)
    except OSError:
        pass  # it ends when it is let go of
    let_go(members)


def ended(members: Collection[Members], pid: int) -> None:
    """A child of init's has been reaped that may have been a warden."""
    for each in members:
        if each.warden == pid:
            each.warden = 0
            let_go(each)


def let_go(members: Members) -> None:
    """Close the leash."""
    leash, members.leash = members.leash, -1
    close(leash)

