"""What init's guard runs: it cuts short what holds init in posix_spawn(3), and looks into files that may hold whoever
opens them.

This is a program of its own, fed to an interpreter by `upstart.process.guard`, which explains it; so it imports nothing
of the package, and init reads it once, when it is loaded, so that an upgrade changes nothing for a running init.  It
waits in poll(2) until init's timer says that init has been held, or init asks; it ends when init is gone.  What it does
to init's child it may do only while init waits: in posix_spawn, or for the answer to `ACTED`.  Init or a child that
merely waits for a processor, as on a busy machine, is not held: it is given more time.
"""

from __future__ import annotations

import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

#: Descriptors: answers go there, requests come from there, init's timer, cgroup.procs of the group that init is in.
ANSWERS, REQUESTS, TIMER, HOME = 1, 3, 4, 5
#: First byte of a request: what it has done since the last such; the first bytes of a file; whether root is in a group.
ACTED, HEAD, GROUPS = b".", b"h", b"g"
#: First byte of an answer.
READY, YES, NO = b"r", b"+", b"-"

_NAME = b"upstart-guard"
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


def _fields(pid: str) -> list[bytes]:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def find_child(init: str) -> str:
    """The child for whose exec ``init`` waits, "" where there is none.

    It has executed nothing yet, and shares init's memory until it does: the sizes of that are the same, to the page.
    """
    try:
        children = _read(f"/proc/{init}/task/{init}/children").decode().split()
    except OSError:
        children = [name for name in os.listdir("/proc") if name.isdecimal()]
    sizes = _fields(init)[_SIZES]
    for pid in reversed(children):
        try:
            fields = _fields(pid)
        except OSError:
            continue
        if int(fields[_PARENT]) == int(init) and int(fields[_FLAGS]) & _NOT_EXECUTED and fields[_SIZES] == sizes:
            return pid
    return ""


def runs(pid: str) -> bool:
    """Whether a process runs, or would if there were a processor for it."""
    return _fields(pid)[_STATE] == b"R"


def _group(pid: str) -> bytes:
    return next((line for line in _read(f"/proc/{pid}/cgroup").split(b"\n") if line.startswith(b"0::")), b"")


def move_home(init: str) -> bool:
    """Move ``init`` out of a job's cgroup, which may be frozen; whether it was in one.  We are where it belongs."""
    if _group(init) == _group("self"):
        return False
    try:
        os.write(HOME, init.encode())
    except OSError:
        return False
    return True


def root_is_member(text: bytes) -> bool:
    """Whether a group file, group(5), makes root a member of any group."""
    members = (line.rsplit(b":", 1)[-1].split(b",") for line in text.split(b"\n") if line.count(b":") == 3)
    return any(b"root" in names for names in members)


def _answer(request: bytes) -> bytes:
    """The answer to one about a file."""
    try:
        if request[:1] == HEAD:
            return YES + _read(os.fsdecode(request[1:]), 256)
        return YES if root_is_member(_read(_GROUP_FILE)) else NO
    except OSError:
        return NO


def main() -> None:
    """Serve the parent until it is gone."""
    init = str(os.getppid())
    try:
        with open("/proc/self/comm", "wb") as file:
            file.write(_NAME)
    except OSError:
        pass
    poll = select.poll()
    poll.register(REQUESTS, select.POLLIN)
    poll.register(TIMER, select.POLLIN)
    os.write(ANSWERS, READY)
    killed, moved, looks = 0, False, 0
    while True:
        ready = [fd for fd, _events in poll.poll()]
        if TIMER in ready:
            try:
                os.read(TIMER, 8)
                looks += 1
                child = find_child(init)
                if looks <= _RUNNING_LOOKS and runs(child or init):
                    continue
                if child:
                    os.kill(int(child), signal.SIGKILL)
                    killed = int(child)
                moved = move_home(init) or moved
            except (BlockingIOError, ProcessLookupError, FileNotFoundError):
                pass
        if REQUESTS in ready:
            request = os.read(REQUESTS, 4096)
            if not request:
                return
            if request == ACTED:
                os.write(ANSWERS, b"%d %d" % (killed, moved))
                killed, moved, looks = 0, False, 0
            else:
                os.write(ANSWERS, _answer(request))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit(0)
