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
    """The known sessions; ``opened`` (root) is called for a new one before its first client is served."""

    __slots__ = ("_enabled", "_known", "opened")

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._known: dict[str, str] = {}
        self.opened: Callable[[str], object] = lambda root: None

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
        if root not in self._known:
            if len(self._known) >= MAX_SESSIONS:
                return root
            self._known[root] = root + CONFDIR
            self.opened(root)
        return root

    @property
    def roots(self) -> list[str]:
        """The roots of all sessions."""
        return list(self._known)

    def restore(self, roots: list[str]) -> None:
        """Know again, after a re-exec, the sessions that were known; their jobs are in the engine's state."""
        for root in roots:
            if root not in self._known:
                self._known[root] = root + CONFDIR
                self.opened(root)
