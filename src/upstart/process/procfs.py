"""What /proc says of a process, proc(5), read with as few system calls as possible.

A process may be gone at any moment: every function then returns ``None`` or leaves it out.  Where we lack what it
takes to look (memory, descriptors), nothing is known: that raises OSError.
"""

from __future__ import annotations

import os
import sys

from upstart.process.kernel import is_gone, read_file

_INT, _QUIT = 1 << 1, 1 << 2  # bits of SIGINT and SIGQUIT in a signal mask
_FORKNOEXEC = 0x40  # PF_FORKNOEXEC of the kernel's sched.h: forked, and no program executed since
_AT_SECURE = 23  # getauxval(3): the program was given privileges that its caller had not
#: Threads of one process whose children are looked at: to look at more would hold init.
_THREADS = 1000

#: Programs whose children are commands, not daemons, unless put into the background.
SHELLS = frozenset(
    (
        "ash", "bash", "bash-static", "dash", "ksh", "ksh93", "lksh", "mksh", "mksh-static", "posh", "rbash", "sash",
        "sh", "yash", "zsh", "zsh-static", "zsh5",
    )
)  # fmt: skip


class ProcInfo:
    """One process at one moment.

    ``start`` is its start time in clock ticks since boot: it tells a reused pid.  ``forked``: it has executed no
    program since it was forked.  ``exiting``: it is about to be a zombie, and cannot be asked for its environment.
    """

    __slots__ = ("exiting", "forked", "name", "pgid", "pid", "ppid", "sid", "start", "state", "threads")

    def __init__(
        self,
        pid: int,
        ppid: int,
        pgid: int,
        sid: int,
        start: int,
        state: str = "S",
        name: str = "",
        forked: bool = False,
        threads: int = 1,
        exiting: bool = False,
    ) -> None:
        self.pid = pid
        self.ppid = ppid
        self.pgid = pgid
        self.sid = sid
        self.start = start
        self.state = state
        self.name = name
        self.forked = forked
        self.threads = threads
        self.exiting = exiting

    def __repr__(self) -> str:
        return f"<{self.pid} {self.name} ppid={self.ppid} pgid={self.pgid} sid={self.sid} {self.state}>"


def look(pid: int) -> ProcInfo | None:
    """The process ``pid``; a zombie counts as gone."""
    try:
        text = read_file(f"/proc/{pid}/stat", 4096)
    except OSError as error:
        if is_gone(error):
            return None
        raise
    opening, closing = text.find(b"("), text.rfind(b")")
    fields = text[closing + 2 :].split()
    if closing < 0 or len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return ProcInfo(
        pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), fields[0].decode(),
        text[opening + 1 : closing].decode("utf-8", "replace"), bool(int(fields[6]) & _FORKNOEXEC), int(fields[17]),
        len(fields) > 20 and fields[20] == b"0",
    )  # fmt: skip


def begun(pid: int) -> int:
    """When a process began, as `ProcInfo.start`, whether it has ended or not; 0 once it is reaped."""
    try:
        text = read_file(f"/proc/{pid}/stat", 4096)
    except OSError as error:
        if is_gone(error):
            return 0
        raise
    return int(text[text.rfind(b")") + 2 :].split()[19])


def cgroup_of(pid: int) -> str:
    """The cgroup (version 2) that a process is in, or was in when it ended, until it is reaped; empty where that cannot
    be read."""
    try:
        text = read_file(f"/proc/{pid}/cgroup")
    except OSError as error:
        if is_gone(error):
            return ""
        raise
    return next((os.fsdecode(line[3:]) for line in text.split(b"\n") if line.startswith(b"0::")), "")


