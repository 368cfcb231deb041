"""Starting a program in a child, by fork(2) and execve(2).

What is always true here: the program has no signal blocked, and none ignored but those that its caller has it ignore,
or was itself started with.  posix_spawn(3), which is a little quicker, is not used: it has every child ignore the two
signals that the C library keeps for its threads, and with it all that the child ever starts, which may be a service
that runs for years.  (`upstart.base.syscalls.Spawner` says so to it; loading that takes longer than a few forks.)
Like posix_spawn this returns once the program is executed, with the reason if it could not be.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import errno
import posix

from upstart.base import inherited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import NoReturn

    Words = list[str] | list[bytes]
    Environment = Mapping[str, str] | Mapping[bytes, bytes]

_SIGNALS = signal.valid_signals()
_FIXED = (signal.SIGKILL, signal.SIGSTOP)


def start(
    program: str,
    words: Words,
    env: Environment,
    files: Sequence[tuple[int, int]] = (),
    *,
    default: Collection[int] = inherited.IGNORED,
    group: bool = False,
) -> int:
    """Execute *program* in a new child; gives its pid.

    *files* are pairs of a descriptor of ours and the number that it is to have there, done in their order; the child
    has no other but those that are inheritable.  Signals of *default* do what they do by default, even if we ignore
    them; *group* has it lead a process group of its own.  Raises OSError for what kept it from being executed.
    """
    # Our handlers must not run in the child, with which we may share what they write to.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, _SIGNALS)
    own = posix.getpid()
    read = write = -1
    try:
        read, write = posix.pipe2(posix.O_CLOEXEC)
        pid = posix.fork()
        if pid == 0:
            _become(program, words, env, files, default, group, write)
        posix.close(write)
        write = -1
        reason = posix.read(read, 16)
        if reason:
            posix.waitpid(pid, 0)
            raise OSError(int(reason), posix.strerror(int(reason)), program)
        return pid
    finally:
        if posix.getpid() != own:
            posix._exit(127)
        for fd in (read, write):
            if fd >= 0:
                posix.close(fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become(
    program: str, words: Words, env: Environment, files: Sequence[tuple[int, int]], default: Collection[int],
    group: bool, report: int,
) -> NoReturn:  # fmt: skip
    problem = errno.EINVAL
    try:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            if number in default or signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                if number not in _FIXED:
                    signal.signal(number, signal.SIG_DFL)
        if group:
            posix.setpgid(0, 0)
        while any(report == number for _, number in files):
            report = posix.dup(report)
        for ours, number in files:
            if ours == number:
                posix.set_inheritable(number, True)
            else:
                posix.dup2(ours, number)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        posix.execve(program, words, env)
    except OSError as error:
        problem = error.errno or errno.EINVAL
    except MemoryError:
        problem = errno.ENOMEM
    finally:
        posix.write(report, b"%d" % problem)
        posix._exit(127)
