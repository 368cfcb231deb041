"""A record that is read from a file: what `record` says of its lines holds.

What is always true here: whatever the file has, the worst is `NotARecord`, or a record that says where it breaks off.
"""

from __future__ import annotations

import json

from upstart.engine.journal import Input
from upstart.engine.record import MAGIC, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


#: The version whose lines have no numbers.
UNNUMBERED = 1


class NotARecord(Exception):
    """A file is no record, or one that cannot be read here; ``str()`` says why."""


class Record:
    """A record that was read: ``entries`` are its lines after the first, each a list whose first element says what it
    is; an input is ``["in", Input]``.

    ``cut`` says, in words, what is wrong with its end; empty where it was ended properly.
    """

    __slots__ = ("at", "cut", "entries", "program", "time", "values")

    def __init__(self, head: dict[str, Any]) -> None:
        self.program = str(head["program"])
        self.values = bool(head["values"])
        self.at = float(head["at"])
        self.time = float(head["time"])
        self.entries: list[list[Any]] = []
        self.cut = ""

    @property
    def inputs(self) -> int:
        """How many inputs it has."""
        return sum(entry[0] == "in" for entry in self.entries)


def read(lines: Iterable[bytes]) -> Record:
    """The record that these lines are.  Raises `NotARecord`."""
    numbered = enumerate(lines, 1)
    _, first = next(numbered, (0, b""))
    record, has_numbers = _begin(first)
    for number, line in numbered:
        try:
            if not line.endswith(b"\n"):
                raise ValueError
            value = json.loads(line)
            before = value.pop() if has_numbers else number - 1
            entry = _entry(value)
            if before != number - 1:
                record.cut = _lost(before + 1 - number, number)
                break
            record.entries.append(entry)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError):
            where = "in the middle of" if not line.endswith(b"\n") else "at"
            record.cut = f"The record breaks off {where} line {number}"
            break
        if record.entries[-1][0] == "end":
            break
    if not record.cut and (not record.entries or record.entries[-1][0] != "end"):
        record.cut = "The record was not ended: it may lack the last inputs"
    return record


def _lost(lines: int, number: int) -> str:
    """That so many lines are missing, or more are there than were written."""
    if lines < 0:
        return f"Line {number} of the record is not the one that was written there"
    return f"The record has lost {'a line' if lines == 1 else f'{lines} lines'} before line {number}"


def _begin(line: bytes) -> tuple[Record, bool]:
    """The record without its entries, and whether its lines are numbered."""
    try:
        head = json.loads(line)
        version = head[MAGIC]
    except (ValueError, TypeError, KeyError):
        raise NotARecord("This is not a record of init's") from None
    if version not in (UNNUMBERED, VERSION):
        raise NotARecord(f"The record is of version {version}, and version {VERSION} can be read here")
    try:
        return Record(head), version != UNNUMBERED
    except (ValueError, TypeError, KeyError):
        raise NotARecord("The first line of the record is damaged") from None


#: The elements of each kind of line, by their types.
_KINDS: dict[str, tuple[Any, ...]] = {
    "from": ((int, float), str, dict),
    "values": (dict,),
    "check": ((int, float), str),
    "note": (str,),
    "end": ((int, float), str),
}


def _entry(value: Any) -> list[Any]:
    kind = value[0]
    if kind == "in":
        _, at, name, args = value
        return [kind, Input(float(at), str(name), dict(args))]
    if len(value) != len(_KINDS[kind]) + 1 or not all(map(isinstance, value[1:], _KINDS[kind])):
        raise ValueError(kind)
    return list(value)
