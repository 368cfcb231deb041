"""A fork(2) whose child begins inside a cgroup, clone3(2) with CLONE_INTO_CGROUP.

Putting a process into a cgroup afterwards makes the kernel wait for an RCU grace period, which takes 10 ms and more; a
child that is born there waits for nothing, and not even its first fork can escape.  The interpreter is not told of
the fork as os.fork() would: it has one thread, which goes on in the child with the lock it holds, and the child does
nothing but system calls until it executes a program.  Everything is prepared at import.
"""

from __future__ import annotations

import ctypes
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

_CLONE3 = 435  # the same number on every architecture that has it
_CLONE_INTO_CGROUP = 0x200000000
#: struct clone_args, CLONE_ARGS_SIZE_VER2: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
#: set_tid, set_tid_size, cgroup.
_ARGUMENTS = Struct("=11Q")

# The child returns from this call as well: the interpreter's lock must stay ours during it.
_library = ctypes.PyDLL(None, use_errno=True)
_syscall = _library.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_size_t]


def fork_into(cgroup: int) -> int:
    """As os.fork(), with the child in the cgroup whose directory is open as ``cgroup``.

    Raises OSError: ENOSYS or E2BIG on a kernel before 5.7, or where a filter forbids the call; ENODEV, EBUSY, EACCES
    or EOPNOTSUPP for a group that cannot take the child.
    """
    arguments = _ARGUMENTS.pack(_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    pid: int = _syscall(_CLONE3, arguments, _ARGUMENTS.size)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid
