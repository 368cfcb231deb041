"""Expansion of variable references in a text, as init(5) describes it for ``instance``, ``stop on`` and event values.

``$NAME`` and ``${NAME}`` stand for a value, ``${NAME-text}``, ``${NAME:-text}``, ``${NAME+text}`` and
``${NAME:+text}`` work as in sh(1), ``${}`` is a dollar sign, and any other ``$`` stands for itself.  Name and text
of a braced reference are expanded first, whether they are used or not; a value is never expanded again.
A reference to a variable that is not set is an error, not an empty string.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: References inside references that are followed; a text that nests deeper is refused, so that no text can exhaust
#: the stack of init.
MAX_DEPTH = 50
#: Characters of the longest text, before and after: Linux takes no longer string into the environment of a process.
MAX_LENGTH = 1 << 17
MAX_REFERENCES = 10_000


class ExpandError(Exception):
    """A text that cannot be expanded; ``str()`` is the message to show."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` with its references replaced by values of ``env``.

    Raises `ExpandError` for a variable that is not set and for a malformed reference.
    """
    if "$" not in text:
        return text
    if len(text) > MAX_LENGTH or text.count("$") > MAX_REFERENCES:
        raise ExpandError("Too long to be expanded")
    return _expand_until(text, 0, "", env, 0)[0]


def _expand_until(text: str, pos: int, end: str, env: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Expand from ``pos`` up to a character of ``end`` or the end of the text: the result, and where it stopped."""
    if depth > MAX_DEPTH:
        raise ExpandError("References nested too deeply")
    parts: list[str] = []
    room = MAX_LENGTH
    while True:
        start = pos
        pos = _find_any("$" + end, text, pos)
        parts.append(text[start:pos])
        room -= sum(map(len, parts[-2:]))  # the value before this piece, and the piece
        if room < 0:
            raise ExpandError("Expansion too long")
        if not text.startswith("$", pos):
            return "".join(parts), pos
        pos += 1
        start = pos
        pos = _name_end(text, pos)
        if pos > start:
            parts.append(_value(text[start:pos], env))
        elif text.startswith("{}", pos):
            pos += 2
            parts.append("$")
        elif text.startswith("{", pos):
            value, pos = _braced(text, pos + 1, env, depth + 1)
            parts.append(value)
        else:
            parts.append("$")


def _find_any(chars: str, text: str, pos: int) -> int:
    """Where the first of these characters stands from ``pos`` on; the length of the text where none does."""
    end = len(text)
    for char in chars:
        found = text.find(char, pos, end)
        if found >= 0:
            end = found
    return end


def _name_end(text: str, pos: int) -> int:
    """Where a name ends that begins at ``pos``, which is ``pos`` where none does."""
    end = pos
    while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return pos if text[pos:end][:1].isdigit() else end


def _braced(text: str, pos: int, env: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Expand a braced reference from behind its opening brace: the result, and the position behind the closing one."""
    name, pos = _expand_until(text, pos, "}:-+", env, depth)
    null_is_unset = text.startswith(":", pos)
    if null_is_unset:
        pos += 1
    operator = text[pos : pos + 1]
    if operator in ("-", "+"):
        pos += 1
    elif null_is_unset:
        raise ExpandError("Expected operator")
    word, pos = _expand_until(text, pos, "}", env, depth)
    if not text.startswith("}", pos):
        raise ExpandError("Mismatched braces")
    pos += 1
    if operator not in ("-", "+"):
        return _value(name, env), pos
    value = env.get(name)
    present = value is not None and not (null_is_unset and value == "")
    if operator == "+":
        return (word if present else ""), pos
    return (value if present and value is not None else word), pos


def _value(name: str, env: Mapping[str, str]) -> str:
    value = env.get(name)
    if value is None:
        raise ExpandError(f"Unknown parameter: {name}")
    return value
