"""What a bridge has to tell and init has not yet taken.

What is always true here: no more than `WINDOW` events are under way, and no more than `MOST` wait.  Of what waits, the
last of several events in a row of one name, kind and key (a device, a file) is enough; all others go out in the order
in which they came.  What was under way when the connection went is told again, so that none is lost, and some may be
told twice.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Then = Callable[[str], object]

WINDOW = 256
MOST = 4096


class Entry:
    """An event that waits or is under way; ``env`` is its variables as KEY=VALUE, ``then`` (what is wrong) is called
    when init has answered."""

    __slots__ = ("env", "key", "kind", "name", "then")

    def __init__(self, key: str, name: str, env: list[str], kind: str, then: Then | None = None) -> None:
        self.key = key
        self.name = name
        self.env = env
        self.kind = kind
        self.then = then


class Outbox:
    """The events of one bridge; ``dropped`` counts those for which there was no room."""

    __slots__ = ("_last", "_sent", "_ticket", "_waiting", "dropped")

    def __init__(self) -> None:
        self._ticket = 0
        self._waiting: dict[int, Entry] = {}
        self._sent: dict[int, Entry] = {}
        #: The last of each key that waits.
        self._last: dict[str, int] = {}
        self.dropped = 0

    @property
    def empty(self) -> bool:
        """Whether init has all there was."""
        return not self._waiting and not self._sent

    @property
    def waiting(self) -> int:
        """How many events init has yet to take."""
        return len(self._waiting) + len(self._sent)

    def put(self, key: str, name: str, env: list[str], kind: str = "", then: Then | None = None) -> None:
        """Have an event told, in its turn; events of other kinds are others."""
        last = self._last.get(key)
        if last is not None and self._waiting[last].name == name and self._waiting[last].kind == kind:
            self._waiting[last].env = env
        elif len(self._waiting) >= MOST:
            self.dropped += 1
            if then is not None:
                then("There is no room")
        else:
            self._ticket += 1
            self._waiting[self._ticket] = Entry(key, name, env, kind, then)
            self._last[key] = self._ticket

    def take(self) -> list[tuple[int, Entry]]:
        """What is to be sent now, each with the ticket by which it is answered."""
        taken = []
        for ticket in list(self._waiting)[: max(0, WINDOW - len(self._sent))]:
            entry = self._sent[ticket] = self._waiting.pop(ticket)
            if self._last.get(entry.key) == ticket:
                del self._last[entry.key]
            taken.append((ticket, entry))
        return taken

    def answered(self, ticket: int) -> None:
        """Init has this one."""
        self._sent.pop(ticket, None)

    def lost(self) -> None:
        """The connection has gone: what was under way is yet to be told."""
        self._waiting = self._sent | self._waiting
        self._sent = {}
        self._last = {entry.key: ticket for ticket, entry in self._waiting.items()}
