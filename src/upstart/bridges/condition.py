"""The tests of a condition of a job, as init told them: whether an event passes, as init would find.

A bridge tells only what passes the tests of some condition: init would throw the rest away.
"""

from __future__ import annotations

from upstart.base.glob import match

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Test:
    """One test, ``KEY=VALUE``, ``KEY!=VALUE``, or a value alone, which is that of the variable in this place of
    ``order``; ``key`` is empty where that has no more."""

    __slots__ = ("key", "negated", "value")

    def __init__(self, text: str, position: int, order: Sequence[str]) -> None:
        key, equals, value = text.partition("=")
        if equals:
            self.negated = key.endswith("!")
            self.key = key.removesuffix("!")
            self.value = value
        else:
            self.negated = False
            self.key = order[position] if position < len(order) else ""
            self.value = text

    def passes(self, value: str) -> bool:
        """Whether a variable with this value passes it, or may: what a reference is to only an instance knows."""
        if "$" in self.value:
            return True
        return match(self.value, value) is not self.negated


def tests_of(words: Iterable[str], order: Sequence[str]) -> list[Test]:
    """The tests of one condition; ``order`` is that of the variables of the event."""
    return [Test(word, position, order) for position, word in enumerate(words)]


def passes(tests: Iterable[Test], env: Mapping[str, str]) -> bool:
    """Whether an event with these variables passes all of them."""
    return all(test.key in env and test.passes(env[test.key]) for test in tests)
