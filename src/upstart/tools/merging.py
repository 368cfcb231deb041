"""A job as init has it, from its file and the override that counts: what is left of each, and where it stands.

What is always true here: a stanza that a later one makes void is left out, wherever either stands, and a comment goes
with the stanza that it is before. Of a file with an error the stanzas before that count, as they do for init.
"""

from __future__ import annotations

from upstart.conf.files import read_file
from upstart.tools.jobtext import MAIN, JobText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.tools.jobtext import Stanza

#: Stanzas of which all count, and those of which the second word says which of them a later one replaces.
_ALL = frozenset(("cgroup", "emits", "export", "normal"))
_BY_SECOND = frozenset(("apparmor", "env", "kill", "limit", "reload"))


class Piece:
    """A line of a file that counts, of the ``stanza`` of that name; a comment at the end of a file is of none."""

    __slots__ = ("file", "line", "stanza", "text")

    def __init__(self, file: str, line: int, stanza: str, text: str) -> None:
        self.file = file
        self.line = line
        self.stanza = stanza
        self.text = text


class Merged:
    """The ``pieces`` of a job, in their order, and what is wrong with its files, ``errors``."""

    def __init__(self, conf: str, override: str | None) -> None:
        """Raises OSError."""
        self.errors: list[str] = []
        parts: list[tuple[tuple[str, ...], list[Piece]]] = []
        for path in (conf, override) if override else (conf,):
            text = JobText(path, path.removesuffix(".conf"), read_file(path)[0])
            if text.failure is not None:
                text.failure.path = path
                self.errors.append(str(text.failure))
            for key, pieces in _parts(text, path):
                for other in _replaced(key):
                    parts = [part for part in parts if part[0] != other]
                parts.append((key, pieces))
        self.pieces = [piece for _, pieces in parts for piece in pieces]


def _replaced(key: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What a stanza makes void that stands before it."""
    if not key or key[0] in _ALL:
        return []
    if key == ("manual",):
        return [("start",)]
    return [key, ("manual",)] if key == ("start",) else [key]


def _key(text: JobText, stanza: Stanza) -> tuple[str, ...]:
    """By what a stanza is replaced: one of the same key."""
    if stanza.name in MAIN:
        return ("main",)
    if stanza.name in _BY_SECOND:
        return stanza.name, text.second(stanza).partition("=")[0]
    if stanza.name == "respawn" and text.second(stanza) == "limit":
        return "respawn", "limit"
    return (stanza.name,)


def _parts(text: JobText, path: str) -> Iterator[tuple[tuple[str, ...], list[Piece]]]:
    """The stanzas of a file: by what each is replaced, and its lines, with the comments before it."""
    stanzas = text.stanzas[:-1] if text.failure is not None else text.stanzas
    begin, line = 0, 1
    for stanza in stanzas:
        end = _end(text.text, stanza)
        said = text.text[begin:end]
        pieces = list(_lines(path, line, stanza.name, said))
        line += said.count("\n")
        begin = end
        yield _key(text, stanza), pieces
    if text.failure is None:
        yield (), [piece for piece in _lines(path, line, "", text.text[begin:]) if piece.text.strip()]


def _lines(path: str, line: int, stanza: str, said: str) -> Iterator[Piece]:
    for number, each in enumerate(said.removesuffix("\n").split("\n") if said else (), line):
        yield Piece(path, number, stanza, each)


def _end(text: str, stanza: Stanza) -> int:
    """Where a stanza ends: behind its last line that is neither empty nor a comment."""
    end = stanza.end
    while end > stanza.start:
        start = text.rfind("\n", 0, end - 1) + 1
        last = text[max(start, stanza.start) : end].strip()
        if last and not last.startswith("#"):
            return end
        end = max(start, stanza.start)
    return stanza.end
