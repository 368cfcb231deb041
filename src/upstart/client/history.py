"""What has happened, as init remembers it: docs/dbus-extension.md says what an entry is.

What is always true here: entries are in the order in which things happened, each with its number; where numbers are
missing, init has forgotten some.
"""

from __future__ import annotations

import json

from upstart.base.names import EXTENSION, PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.connection import Connection

    #: Seconds of init's clock, a word, and what belongs to that.
    Entry = list[Any]

METHOD = "History"
ANSWER = "a(ts)(ddd)tat"

__all__ = ["History"]


class History:
    """``entries``: number and entry each.  ``clock`` is what init's clock says now, ``suspended`` how long the machine
    has slept, which that leaves out, ``wall`` the time of day less both: seconds.  ``following`` is the number of the
    entry that comes next, ``unfinished`` has the serials of events in progress."""

    __slots__ = ("clock", "entries", "following", "suspended", "unfinished", "wall")

    def __init__(self) -> None:
        self.entries: list[tuple[int, Entry]] = []
        self.clock = self.suspended = self.wall = 0.0
        self.following = 0
        self.unfinished: set[int] = set()

    def take(self, answer: tuple[Any, ...], since: int) -> int | None:
        """Add what init answers to `METHOD` of ``since``; what to ask next, None if that is all."""
        texts, clocks, following, unfinished = answer
        decode = json.JSONDecoder().decode
        for first, text in texts:
            self.entries += [each for each in enumerate(decode(text), int(first)) if each[0] >= since]
        self.clock, self.suspended, self.wall = map(float, clocks)
        self.following = int(following)
        self.unfinished = set(map(int, unfinished))
        return self.following if texts and self.following > since else None


def read(connection: Connection, since: int = 0) -> History:
    """All entries from number ``since`` on.  Raises DBusError."""
    history = History()
    following: int | None = since
    while following is not None:
        since = following
        following = history.take(connection.call(PATH, EXTENSION, METHOD, "t", since, returns=ANSWER), since)
    return history
