"""What /proc says of a process, proc(5), read with as few system calls as possible.

A process may be gone at any moment: every function then returns ``None`` or leaves it out, and never raises.
"""

from __future__ import annotations

import os

from upstart.process.kernel import read_file

_INT, _QUIT = 1 << 1, 1 << 2  # bits of SIGINT and SIGQUIT in a signal mask


class ProcInfo:
    """One process at one moment.  ``start`` is its start time in clock ticks since boot: it tells a reused pid."""

    __slots__ = ("name", "pgid", "pid", "ppid", "sid", "start", "state")

    def __init__(self, pid: int, ppid: int, pgid: int, sid: int, start: int, state: str = "S", name: str = "") -> None:
        self.pid = pid
        self.ppid = ppid
        self.pgid = pgid
        self.sid = sid
        self.start = start
        self.state = state
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.pid} {self.name} ppid={self.ppid} pgid={self.pgid} sid={self.sid} {self.state}>"


def look(pid: int) -> ProcInfo | None:
    """The process ``pid``; a zombie counts as gone."""
    try:
        text = read_file(f"/proc/{pid}/stat", 4096)
    except OSError:
        return None
    opening, closing = text.find(b"("), text.rfind(b")")
    fields = text[closing + 2 :].split()
    if closing < 0 or len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    name = text[opening + 1 : closing].decode("utf-8", "replace")
    return ProcInfo(
        pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), fields[0].decode(), name
    )


def all_pids() -> list[int]:
    """Every process, as far as /proc shows it; none where it is not mounted."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []


def environment(pid: int) -> dict[bytes, bytes]:
    """The environment a process was started with; empty where it cannot be read."""
    try:
        text = read_file(f"/proc/{pid}/environ", 1 << 20)
    except OSError:
        return {}
    return dict(entry.split(b"=", 1) for entry in text.split(b"\0") if b"=" in entry)


def executable(pid: int) -> str | None:
    """Path of the program that a process runs; ``None`` where it cannot be seen.

    The link is read, not followed: the file may lie on a server that does not answer.
    """
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None


def in_background(pid: int) -> bool:
    """Whether a shell without job control started it with ``&``: it then ignores SIGINT and SIGQUIT (POSIX, 2.11)."""
    try:
        text = read_file(f"/proc/{pid}/status", 8192)
    except OSError:
        return False
    start = text.find(b"\nSigIgn:")
    if start < 0:
        return False
    ignored = int(text[start + 8 : text.find(b"\n", start + 8)], 16)
    return bool(ignored & _INT) and bool(ignored & _QUIT)