def all_pids() -> list[int]:
    """Every process, as far as /proc shows it; none where it is not mounted."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError as error:
        if is_gone(error):
            return []
        raise


def children(pid: int, threads: int = 1) -> list[int] | None:
    """The children of ``pid``, which has so many threads; ``None`` where the kernel does not tell."""
    try:
        tasks = [str(pid)] if threads <= 1 else os.listdir(f"/proc/{pid}/task")[:_THREADS]
    except OSError as error:
        if is_gone(error):
            return []
        raise
    found: list[int] = []
    for task in tasks:
        try:
            found += map(int, read_file(f"/proc/{pid}/task/{task}/children", 1 << 22).split())
        except OSError as error:
            if not is_gone(error):
                raise
            if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
                return None
    return found


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty where it cannot be read."""
    try:
        text = read_file(f"/proc/{pid}/environ", 1 << 20)
    except OSError as error:
        if is_gone(error):
            return {}
        raise
    return dict(entry.split(b"=", 1) for entry in text.split(b"\0") if b"=" in entry)


def users(pid: int) -> frozenset[int]:
    """The user ids of a process: real, effective, saved and that for files; empty where they cannot be read."""
    try:
        text = read_file(f"/proc/{pid}/status", 8192)
    except OSError as error:
        if is_gone(error):
            return frozenset()
        raise
    start = text.find(b"\nUid:")
    return frozenset(map(int, text[start + 5 : text.find(b"\n", start + 5)].split())) if start >= 0 else frozenset()


def privileged(pid: int) -> bool:
    """Whether a process runs a program that was given privileges which its caller had not, and with the caller's
    environment; true where that cannot be read."""
    try:
        text = read_file(f"/proc/{pid}/auxv", 4096)
    except OSError as error:
        if is_gone(error):
            return True
        raise
    # Keys are small: the upper half of a key of 64 bits is empty.
    size = 4 if sys.maxsize < 1 << 32 or int.from_bytes(text[:8], sys.byteorder) >> 32 else 8
    words = [int.from_bytes(text[at : at + size], sys.byteorder) for at in range(0, len(text) - size + 1, size)]
    return any(key == _AT_SECURE and value for key, value in zip(words[::2], words[1::2], strict=False))


def waited(pid: int) -> float:
    """Seconds for which a process was ready to run and had no processor; 0.0 where that cannot be read.

    What else holds it (a disk, another process) does not count, and neither do its threads beside the first.
    """
    try:
        fields = read_file(f"/proc/{pid}/schedstat", 256).split()
    except OSError as error:
        if is_gone(error):
            return 0.0
        raise
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def command(pid: int) -> list[bytes]:
    """The command line of a process, as it may have changed it; empty where it cannot be read."""
    try:
        text = read_file(f"/proc/{pid}/cmdline", 1 << 20)
    except OSError as error:
        if is_gone(error):
            return []
        raise
    return text.split(b"\0")[:-1]


def executable(pid: int) -> str | None:
    """Path of the program that a process runs; ``None`` where it cannot be seen.

    The link is read, not followed: the file may lie on a server that does not answer.
    """
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError as error:
        if is_gone(error):
            return None
        raise


def is_shell(pid: int) -> bool:
    """Whether what runs is a shell: the name of a process is that of the script, where it runs one."""
    program = (executable(pid) or "").removesuffix(" (deleted)").rpartition("/")[2]
    if program != "busybox":
        return program in SHELLS
    names = [os.fsdecode(word).rpartition("/")[2].lstrip("-") for word in command(pid)[:2]]
    return bool(names) and names[-1 if names[0] == "busybox" else 0] in SHELLS


def in_background(pid: int) -> bool:
    """Whether a shell without job control started it with ``&``: it then ignores SIGINT and SIGQUIT (POSIX, 2.11)."""
    try:
        text = read_file(f"/proc/{pid}/status", 8192)
    except OSError as error:
        if is_gone(error):
            return False
        raise
    start = text.find(b"\nSigIgn:")
    if start < 0:
        return False
    ignored = int(text[start + 8 : text.find(b"\n", start + 8)], 16)
    return bool(ignored & _INT) and bool(ignored & _QUIT)
