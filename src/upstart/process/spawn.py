"""Starting a process of a job.

Two ways lead to the same result.  The quick one, posix_spawn(3), serves jobs that ask for nothing that needs code in
the child (`upstart.process.quick`); whatever goes wrong on it is tried again the other way.  That one forks, itself or
by a warden (`upstart.process.warden`): the child sets itself up (`upstart.process.child`) and reports through a pipe
that the caller watches.  Which way is the quicker one for a job with a cgroup depends on what came right before
(`upstart.process.pace`).

Nothing here blocks, but for the moment in which a warden forks, or keeps more between calls than caches and a pty in
reserve.  Every descriptor made is close-on-exec; a job inherits its three standard ones, what UPSTART_FDS names, and a
script on descriptor 9, or behind sockets that take up that number.
"""

from __future__ import annotations

import errno
import os

from upstart.base.closing import close
from upstart.base.syscalls import fork_into
from upstart.conf.expand import ExpandError, expand
from upstart.process import child, warden
from upstart.process.cgroupkeys import make_plan
from upstart.process.errors import SpawnError, decode_failure, describe, split_report
from upstart.process.group import CgroupError, Group, killed
from upstart.process.kernel import open_pty
from upstart.process.members import Members
from upstart.process.orphans import boot_ticks
from upstart.process.ownprograms import OwnPrograms
from upstart.process.program import SCRIPT_FD, arguments, beginning
from upstart.process.quick import Quick
from upstart.process.request import FIRST_SOCKET, SpawnRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from upstart.process.cgroup import Cgroups
    from upstart.process.cgroupkeys import Plan
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

__all__ = ["SpawnError", "SpawnRequest", "SpawnResult", "Spawner", "decode_failure", "read_outcome"]

#: For want of these the same request may succeed a moment later.
_TEMPORARY = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC))
#: What clone3(2) says where it will never work: an older kernel, a filter.
_CANNOT_CLONE = frozenset((errno.ENOSYS, errno.E2BIG, errno.EINVAL, errno.EPERM))


class SpawnResult:
    """A started process.

    ``ready``: the program runs.  If not, watch ``error_fd``: `read_outcome` tells.  ``output_fd`` (-1 or the
    non-blocking end of a pty or pipe) is for a `JobLog`.  ``script_feed`` is (descriptor, rest of the script) if the
    script was longer than a pipe takes at once: write without blocking, then close; `None` otherwise.
    ``members`` tells what belongs to the process from now on.
    """

    __slots__ = ("error_fd", "members", "output_fd", "pid", "ready", "script_feed")

    def __init__(self, pid: int, ready: bool, error_fd: int, members: Members) -> None:
        self.pid = pid
        self.ready = ready
        self.error_fd = error_fd
        self.members = members
        self.output_fd = -1
        self.script_feed: tuple[int, bytes] | None = None


def read_outcome(error_fd: int, lacks: Callable[[str], object]) -> str | None:
    """What became of a child whose ``error_fd`` is readable: "" it runs the program, a text: why it does not.

    ``None``: nothing yet.  Call it too when the child is reaped before the loop has seen the descriptor.  ``lacks`` is
    told what the process does without, which the kernel has refused.
    """
    while True:
        try:
            data = os.read(error_fd, 4096)
        except (BlockingIOError, InterruptedError):
            return None
        if not data:
            return ""
        texts, failure = split_report(data)
        for text in texts:
            lacks(text)
        if failure:
            return decode_failure(failure)


class _Fds:
    """Descriptors made for one spawn: those the child gets, and those init keeps if it succeeds."""

    __slots__ = ("error", "error_child", "feed", "output", "output_child", "script")

    def __init__(self) -> None:
        self.script = self.output_child = self.error_child = -1
        self.feed = self.output = self.error = -1

    def close_child(self) -> None:
        for fd in (self.script, self.output_child, self.error_child):
            close(fd)
        self.script = self.output_child = self.error_child = -1

    def close_all(self) -> None:
        self.close_child()
        for fd in (self.feed, self.output, self.error):
            close(fd)
        self.feed = self.output = self.error = -1


