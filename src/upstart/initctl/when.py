"""A moment as people write it: a date, a time of day, or how long ago; as ``initctl log --since`` takes it."""

from __future__ import annotations

import re
import time

from upstart.base.errors import UsageError

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400}
_UNITS |= {"day": 86400, "w": 604800, "week": 604800}
_AGO = re.compile(r"-?(?:\d+ *[a-z]+ *)+(?: *ago)?")
_PIECE = re.compile(r"(\d+) *([a-z]+)")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def moment(text: str, now: float | None = None) -> float:
    """The seconds of the epoch that a text means, in local time. Raises UsageError.

    ``2026-11-30``, ``2026-11-30 16:05[:30]``, ``16:05`` (today), ``today``, ``yesterday``, ``now``, ``10min``,
    ``1h 30min ago``, ``-2d``, ``@1795000000``.
    """
    if now is None:
        now = time.time()
    words = text.strip().lower().replace("t", " ") if _DATE.match(text.strip()) else text.strip().lower()
    if re.fullmatch(r"@\d+(\.\d*)?", words):
        return float(words[1:])
    if words == "now":
        return now
    if _AGO.fullmatch(words):
        return now - _seconds(words, text)
    day = time.localtime(now)[:3]
    date, _, clock = words.partition(" ")
    if words in ("today", "yesterday") or (date in ("today", "yesterday") and clock):
        day = (day[0], day[1], day[2] - (date == "yesterday"))
    elif found := _DATE.fullmatch(date):
        day = (int(found[1]), int(found[2]), int(found[3]))
        if not (1 <= day[1] <= 12 and 1 <= day[2] <= 31):
            raise _wrong(text)
    else:
        clock = words
    hour = minute = second = 0
    if clock:
        at = _TIME.fullmatch(clock.strip())
        if at is None:
            raise _wrong(text)
        hour, minute, second = int(at[1]), int(at[2]), int(at[3] or 0)
        if hour > 23 or minute > 59 or second > 60:
            raise _wrong(text)
    elif not words:
        raise _wrong(text)
    try:
        return time.mktime((*day, hour, minute, second, 0, 0, -1))
    except (OverflowError, ValueError):
        raise _wrong(text)


def _seconds(words: str, text: str) -> int:
    total = 0
    for number, unit in _PIECE.findall(words.removesuffix("ago")):
        size = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        if size is None:
            raise _wrong(text)
        total += int(number) * size
    return total


def _wrong(text: str) -> UsageError:
    return UsageError(f"not a time: {text}; for example 2026-11-30, '2026-11-30 16:05', 16:05, yesterday, 10min")
