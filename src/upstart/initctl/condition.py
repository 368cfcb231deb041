"""A condition as a job's account has it, in reverse Polish notation: its events, and itself in words."""

from __future__ import annotations

from upstart.base.glob import match, split_test
from upstart.base.names import JOB_EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPERATORS = {"/AND": "and", "/OR": "or"}


class Leaf:
    """One event of it, and the tests that it has to pass."""

    __slots__ = ("name", "tests")

    def __init__(self, words: Sequence[str]) -> None:
        self.name = words[0]
        self.tests = list(words[1:])

    @property
    def text(self) -> str:
        """As it stands in the job's file."""
        return " ".join((self.name, *self.tests))

    @property
    def job(self) -> str:
        """The job whose event it is, as far as one is named; empty elsewhere."""
        if self.name in JOB_EVENTS:
            for position, test in enumerate(self.tests):
                key, value, negated = split_test(test)
                if not negated and (key == "JOB" or (key is None and not position)):
                    return value
        return ""

    def fits(self, env: Mapping[str, str | None]) -> bool:
        """Whether an event of this name passes the tests, as far as its variables are known and the tests are plain."""
        values = list(env.values())
        for position, test in enumerate(self.tests):
            key, pattern, negated = split_test(test)
            value = env.get(key) if key is not None else values[position] if position < len(values) else None
            if value is None or "$" in pattern or match(pattern, value) == negated:
                return False
        return True


def leaves_of(rpn: Sequence[Sequence[str]]) -> list[Leaf]:
    """Its events, from left to right."""
    return [Leaf(item) for item in rpn if item[0] not in _OPERATORS]


def needed(rpn: Sequence[Sequence[str]]) -> str:
    """The condition as it could stand in a job's file, with no more parentheses than it needs."""
    stack: list[tuple[str, str]] = []
    for item in rpn:
        operator = _OPERATORS.get(item[0])
        if operator is None:
            stack.append((Leaf(item).text, ""))
            continue
        right, left = stack.pop(), stack.pop()
        texts = [f"({text})" if kind not in ("", operator) else text for text, kind in (left, right)]
        stack.append((f"{texts[0]} {operator} {texts[1]}", operator))
    return stack[-1][0] if stack else ""
