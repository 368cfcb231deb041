"""Numbers as job files write them: what strtol(3) and strtoul(3) accept, and no less.

White space (in quotes) and a sign may come first, nothing may follow, and a number that does not fit is refused.
"""

from __future__ import annotations

#: The digits of a base, and more of them than any number has that fits.
_DIGITS = {8: ("01234567", 60), 10: ("0123456789", 40)}


class NotANumber(Exception):
    """A text that is no number, or one that does not fit 64 bits."""


def signed(text: str) -> int:
    """A decimal number of 64 bits with a sign; raises `NotANumber`."""
    number = _value(text, 10)
    if not -(2**63) <= number < 2**63:
        raise NotANumber
    return number


def unsigned(text: str, base: int) -> int:
    """A number of 64 bits, octal or decimal; a minus sign counts down from 2**64.  Raises `NotANumber`."""
    number = _value(text, base)
    if abs(number) >= 2**64:
        raise NotANumber
    return number % 2**64


def _value(text: str, base: int) -> int:
    if not text:
        return 0  # an empty word converts to nothing, without an error
    number = text.lstrip(" \t\n\v\f\r")
    digits = number[1:] if number.startswith(("+", "-")) else number
    known, most = _DIGITS[base]
    if not 0 < len(digits) <= most or digits.strip(known):
        raise NotANumber
    return int(number, base)
