"""Every system call that Python does not have, by ctypes: the one module that knows the C library's functions.

What is always true here: a call does what it says of itself and nothing else, errors are raised as OSError with the
error's number, and all is loaded with the module, so that an upgrade under a running init changes nothing.  Numbers are
those of the kernel's headers, the same on every architecture that Debian has unless a table says otherwise.  Loading
this takes a millisecond: a program that hardly ever needs it imports it where it does.
"""

from __future__ import annotations

import os
from _struct import Struct  # the public module is no part of the interpreter

from upstart.base import cdata

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any
else:
    # Without the enumerations of the signal module, which cost more than all that it does.
    import _signal as signal

# How openat2(2) resolves a path.
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
#: Only what the kernel has in its cache: the call never waits for a device or a server.
RESOLVE_CACHED = 0x20

#: struct open_how: flags, mode, resolve.
_OPEN_HOW = Struct("=3Q")
_SIGCHLD = 17
_OPENAT2 = 437
_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000
_CLONE_FILES = 0x400
_CLONE_NEWCGROUP = 0x2000000
_CLONE_CLEAR_SIGHAND = 0x100000000
_CLOCK_MONOTONIC = 1
#: sigset_t of the C library, and what is read of struct signalfd_siginfo: signal, errno, code, pid.
_SET = Struct(f"@{128 // cdata.sizeof(cdata.c_ulong)}L")
_SENT = Struct("=IiiI")
_SENT_SIZE = 128
_NO_SIGNALS = bytes(_SET.size)
#: struct itimerspec: interval and value, each of seconds and nanoseconds.
_TIMER_SETTING = Struct("@4l")
#: struct clone_args, CLONE_ARGS_SIZE_VER2: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
#: set_tid, set_tid_size, cgroup.
_CLONE_ARGUMENTS = Struct("=11Q")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_RB_DISABLE_CAD = 0
# mmap(2)
_PROT_READ, _PROT_WRITE, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 2, 32
# reboot(2) itself: glibc wraps no call that takes a string.  Its number where it is not that of asm-generic.
_REBOOT_RESTART2 = 0xA1B2C3D4
_REBOOT_MAGIC1 = 0xFEE1DEAD
_REBOOT_MAGIC2 = 672274793
_REBOOT = {"x86_64": 169, "i386": 88, "i486": 88, "i586": 88, "i686": 88, "armv6l": 88, "armv7l": 88, "armv8l": 88,
           "ppc": 88, "ppc64": 88, "ppc64le": 88, "s390x": 88, "mips": 4088, "mips64": 5164}
_GENERIC_REBOOT = 142
#: The same for rt_sigaction(2).
_SIGACTION = {"x86_64": 13, "i386": 174, "i486": 174, "i586": 174, "i686": 174, "armv6l": 174, "armv7l": 174,
              "armv8l": 174, "ppc": 173, "ppc64": 173, "ppc64le": 173, "s390x": 174, "mips": 4194, "mips64": 5013}
_SIGACTION_CALL = _SIGACTION.get(os.uname().machine, 134)
#: The same for ioprio_set(2).
_IOPRIO_SET = {"x86_64": 251, "i386": 289, "i486": 289, "i586": 289, "i686": 289, "armv6l": 314, "armv7l": 314,
               "armv8l": 314, "ppc": 273, "ppc64": 273, "ppc64le": 273, "s390x": 282, "mips": 4314, "mips64": 5273}
_GENERIC_IOPRIO_SET = 30
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13
# Classes of I/O priority.
IOPRIO_NONE, IOPRIO_IDLE = 0, 3
#: The signals that glibc keeps for its threads, and lets nobody change; bytes of a set of signals, and of all else that
#: any architecture has in its struct sigaction.
_RESERVED = (32, 33)
_SIGNAL_SET = 16 if os.uname().machine.startswith("mips") else 8
_DEFAULT_ACTION = bytes(64)

_libc = cdata.CDLL(None, use_errno=True)
#: The same, with the interpreter's lock kept during the call.
_holding = cdata.PyDLL(None, use_errno=True)

