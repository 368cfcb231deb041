"""What came into an engine, as a file: the lines that a record consists of, made (`Recording`) and read (`read`).

A record is lines of JSON. The first says what it is; then come, in the order in which it was,

    ["from", at, why, snapshot]     the whole engine (`snapshot`), from which the inputs that follow lead on
    ["in", at, name, arguments]     an input (`journal`)
    ["values", {mark: value}]       marks that stand before this, and what they are (`cleaning`)
    ["check", at, hash]             of the state that has been reached, to compare
    ["note", text]                  what is to be known besides
    ["end", at, why]                nothing follows

``at`` are seconds of init's clock. What is always true here: a line is whole or it is none, so a record can be cut off
anywhere and is good up to there.
"""

from __future__ import annotations

import json
from hashlib import sha256

from upstart.engine.cleaning import essence
from upstart.engine.journal import Input

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from upstart.engine.cleaning import Cleaner

#: The key of the first line that tells a record from any other file, and the version of the layout.
MAGIC = "upstart-record"
VERSION = 1

FORGOT = "More values were replaced than are remembered: a job that comes to compare one of them may not find it"


class NotARecord(Exception):
    """A file is no record, or one that cannot be read here; ``str()`` says why."""


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def digest(snapshot: dict[str, Any], cleaned: bool) -> str:
    """What tells two states apart, in 32 hexadecimal digits."""
    return sha256(_line(essence(snapshot, cleaned)).encode()).hexdigest()[:32]


class Recording:
    """The lines of one record; each method gives those for what it is told.  ``cleaner`` is None where values stay."""

    def __init__(self, cleaner: Cleaner | None) -> None:
        self._cleaner = cleaner
        self._told_forgot = False

    def begin(self, program: str, at: float, time: float) -> str:
        """The first line: ``program`` is init's version, ``time`` seconds since 1970."""
        values = self._cleaner is None
        return _line({MAGIC: VERSION, "program": program, "values": values, "at": at, "time": time})

    def snapshot(self, at: float, why: str, snapshot: dict[str, Any]) -> str:
        """The engine, from which what follows leads on."""
        if self._cleaner is not None:
            snapshot = self._cleaner.snapshot(snapshot)
        return self._news() + _line(["from", at, why, snapshot])

    def given(self, at: float, name: str, args: dict[str, Any]) -> str:
        """An input."""
        if self._cleaner is not None:
            args = self._cleaner.input(name, args)
        return self._news() + _line(["in", at, name, args])

    def check(self, at: float, snapshot: dict[str, Any]) -> str:
        """The state that has been reached."""
        if self._cleaner is not None:
            snapshot = self._cleaner.snapshot(snapshot)
        return self._news() + _line(["check", at, digest(snapshot, self._cleaner is not None)])

    def note(self, text: str) -> str:
        """Something to be known."""
        return _line(["note", text])

    def end(self, at: float, why: str) -> str:
        """The last line."""
        return _line(["end", at, why])

    def _news(self) -> str:
        """What has to be said before a line."""
        if self._cleaner is None:
            return ""
        text = ""
        if reveals := self._cleaner.reveals():
            text = _line(["values", reveals])
        if self._cleaner.forgot and not self._told_forgot:
            self._told_forgot = True
            text += self.note(FORGOT)
        return text


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
    record = _begin(first)
    for number, line in numbered:
        try:
            if not line.endswith(b"\n"):
                raise ValueError
            record.entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, IndexError, KeyError):
            where = "in the middle of" if not line.endswith(b"\n") else "at"
            record.cut = f"The record breaks off {where} line {number}"
            break
        if record.entries[-1][0] == "end":
            break
    if not record.cut and (not record.entries or record.entries[-1][0] != "end"):
        record.cut = "The record was not ended: it may lack the last inputs"
    return record


def _begin(line: bytes) -> Record:
    try:
        head = json.loads(line)
        version = head[MAGIC]
    except (ValueError, TypeError, KeyError):
        raise NotARecord("This is not a record of init's") from None
    if version != VERSION:
        raise NotARecord(f"The record is of version {version}, and version {VERSION} can be read here")
    try:
        return Record(head)
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
