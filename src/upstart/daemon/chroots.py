"""Chroot sessions: a client whose root directory is not ours sees and changes the jobs of that root only.

What is always true here: without ``--chroot-sessions`` there are none.  A session is named by the path of its root,
and its jobs come from the ``/etc/init`` below it, which is read when its first client arrives.  One whose root has
vanished makes room for another when all places are taken.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONFDIR = "/etc/init"
#: Whoever can make chroots is root already; the bound is against mistakes.
MAX_SESSIONS = 256


class Chroots:
    """The known sessions; ``wanted`` (root) is called for one that is not known, and has it known in time."""

    __slots__ = ("_enabled", "roots", "wanted")

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        #: The roots of all sessions.
        self.roots: list[str] = []
        self.wanted: Callable[[str], object] = lambda root: None

    def session_of(self, pid: int) -> str | None:
        """The session of the process ``pid``, None for the system's own (and for callers on a bus, whose pid is
        0)."""
        if not self._enabled or pid <= 0:
            return None
        try:
            root = os.readlink(f"/proc/{pid}/root")
        except OSError:
            return None
        if root == "/":
            return None
        if root not in self.roots:
            self.wanted(root)
        return root

    @property
    def full(self) -> bool:
        """Whether there is no room for another."""
        return len(self.roots) >= MAX_SESSIONS

    def restore(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the sessions that were known; their jobs are in the engine's state."""
        for root in roots:
            if root not in self.roots:
                self.roots.append(root)
