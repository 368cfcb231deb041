"""What happens between fork and exec: everything a job's stanzas ask for, in the order of the original.

`run` is called in the new child and never returns: it executes the program, or writes the failed step into the error
pipe and exits with 255.  It may wait (for a console, a name service, a file server), which is why init forks for it.
It does nothing but system calls on values prepared before the fork, until it runs the program; no handler of init's
runs in it, because all signals are blocked until they have been reset.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import resource
import termios

from upstart.base.syscalls import reset_reserved_signals, unblock_all
from upstart.process import apparmor, ownprograms
from upstart.process.errors import encode, encode_lack
from upstart.process.group import CgroupError
from upstart.process.kernel import F_DUPFD_CLOEXEC, write_file
from upstart.process.limits import LIMITS, original_descriptors, set_limit
from upstart.process.places import above_all, move, place_sockets
from upstart.process.program import SCRIPT_FD, execute
from upstart.process.request import FIRST_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from upstart.process.cgroupkeys import Plan
    from upstart.process.group import Group
    from upstart.process.members import Members
    from upstart.process.ownprograms import OwnPrograms
    from upstart.process.request import SpawnRequest
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

CONSOLE = "/dev/console"
#: Every signal whose handling can be changed; two are the C library's own.
SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Failure(Exception):
    """The step that failed, with its error number and a detail for the text."""

    def __init__(self, step: str, number: int, detail: str = "") -> None:
        super().__init__(step)
        self.step = step
        self.number = number
        self.detail = detail


class Setup:
    """All that the child needs, prepared by init: descriptors, arguments, expanded names, cgroup."""

    __slots__ = (
        "argv", "base", "cleared", "crossing", "error", "group", "groups", "ignored", "no_chdir",
        "members", "output", "own", "pause", "plan", "profile", "request", "script", "script_fd", "sockets", "umask",
    )

    def __init__(self, request: SpawnRequest, argv: list[str], error: int, members: Members) -> None:
        self.request = request
        #: Init's, told of the pid as soon as there is one.
        self.members = members
        self.argv = argv
        #: Writing end of the error pipe; reading end of the script's pipe and terminal for output, or -1.
        self.error = error
        self.script = -1
        self.output = -1
        #: What becomes the descriptors from `FIRST_SOCKET` on, and the number that the script is read from.
        self.sockets: list[int] = []
        self.script_fd = SCRIPT_FD
        #: Stop before the program is executed, for a debugger (the debug stanza).
        self.pause = False
        #: Stay in init's working directory unless a stanza says otherwise (a session init).
        self.no_chdir = False
        #: Look up supplementary groups (only root can set them).
        self.groups = False
        self.umask = request.job_class.umask
        #: AppArmor profile, variables expanded.
        self.profile: str | None = None
        #: What to enter: the job's own group, or what its cgroup stanzas ask for below ``base``.
        self.group: Group | None = None
        self.plan: Plan | None = None
        self.base = ""
        #: Descriptors of init that every program gets, and signals that init ignores.
        self.crossing: tuple[int, ...] = ()
        self.ignored: tuple[int, ...] = ()
        #: No handler of init's is left in the child.
        self.cleared = False
        #: Tells which programs are ours, which are run without being executed.
        self.own: OwnPrograms | None = None


def run(setup: Setup) -> NoReturn:
    """Set the calling process up and execute the program; see the module."""
    error = setup.error
    try:
        try:
            error = move(error, above_all(setup.script_fd))
            _prepare(setup, error)
            script = setup.own.find(setup.request, setup.argv) if setup.own is not None else None
            if script is not None:
                # As the exec would, which tells init that the program runs.
                os.close(error)
                ownprograms.run(script, setup.argv, setup.request.env)
            execute(setup.argv, setup.request.env)
        except OSError as reason:
            raise Failure("exec", reason.errno or 0)
        except MemoryError:
            raise Failure("alloc", errno.ENOMEM)
    except Failure as failure:
        _report(error, failure)
    except BaseException as reason:
        _report(error, Failure("exec", errno.EINVAL, f"{type(reason).__name__}: {reason}"))
    finally:
        os._exit(255)


def _report(error: int, failure: Failure) -> None:
    os.write(error, encode(failure.step, failure.number, failure.detail))


def _step(step: str, error: OSError, detail: str = "") -> Failure:
    return Failure(step, error.errno or 0, detail)


def _prepare(setup: Setup, error: int) -> None:
    request = setup.request
    if not setup.cleared:
        signal.set_wakeup_fd(-1)
    try:
        above = above_all(setup.script_fd)
        script, output = move(setup.script, above), move(setup.output, above)
        connection = fcntl.fcntl(request.connection, F_DUPFD_CLOEXEC, above) if request.connection >= 0 else -1
        if setup.sockets:
            place_sockets(setup.sockets, above)
            request.env["LISTEN_PID"] = str(os.getpid())
        else:
            for fd in request.fds:
                os.set_inheritable(fd, True)
        if script >= 0:
            os.dup2(script, setup.script_fd)
    except OSError as reason:
        raise _step("dup", reason)
    places = range(FIRST_SOCKET, FIRST_SOCKET + len(setup.sockets)) if setup.sockets else request.fds
    script_fd = setup.script_fd if script >= 0 else -1
    _close_those_of_init({error, output, connection, script_fd, *places, *setup.crossing})
    os.setsid()
    _open_console(request.console, output)
    if connection >= 0:
        os.dup2(connection, 0)
        os.dup2(connection, 1)
        os.close(connection)
    if request.process == "main" and setup.profile is not None:
        try:
            apparmor.switch_at_exec(setup.profile)
        except OSError as reason:
            raise _step("security", reason)
    try:
        set_limit(LIMITS["nofile"], *original_descriptors())
    except OSError as reason:
        raise _step("rlimit", reason, "nofile")
    if request.process != "security":
        _stanzas(setup, script_fd, error)
    if setup.cleared:
        reset_reserved_signals()
        unblock_all(setup.ignored)
    else:
        reset_signals()
    if setup.pause:
        os.close(error)
        os.kill(os.getpid(), signal.SIGSTOP)


def _close_those_of_init(keep: set[int]) -> None:
    """Close what the exec would close, now: it may not come for long, and until then whoever is at the other end of
    what init has closed would wait for that end."""
    above = 3
    for fd in sorted(keep):
        if fd >= above:
            os.closerange(above, fd)
            above = fd + 1
    os.closerange(above, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def reset_signals() -> None:
    """All signals as they are by default, whoever has started us, and none blocked."""
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    reset_reserved_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def start_program(argv: list[str], env: dict[str, str], report: int) -> int:
    """Start a program of init's own, which gets init's inheritable descriptors; gives its pid.

    Whatever holds the exec does not hold init; why it failed is written to ``report``.  Raises OSError if there can be
    no new process.
    """
    before = signal.pthread_sigmask(signal.SIG_SETMASK, SIGNALS)
    own = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(argv, env, report)
    finally:
        if os.getpid() != own:
            # The child, for which there was no memory to begin: it must never do what is init's to do.
            os._exit(127)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _become(argv: list[str], env: dict[str, str], report: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        reset_signals()
        os.execve(argv[0], argv, env)
    except OSError as reason:
        os.write(report, os.strerror(reason.errno or 0).encode())
    finally:
        os._exit(127)


def _open_console(console: str, output: int) -> None:
    """Standard input, output and error as the console stanza says; ``output`` is the log's end of a pty or pipe."""
    try:
        if console in ("output", "owner"):
            try:
                fd = os.open(CONSOLE, os.O_RDWR | os.O_NOCTTY)
            except OSError:
                if console == "owner":
                    raise
                fd = os.open(os.devnull, os.O_RDWR | os.O_NOCTTY)
            else:
                if console == "owner":
                    try:
                        fcntl.ioctl(fd, termios.TIOCSCTTY, 1)
                    except OSError:
                        pass
        else:
            fd = os.open(os.devnull, os.O_RDWR | os.O_NOCTTY)
    except OSError as reason:
        raise _step("console", reason)
    try:
        os.dup2(fd, 0)
        os.dup2(output if output >= 0 else fd, 1)
        os.dup2(output if output >= 0 else fd, 2)
    except OSError as reason:
        raise _step("dup", reason)
    if fd > 2:
        os.close(fd)


