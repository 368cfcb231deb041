"""Shell patterns as fnmatch(3) with no flags understands them.

What is always true here: no pattern and no text makes the work explode.  What stands between two stars matches a
fixed number of characters, so the leftmost place that fits is always the right one and nothing is tried twice; what
is to be found there, and is no plain text, is looked for at all places of the text at once, by the bits of a number.

A character is a code point, and the classes such as ``[[:digit:]]`` are those of the C locale; what fnmatch(3) knows of
collation (``[=a=]``, ``[.a.]``) is not known here.  Python's own fnmatch knows neither backslash escapes nor ``[^...]``
nor classes, and goes through regular expressions, which init does not load.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    #: What matches one character: that character itself, or a set; ``None`` matches any.
    Element: TypeAlias = "str | Set | None"
    #: What stands between two stars; a text where all of it is literal.
    Segment: TypeAlias = "str | list[Element]"

_MAGIC = frozenset("*?[\\")

_CLASSES = {
    "alpha": "azAZ", "digit": "09", "alnum": "azAZ09", "upper": "AZ", "lower": "az", "space": "\t\r  ",
    "blank": "\t\t  ", "punct": "!/:@[`{~", "xdigit": "09afAF", "cntrl": "\0\x1f\x7f\x7f", "print": " ~",
    "graph": "!~",
}  # fmt: skip
#: What the C library takes for the name of a class, and how far it looks for its end.
_CLASS_LETTERS = "abcdefghijklmnopqrstuvwxy"
_CLASS_LENGTH = 258

#: Patterns in parts; cleared when full, so that hostile events cannot make it grow.  Long ones are not kept.
_cache: dict[str, list[Segment]] = {}
_CACHE_LIMIT = 512
_CACHE_LENGTH = 256
#: Numbers with a bit for each character of a text that are kept while it is looked through.
_BITS_LIMIT = 64


class Set:
    """A bracket expression: pairs of characters, each a range."""

    __slots__ = ("negated", "ranges")

    def __init__(self, negated: bool, ranges: list[tuple[str, str]]) -> None:
        self.negated = negated
        self.ranges = ranges

    def __contains__(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges) is not self.negated


#: Where a backslash or a range has nothing behind it: no character matches.
_NOTHING = Set(False, [])


def is_literal(pattern: str) -> bool:
    """Whether the pattern matches exactly itself."""
    return _MAGIC.isdisjoint(pattern)


def match(pattern: str, text: str) -> bool:
    """Whether ``text`` as a whole matches ``pattern``."""
    if _MAGIC.isdisjoint(pattern):
        return pattern == text
    segments = _cache.get(pattern)
    if segments is None:
        segments = _segments(pattern, max(len(text), _CACHE_LENGTH))
        if len(pattern) <= _CACHE_LENGTH:
            if len(_cache) >= _CACHE_LIMIT:
                _cache.clear()
            _cache[pattern] = segments
        elif not segments:
            return False
    first, last = segments[0], segments[-1]
    if len(segments) == 1:
        return len(text) == len(first) and _fits(first, text, 0)
    start, end = len(first), len(text) - len(last)
    if start > end or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    if len(segments) == 2:
        return True
    places = _Places(text)
    for segment in segments[1:-1]:
        if isinstance(segment, str):
            start = text.find(segment, start, end)
        else:
            start = places.find(segment, start, end)
        if start < 0:
            return False
        start += len(segment)
    return True


def _fits(segment: Segment, text: str, at: int) -> bool:
    """Whether a segment matches at this place of a text, which has as many characters from there on."""
    if isinstance(segment, str):
        return text.startswith(segment, at)
    for element in segment:
        if element is not None and text[at] not in element:
            return False
        at += 1
    return True


class _Places:
    """Where in a text what matches: a number for each element, with bit i set where it matches character i."""

    __slots__ = ("_bits", "_chars", "_reversed", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._reversed: str | bytes = ""
        self._chars: set[str] = set()
        self._bits: dict[Element, int] = {}

    def find(self, segment: list[Element], start: int, end: int) -> int:
        """The first place from ``start`` on where a segment matches that ends by ``end``; -1 if there is none."""
        last = end - len(segment)
        if last < start:
            return -1
        found = (1 << last + 1 - start) - 1
        for at, element in enumerate(segment, start):
            if element is not None:
                found &= self._of(element) >> at
                if not found:
                    return -1
        return start + (found & -found).bit_length() - 1

    def _of(self, element: str | Set) -> int:
        bits = self._bits.get(element)
        if bits is None:
            if not self._chars:
                self._chars = set(self._text)
                backwards = self._text[::-1]
                self._reversed = backwards.encode() if backwards.isascii() else backwards
            said = self._reversed
            if isinstance(said, bytes):
                table = bytearray(b"0" * 256)
                for char in self._chars:
                    if char in element:
                        table[ord(char)] = 49  # "1"
                bits = int(said.translate(table), 2)
            else:
                bits = int(said.translate({ord(char): "01"[char in element] for char in self._chars}), 2)
            if len(self._bits) >= _BITS_LIMIT:
                self._bits.clear()
            self._bits[element] = bits
        return bits


def _segments(pattern: str, most: int) -> list[Segment]:
    """Take a pattern apart at its stars: there is always a first part and, behind a star, a last one.

    Empty for one that matches no text of ``most`` characters.
    """
    segments: list[Segment] = []
    elements: list[Element] = []
    sets: dict[str, Element] = {}
    dead = bytearray()
    pos, length = 0, len(pattern)
    while pos < length and most >= 0:
        char = pattern[pos]
        pos += 1
        if char == "*":
            if elements or not segments:
                segments.append(_segment(elements))
                elements = []
            continue
        most -= 1
        if char == "?":
            elements.append(None)
        elif char == "[":
            dead = dead or bytearray(length)
            element, end = _bracket(pattern, pos, dead)
            elements.append(sets.setdefault(pattern[pos:end], element))
            pos = end
        elif char != "\\":
            elements.append(char)
        elif pos < length:
            elements.append(pattern[pos])
            pos += 1
        else:
            elements.append(_NOTHING)
    if most < 0:
        return []
    segments.append(_segment(elements))
    return segments


def _segment(elements: list[Element]) -> Segment:
    texts = [element for element in elements if isinstance(element, str)]
    return "".join(texts) if len(texts) == len(elements) else elements


def _bracket(pattern: str, start: int, dead: bytearray) -> tuple[Element, int]:
    """Read the bracket expression whose ``[`` stands before ``start``: what it matches, and where it ends.

    One that is never closed is literal.  ``dead`` notes for each position inside whether nothing closes it from there,
    so that a pattern full of these is not read to its end for each.
    """
    pos = start
    negated = pattern.startswith(("!", "^"), pos)
    pos += negated
    ranges: list[tuple[str, str]] = []
    unknown = False
    seen: list[int] = []
    first, length = pos, len(pattern)
    while pos < length and (pos == first or not dead[pos]):
        low = pattern[pos]
        if pos > first:
            if low == "]":
                return (_NOTHING if negated and unknown else Set(negated, ranges)), pos + 1
            seen.append(pos)
        if low == "[" and pattern.startswith(":", pos + 1):
            end = pattern.find(":]", pos + 2, pos + _CLASS_LENGTH)
            name = pattern[pos + 2 : end]
            if end > 0 and not name.strip(_CLASS_LETTERS):
                # Behind a class of an unknown name nothing matches any more.
                unknown = unknown or name not in _CLASSES
                if not unknown:
                    ranges += zip(_CLASSES[name][::2], _CLASSES[name][1::2], strict=True)
                pos = end + 2
                continue
        if low == "\\" and pos + 1 < length:
            pos += 1
            low = pattern[pos]
        pos += 1
        high = low
        if pattern.startswith("-", pos) and not pattern.startswith("]", pos + 1):
            if pos + 1 == length:
                return _NOTHING, length
            high = pattern[pos + 1]
            pos += 2
            if high == "\\" and pos < length:
                high = pattern[pos]
                pos += 1
        if not unknown:
            ranges.append((low, high))
    if unknown:
        return _NOTHING, length
    for pos in seen:
        dead[pos] = 1
    return "[", start


def split_test(test: str) -> tuple[str | None, str, bool]:
    """Take a test of an event's variables apart: the variable or None for a positional one, pattern, and whether it
    must not match."""
    at = test.find("!=")
    if at >= 0:
        return test[:at], test[at + 2 :], True
    key, equals, value = test.partition("=")
    if equals:
        return key, value, False
    return None, test, False
