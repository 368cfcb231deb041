"""Expansion of variable references in a text, as init(5) describes it for ``instance``, ``stop on`` and event values.

``$NAME`` and ``${NAME}`` stand for a value, ``${NAME-text}``, ``${NAME:-text}``, ``${NAME+text}`` and
``${NAME:+text}`` work as in sh(1), ``${}`` is a dollar sign, and any other ``$`` stands for itself.  Name and text
of a braced reference are expanded first, whether they are used or not; a value is never expanded again.
A reference to a variable that is not set is an error, not an empty string.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: References inside references that are followed; a text that nests deeper is refused, so that no text can exhaust
#: the stack of init.
MAX_DEPTH = 50

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TO_REFERENCE = {end: re.compile(f"[^${re.escape(end)}]*") for end in ("", "}", "}:-+")}


class ExpandError(Exception):
    """A text that cannot be expanded; ``str()`` is the message to show."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Return ``text`` with its references replaced by values of ``env``.

    Raises `ExpandError` for a variable that is not set and for a malformed reference.
    """
    if "$" not in text:
        return text
    return _expand_until(text, 0, "", env, 0)[0]


def _expand_until(text: str, pos: int, end: str, env: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Expand from ``pos`` up to a character of ``end`` or the end of the text: the result, and where it stopped."""
    if depth > MAX_DEPTH:
        raise ExpandError("References nested too deeply")
    to_reference = _TO_REFERENCE[end]
    parts: list[str] = []
    while True:
        plain = to_reference.match(text, pos)
        assert plain is not None
        parts.append(plain.group())
        pos = plain.end()
        if not text.startswith("$", pos):
            return "".join(parts), pos
        pos += 1
        name = _NAME.match(text, pos)
        if name is not None:
            pos = name.end()
            parts.append(_value(name.group(), env))
        elif text.startswith("{}", pos):
            pos += 2
            parts.append("$")
        elif text.startswith("{", pos):
            value, pos = _braced(text, pos + 1, env, depth + 1)
            parts.append(value)
        else:
            parts.append("$")


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
