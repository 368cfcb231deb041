"""Failures put into a running init: loaded by a test's copy of the init program, before anything of Upstart.

A page of memory that the test shares says what is to fail: the Nth system call from now on, with an error number, or
the Nth line of Upstart's code, with MemoryError.  While it says nothing, each call costs one look at that page.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

SIZE = 4096
#: Words of the page: what is counted, how many are left until one fails, how many are still to fail, how many are
#: between two of those, the error number (0: MemoryError), and how many have failed.
MODE, LEFT, TIMES, EVERY, NUMBER, FIRED = range(6)
OFF, CALLS, LINES = range(3)

#: Functions of `os` that are system calls which may fail.
FUNCTIONS = (
    "access", "chdir", "dup", "dup2", "execv", "fork", "fstat", "getxattr", "kill", "killpg", "listdir", "lseek",
    "lstat", "memfd_create", "mkdir", "open", "pidfd_open", "pipe2", "pread", "pwrite", "read",
    "readlink", "readv", "rename", "rmdir", "scandir", "set_blocking", "set_inheritable", "setxattr", "stat", "symlink",
    "unlink", "urandom", "waitid", "waitpid", "write", "writev",
)  # fmt: skip
SOCKET_METHODS = (
    "_accept", "bind", "connect", "connect_ex", "getsockopt", "listen", "recv", "recvmsg", "send", "sendmsg",
    "setblocking",
)  # fmt: skip
EPOLL_METHODS = ("modify", "register", "unregister", "poll")

#: Where nothing is allocated, so that a line cannot fail for want of memory: the guards themselves.
GUARDS = (
    ("base/loop.py", "run"),
    ("base/loop.py", "_fail"),
    ("daemon/main.py", "main"),
    ("daemon/main.py", "start"),
    ("daemon/faults.py", "last_resort"),
    ("engine/core.py", "take_effects"),
    ("engine/engine.py", "_served"),
)

_page: memoryview = memoryview(bytes(SIZE)).cast("I")


def strike() -> None:
    """Count one, and fail if it is its turn."""
    page = _page
    page[LEFT] -= 1
    if page[LEFT]:
        return
    page[FIRED] += 1
    page[TIMES] -= 1
    if page[TIMES]:
        page[LEFT] = page[EVERY]
    else:
        page[MODE] = OFF
    if page[NUMBER]:
        raise OSError(page[NUMBER], os.strerror(page[NUMBER]))
    raise MemoryError


def _failing(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        mode = _page[MODE]
        if mode == CALLS:
            strike()
        elif mode == LINES and sys.gettrace() is None:
            _trace_from(sys._getframe(1))
        return function(*args, **keywords)

    return call


def _failing_close(close: Callable[[int], None]) -> Callable[[int], None]:
    def call(fd: int) -> None:
        close(fd)
        # The descriptor is gone whatever close(2) says.
        if _page[MODE] == CALLS:
            strike()

    return call


def _trace_from(frame: FrameType | None) -> None:
    """Have the lines of all functions that run now, and of those they call, be counted."""
    while frame is not None:
        _trace_one(frame)
        frame = frame.f_back
    sys.settrace(_entered)


def _trace_one(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    at = name.find("/upstart/")
    if at < 0 or any(name.endswith(path) and frame.f_code.co_name == function for path, function in GUARDS):
        return False
    frame.f_trace = _line
    return True


def _entered(frame: FrameType, event: str, argument: object) -> Any:
    if _page[MODE] != LINES:
        sys.settrace(None)
        return None
    return _line if _trace_one(frame) else None


def _line(frame: FrameType, event: str, argument: object) -> Any:
    if event == "line" and _page[MODE] == LINES:
        strike()
    return _line


def install(control: str) -> None:
    """Have what ``control`` (path of the page) says happen in this process, and in those that it forks."""
    global _page
    import _socket
    import faulthandler
    import fcntl
    import select

    # Where the interpreter itself fails is in what init has said.
    faulthandler.enable()
    fd = os.open(control, os.O_RDWR | os.O_CLOEXEC)
    _page = memoryview(mmap.mmap(fd, SIZE)).cast("I")
    os.close(fd)
    for name in FUNCTIONS:
        setattr(os, name, _failing(getattr(os, name)))
    os.close = _failing_close(os.close)  # type: ignore[assignment]
    fcntl.ioctl = _failing(fcntl.ioctl)
    select.poll = _failing(select.poll)  # type: ignore[misc,assignment]

    class Socket(_socket.socket):
        """One whose calls fail."""

    for name in SOCKET_METHODS:
        setattr(Socket, name, _failing(getattr(_socket.socket, name)))
    _socket.socket = Socket  # type: ignore[misc]

    class Epoll:
        """One whose calls fail; the type itself cannot be derived from."""

        def __init__(self, inner: select.epoll) -> None:
            for name in EPOLL_METHODS:
                setattr(self, name, _failing(getattr(inner, name)))
            self.close = inner.close
            self.fileno = inner.fileno

    from upstart.base.syscalls import Spawner

    Spawner.spawn = _failing(Spawner.spawn)  # type: ignore[method-assign]

    made = _failing(select.epoll)
    select.epoll = lambda *args, **keywords: Epoll(made(*args, **keywords))  # type: ignore[misc,assignment]


ERRORS = (errno.ENOMEM, errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EPERM, errno.EINVAL, errno.EAGAIN, errno.EINTR)
