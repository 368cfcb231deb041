"""The helper that appends to the logs of jobs: what it is told, what it answers, and what it notes meanwhile.

What is always true here: only what stands in this file, in `base.logfile`, `base.logtimes` and in Python itself is
needed, so that the program is small.  Before a helper writes it notes where; so its successor knows what it had written
if it dies.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import sys
import time
from _struct import Struct  # the public module is no part of the interpreter

from upstart.base.logfile import append
from upstart.base.logtimes import boot_number, note
from upstart.base.title import show_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

NAME = "upstart-writer"
#: Of what is said between init and its helpers; a helper of another version does nothing.
VERSION = 2
#: Bytes of the largest request.
LARGEST = 1 << 17

#: A request: serial, where its last writer was (device, inode, size before), bytes of path and root, number of marks;
#: then these and the output.  A mark: byte of the output, and when it came, in microseconds of the epoch, and since the
#: boot.  An answer: serial, bytes written, error.  A note: serial, device, inode, size before.
REQUEST = Struct("=QQQqHHH")
MARK = Struct("=IQQ")
ANSWER = Struct("=QIi")
NOTE = Struct("=QQQq")
#: Noted in place of a serial by a helper that is there, and by one that was asked to end.
READY = (1 << 64) - 2
TOLD_TO_END = (1 << 64) - 1


def serve(
    socket: _socket.socket,
    notes: int,
    place: int,
    idle: float,
    cap: int,
    settled: float = 0.0,
    settle: Callable[[], None] | None = None,
) -> None:
    """In the helper: write what comes, until nothing has come for ``idle`` seconds, or init is gone.

    One that is still at it after ``settled`` seconds calls ``settle`` once, between two requests.
    """
    working = told = False
    settled += time.monotonic()

    def end() -> None:
        os.pwrite(notes, NOTE.pack(TOLD_TO_END, 0, 0, 0), place * NOTE.size)
        os._exit(0)

    def told_to_end(_number: int, _frame: object) -> None:
        nonlocal told
        told = True
        if not working:
            end()

    os.pwrite(notes, NOTE.pack(READY, 0, 0, 0), place * NOTE.size)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, told_to_end)
    ready = select.poll()
    ready.register(socket.fileno(), select.POLLIN)
    while ready.poll(0 if told else idle * 1000):
        working = True
        try:
            request = socket.recv(LARGEST, _socket.MSG_DONTWAIT)
            if not request:
                return
            _append(socket, notes, place, request, cap)
        except BlockingIOError:
            pass  # another helper was quicker
        working = False
        if settle is not None and time.monotonic() >= settled and not told:
            settle()
            settle = None
    if told:
        end()


def _append(socket: _socket.socket, notes: int, place: int, request: bytes, cap: int) -> None:
    serial, device, inode, size, path_end, root_end, marks_end = REQUEST.unpack_from(request)
    path_end += REQUEST.size
    root_end += path_end
    marks_end = root_end + marks_end * MARK.size
    path, root = os.fsdecode(request[REQUEST.size : path_end]), os.fsdecode(request[path_end:root_end])
    marks = list(MARK.iter_unpack(request[root_end:marks_end]))
    output = request[marks_end:]

    def say(device: int, inode: int, size: int) -> None:
        os.pwrite(notes, NOTE.pack(serial, device, inode, size), place * NOTE.size)

    def begin(info: os.stat_result) -> int:
        start, done = info.st_size, 0
        if size >= 0 and (info.st_dev, info.st_ino) == (device, inode) and info.st_size >= size:
            # Our predecessor was here, and what is new in the file is its work.
            start, done = size, int(min(info.st_size - size, len(output)))
        say(info.st_dev, info.st_ino, start)
        if not root:
            # Before the output, so that whoever sees that knows when it came.
            note(path, start, marks, boot_number())
        return done

    say(device, inode, size)
    count, error = append(path, root or None, output, cap, begin)
    if error == errno.EFBIG and _has_another_limit():
        done = count
        count, error = append(path, root or None, output, cap, lambda info: done)
    socket.send(ANSWER.pack(serial, count, error))


def _has_another_limit() -> bool:
    """Have init's limit of the size of files, as it is now, in the place of that of when we were started; whether these
    differ."""
    import resource

    ours = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        soft, _ = resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, ours[1]))
    except (OSError, ValueError):
        return False
    return soft != ours[0]


def execute(socket: int, notes: int, place: int, idle: float, cap: int) -> None:
    """In a child of init: become a small program that does the same; returns where that cannot be."""
    os.pwrite(notes, bytes(NOTE.size), place * NOTE.size)
    for fd in (socket, notes):
        os.set_inheritable(fd, True)
    words = [str(word) for word in (VERSION, socket, notes, place, idle, cap)]
    text = f"import sys; sys.path += {sys.path!r}; from upstart.process.logserver import main; main()"
    try:
        os.execve(sys.executable, [sys.executable, "-ISB", "-c", text, *words], {})
    except OSError:
        os.pwrite(notes, NOTE.pack(READY, 0, 0, 0), place * NOTE.size)


def main() -> None:
    """The small program."""
    version, socket, notes, place, idle, cap = sys.argv[1:]
    if int(version) == VERSION:
        show_as(NAME, NAME)
        serve(_socket.socket(fileno=int(socket)), int(notes), int(place), float(idle), int(cap))
