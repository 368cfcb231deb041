"""What came into an engine, as a file: the lines that a record consists of (`recorded` reads them).

A record is lines of JSON. The first says what it is; then come, in the order in which it was,

    ["from", at, why, snapshot, n]  the whole engine (`snapshot`), from which the inputs that follow lead on
    ["in", at, name, arguments, n]  an input (`journal`)
    ["values", {mark: value}, n]    marks that stand before this, and what they are (`cleaning`)
    ["check", at, hash, n]          of the state that has been reached, to compare
    ["note", text, n]               what is to be known besides
    ["end", at, why, n]             nothing follows

``at`` are seconds of init's clock, ``n`` is how many lines stand before this one. What is always true here: a line is
whole or it is none, so a record can be cut off anywhere and is good up to there; one that has lost a line says so.
"""

from __future__ import annotations

import json
from hashlib import sha256

from upstart.engine.cleaning import essence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.cleaning import Cleaner

#: The key of the first line that tells a record from any other file, and the version of the layout.
MAGIC = "upstart-record"
VERSION = 2

FORGOT = "More values were replaced than are remembered: a job that comes to compare one of them may not find it"


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def digest(snapshot: dict[str, Any], cleaned: bool) -> str:
    """What tells two states apart, in 32 hexadecimal digits."""
    return sha256(_line(essence(snapshot, cleaned)).encode()).hexdigest()[:32]


class Recording:
    """The lines of one record; each method gives those for what it is told.  ``cleaner`` is None where values stay.

    ``lines`` is how many there are so far: who could not write the last ones puts it back.
    """

    def __init__(self, cleaner: Cleaner | None) -> None:
        self._cleaner = cleaner
        self._told_forgot = False
        self.lines = 0

    def begin(self, program: str, at: float, time: float) -> str:
        """The first line: ``program`` is init's version, ``time`` seconds since 1970."""
        values = self._cleaner is None
        self.lines = 1
        return _line({MAGIC: VERSION, "program": program, "values": values, "at": at, "time": time})

    def snapshot(self, at: float, why: str, snapshot: dict[str, Any]) -> str:
        """The engine, from which what follows leads on."""
        if self._cleaner is not None:
            snapshot = self._cleaner.snapshot(snapshot)
        return self._news() + self._entry("from", at, why, snapshot)

    def given(self, at: float, name: str, args: dict[str, Any]) -> str:
        """An input."""
        if self._cleaner is not None:
            args = self._cleaner.input(name, args)
        return self._news() + self._entry("in", at, name, args)

    def check(self, at: float, snapshot: dict[str, Any]) -> str:
        """The state that has been reached."""
        if self._cleaner is not None:
            snapshot = self._cleaner.snapshot(snapshot)
        return self._news() + self._entry("check", at, digest(snapshot, self._cleaner is not None))

    def note(self, text: str) -> str:
        """Something to be known."""
        return self._entry("note", text)

    def end(self, at: float, why: str) -> str:
        """The last line."""
        return self._entry("end", at, why)

    def _entry(self, *value: object) -> str:
        self.lines += 1
        return _line([*value, self.lines - 1])

    def _news(self) -> str:
        """What has to be said before a line."""
        if self._cleaner is None:
            return ""
        text = ""
        if reveals := self._cleaner.reveals():
            text = self._entry("values", reveals)
        if self._cleaner.forgot and not self._told_forgot:
            self._told_forgot = True
            text += self.note(FORGOT)
        return text
