"""What came into an engine, as a file: the lines that a record consists of (`recorded` reads them).

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.cleaning import Cleaner

#: The key of the first line that tells a record from any other file, and the version of the layout.
MAGIC = "upstart-record"
VERSION = 1

FORGOT = "More values were replaced than are remembered: a job that comes to compare one of them may not find it"


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
