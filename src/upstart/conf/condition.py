"""Conditions: the expressions behind ``start on`` and ``stop on``, read from text and written for D-Bus.

``and`` and ``or`` bind equally strongly, from the left; parentheses group, and inside them a condition goes on
over line ends.  A word that follows an event, and is no operator, is an argument of that event.
Nothing here recurses: a condition of any shape is walked with a stack of its own.
"""

from __future__ import annotations

from sys import intern

from upstart.conf.jobclass import And, Match, Or
from upstart.conf.lexer import WORD, Scanner, SyntaxProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import Condition

#: Operators that one condition may have, which bounds how deep its tree is for whoever recurses into it.
MAX_OPERATORS = 250


class _Pending:
    """What has been read at one level of parentheses and is not yet part of a tree."""

    __slots__ = ("event", "args", "left", "operator", "tree")

    def __init__(self) -> None:
        #: The event whose arguments may follow.
        self.event: str | None = None
        self.args: list[str] = []
        #: A tree that was closed by a parenthesis.
        self.tree: Condition | None = None
        #: The operator, and what is to its left, that wait for a right side.
        self.operator = ""
        self.left: Condition | None = None


def parse_condition(scanner: Scanner) -> Condition:
    """Read a condition from behind the word ``on`` to the end of its last line.

    Raises `SyntaxProblem`.
    """
    groups: list[_Pending] = []
    group = _Pending()
    operators = 0
    token = scanner.pos
    while True:
        scanner.skip_space()
        while True:
            token = scanner.pos
            char = scanner.text[token : token + 1]
            if char == "(" or char == ")":
                scanner.spend(WORD // 2)
            if char == "(":
                if group.event is not None or group.tree is not None:
                    raise SyntaxProblem("Expected operator", token)
                groups.append(group)
                group = _Pending()
                scanner.pos = token + 1
                scanner.skip_space()
            elif char == ")":
                tree = _collect(group, token)
                if not groups:
                    raise SyntaxProblem("Mismatched parentheses", token)
                group = groups.pop()
                group.tree = tree
                scanner.pos = token + 1
                scanner.skip_space()
            else:
                word, plain = scanner.condition_word()
                if plain and (word == "and" or word == "or"):
                    operators += 1
                    if operators > MAX_OPERATORS:
                        raise SyntaxProblem(f"Condition has more than {MAX_OPERATORS} operators", token)
                    left = _collect(group, token)
                    group = _Pending()
                    group.left = left
                    group.operator = word
                elif group.event is None:
                    group.event = intern(word)
                else:
                    if "=" not in word and group.args and "=" in group.args[-1]:
                        raise SyntaxProblem("Expected variable name before value", scanner.pos)
                    group.args.append(intern(word))
            if not scanner.has_token():
                break
        scanner.end_line()
        # A blank line, or one with just a comment, may stand inside parentheses; the original refuses both.
        while groups and scanner.pos < scanner.length:
            scanner.skip_space()
            if scanner.has_token():
                break
            scanner.end_line()
        if not groups or scanner.pos >= scanner.length:
            break
    tree = _collect(group, token)
    if groups:
        raise SyntaxProblem("Mismatched parentheses", scanner.pos)
    return tree


def _collect(group: _Pending, pos: int) -> Condition:
    """Make one tree of what has been read at this level."""
    tree = group.tree
    if group.event is not None:
        if tree is not None:
            raise SyntaxProblem("Expected operator", pos)
        tree = Match(group.event, tuple(group.args))
    if tree is None:
        raise SyntaxProblem("Expected event", pos)
    if group.left is None:
        return tree
    return And(group.left, tree) if group.operator == "and" else Or(group.left, tree)


def condition_to_rpn(condition: Condition | None) -> list[list[str]]:
    """Write a condition as the ``start_on`` and ``stop_on`` properties have it.

    Operands come before their operator; each is a list of an event and its arguments, or of ``/AND`` or ``/OR``.
    No condition gives an empty list.
    """
    result: list[list[str]] = []
    todo: list[Condition | str] = []
    if condition is not None:
        todo.append(condition)
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            result.append([item])
        elif isinstance(item, Match):
            result.append([item.name, *item.args])
        else:
            todo += ["/AND" if isinstance(item, And) else "/OR", item.right, item.left]
    return result
