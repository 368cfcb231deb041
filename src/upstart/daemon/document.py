"""The state document: all that outlives a re-exec, as one value that JSON knows.

What is always true here: a part of the daemon keeps something across a re-exec by being registered, with the name under
which the document has it, what gives it and what takes it over, and the descriptors that must be open on the other
side.  The document is of a moment that there was: before it is written, all that the engine has asked for is performed,
but for processes still to be started, which are in it.  What a document of an older build lacks is begun anew.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

#: Layout of the document; the engine's part has a version of its own.
VERSION = 1
#: What every document has: without these it is none.
ALWAYS = ("engine", "performer", "endpoints")
#: What a program that does not tell which parts it knows may not know: what it does not close it would leave to jobs.
UNSURE = ("record", "warden")


class Part:
    """What one part keeps; ``restore`` gets what ``dump`` gave, ``descriptors`` gives those that must cross."""

    __slots__ = ("descriptors", "dump", "restore")

    def __init__(
        self,
        dump: Callable[[], Any],
        restore: Callable[[Any], object],
        descriptors: Callable[[], Iterable[int]],
    ) -> None:
        self.dump = dump
        self.restore = restore
        self.descriptors = descriptors


class Document:
    """The document of one daemon; ``prepare`` () is called before it is written."""

    __slots__ = ("_parts", "_prepare")

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._prepare = prepare
        self._parts: dict[str, Part] = {}

    def register(
        self,
        name: str,
        dump: Callable[[], Any],
        restore: Callable[[Any], object],
        descriptors: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        """Keep a part; parts are restored in the order in which they were registered."""
        self._parts[name] = Part(dump, restore, descriptors)

    def dump(self) -> dict[str, Any]:
        """The document of this moment."""
        self._prepare()
        return {"version": VERSION} | {name: part.dump() for name, part in self._parts.items()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Have each part take over what it kept, and its descriptors cross no further exec.

        Any exception where the document is not one of `dump`'s.
        """
        if saved["version"] > VERSION:
            raise ValueError(f"state of version {saved['version']}, newest known is {VERSION}")
        for name, part in self._parts.items():
            if name in saved or name in ALWAYS:
                part.restore(saved[name])
        self.keep_open(False)

    @property
    def names(self) -> list[str]:
        """The parts that are known here."""
        return list(self._parts)

    def keep_open(self, kept: bool, known: Collection[str] = ()) -> list[str]:
        """Have the descriptors that the next program needs cross an exec, or not (again).

        ``known`` are the parts that it knows, none where it does not tell: those of others end with this program.  The
        names of these are given.
        """
        ending = []
        for name, part in self._parts.items():
            takes = name in known if known else name not in UNSURE
            for fd in part.descriptors():
                if kept and not takes:
                    ending.append(name)
                else:
                    os.set_inheritable(fd, kept)
        return list(dict.fromkeys(ending))
