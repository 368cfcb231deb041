"""A job file with its lines: what init's parser makes of it, and where in the text each part of that stands.

What is always true here: lines are counted from the start of the file, from 1; the class is the one that init would
have, and of a stanza given twice the place is that of the one which counts, the last.
"""

from __future__ import annotations

import os
import re

from upstart.conf.files import OVERRIDE
from upstart.conf.lexer import Scanner, line_of
from upstart.conf.parse import ParseError, decode, parse_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass

#: The stanzas that give a job its main process.
MAIN = ("exec", "script")


class Stanza:
    """A stanza by its first word, and where it stands: positions in the text, and its line."""

    __slots__ = ("end", "line", "name", "start")

    def __init__(self, name: str, start: int, end: int, line: int) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.line = line


class JobText:
    """What a job file says, told of as ``label``.

    ``failure`` is what init's parser says against it; ``job`` is then what the stanzas before that made, if anything.
    """

    def __init__(self, label: str, name: str, data: bytes) -> None:
        self.label = label
        self.name = name
        self.text = decode(data)
        self.failure: ParseError | None = None
        self.job: JobClass | None = None
        source = os.path.basename(name)
        places: list[tuple[str, int]] = []
        try:
            self.job = parse_job(
                name, self.text, source if source.endswith(OVERRIDE) else source + ".conf", places=places
            )
        except ParseError as error:
            self.failure = error
            self.job = error.job
        self._places = places
        self._stanzas: list[Stanza] | None = None

    @property
    def is_override(self) -> bool:
        """Whether the file only changes a job."""
        return self.name.endswith(OVERRIDE)

    @property
    def stanzas(self) -> list[Stanza]:
        """All stanzas, in their order."""
        if self._stanzas is None:
            starts = [self.text.rfind(word, 0, position) for word, position in self._places]
            ends = [*starts, len(self.text)][1:]
            self._stanzas = []
            line, counted = 1, 0
            for (word, _), start, end in zip(self._places, starts, ends, strict=True):
                line += self.text.count("\n", counted, start)
                counted = start
                self._stanzas.append(Stanza(word, start, end, line))
        return self._stanzas

    def all(self, name: str, second: str = "") -> list[Stanza]:
        """The stanzas of that first word, and ``second`` word if one is given."""
        return [
            stanza
            for stanza in self.stanzas
            if stanza.name == name
            and (not second or self.text[stanza.start + len(name) : stanza.end].lstrip(" \t\\\n").startswith(second))
        ]

    def second(self, stanza: Stanza) -> str:
        """The word that follows the first of a stanza, without quotes; empty where there is none."""
        scanner = Scanner(self.text)
        scanner.pos = stanza.start + len(stanza.name)
        scanner.skip_space()
        return scanner.word() if scanner.has_token() else ""

    def line(self, name: str, second: str = "") -> int:
        """The line of the stanza that counts; 1 where there is none."""
        found = self.all(name, second)
        return found[-1].line if found else 1

    def line_in(self, name: str, word: str) -> int:
        """The line in which ``word`` first stands in the stanza that counts, or else that of the stanza."""
        found = self.all(name)
        if not found:
            return 1
        stanza = found[-1]
        place = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", self.text[stanza.start : stanza.end])
        return stanza.line if place is None else line_of(self.text, stanza.start + place.start())

    def process_line(self, process: str) -> int:
        """The line of the stanza that gives a job one of its processes."""
        if process != "main":
            return self.line(process)
        found = [stanza for stanza in self.stanzas if stanza.name in MAIN]
        return found[-1].line if found else 1

    def line_in_process(self, process: str, pattern: str) -> int:
        """The line in which a regular expression first matches in the stanza of a process, or else that stanza's."""
        line = self.process_line(process)
        names = MAIN if process == "main" else (process,)
        for stanza in self.stanzas:
            if stanza.line == line and stanza.name in names:
                place = re.search(pattern, self.text[stanza.start : stanza.end])
                if place is not None:
                    return line_of(self.text, stanza.start + place.start())
        return line
