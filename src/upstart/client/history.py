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

_ANSWER = "a(ts)(ddd)tat"


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


def read(connection: Connection, since: int = 0) -> History:
    """All entries from number ``since`` on.  Raises DBusError."""
    history = History()
    decode = json.JSONDecoder().decode
    while True:
        texts, clocks, following, unfinished = connection.call(
            PATH, EXTENSION, "History", "t", since, returns=_ANSWER
        )
        for first, text in texts:
            history.entries += [each for each in enumerate(decode(text), int(first)) if each[0] >= since]
        history.clock, history.suspended, history.wall = map(float, clocks)
        history.following = int(following)
        history.unfinished = set(map(int, unfinished))
        if not texts or history.following <= since:
            return history
        since = history.following
