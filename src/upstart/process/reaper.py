"""What has become of init's children.

Every child is waited for, init's own and the orphans it adopts, in batches so that a storm of exits cannot keep the
loop from its other work.  Stops and continues are reported beside ends: ``expect stop`` lives on them.

What is always true here: a change is taken from the kernel only after it was dealt with.  If that failed, for want of
memory say, the next call reports it again, so that no end of a process is ever lost.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from resource import struct_rusage

#: Kinds of change.
EXITED, KILLED, STOPPED, CONTINUED = "exited", "killed", "stopped", "continued"
_ENDS = (EXITED, KILLED)
#: Changes reported by one call of `reap`; call again at once if there were as many.
BATCH = 64

_ANY = os.WNOHANG | os.WEXITED | os.WSTOPPED | os.WCONTINUED | os.WNOWAIT
#: Kind, and what to wait for to take this change and no later one, by si_code.
_KINDS = {
    os.CLD_EXITED: (EXITED, os.WNOHANG | os.WEXITED),
    os.CLD_KILLED: (KILLED, os.WNOHANG | os.WEXITED),
    os.CLD_DUMPED: (KILLED, os.WNOHANG | os.WEXITED),
    os.CLD_STOPPED: (STOPPED, os.WNOHANG | os.WSTOPPED),
    os.CLD_TRAPPED: (STOPPED, os.WNOHANG | os.WSTOPPED),
    os.CLD_CONTINUED: (CONTINUED, os.WNOHANG | os.WCONTINUED),
}


def reap(
    batch: int = BATCH, used: Callable[[int, struct_rusage], object] = lambda pid, usage: None
) -> Iterator[tuple[int, str, int]]:
    """Collect at most ``batch`` changes of children: (pid, kind, value).

    ``value`` is the exit status, or the signal that killed, stopped or continued it.  A child whose `EXITED` or
    `KILLED` is given stays a zombie, and its pid its own, until the iterator is advanced; ``used`` (pid, usage) is
    then told what it and the children that it waited for have used, getrusage(2).
    """
    for _ in range(batch):
        try:
            change = os.waitid(os.P_ALL, 0, _ANY)
        except ChildProcessError:
            return
        if change is None:
            return
        kind, options = _KINDS[change.si_code]
        yield change.si_pid, kind, change.si_status
        if kind in _ENDS:
            used(*os.wait4(change.si_pid, os.WNOHANG)[::2])
        else:
            os.waitid(os.P_PID, change.si_pid, options)
