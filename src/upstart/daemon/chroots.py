"""Chroot sessions: a client whose root directory is not ours sees and changes the jobs of that root only.

What is always true here: without ``--chroot-sessions`` there are none.  A session is named by the path of its root,
and its jobs come from the ``/etc/init`` below it, which is read when its first client arrives.
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
    """The known sessions; ``opened`` (root) is called for a new one before its first client is served.

    ``closed`` (root) is called for one whose root directory has vanished, when its place is needed.
    """

    __slots__ = ("_enabled", "closed", "opened", "roots")

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        #: The roots of all sessions.
        self.roots: list[str] = []
        self.opened: Callable[[str], object] = lambda root: None
        self.closed: Callable[[str], object] = lambda root: None

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
            if len(self.roots) >= MAX_SESSIONS:
                self._forget_vanished()
            if len(self.roots) < MAX_SESSIONS:
                self.roots.append(root)
                self.opened(root)
        return root

    def _forget_vanished(self) -> None:
        for root in [known for known in self.roots if not os.path.isdir(known)]:
            self.roots.remove(root)
            self.closed(root)

    def restore(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the sessions that were known; their jobs are in the engine's state."""
        for root in roots:
            if root not in self.roots:
                self.roots.append(root)
                self.opened(root)
