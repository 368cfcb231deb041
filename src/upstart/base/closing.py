"""Closing a descriptor, without a failure, and without waiting for what is behind one that somebody else has opened.

close(2) may fail, after which the descriptor is gone all the same, and who closes one in the midst of something else is
not to leave that half done.  It may wait, too: for the server of a file system, for what a serial line has yet to send,
for a peer where the socket is to linger.  What is always true here: nothing is raised, the caller of `close_given`
waits for none of these, and the descriptor is not the caller's any more, whatever becomes of it.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # Without the enumerations of the signal module.
    import _signal as signal

#: What the link of a descriptor in /proc begins with where closing it never waits.
_AT_ONCE = ("pipe:", "anon_inode:", "/memfd:", "/dev/null", "/dev/ptmx", "/dev/pts/ptmx")
_SOCKET = "socket:"
#: Children that may be closing something.
_children: list[int] = []
#: struct linger: whether, and for how many seconds.
_LINGER = Struct("=ii")


def close(fd: int) -> None:
    """Close a descriptor of one's own; -1 is none."""
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            pass  # it is gone whatever close(2) says


def close_given(fd: int) -> None:
    """Close a descriptor that has come from a client, by a child where that may wait."""
    try:
        # Nobody is to inherit it meanwhile.  One that is not open fails here: it may be another's number by the time
        # that a child closes it.
        os.set_inheritable(fd, False)
        if not _may_wait(fd) or not _close_by_child(fd):
            os.close(fd)
    except OSError:
        pass  # it is gone whatever close(2) says


def _may_wait(fd: int) -> bool:
    try:
        link = os.readlink(f"/proc/self/fd/{fd}")
        if not link.startswith(_SOCKET):
            return not link.startswith(_AT_ONCE)
        with_name = _socket.socket(fileno=fd)
        try:
            return bool(_LINGER.unpack(with_name.getsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER.size))[0])
        finally:
            with_name.detach()
    except OSError:
        # Without /proc, say.
        return True


def _close_by_child(fd: int) -> bool:
    """Whether there could be a child that does it; it is reaped like any other.

    No signal is handled in it: our handlers would tell our own loop.
    """
    from upstart.base import syscalls

    is_closing()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = syscalls.fork_with_descriptors()
        if pid == 0:
            try:
                os.close(fd)
            finally:
                os._exit(0)
    except OSError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _children.append(pid)
    return True


def is_closing() -> bool:
    """Whether a child is closing something yet.

    Such a one goes on with all descriptors that we have at an exec: who is at their other ends would not see it.
    """
    _children[:] = [pid for pid in _children if _lives(pid)]
    return bool(_children)


def _lives(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