def _do_without(error: int, step: str, reason: OSError, detail: str = "") -> None:
    """Report a step that root is not allowed, as in an unprivileged container, and go on.

    Raises Failure for any other.
    """
    if reason.errno not in (errno.EPERM, errno.EACCES) or os.geteuid() != 0:
        raise _step(step, reason, detail)
    os.write(error, encode_lack(step, reason.errno, detail))


def _limit(name: str, soft: int, hard: int, error: int) -> None:
    """Set a limit, or as much of it as is allowed."""
    try:
        set_limit(LIMITS[name], soft, hard)
    except OSError as reason:
        _do_without(error, "rlimit", reason, name)
        most = resource.getrlimit(LIMITS[name])[1]
        # -1 is unlimited.
        set_limit(LIMITS[name], soft if 0 <= soft <= most else most, hard if 0 <= hard <= most else most)


def _stanzas(setup: Setup, script: int, error: int) -> None:
    """Limits, priorities, directories, identity and cgroup: all that the security process goes without."""
    job = setup.request.job_class
    for name, (soft, hard) in job.limits.items():
        _limit(name, soft, hard, error)
    os.umask(setup.umask)
    if job.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, job.nice)
        except OSError as reason:
            _do_without(error, "priority", reason)
    if job.oom_score_adj is not None:
        try:
            write_file("/proc/self/oom_score_adj", b"%d\n" % job.oom_score_adj)
        except OSError as reason:
            _do_without(error, "oom", reason)
    tree = _cgroup_before(setup)
    for root in (setup.request.session, job.chroot):
        if root is not None:
            try:
                os.chroot(root)
            except OSError as reason:
                raise _step("chroot", reason)
    if job.chdir is not None or not setup.no_chdir:
        try:
            os.chdir(job.chdir if job.chdir is not None else "/")
        except OSError as reason:
            raise _step("chdir", reason)
    _identity(setup, script, tree)


