"""A cgroup for each job instance, on cgroup v2 and without any manager (cgroups(7), Linux' cgroup-v2.rst).

Groups live below the one init itself runs in: ``upstart/JOB`` or ``upstart/JOB@INSTANCE`` (``JOB@`` for a JOB with a
hyphen) for what every job gets so that its processes can be listed and killed, and whatever a ``cgroup`` stanza names
for jobs that have one.  No name leads out of that subtree.  Processes are only ever put into leaves.  A group is a
convenience: where none can be made (no cgroup2 mount, no permission, a read-only container) everything here answers
"none" and jobs run without.

A process begins inside its group, so that not even its first fork escapes: either init moves itself in, spawns, and
moves out again (`Cgroups.enter`), or it forks into the group.  It never enters a frozen group, and moves only where
that is quick (`upstart.process.pace`).
"""

from __future__ import annotations

import errno
import os
import resource
import time

from upstart.base.closing import close
from upstart.process.group import CgroupError, Group, directory_name, enable, killed, make_directory
from upstart.process.kernel import read_file, write_file
from upstart.process.pace import SLOW, Pace

#: Marks the directory of one init, so that a second one in the same cgroup (another PID namespace) takes its own.
_OWNER = "user.upstart.owner"
#: Directories of ended jobs that could not be removed yet, looked at each time another job ends.
_SWEEP = 8
#: What a system's init has enabled from the boot on: what others put into groups of theirs.
_OFFERED = ("cpu", "io", "memory", "pids")
#: The leaf that init and its neighbours move to where their own group must be free of processes.
_INIT = "/upstart-init"
#: Begins the name of a session init's own subtree; its pid follows.
_SESSION = "upstart-session-"


def find_own() -> tuple[str, str] | None:
    """(directory of the cgroup2 mount, our own group's directory in it), or ``None`` where there is none."""
    try:
        mounts = read_file("/proc/self/mountinfo", 1 << 20)
        groups = read_file("/proc/self/cgroup")
    except OSError:
        return None
    own = next((line[3:] for line in groups.split(b"\n") if line.startswith(b"0::")), None)
    if own is None or own.startswith(b"/.."):
        return None
    for line in mounts.split(b"\n"):
        fields, separator, kind = line.partition(b" - ")
        words = fields.split(b" ")
        if not separator or not kind.startswith(b"cgroup2 ") or len(words) < 6:
            continue
        root, point = words[3], os.fsdecode(words[4])
        if root != b"/" and not (own + b"/").startswith(root + b"/"):
            continue
        below = os.fsdecode(own[len(root) :] if root != b"/" else own).strip("/")
        directory = f"{point}/{below}" if below else point
        if os.path.isdir(directory):
            return point, directory
    return None


