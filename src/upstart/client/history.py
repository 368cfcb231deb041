"""What has happened, as init remembers it: docs/dbus-extension.md says what an entry is.

What is always true here: entries are in the order in which things happened, each with its number; where numbers are
missing, init has forgotten some.
"""

from __future__ import annotations

from upstart.base.jsontext import decoder
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
        decode = decoder()
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


#: What a file of a saved history is, as JSON.
_KIND, _VERSION = "upstart-history", 1


def read_saved(connection: Connection) -> str:
    """All that init remembers as a text that `load` reads again; its own texts are kept as they are.  DBusError."""
    texts: list[tuple[int, str]] = []
    following = -1
    while True:
        answer = connection.call(PATH, EXTENSION, METHOD, "t", max(following, 0), returns=ANSWER)
        texts += [(int(first), str(text)) for first, text in answer[0]]
        if not answer[0] or int(answer[2]) <= following:
            return saved(texts, [float(each) for each in answer[1]], int(answer[2]), [int(each) for each in answer[3]])
        following = int(answer[2])


def saved(texts: list[tuple[int, str]], clocks: list[float], following: int, unfinished: list[int]) -> str:
    """The text for these answers to `METHOD`: JSON, of which each line has some entries."""
    lines = [
        f'{{"kind":"{_KIND}","version":{_VERSION},"clocks":{clocks!r},"following":{following},'
        f'"unfinished":{unfinished!r},"entries":['
    ]
    last = len(texts) - 1
    # Each text is JSON already.
    lines += [f"[{first},{text}]{',' if place < last else ''}" for place, (first, text) in enumerate(texts)]
    return "\n".join((*lines, "]}", ""))


def load(text: str) -> History:
    """The history that `saved` wrote.  ValueError where it is none, or one of a later version."""
    try:
        found = decoder()(text)
    except ValueError as error:
        raise ValueError(f"it is no saved history, or a damaged one: {error}") from None
    if not isinstance(found, dict) or found.get("kind") != _KIND:
        raise ValueError("it is no saved history")
    if found.get("version", 0) > _VERSION:
        raise ValueError("it was saved by a later version")
    history = History()
    try:
        history.clock, history.suspended, history.wall = found["clocks"]
        history.following = found["following"]
        history.unfinished = set(found["unfinished"])
        following = 0
        for first, entries in found["entries"]:
            # Two answers of init may have had the same entries, if it has made text of them in between.
            history.entries += [each for each in enumerate(entries, first) if each[0] >= following]
            following = max(following, first + len(entries))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged: {error}") from None
    return history
