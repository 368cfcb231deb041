"""One control group of a job, as a directory: its name, what is in it, and how it is made and done away with.

What is always true here: nothing is kept but the path, so what is said of a group is what the kernel says now.  Which
groups an init has is the matter of `upstart.process.cgroup`.
"""

from __future__ import annotations

import errno
import os

from upstart.process.kernel import is_gone, read_file, write_file

_ESCAPED = frozenset("/%@\n\t\0 ")


class CgroupError(Exception):
    """Why a job cannot have the cgroup it asks for; ``str()`` names the controller, key or group."""


def directory_name(job: str, instance: str, session: str | None = None) -> str:
    """The name of a job instance's own directory; different for every job, instance and chroot session.

    It also differs from the JOB-INSTANCE that a cgroup stanza of an instance means by default.
    """
    name = _escape(job)
    if instance or "-" in name or session is not None:
        name += "@" + _escape(instance)
    if session is not None:
        name += "@" + _escape(session)
    return "%2E" + name[1:] if name.startswith(".") else name


def _escape(text: str) -> str:
    if _ESCAPED.isdisjoint(text):
        return text
    return "".join(f"%{ord(char):02X}" if char in _ESCAPED else char for char in text)


#: Directories of groups that init has killed.  Linux 6.14, and stable kernels since, take what is cloned into such a
#: group for one of its members that was missed, and end it at once; to move there, or to be forked there, is safe.
killed: set[str] = set()


class Group:
    """The directory of one job instance.  ``exclusive``: no process of another job is ever in it."""

    __slots__ = ("exclusive", "path")

    def __init__(self, path: str, exclusive: bool) -> None:
        self.path = path
        self.exclusive = exclusive

    def pids(self) -> list[int]:
        """The processes in the group and below it; those of another PID namespace are left out.

        Raises OSError where we lack what it takes to look.
        """
        pids: list[int] = []
        for directory in _subtree(self.path):
            try:
                pids += map(int, read_file(directory + "/cgroup.procs", 1 << 20).split())
            except OSError as error:
                # A threaded group has processes elsewhere, and says EOPNOTSUPP.
                if not is_gone(error) and error.errno != errno.EOPNOTSUPP:
                    raise
        return [pid for pid in pids if pid > 1]

    def populated(self) -> bool:
        """Whether any process is in the group or below it."""
        try:
            return b"populated 1" in read_file(self.path + "/cgroup.events", 256)
        except OSError:
            return False

    def kill(self) -> bool:
        """Send SIGKILL to all that is in the group, atomically; False where the kernel cannot (before 5.14)."""
        try:
            if not self.exclusive or os.getpid() in self.pids():
                return False
            killed.add(self.path)
            write_file(self.path + "/cgroup.kill", b"1")
        except OSError:
            return False
        return True

    def remove(self) -> bool:
        """Remove the directory and those below it; False while there are processes in it."""
        try:
            os.rmdir(self.path)
            killed.discard(self.path)
            return True
        except OSError as error:
            if error.errno == errno.ENOENT:
                killed.discard(self.path)
                return True
        for directory in reversed(_subtree(self.path)):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    return False
        killed.discard(self.path)
        return True


def _subtree(path: str) -> list[str]:
    """``path`` and every directory below it, parents first; symbolic links do not exist there."""
    found = [path]
    for directory in found:
        try:
            with os.scandir(directory) as entries:
                found += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
    return found


def make_directory(path: str) -> None:
    """Make a group that is there from now on, and whose owner alone makes groups in it, whatever our umask: who owns a
    group ends and freezes what is in it.  Raises OSError."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass


def enable(directory: str, controllers: frozenset[str]) -> None:
    """Enable ``controllers`` for the children of ``directory``.  Raises OSError; CgroupError for one it lacks."""
    there = set(read_file(directory + "/cgroup.controllers").decode().split())
    for name in sorted(controllers - there):
        raise CgroupError(f"{name}: controller not available")
    missing = controllers - set(read_file(directory + "/cgroup.subtree_control").decode().split())
    if missing:
        write_file(directory + "/cgroup.subtree_control", " ".join("+" + name for name in sorted(missing)).encode())