# By index each is a function of its own: what is said of the types of one's arguments holds for no other system call.
_openat2 = _libc["syscall"]
_openat2.restype = cdata.c_long
_openat2.argtypes = [cdata.c_long, cdata.c_int, cdata.c_char_p, cdata.c_char_p, cdata.c_size_t]
_timerfd_settime = _holding.timerfd_settime
_timerfd_settime.argtypes = [cdata.c_int, cdata.c_int, cdata.c_char_p, cdata.c_void_p]
_sigprocmask = _holding["sigprocmask"]
_sigprocmask.argtypes = [cdata.c_int, cdata.c_char_p, cdata.c_void_p]
_set_handler = _holding["signal"]
_set_handler.restype = cdata.c_void_p
_set_handler.argtypes = [cdata.c_int, cdata.c_void_p]
_sigaction = _holding["syscall"]
_sigaction.restype = cdata.c_long
_sigaction.argtypes = [cdata.c_long, cdata.c_int, cdata.c_char_p, cdata.c_void_p, cdata.c_size_t]
_clone3 = _holding["syscall"]
_clone3.restype = cdata.c_long
_clone3.argtypes = [cdata.c_long, cdata.c_char_p, cdata.c_size_t]


class _Stack(cdata.Structure):
    _fields_ = [("start", cdata.c_void_p), ("flags", cdata.c_int), ("size", cdata.c_size_t)]


