"""Names in object paths, escaped as libnih does, so that clients that build paths themselves find what they mean.

A letter or digit stands for itself, any other byte is ``_`` and two hexadecimal digits, and an empty name is a lone
``_``.
"""

from __future__ import annotations

#: Names that need escaping, as they were escaped; so many at most, none longer than that.
_escaped: dict[str, str] = {}
_MOST, _LONGEST = 1024, 64

_BYTE = {byte: chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}" for byte in range(256)}


def escape(name: str) -> str:
    """One element of an object path."""
    if name.isalnum() and name.isascii():
        return name
    if not name:
        return "_"
    known = _escaped.get(name)
    if known is None:
        known = "".join([_BYTE[byte] for byte in name.encode("utf-8", "surrogateescape")])
        if len(name) > _LONGEST:
            return known
        if len(_escaped) >= _MOST:
            _escaped.clear()
        _escaped[name] = known
    return known


def unescape(element: str) -> str | None:
    """The name that `escape` made ``element`` of, or None if it did not make it."""
    if "_" not in element:
        return element
    if element == "_":
        return ""
    head, *parts = element.split("_")
    raw = head.encode()
    for part in parts:
        try:
            raw += bytes((int(part[:2], 16),)) + part[2:].encode()
        except ValueError:
            return None
    name = raw.decode("utf-8", "surrogateescape")
    return name if escape(name) == element else None
