"""The file under /var/run by which a program that waits can be found: /var/run/NAME.pid."""

from __future__ import annotations

import os

DIRECTORY = "/var/run"


def path(program: str) -> str:
    """Where the pid file of *program* is."""
    return f"{DIRECTORY}/{program}.pid"


def read(program: str) -> int | None:
    """The pid in the file, None if there is no file or no pid in it."""
    try:
        fd = os.open(path(program), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = int(os.read(fd, 64).split()[0])
        return pid if pid > 0 else None
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)


def runs(program: str, pid: int) -> bool:
    """Whether process *pid* is *program*, and not one that has got the number of one that left its file behind."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().rstrip(b"\n") == os.fsencode(program)[:15]
    except OSError:
        # There is no such process, or nobody knows.
        return not os.path.isdir("/proc/1")


def write(program: str, pid: int) -> None:
    """Write the file so that whoever sees it can read the pid in it.  Raises OSError."""
    temporary = f"{DIRECTORY}/.{program}.pid.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, f"{pid}\n".encode())
        os.fsync(fd)
        os.rename(temporary, path(program))
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def remove(program: str) -> None:
    """Remove the file if it is there."""
    try:
        os.unlink(path(program))
    except OSError:
        pass