def _cgroup_before(setup: Setup) -> int:
    """Enter the cgroup while its directory can still be reached; returns a descriptor of it to hand over, or -1."""
    if setup.plan is not None:
        try:
            return setup.plan.enter(setup.base)
        except CgroupError as reason:
            raise Failure("cgroup-setup", 0, str(reason))
    if setup.group is not None:
        try:
            write_file(setup.group.path + "/cgroup.procs", b"0")
        except OSError:
            # A job without a cgroup stanza runs without a group rather than not at all.
            pass
    return -1


def _identity(setup: Setup, script: int, tree: int) -> None:
    """User, group and supplementary groups, looked up inside the job's root directory."""
    job = setup.request.job_class
    uid = gid = -1
    user = ""
    if job.setuid is not None:
        try:
            entry = pwd.getpwnam(job.setuid)
        except KeyError:
            raise Failure("bad-setuid", 0)
        user, uid, gid = entry.pw_name, entry.pw_uid, entry.pw_gid
    if job.setgid is not None:
        try:
            gid = grp.getgrnam(job.setgid).gr_gid
        except KeyError:
            raise Failure("bad-setgid", 0)
    try:
        if script >= 0 and (uid, gid) != (-1, -1):
            os.fchown(script, uid, gid)
        if tree >= 0 and (uid, gid) != (-1, -1):
            os.fchown(tree, uid, gid)
            for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
                os.chown(name, uid, gid, dir_fd=tree)
    except OSError as reason:
        raise _step("chown", reason)
    if setup.groups:
        try:
            _supplementary_groups(user, gid)
        except OSError as reason:
            raise _step("initgroups", reason)
    if gid != -1:
        try:
            os.setgid(gid)
        except OSError as reason:
            raise _step("setgid", reason)
    if uid != -1:
        try:
            os.setuid(uid)
        except OSError as reason:
            raise _step("setuid", reason)


def _supplementary_groups(user: str, gid: int) -> None:
    """initgroups(3) for ``user`` ("": root) and the group the process will have."""
    if gid == -1:
        gid = os.getegid()
    if not user:
        try:
            user = pwd.getpwuid(0).pw_name
        except KeyError:
            # A chroot without a password file has no more to say about root's groups.
            os.setgroups([gid])
            return
    os.initgroups(user, gid)
