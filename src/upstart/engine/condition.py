"""Conditions (``start on``, ``stop on``) while events arrive.

The condition itself is the immutable tree that the parser made, shared by everything that uses it.  What has happened
so far is its progress: for each leaf that an event has met, that event, which is blocked for as long as it is kept.
A condition that nothing has met has no progress at all, so a waiting job costs nothing.  However deep a tree is,
walking it takes time by its size, and nothing recurses.
"""

from __future__ import annotations

from itertools import islice

from upstart.base.glob import match as glob_match
from upstart.base.glob import split_test
from upstart.conf.expand import ExpandError, expand
from upstart.conf.jobclass import And, Match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from upstart.conf.jobclass import Condition
    from upstart.engine.data import Event, Progress

_NOTHING: dict[str, str] = {}


def leaves(condition: Condition) -> Iterator[Match]:
    """The events that a condition names, from left to right."""
    todo = [condition]
    while todo:
        node = todo.pop()
        if isinstance(node, Match):
            yield node
        else:
            todo += (node.right, node.left)


def is_met(condition: Condition, progress: Progress) -> bool:
    """Whether what has happened suffices."""
    if isinstance(condition, Match):
        return condition in progress
    return condition in _met(condition, progress)


def _met(condition: Condition, progress: Progress) -> set[Condition]:
    """All parts of a condition that are true."""
    parts = [condition]
    # Those of a part come after it; the list grows while it is walked.
    for part in parts:
        if not isinstance(part, Match):
            parts += (part.left, part.right)
    met: set[Condition] = set()
    for part in reversed(parts):
        if isinstance(part, Match):
            true = part in progress
        elif isinstance(part, And):
            true = part.left in met and part.right in met
        else:
            true = part.left in met or part.right in met
        if true:
            met.add(part)
    return met


def active_events(condition: Condition, progress: Progress) -> Iterator[Event]:
    """The events that made a met condition true, from left to right.

    An event on a branch that is not true as a whole had no part in it and is left out.
    """
    met = _met(condition, progress)
    todo = [condition]
    while todo:
        part = todo.pop()
        if part not in met:
            continue
        if isinstance(part, Match):
            yield progress[part]
        else:
            todo += (part.right, part.left)


def matches(leaf: Match, event: Event, env: Mapping[str, str] | None) -> bool:
    """Whether ``event`` passes the tests of ``leaf``.

    ``env`` is what variables in the tests refer to: the environment of the instance for ``stop on``, nothing for
    ``start on``.  A positional test looks at the variable after the one that the test before it looked at.  A test
    with an unknown variable never passes.
    """
    if leaf.name != event.name:
        return False
    env = _NOTHING if env is None else env
    values = event.values
    after: dict[str, str] | None = None
    last: str | None = None
    for arg in leaf.args:
        key, pattern, negated = split_test(arg)
        if key is None:
            if last is None:
                key = next(iter(values), None)
            else:
                if after is None:
                    # An event may have as many variables as a message takes.
                    after = dict(zip(values, islice(values, 1, None), strict=False))
                key = after.get(last)
        if key is None or key not in values:
            return False
        if "$" in pattern:
            try:
                pattern = expand(pattern, env)
            except ExpandError:
                return False
        if glob_match(pattern, values[key]) == negated:
            return False
        last = key
    return True


def looked_at(args: tuple[str, ...], order: tuple[str, ...]) -> list[str]:
    """The variables that tests look at in an event that has these, as `matches` finds them."""
    found = []
    last: str | None = None
    for arg in args:
        key = split_test(arg)[0]
        if key is None:
            place = 0 if last is None else order.index(last) + 1
            key = order[place] if place < len(order) else None
        if key is None or key not in order:
            break
        found.append(key)
        last = key
    return found