class Spawner:
    """Starts processes.

    ``user_mode``: a session init, whose jobs stay in its working directory and, if ``inherit_umask`` is a mask, have
    that one instead of 022.  ``cgroups`` is ``None`` with --no-cgroups: cgroup stanzas are then ignored.
    ``debugging``: debug stanzas count, as they do where init itself was started with --debug.
    """

    def __init__(
        self,
        user_mode: bool = False,
        cgroups: Cgroups | None = None,
        inherit_umask: int | None = None,
        debugging: bool = False,
    ) -> None:
        self._user_mode = user_mode
        self._cgroups = cgroups
        self._umask = inherit_umask
        self._debugging = debugging
        self._root = os.geteuid() == 0
        self._into_group = True
        self._own = os.getpid()
        #: Descriptors that whoever started us meant for every program, and signals that we ignore; known at the first
        #: fork, since whatever is looked at before each would have to be copied after it.
        self._crossing: tuple[int, ...] | None = None
        self._ignored: tuple[int, ...] = ()
        self._quick = Quick(user_mode, cgroups)
        #: A pty for the next process, opened while the one before began its work.
        self._spare: tuple[int, int] | None = None
        #: Tells which programs are ours, while they need not be executed.
        self.own: OwnPrograms | None = None
        #: Whether `prepare` should be called when there is time.
        self.unprepared = False

    def close(self) -> None:
        """Close the descriptors kept."""
        self._quick.close()
        for fd in self._spare or ():
            close(fd)
        self._spare = None

    def prepare(self) -> None:
        """Have ready what takes time and can be had before it is known what for; without descriptors, nothing."""
        self.unprepared = False
        if self._spare is None:
            try:
                self._spare = open_pty()
            except OSError:
                pass

    def begin_boot(self, program: str) -> None:
        """Nobody waits yet for an init that boots, and all that it starts is to be read from the disk.

        ``program`` is the script that it was started by (`upstart.process.ownprograms`).
        """
        self.own = OwnPrograms(program)
        self._quick.begin_boot()

    def guard(self, now: bool = False) -> bool:
        """From now on others run that could hold us: have what may wait watched (`upstart.process.guard`).

        The guard is started ``now``, and what `prepare` has ready is made; or when the next process is started.  Gives
        whether this was said for the first time.
        """
        first = self._quick.begin_guard()
        if now:
            self._quick.watched()
            self.prepare()
        return first

    def settle_guard(self) -> bool:
        """Have a guard that is a fork of ours replaced by a small program; whether that is so now, or needs no more."""
        return self._quick.settle_guard()

    def noticed(self, pid: int) -> None:
        """A child that is no job's was stopped, or has ended."""
        self._quick.noticed(pid)

    def spawn(self, request: SpawnRequest, members: Members | None = None) -> SpawnResult:
        """Start the process; it leads a session and process group of its own.  Raises SpawnError.

        ``members``, where it is given, is that of `prepare`, and has the pid as soon as there is a process: whatever
        is raised from then on, it exists.
        """
        sockets = request.take_sockets()
        script_fd = max(SCRIPT_FD, FIRST_SOCKET + len(sockets))
        argv, script = arguments(request.job_class.processes[request.process], script_fd)
        members = members or prepare(request)
        setup = child.Setup(request, argv, -1, members)
        setup.sockets, setup.script_fd = sockets, script_fd
        fds = _Fds()
        result = SpawnResult(0, False, -1, members)
        feed = b""
        try:
            self._names(setup)
            if request.console == "log":
                fds.output, fds.output_child = self._open_output()
            feed = _open_script(fds, script, script_fd, bool(sockets))
            setup.output, setup.script = fds.output_child, fds.script
            if fds.feed >= 0:
                result.script_feed = (fds.feed, feed)
            members.group = setup.group if setup.plan is None else Group(f"{setup.base}/{setup.plan.name}", False)
            warded = request.warded and setup.group is None and not setup.pause
            if warded or self._is_own(setup) or not self._quick.spawn(setup):
                self._by_fork(setup, fds, warded)
        except (OSError, MemoryError) as error:
            if not members.pid:
                fds.close_all()
                number = (error.errno or 0) if isinstance(error, OSError) else errno.ENOMEM
                raise SpawnError(f"Temporary process spawn error: {os.strerror(number)}", number in _TEMPORARY)
        except BaseException:
            if not members.pid:
                fds.close_all()
                raise
        result.pid = members.pid
        members.born()
        fds.close_child()
        result.ready, result.error_fd, result.output_fd = fds.error < 0, fds.error, fds.output
        return result

    def _is_own(self, setup: child.Setup) -> bool:
        """Whether the program is one of ours, for which a fork is the quicker way.

        Once clients are served only the child looks for that, where one is forked anyway.
        """
        setup.own = self.own
        if self.own is None or not self._quick.unguarded:
            return False
        path = self._quick.find(setup)
        return path is not None and self.own.find(setup.request, setup.argv, path) is not None

    def _names(self, setup: child.Setup) -> None:
        """Expand what the stanzas name, and find the cgroup."""
        request = setup.request
        job = request.job_class
        setup.no_chdir = self._user_mode
        setup.pause = self._debugging and request.job_class.debug
        setup.groups = self._root and (
            not job.setuid is job.setgid is job.chroot is request.session is None or self._quick.root_has_groups()
        )
        if self._umask is not None and "umask" not in vars(job):
            setup.umask = self._umask
        if job.apparmor_switch is not None and request.process == "main":
            try:
                setup.profile = expand(job.apparmor_switch, request.env)
            except ExpandError as error:
                raise SpawnError(describe("security", 0, str(error)))
        cgroups = self._cgroups
        if cgroups is None or request.process == "security":
            return
        if not job.cgroups:
            setup.group = cgroups.group(job.name, request.instance_name, request.session)
            return
        try:
            setup.plan = make_plan(job.cgroups, job.name, request.instance_name, request.env, request.session)
            if cgroups.base is not None:
                setup.base = cgroups.base
                if setup.plan.controllers:
                    _delegate(cgroups, setup.plan)
            elif setup.plan.settings:
                raise CgroupError(f"{setup.plan.settings[0][2]}: no cgroup v2 hierarchy that init may write to")
            else:
                setup.plan = None
        except CgroupError as error:
            raise SpawnError(describe("cgroup-setup", 0, str(error)))

    def _open_output(self) -> tuple[int, int]:
        """(our non-blocking end, the job's end) for its output: a pty, or a pipe where there is none."""
        spare, self._spare = self._spare, None
        self.unprepared = True
        if spare is not None:
            return spare
        try:
            return open_pty()
        except OSError:
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            return ours, theirs

    def _by_fork(self, setup: child.Setup, fds: _Fds, warded: bool) -> None:
        """Start it with fork(2), or by a warden.  Raises OSError if there can be no new process."""
        fds.error, fds.error_child = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        setup.error = fds.error_child
        if self._crossing is None:
            self._crossing = _inheritable()
            self._ignored = tuple([each for each in child.SIGNALS if signal.getsignal(each) == signal.SIG_IGN])
        setup.crossing, setup.ignored = self._crossing or (), self._ignored
        # Our handlers must not run in the child: it shares the pipe that wakes our loop.
        before = signal.pthread_sigmask(signal.SIG_SETMASK, child.SIGNALS)
        try:
            if (warden.fork(setup.members) if warded else self._fork(setup)) == 0:
                child.run(setup)
        except BaseException:
            if os.getpid() != self._own:
                # The child, which must never do what is init's to do.
                os._exit(1)
            raise
        finally:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            except MemoryError:
                pass  # for the old mask, which nobody wants: the new one is set

    def _fork(self, setup: child.Setup) -> int:
        """fork(2), into the job's own group if it has one; the child then need not move.

        The pid is said as soon as it is known.
        """
        if setup.group is not None and self._into_group and setup.group.path not in killed:
            try:
                directory = os.open(setup.group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                directory = -1
            if directory >= 0:
                try:
                    setup.members.pid = pid = fork_into(directory)
                except OSError as error:
                    if error.errno in _CANNOT_CLONE:
                        self._into_group = False
                else:
                    if pid == 0:
                        setup.group = None
                        setup.cleared = True
                    return pid
                finally:
                    close(directory)
        setup.members.pid = pid = os.fork()
        return pid


def prepare(request: SpawnRequest) -> Members:
    """What a process will consist of that is about to be started."""
    env = request.env
    job, instance = request.job_class.name, request.instance_name
    return Members(0, boot_ticks(), job, instance, None, env.get("UPSTART_SESSION"), env.get("UPSTART_CHROOT"))


def _inheritable() -> tuple[int, ...] | None:
    """Descriptors of ours that cross an exec, but for the standard ones; `None` where that cannot be seen now."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return None
    found = []
    for fd in map(int, names):
        try:
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            pass  # the directory's own
    return tuple(found)


def _delegate(cgroups: Cgroups, plan: Plan) -> None:
    try:
        cgroups.delegate(plan.controllers)
    except CgroupError as error:
        raise CgroupError(f"{plan.settings[0][2]}: {error}")


def _open_script(fds: _Fds, script: str | None, script_fd: int, sockets: bool) -> bytes:
    """Put the script into a pipe, as far as that takes it at once; returns the rest, for `fds.feed` if any."""
    if script is None:
        return b""
    fds.script, fds.feed = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(fds.feed, False)
    text = os.fsencode(beginning(script_fd, sockets) + script)
    try:
        text = text[os.write(fds.feed, text) :]
    except BlockingIOError:
        pass
    if not text:
        close(fds.feed)
        fds.feed = -1
    return text
