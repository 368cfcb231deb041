"""Conditions as init tells them over D-Bus: operands before their operator, each a list of words."""

from __future__ import annotations

from upstart.conf.jobclass import And, Match, Or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.conf.jobclass import Condition


def condition_from_rpn(items: Sequence[Sequence[str]]) -> Condition | None:
    """The inverse of `upstart.conf.condition.condition_to_rpn`."""
    stack: list[Condition] = []
    for words in items:
        if words[0] in ("/AND", "/OR"):
            right, left = stack.pop(), stack.pop()
            stack.append(And(left, right) if words[0] == "/AND" else Or(left, right))
        else:
            stack.append(Match(words[0], tuple(words[1:])))
    return stack[0] if stack else None
