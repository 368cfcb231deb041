"""Who waits for something that takes long says so: after ten seconds, and again after twice as long each time.

What is always true here: times are seconds of the monotonic clock, and between two lines lie ten minutes at most.
"""

from __future__ import annotations

#: Seconds until the first line, and the most between two of them.
FIRST, LONGEST = 10.0, 600.0


class Patience:
    """Of one wait that began at *began*; `due` is when the next line is to be said."""

    __slots__ = ("began", "due")

    def __init__(self, began: float) -> None:
        self.began = began
        self.due = began + FIRST

    def asks(self, now: float) -> bool:
        """Whether a line is due *now*; the next is due later then."""
        if now < self.due:
            return False
        self.due = now + min(max(now - self.began, FIRST), LONGEST)
        return True

    def lasts(self, now: float) -> str:
        """How long it has taken, in words."""
        seconds = int(now - self.began)
        if seconds < 120:
            return f"{seconds} seconds"
        if seconds < 7200:
            return f"{seconds // 60} minutes"
        return f"{seconds // 3600} hours"


def milliseconds(due: float, now: float) -> int:
    """How long poll(2) is to wait at most, so that *due* has come then."""
    return max(0, int((due - now) * 1000) + 1)
