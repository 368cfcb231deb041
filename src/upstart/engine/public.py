"""What everybody may know of the history: all but values of variables that nobody needs to know to understand it.

An event's variables may hold anything, a password among it.  What is always true here: of an event strangers are given
the names of all its variables, and those values that some job's condition compares, or that jobs' own events have; in
the place of the others None.
"""

from __future__ import annotations

from upstart.base.glob import split_test
from upstart.base.names import JOB_VARIABLES
from upstart.engine.condition import looked_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from upstart.engine.awaited import Awaited



class Public:
    """Makes entries (`history`) public, by what is ``awaited`` now."""

    __slots__ = ("_awaited", "_compared")

    def __init__(self, awaited: Awaited) -> None:
        self._awaited = awaited
        #: The variables of an event that are compared by name, and the tests of which some go by place.
        self._compared: dict[str, tuple[frozenset[str], list[tuple[str, ...]]]] = {}

    def entries(self, entries: Iterable[Any]) -> list[Any]:
        """The same entries, without what is nobody's business; those given are not changed."""
        return [self._event(entry) if entry[1] == "event" and entry[4] else entry for entry in entries]

    def _event(self, entry: Any) -> list[Any]:
        return [*entry[:4], self.variables(entry[3], entry[4], entry[5] == "job"), *entry[5:]]

    def variables(self, name: str, env: dict[str, str], own: bool) -> dict[str, str | None]:
        """The variables of an event of that name, which is one of jobs' ``own`` or not."""
        names, placed = self._of(name)
        shown = set(names)
        order = tuple(env) if placed else ()
        for tests in placed:
            shown.update(looked_at(tests, order))
        return {key: value if key in shown or (own and key in JOB_VARIABLES) else None for key, value in env.items()}

    def _of(self, name: str) -> tuple[frozenset[str], list[tuple[str, ...]]]:
        known = self._compared.get(name)
        if known is None:
            names: set[str] = set()
            placed: list[tuple[str, ...]] = []
            for tests in self._awaited.names.get(name, ()):
                keys = [split_test(test)[0] for test in tests]
                names.update([key for key in keys if key is not None])
                if None in keys:
                    placed.append(tuple(tests))
            known = self._compared[name] = frozenset(names), placed
        return known
