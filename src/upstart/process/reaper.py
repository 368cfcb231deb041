"""What has become of init's children.

Every child is waited for, init's own and the orphans it adopts, in batches so that a storm of exits cannot keep the
loop from its other work.  Stops and continues are reported beside ends: ``expect stop`` lives on them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Kinds of change.
EXITED, KILLED, STOPPED, CONTINUED = "exited", "killed", "stopped", "continued"
#: Changes reported by one call of `reap`; call again at once if there were as many.
BATCH = 64

_OPTIONS = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
_SIGCONT = 18


def reap(batch: int = BATCH) -> Iterator[tuple[int, str, int]]:
    """Collect at most ``batch`` changes of children: (pid, kind, value).

    ``value`` is the exit status, or the signal that killed, stopped or continued it.  The child is gone when its
    `EXITED` or `KILLED` is given; until the iterator is advanced no other child is touched.
    """
    for _ in range(batch):
        try:
            pid, status = os.waitpid(-1, _OPTIONS)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if os.WIFEXITED(status):
            yield pid, EXITED, os.WEXITSTATUS(status)
        elif os.WIFSIGNALED(status):
            yield pid, KILLED, os.WTERMSIG(status)
        elif os.WIFSTOPPED(status):
            yield pid, STOPPED, os.WSTOPSIG(status)
        else:
            yield pid, CONTINUED, _SIGCONT
