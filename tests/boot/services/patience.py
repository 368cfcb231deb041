"""Limits of time where the machine below may be busy: a minute is that of an idle machine, and longer on another."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable


def slowness() -> float:
    """How many times as long things take as on an idle machine: what waits for each processor, or for the disk."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Patience:
    """So many seconds, of which each counts the less the busier the machine is while it passes."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        slow: Callable[[], float] = slowness,
    ) -> None:
        self._left = seconds
        self._clock, self._slow = clock, slow
        self._looked = clock()

    def is_over(self) -> bool:
        """Whether they have passed; to be asked more often than the load of the machine changes."""
        now = self._clock()
        self._left -= (now - self._looked) / self._slow()
        self._looked = now
        return self._left <= 0


def wait_for(condition: Callable[[], bool], seconds: float, interval: float = 0.1) -> bool:
    """Asks until `condition` holds, for so many seconds of an idle machine; whether it did."""
    patience = Patience(seconds)
    while not condition():
        if patience.is_over():
            return False
        time.sleep(interval)
    return True


def run(command: list[str], seconds: float) -> int | None:
    """Runs a command whose output is nobody's business: its status, None if it was late, and was killed."""
    patience = Patience(seconds)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    while True:
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            if patience.is_over():
                process.kill()
                process.wait()
                return None
