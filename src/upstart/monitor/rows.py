"""What is shown: rows, which of them are wanted, and a memory of them that is bounded.

What is always true here: nothing asks init, a clock or a window.  A row is kept packed into one text, which is most of
the memory that there is.  Rows have numbers without a gap, from 1 on, as they come; when there are too many the oldest
go, never one from between.
"""

from __future__ import annotations

from array import array

from upstart.base.glob import is_literal, match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: What a row may tell of.
EVENT, STATE, FAILED = "event", "state", "failed"

#: Rows, and bytes of their text, about; of either a sixteenth goes at once.
MOST = 200_000
MOST_BYTES = 24 << 20
_PART = 16
#: Bytes of a row beside its text.
_OVERHEAD = 72

_BETWEEN = "\0"  # what no name and no value on D-Bus has


class Row:
    """An ``EVENT`` with its ``env``; a ``STATE`` that an instance has entered, or that it has ``FAILED``.

    ``time`` is in seconds since 1970.  ``name`` is that of the event or the job; ``env`` has KEY=VALUE of an event, and
    of a job its goal and state, or its status as a number (``Failed`` of `upstart.client.signals`).
    """

    __slots__ = ("env", "instance", "kind", "name", "time")

    def __init__(self, time: float, kind: str, name: str, instance: str = "", env: Sequence[str] = ()) -> None:
        self.time = time
        self.kind = kind
        self.name = name
        self.instance = instance
        self.env = tuple(env)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and all(getattr(self, key) == getattr(other, key) for key in Row.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Row({self.time!r}, {self.kind!r}, {self.name!r}, {self.instance!r}, {self.env!r})"


class Filter:
    """Which rows are wanted: those that all of this lets through.

    Of ``kinds`` it is one.  An event has a name that one of the patterns ``events`` matches, if there are any, and for
    each of ``variables`` (name and pattern) a variable that it matches.  ``words`` are what a window has: each is a
    pattern for a name, or a part of one, or ``NAME=PATTERN`` of an event.
    """

    __slots__ = ("_tests", "events", "kinds", "variables", "words")

    def __init__(
        self,
        kinds: Iterable[str] = (EVENT,),
        events: Sequence[str] = (),
        variables: Sequence[tuple[str, str]] = (),
        words: Sequence[str] = (),
    ) -> None:
        self.kinds = frozenset(kinds)
        self.events = tuple(events)
        self.variables = tuple(variables)
        self.words = tuple(words)
        self._tests = [_Word(word) for word in words]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and (self.kinds, self.events, self.variables, self.words) == (
            other.kinds, other.events, other.variables, other.words
        )  # fmt: skip

    __hash__ = None  # type: ignore[assignment]

    def wants(self, row: Row) -> bool:
        """Whether a row is wanted."""
        if row.kind not in self.kinds:
            return False
        if row.kind == EVENT:
            if self.events and not any(match(pattern, row.name) for pattern in self.events):
                return False
            for name, pattern in self.variables:
                if not has_variable(row.env, name, pattern):
                    return False
        return all(test.wants(row) for test in self._tests)

    def wants_all(self) -> bool:
        """Whether it has nothing to say but of kinds."""
        return not (self.events or self.variables or self.words)


def has_variable(env: Sequence[str], name: str, pattern: str) -> bool:
    """Whether one of the words KEY=VALUE has that key, and a value that the pattern matches."""
    head = name + "="
    return any(word.startswith(head) and match(pattern, word[len(head) :]) for word in env)


class _Word:
    __slots__ = ("_lower", "_name", "_pattern")

    def __init__(self, word: str) -> None:
        self._name, equals, pattern = word.partition("=")
        self._pattern = pattern if equals else None
        #: A text is looked for whatever its case.
        self._lower = "" if equals or not is_literal(word) else word.lower()

    def wants(self, row: Row) -> bool:
        if self._pattern is not None:
            return row.kind == EVENT and has_variable(row.env, self._name, self._pattern or "*")
        if self._lower:
            return self._lower in row.name.lower() or self._lower in row.instance.lower()
        return match(self._name, row.name) or bool(row.instance and match(self._name, row.instance))


class Rows:
    """The rows that there are: numbers ``first`` to ``next`` - 1."""

    __slots__ = ("_size", "_texts", "_times", "first", "most", "most_bytes")

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self.most_bytes = most_bytes
        self.first = 1
        self._times = array("d")
        self._texts: list[str] = []
        self._size = 0

    @property
    def next(self) -> int:
        """The number of the row that comes next."""
        return self.first + len(self._texts)

    def add(self, row: Row) -> int:
        """Keep one more; its number."""
        text = _BETWEEN.join((row.kind, row.name, row.instance, *row.env))
        self._times.append(row.time)
        self._texts.append(text)
        self._size += len(text) + _OVERHEAD
        if len(self._texts) > self.most or self._size > self.most_bytes:
            self._forget()
        return self.next - 1

    def _forget(self) -> None:
        """Let a part of the oldest go, but never the last of all."""
        count = 0
        size = self._size
        while count < len(self._texts) - 1 and (
            len(self._texts) - count > self.most - self.most // _PART
            or size > self.most_bytes - self.most_bytes // _PART
        ):
            size -= len(self._texts[count]) + _OVERHEAD
            count += 1
        del self._texts[:count]
        del self._times[:count]
        self._size = size
        self.first += count

    def clear(self) -> None:
        """Forget all; numbers go on."""
        self.first = self.next
        self._texts = []
        self._times = array("d")
        self._size = 0

    def row(self, number: int) -> Row:
        """A row by its number.  Raises IndexError for one that is not there."""
        at = number - self.first
        if at < 0:
            raise IndexError(number)
        kind, name, instance, *env = self._texts[at].split(_BETWEEN)
        return Row(self._times[at], kind, name, instance, env)


class Change:
    """At ``position`` of what is shown, so many were ``removed`` and so many ``added`` in their place."""

    __slots__ = ("added", "position", "removed")

    def __init__(self, position: int, removed: int, added: int) -> None:
        self.position = position
        self.removed = removed
        self.added = added

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Change) and all(
            getattr(self, key) == getattr(other, key) for key in Change.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Change({self.position}, {self.removed}, {self.added})"


class Shown:
    """Which rows a window has, in order: those that a filter wants, as far as has been looked."""

    __slots__ = ("_filter", "_numbers", "_rows", "looked", "paused")

    def __init__(self, rows: Rows, filter: Filter) -> None:
        self._rows = rows
        self._filter = filter
        self._numbers = array("Q")
        #: The number of the first row that has not been looked at.
        self.looked = rows.first
        #: Nothing new is looked at; what is forgotten goes nevertheless.
        self.paused = False

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, position: int) -> int:
        """The number of the row at a position."""
        return self._numbers[position]

    def row(self, position: int) -> Row:
        """The row at a position.  Raises IndexError if it has been forgotten since `forgotten` was asked."""
        return self._rows.row(self._numbers[position])

    def position(self, number: int) -> int:
        """Where a row is, or where it would be."""
        low, high = 0, len(self._numbers)
        while low < high:
            middle = (low + high) // 2
            if self._numbers[middle] < number:
                low = middle + 1
            else:
                high = middle
        return low

    @property
    def filter(self) -> Filter:
        """Which rows are wanted."""
        return self._filter

    def begin(self, filter: Filter) -> Change:
        """Have another filter, and look at all rows anew, up to where a pause began."""
        self._filter = filter
        change = Change(0, len(self._numbers), 0)
        self._numbers = array("Q")
        self.looked = self._rows.first
        return change

    def forgotten(self) -> Change | None:
        """What has gone since because there were too many rows, if anything."""
        self.looked = max(self.looked, self._rows.first)
        gone = self.position(self._rows.first)
        if not gone:
            return None
        del self._numbers[:gone]
        return Change(0, gone, 0)

    def look(self, most: int, until: int | None = None) -> Change | None:
        """Look at so many rows more, none from number ``until`` on; what has come by that, if anything."""
        end = min(self._rows.next, self.looked + most)
        if until is not None:
            end = min(end, until)
        before = len(self._numbers)
        row, wants, numbers = self._rows.row, self._filter.wants, self._numbers
        for number in range(self.looked, end):
            if wants(row(number)):
                numbers.append(number)
        self.looked = max(self.looked, end)
        added = len(numbers) - before
        return Change(before, 0, added) if added else None

    def find(self, text: str, start: int, forwards: bool, most: int) -> tuple[int | None, int]:
        """The position of a row with a text in it, whatever its case, from ``start`` on, looking at ``most`` rows.

        And where to go on, if there is none; at the end it goes on at the other.
        """
        count = len(self._numbers)
        wanted = text.casefold()
        at = start
        for _ in range(min(most, count)):
            at %= count
            row = self.row(at)
            if wanted in "\n".join((row.name, row.instance, *row.env)).casefold():
                return at, at
            at += 1 if forwards else -1
        return None, at