def _check(result: int, path: str | None = None) -> int:
    if result < 0:
        number = cdata.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def openat2(dirfd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open ``path`` below ``dirfd``, close-on-exec, resolving it as the RESOLVE_ flags say, openat2(2).

    Raises OSError; ENOSYS on a kernel older than 5.6, EINVAL for flags it does not know.
    """
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = _openat2(_OPENAT2, dirfd, path, how, _OPEN_HOW.size)
    return fd if fd >= 0 else _check(fd, os.fsdecode(path))


def fork_into(cgroup: int) -> int:
    """As os.fork(), with the child in the cgroup whose directory is open as ``cgroup``: clone3(2), CLONE_INTO_CGROUP.

    No handler of ours can run in it, CLONE_CLEAR_SIGHAND: what we handle does in the child what it does by default, and
    what we ignore it ignores.  To reset that in the child costs a page of memory a signal, copied for it.

    Putting a process into a cgroup afterwards makes the kernel wait for an RCU grace period, which takes 10 ms and
    more; a child that is born there waits for nothing, and not even its first fork can escape.  The interpreter is not
    told of the fork as os.fork() would: it has one thread, which goes on in the child with the lock it holds, and
    the child may do nothing but system calls until it executes a program.

    Raises OSError: ENOSYS or E2BIG on a kernel before 5.7, or where a filter forbids the call; ENODEV, EBUSY, EACCES
    or EOPNOTSUPP for a group that cannot take the child.
    """
    flags = _CLONE_INTO_CGROUP | _CLONE_CLEAR_SIGHAND
    arguments = _CLONE_ARGUMENTS.pack(flags, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    # The child returns from this call as well.
    return _check(_clone3(_CLONE3, arguments, _CLONE_ARGUMENTS.size))


def fork_with_descriptors() -> int:
    """As os.fork(), with a child that has no descriptors of its own but uses ours: what it closes is closed here.

    As with `fork_into`, the child may do nothing but system calls.  Raises OSError.
    """
    arguments = _CLONE_ARGUMENTS.pack(_CLONE_FILES, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0)
    return _check(_clone3(_CLONE3, arguments, _CLONE_ARGUMENTS.size))


def unblock_all(default: Iterable[int] = ()) -> None:
    """Block no signal, and have those of ``default`` do what they do by default, in a process that is about to execute
    a program: the interpreter is not told of it.  In a fork's child each page that is touched has to be copied; this
    touches few."""
    for number in default:
        _set_handler(number, None)
    _sigprocmask(signal.SIG_SETMASK, _NO_SIGNALS, None)


def timerfd_create() -> int:
    """A new timer on the monotonic clock, close-on-exec and non-blocking, timerfd_create(2).  Raises OSError."""
    return _check(_libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK))


def timerfd_setting(seconds: float) -> bytes:
    """What `timerfd_settime` takes to have the timer run out every so many ``seconds``, 0 for never."""
    whole, part = int(seconds), int(seconds % 1 * 1e9)
    return _TIMER_SETTING.pack(whole, part, whole, part)


def timerfd_settime(fd: int, setting: bytes) -> None:
    """Set or stop a timer, timerfd_settime(2)."""
    _timerfd_settime(fd, 0, setting, None)


def mount(kind: str | None, path: str, flags: int, data: str | None, source: str = "none") -> None:
    """Mount what ``source`` names, or change what is mounted, mount(2).  Raises OSError."""
    text = os.fsencode(data) if data else None
    name = os.fsencode(kind) if kind is not None else None
    _check(_libc.mount(os.fsencode(source), os.fsencode(path), name, cdata.c_ulong(flags), text))


def unshare_cgroups() -> None:
    """Have a cgroup namespace of our own, whose root is the cgroup that we are in, cgroup_namespaces(7).  Raises
    OSError."""
    _check(_libc.unshare(_CLONE_NEWCGROUP))


def umount(path: str, flags: int = 0) -> None:
    """Unmount what is mounted at ``path``, umount2(2).  Raises OSError."""
    _check(_libc.umount2(os.fsencode(path), flags))


def swapoff(path: str) -> None:
    """Give up swap space, swapoff(2).  Raises OSError."""
    _check(_libc.swapoff(os.fsencode(path)))


def set_io_priority(pid: int, kind: int, level: int) -> None:
    """Set the I/O priority of a process: IOPRIO_CLASS_ ``kind`` and its level, ioprio_set(2).

    Raises OSError; ENOSYS where the number of the call is not known.
    """
    number = _IOPRIO_SET.get(os.uname().machine, _GENERIC_IOPRIO_SET)
    call = _libc["syscall"]
    call.restype = cdata.c_long
    value = kind << _IOPRIO_CLASS_SHIFT | level
    _check(call(cdata.c_long(number), cdata.c_int(_IOPRIO_WHO_PROCESS), cdata.c_int(pid), cdata.c_int(value)))


def become_subreaper() -> None:
    """Have the kernel give us the orphans among our descendants, prctl(2).  Raises OSError."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def die_with_parent(number: int) -> None:
    """Have the kernel send us signal ``number`` when the process that forked us ends, prctl(2).  Raises OSError."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0))


def set_signal_stack(size: int) -> None:
    """Have handlers that ask for it run on a stack of ``size`` bytes, sigaltstack(2); nothing without the memory."""
    # Not a buffer of ctypes, which writes zeros all over it, and so has all its pages there.
    mmap = _libc.mmap
    mmap.restype = cdata.c_void_p
    mmap.argtypes = (cdata.c_void_p, cdata.c_size_t, cdata.c_int, cdata.c_int, cdata.c_int, cdata.c_long)
    room = mmap(None, size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, 0)
    if room != cdata.c_void_p(-1).value:
        _libc.sigaltstack(cdata.byref(_Stack(room, 0, size)), None)


def reset_reserved_signals() -> None:
    """Have the signals that glibc keeps for itself do what they do by default, which a program that is executed keeps.

    Whoever started us may have ignored them, rt_sigaction(2).
    """
    for each in _RESERVED:
        _sigaction(_SIGACTION_CALL, each, _DEFAULT_ACTION, None, _SIGNAL_SET)


# <spawn.h>; bytes that no architecture's posix_spawnattr_t or posix_spawn_file_actions_t exceeds.
_SPAWN_SETSIGDEF, _SPAWN_SETSIGMASK, _SPAWN_SETSID = 0x04, 0x08, 0x80
_SPAWN_SIZE = 1024


class Spawner:
    """posix_spawn(3) of a leader of a session, with no signal blocked and none ignored of the ``default`` ones.

    Python's own lets nobody have the signals that glibc keeps for itself do what they do by default: whoever is started
    by it ignores them, and so does all that it starts.
    """

    __slots__ = ("_attributes", "_close", "_destroy", "_dup2", "_init", "_open", "_spawn")

    def __init__(self, default: Iterable[int]) -> None:
        self._attributes = cdata.create_string_buffer(_SPAWN_SIZE)
        words = [0] * (_SET.size // cdata.sizeof(cdata.c_ulong))
        size = 8 * cdata.sizeof(cdata.c_ulong)
        for number in (*default, *_RESERVED):
            words[(number - 1) // size] |= 1 << (number - 1) % size
        flags = cdata.c_short(_SPAWN_SETSIGDEF | _SPAWN_SETSIGMASK | _SPAWN_SETSID)
        for problem in (
            _holding.posix_spawnattr_init(self._attributes),
            _holding.posix_spawnattr_setflags(self._attributes, flags),
            _holding.posix_spawnattr_setsigdefault(self._attributes, _SET.pack(*words)),
            _holding.posix_spawnattr_setsigmask(self._attributes, bytes(_SET.size)),
        ):
            _spawned(problem, None)
        self._init = _holding.posix_spawn_file_actions_init
        self._destroy = _holding.posix_spawn_file_actions_destroy
        self._open = _holding.posix_spawn_file_actions_addopen
        self._close = _holding.posix_spawn_file_actions_addclose
        self._dup2 = _holding.posix_spawn_file_actions_adddup2
        self._spawn = _holding.posix_spawn

    def spawn(self, program: str, argv: Sequence[str], env: Mapping[str, str], actions: Iterable[Sequence[Any]]) -> int:
        """The pid.  ``actions`` are those of os.posix_spawn.  Raises OSError, and ValueError for a NUL in a string."""
        words = [os.fsencode(word) for word in argv]
        values = [os.fsencode(f"{key}={value}") for key, value in env.items()]
        path = os.fsencode(program)
        if any(b"\0" in each for each in (path, *words, *values)):
            raise ValueError("embedded null byte")
        arguments = (cdata.c_char_p * (len(words) + 1))(*words)
        environment = (cdata.c_char_p * (len(values) + 1))(*values)
        pid = cdata.c_int()
        files = cdata.create_string_buffer(_SPAWN_SIZE)
        _spawned(self._init(files), None)
        try:
            for kind, fd, *more in actions:
                if kind == os.POSIX_SPAWN_DUP2:
                    problem = self._dup2(files, fd, more[0])
                elif kind == os.POSIX_SPAWN_OPEN:
                    problem = self._open(files, fd, os.fsencode(more[0]), more[1], more[2])
                else:
                    problem = self._close(files, fd)
                _spawned(problem, None)
            _spawned(self._spawn(cdata.byref(pid), path, files, self._attributes, arguments, environment), program)
        except BaseException:
            self._destroy(files)
            raise
        started = pid.value
        try:
            self._destroy(files)
        except MemoryError:
            pass  # the process must not be lost
        return started


def _spawned(problem: int, path: str | None) -> None:
    if problem:
        raise OSError(problem, os.strerror(problem), path)


def signalfd(number: int) -> int:
    """A descriptor from which signal ``number``, which is to be blocked, can be read: close-on-exec and non-blocking,
    signalfd(2).  Raises OSError."""
    words = [0] * (_SET.size // cdata.sizeof(cdata.c_ulong))
    words[0] = 1 << (number - 1)
    return _check(_libc.signalfd(-1, _SET.pack(*words), os.O_CLOEXEC | os.O_NONBLOCK))


def read_sender(fd: int) -> tuple[int, int] | None:
    """Take the signal that a `signalfd` has: how it was sent (si_code, 0 or less by a process) and the sender's pid,
    which is 0 of a process that is in no PID namespace of ours.  ``None`` where there is none; raises OSError."""
    try:
        text = os.read(fd, _SENT_SIZE)
    except BlockingIOError:
        return None
    _, _, code, pid = _SENT.unpack_from(text)
    return code, pid


def disable_control_alt_delete() -> None:
    """Have Control-Alt-Delete send SIGINT to PID 1 instead of rebooting, reboot(2).

    In a namespace this is not ours to change, and nothing happens.
    """
    _libc.reboot(_RB_DISABLE_CAD)


def reboot(command: int, argument: str | None = None) -> int:
    """Call reboot(2); with ``argument``, restart handing that string to the firmware.

    Returns 0 if the kernel has only taken note of ``command``, and an errno if it refuses.
    """
    if argument is None:
        refused = _libc.reboot(cdata.c_int(command)) < 0
        return cdata.get_errno() if refused else 0
    number = _REBOOT.get(os.uname().machine, _GENERIC_REBOOT)
    refused = _libc.syscall(cdata.c_long(number), cdata.c_int(_REBOOT_MAGIC1), cdata.c_int(_REBOOT_MAGIC2),
                            cdata.c_int(_REBOOT_RESTART2), cdata.c_char_p(os.fsencode(argument))) < 0
    return cdata.get_errno() if refused else 0


def inotify_init() -> int:
    """A new inotify instance, close-on-exec and non-blocking, inotify(7).  Raises OSError."""
    return _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch ``path`` for the events of ``mask``; gives the watch descriptor.  Raises OSError."""
    return _check(_libc.inotify_add_watch(fd, os.fsencode(path), cdata.c_uint32(mask)))


def inotify_rm_watch(fd: int, watch: int) -> None:
    """Watch no longer; a watch that is gone already is no error."""
    _libc.inotify_rm_watch(fd, watch)
