"""Waiting for a condition, by looking."""

from __future__ import annotations

import select
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Whether the condition comes to hold within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        select.select([], [], [], 0.01)
    return True