class Cgroups:
    """The subtree of one init.

    ``own`` is the directory init's process is in (found by itself when not given), ``session`` makes a subtree of
    its own for a session init, whose many siblings share one cgroup, ``pid`` is init's where that is not ours.
    """

    def __init__(self, own: str | None = None, session: bool = False, pid: int = 0) -> None:
        if own is None:
            found = find_own()
            own = found[1] if found is not None else None
        #: Directory that stanza names are relative to, or ``None`` without cgroups.
        self.base: str | None = None
        self._own = own or ""
        #: Directory of the group that init's own process belongs to, "" where there are none.
        self.home = ""
        self._home = -1
        self._freeze = -1
        self._pace = Pace()
        self._made: set[str] = set()
        #: The path made last: nobody has had the time to freeze it.
        self._fresh = ""
        self._left: dict[str, Group] = {}
        if own is None:
            return
        home = own
        if own.endswith(_INIT):
            own = self._own = own[: -len(_INIT)]
        pid = pid or os.getpid()
        base = f"{own}/{_SESSION}{pid}" if session else own
        if session:
            _remove_dead_sessions(own)
        self._claim(base, pid)
        if self.base is not None:
            self._go_home(home)

    def _claim(self, base: str, pid: int) -> None:
        """Make the directory of this init's jobs below ``base``, or another beside it if it is another init's."""
        owner = f"{os.readlink('/proc/self/ns/pid')}/{pid}".encode()
        for attempt in (base, f"{base}/upstart-{os.stat('/proc/self/ns/pid').st_ino}"):
            top = attempt + "/upstart"
            try:
                for directory in (attempt, top):
                    make_directory(directory)
                if not os.access(top, os.W_OK):
                    return
                if _owned(top, owner):
                    self.base = attempt
                    self._freeze = os.open(top + "/cgroup.freeze", os.O_RDONLY | os.O_CLOEXEC)
                    return
            except OSError:
                return

    def _go_home(self, directory: str) -> None:
        """Remember where init's own process belongs, and make sure that it is there (not after a crash inside)."""
        self.home = directory
        try:
            self._home = os.open(directory + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            self._move(self._home)
        except OSError:
            close(self._home)
            self._home = -1

    @property
    def available(self) -> bool:
        """Whether jobs get groups at all."""
        return self.base is not None

    @property
    def moves(self) -> bool:
        """Whether init should put the job that it now starts into its group by moving itself: that is possible, it
        is the quicker way, and nothing is frozen."""
        if self.base is None or self._home < 0 or not self._pace.worth_moving(time.monotonic()):
            return False
        try:
            return os.pread(self._freeze, 8, 0).startswith(b"0")
        except OSError:
            return False

    def offer_controllers(self) -> None:
        """Enable the controllers that others limit groups of theirs with, as Docker and libvirt do, beside our own.

        Once they are enabled here nobody can take them away by mounting them as a version 1 hierarchy.  Where the
        kernel lacks one, or does not let us, as in a container, we do without.
        """
        if not self._own:
            return
        for name in _OFFERED:
            try:
                enable(self._own, frozenset((name,)))
            except (OSError, CgroupError):
                continue

    def group(self, job: str, instance: str, session: str | None = None) -> Group | None:
        """The own group of an instance of a job (of a chroot session), made if need be; ``None`` where that is
        impossible."""
        if self.base is None:
            return None
        path = self._own_path(job, instance, session)
        if path in killed:
            try:
                os.rmdir(path)
                self._made.discard(path)
            except OSError:
                pass  # something is left in it
        if path not in self._made:
            try:
                os.mkdir(path, 0o755)
                self._fresh = path
                killed.discard(path)
            except FileExistsError:
                if not os.path.isdir(path):
                    return None
                killed.add(path)
            except OSError:
                return None
            self._made.add(path)
        return Group(path, True)

    def _own_path(self, job: str, instance: str, session: str | None) -> str:
        return f"{self.base}/upstart/{directory_name(job, instance, session)}"

    def enter(self, group: Group) -> bool:
        """Move init's own process into ``group``; pair with `leave`.  False (and not moved) where it must not."""
        try:
            if self._fresh == group.path:
                self._fresh = ""
            elif not read_file(group.path + "/cgroup.freeze", 8).startswith(b"0"):
                return False
            fd = os.open(group.path + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._move(fd)
            finally:
                close(fd)
        except OSError:
            self._made.discard(group.path)
            return False
        return True

    def _move(self, fd: int) -> None:
        """Move init's own process into the group whose cgroup.procs is open, and remember how long that took."""
        sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        began = time.monotonic()
        os.write(fd, b"0")
        ended = time.monotonic()
        slept = ended - began > SLOW and resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw > sleeps
        self._pace.moved(began, ended, slept)

    def leave(self) -> None:
        """Move init's own process back; should the kernel not let it, it is never moved again."""
        try:
            os.write(self._home, b"0")
        except OSError:
            close(self._home)
            self._home = -1

    def release_of(self, job: str, instance: str, session: str | None = None) -> None:
        """The job instance is gone: remove its own group now, or later if processes have been left in it."""
        path = self._own_path(job, instance, session)
        if path in self._made:
            self.release(Group(path, True))

    def release(self, group: Group) -> None:
        """Nothing is started in a group any more: remove it now, or later if processes have been left in it."""
        self._made.discard(group.path)
        waiting = [self._left.pop(path) for path in list(self._left)[:_SWEEP]]
        for one in {each.path: each for each in (*waiting, group)}.values():
            if one.path not in self._made and not one.remove():
                self._left[one.path] = one

    def dump(self) -> list[list[object]]:
        """The groups made for instances, and those that could not be removed when these were gone, as plain values."""
        left = [[group.path, group.exclusive, False] for group in self._left.values()]
        return [*left, *([path, True, True] for path in self._made)]

    def restore(self, saved: list[list[object]]) -> None:
        """Take over what `dump` gave."""
        for path, exclusive, *made in saved:
            if made and made[0]:
                self._made.add(str(path))
                # It may be; who was before us has not said so.
                killed.add(str(path))
            else:
                self._left[str(path)] = Group(str(path), bool(exclusive))

    def close(self) -> None:
        """Remove what is empty and close the descriptors; for a session init that ends."""
        if self.base is None:
            return
        Group(self.base + "/upstart", True).remove()
        if self.base != self._own:
            Group(self.base, True).remove()
        for fd in (self._home, self._freeze):
            close(fd)
        self._home = self._freeze = -1
        self.base = None

    def delegate(self, controllers: frozenset[str]) -> None:
        """Have the controllers available in the directories below `base`; raises CgroupError naming one that is not.

        cgroup v2 allows that only in a group without processes: if need be, those of init's own group (init too)
        are moved to a leaf beside the jobs.
        """
        assert self.base is not None
        for directory in dict.fromkeys((self._own, self.base)):
            try:
                enable(directory, controllers)
            except OSError as error:
                if error.errno != errno.EBUSY or directory != self._own:
                    raise CgroupError(f"{_listed(controllers)}: {os.strerror(error.errno or 0)}")
                self._make_room()
                try:
                    enable(directory, controllers)
                except OSError as again:
                    raise CgroupError(f"{_listed(controllers)}: {os.strerror(again.errno or 0)}")

    def _make_room(self) -> None:
        """Move every process of init's own group to the leaf."""
        leaf = self._own + _INIT
        try:
            make_directory(leaf)
            for pid in read_file(self._own + "/cgroup.procs", 1 << 20).split():
                try:
                    write_file(leaf + "/cgroup.procs", pid)
                except OSError:
                    continue
        except OSError:
            return
        close(self._home)
        self._go_home(leaf)


def _remove_dead_sessions(own: str) -> None:
    """Remove the empty subtrees of session inits that were killed; only those of our own PID namespace."""
    namespace = os.readlink("/proc/self/ns/pid")
    try:
        names = os.listdir(own)
    except OSError:
        return
    for name in names:
        if not name.startswith(_SESSION):
            continue
        try:
            owner = os.getxattr(f"{own}/{name}/upstart", _OWNER).decode()
        except OSError:
            continue
        before, _, pid = owner.rpartition("/")
        if before == namespace and not os.path.exists(f"/proc/{pid}"):
            Group(f"{own}/{name}", True).remove()


def _owned(top: str, owner: bytes) -> bool:
    """Whether ``top`` is this init's; claims it when it has no owner or holds no process any more."""
    try:
        if os.getxattr(top, _OWNER) == owner:
            return True
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return True
    else:
        if Group(top, True).populated():
            return False
    try:
        os.setxattr(top, _OWNER, owner)
    except OSError as error:
        return error.errno in (errno.EOPNOTSUPP, errno.EPERM)
    return True


def _listed(controllers: frozenset[str]) -> str:
    return ", ".join(sorted(controllers))
