"""What init's guard runs: it cuts short what holds init in posix_spawn(3), and looks into files that may hold whoever
opens them.

A fork of init does this at first, and then another feeds it to an interpreter as a program of its own, both by
`upstart.process.guard`, which explains it; so it imports nothing of the package, and init reads it once, when it is
loaded, so that an upgrade changes nothing for a running init.  It waits in poll(2) until init's timer says that init
has been held, or init asks; it ends when init is gone.  What it does to init's child it may do only while init waits:
in posix_spawn, or for the answer to `ACTED`.  Init or a child that merely waits for a processor, as on a busy machine,
is not held: it is given more time.
"""

from __future__ import annotations

import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

#: First byte of a request: what it has done since the last such; the first bytes of a file; whether root is in a group;
#: whether it is known whether there is something by a path.
ACTED, HEAD, GROUPS, LOOK = b".", b"h", b"g", b"l"
#: First byte of an answer.
READY, YES, NO = b"r", b"+", b"-"

NAME = "upstart-guard"
_GROUP_FILE = "/etc/group"
#: /proc/PID/stat, flags: PF_FORKNOEXEC of the kernel, a process that has not executed a program since its fork.
_NOT_EXECUTED = 0x40
#: /proc/PID/stat, fields behind the name.
_STATE, _PARENT, _FLAGS, _SIZES = 0, 1, 6, slice(20, 22)
#: Times that the timer may run out while init or its child runs: a group may have too little of a processor.
_RUNNING_LOOKS = 10


def _read(path: str, limit: int = 1 << 22) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        parts = []
        while part := os.read(fd, limit):
            parts.append(part)
            if len(part) == limit:
                break
        return b"".join(parts)
    finally:
        os.close(fd)


def _stat(pid: str) -> tuple[bytes, list[bytes]]:
    """What /proc/PID/stat says: the name, and what stands behind it."""
    name, _, fields = _read(f"/proc/{pid}/stat").rpartition(b")")
    return name.partition(b"(")[2], fields.split()


def _fields(pid: str) -> list[bytes]:
    return _stat(pid)[1]


def find_child(init: str) -> str:
    """The child for whose exec ``init`` waits, "" where there is none.

    It has executed nothing yet, and shares init's memory until it does: the sizes of that are the same, to the page,
    and so is the name.  Helpers like us, which may have executed nothing either, have names of their own.
    """
    try:
        children = _read(f"/proc/{init}/task/{init}/children").decode().split()
    except OSError:
        children = [name for name in os.listdir("/proc") if name.isdecimal()]
    name, own = _stat(init)
    for pid in reversed(children):
        try:
            its_name, fields = _stat(pid)
        except OSError:
            continue
        if int(fields[_PARENT]) == int(init) and int(fields[_FLAGS]) & _NOT_EXECUTED:
            if (its_name, fields[_SIZES]) == (name, own[_SIZES]):
                return pid
    return ""


def runs(pid: str) -> bool:
    """Whether a process runs, or would if there were a processor for it."""
    return _fields(pid)[_STATE] == b"R"


def _group(pid: str) -> bytes:
    return next((line for line in _read(f"/proc/{pid}/cgroup").split(b"\n") if line.startswith(b"0::")), b"")


def move_home(init: str, home: int) -> bool:
    """Move ``init`` out of a job's cgroup, which may be frozen; whether it was in one.  We are where it belongs."""
    if _group(init) == _group("self"):
        return False
    try:
        os.write(home, init.encode())
    except OSError:
        return False
    return True


def root_is_member(text: bytes) -> bool:
    """Whether a group file, group(5), makes root a member of any group."""
    members = (line.rsplit(b":", 1)[-1].split(b",") for line in text.split(b"\n") if line.count(b":") == 3)
    return any(b"root" in names for names in members)


def _answer(request: bytes, look: Callable[[str], bool] | None) -> bytes:
    """The answer to one about a file."""
    try:
        if request[:1] == HEAD:
            return YES + _read(os.fsdecode(request[1:]), 256)
        if request[:1] == LOOK:
            return YES if look is not None and look(os.fsdecode(request[1:])) else NO
        return YES if root_is_member(_read(_GROUP_FILE)) else NO
    except OSError:
        return NO


def serve(
    answers: int, requests: int, timer: int, home: int, look: Callable[[str], bool] | None = None
) -> None:
    """Serve the parent until it is gone.

    Answers and requests go by pipes; ``timer`` is init's, and ``home`` cgroup.procs of the group that init is in, -1
    without.  ``look`` is for `LOOK`; a program of its own has none.
    """
    init = str(os.getppid())
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(timer, select.POLLIN)
    os.write(answers, READY)
    killed, moved, looks = 0, False, 0
    while True:
        ready = [fd for fd, _events in poll.poll()]
        if timer in ready:
            try:
                os.read(timer, 8)
                looks += 1
                child = find_child(init)
                if looks <= _RUNNING_LOOKS and runs(child or init):
                    continue
                if child:
                    os.kill(int(child), signal.SIGKILL)
                    killed = int(child)
                moved = move_home(init, home) or moved
            except (BlockingIOError, ProcessLookupError, FileNotFoundError):
                pass
        if requests in ready:
            request = os.read(requests, 4096)
            if not request:
                return
            if request == ACTED:
                os.write(answers, b"%d %d" % (killed, moved))
                killed, moved, looks = 0, False, 0
            else:
                os.write(answers, _answer(request, look))


def main() -> None:
    """The program of its own; its words are the descriptors of `serve`."""
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(NAME.encode())
    except OSError:
        pass
    answers, requests, timer, home = map(int, sys.argv[2:])
    serve(answers, requests, timer, home)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
