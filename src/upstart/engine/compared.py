"""Which variables are compared: by conditions of jobs, as their definitions and events come.

What is always true here: what is compared once stays so, for an event or an instance of then may still be there; and of
each variable it is told, once, that it is compared from now on.
"""

from __future__ import annotations

import re

from upstart.base.glob import split_test
from upstart.base.names import JOB_EVENTS, JOB_VARIABLES
from upstart.conf.expand import ExpandError, expand
from upstart.engine.condition import looked_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

#: What init itself sets: these have no values of anybody's.
OWN = JOB_VARIABLES | frozenset(
    ("EVENT", "TESTS", "TYPE", "UPSTART_EVENTS", "UPSTART_STOP_EVENTS", "UPSTART_FDS", "UPSTART_JOB",
     "UPSTART_INSTANCE")
)  # fmt: skip
#: Different sequences of variables that are remembered of the events of one name.
_ORDERS = 16
_REFERENCE_IN_NAME = re.compile(r"\$\{[^}:+-]*\$")


class _Noted(dict[str, str]):
    """Notes which variables a text refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return ""


class Compared:
    """The variables whose values are compared, of all definitions and events so far.

    ``give`` (name) is called when one comes to be, with ``None`` when any may be from now on.
    """

    __slots__ = ("_all", "_by_place", "_exports", "_exports_compared", "_give", "_keys", "_orders")

    def __init__(self, give: Callable[[str | None], object]) -> None:
        self._give = give
        self._keys: set[str] = set(OWN)
        self._all = False
        #: The tests of conditions that look at variables by their place, by the name of the event.
        self._by_place: dict[str, set[tuple[str, ...]]] = {}
        self._orders: dict[str, set[tuple[str, ...]]] = {}
        self._exports: set[str] = set()
        self._exports_compared = False

    def __contains__(self, key: str) -> bool:
        return self._all or key in self._keys

    def note_event(self, name: str, values: Mapping[str, str]) -> None:
        """See which variables of an event conditions look at by their place."""
        order = tuple(values)
        orders = self._orders.setdefault(name, set())
        if len(orders) < _ORDERS and len(self._orders) < 10_000:
            orders.add(order)
        for args in self._by_place.get(name, ()):
            self._compare(looked_at(args, order))

    def learn(self, data: Mapping[str, Any]) -> None:
        """See what a definition compares."""
        exports = set(data.get("export", ()))
        self._exports |= exports
        self._compare_references(data.get("instance", ""))
        for condition in (data.get("start_on"), data.get("stop_on")):
            for leaf in _leaves(condition):
                self._learn_leaf(leaf)
        if self._exports_compared:
            self._compare(self._exports)

    def _learn_leaf(self, leaf: list[str]) -> None:
        name, args = leaf[0], tuple(leaf[1:])
        tests = [split_test(arg) for arg in args]
        self._compare([key for key, _, _ in tests if key is not None])
        for _, pattern, _ in tests:
            self._compare_references(pattern)
        if all(key is not None for key, _, _ in tests):
            return
        while True:
            self._by_place.setdefault(name, set()).add(args)
            if name in JOB_EVENTS:
                # After two variables of their own these have what jobs export.
                others = tests[len(looked_at(args, ("JOB", "INSTANCE"))) :]
                if any(key is None for key, _, _ in others):
                    self._exports_compared = True
            for order in self._orders.get(name, ()):
                self._compare(looked_at(args, order))
            if not name.endswith("/failed"):
                return
            # It has the variables of the event that failed.
            name = name.removesuffix("/failed")

    def _compare_references(self, text: str) -> None:
        if "$" not in text:
            return
        if _REFERENCE_IN_NAME.search(text) and not self._all:
            # Its value says which variable is meant.
            self._all = True
            self._give(None)
        noted = _Noted()
        try:
            expand(text, noted)
        except ExpandError:
            pass
        self._compare(noted.names | set(re.findall(r"\$\{?([A-Za-z0-9_]+)", text)))

    def _compare(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key not in self._keys:
                self._keys.add(key)
                self._give(key)


def _leaves(condition: list[Any] | None) -> Iterator[list[str]]:
    """The leaves of a condition as `conf.jobdata` has it."""
    todo = [condition] if condition is not None else []
    while todo:
        kind, *rest = todo.pop()
        if kind == "match":
            yield rest
        else:
            todo += rest
