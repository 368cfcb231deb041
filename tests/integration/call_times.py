"""How long an init takes to answer, asked by a process of its own again and again while something else happens.

A thread of the test would wait for the test's other threads, and measure that. What a machine with other things to do
lets both wait for a processor is taken off, as far as the kernel tells that: it is not init's doing.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from daemon_init import EXTENSION, MANAGER, ROOT, UPSTART, Client

#: Seconds between two calls.
PAUSE = 0.01


class CallTimes:
    """Calls the init ``pid`` at ``address``; ``all`` is how many seconds each call took, in order, after `end`."""

    def __init__(self, address: str, pid: int, job: str) -> None:
        command = [sys.executable, __file__, address, str(pid), job]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        self._process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None and self._process.stdout.readline() == b"begun\n"
        self.all: list[float] = []

    def end(self) -> None:
        """Call no more."""
        said, _ = self._process.communicate(b"end\n", 60)
        self.all = sorted(json.loads(said))

    @property
    def text(self) -> str:
        """For people."""
        count = len(self.all)
        median, most, longest = (1000 * self.all[at] for at in (count // 2, count * 99 // 100, count - 1))
        return f"{count} calls: median {median:.1f}, of 99 in 100 {most:.1f}, longest {longest:.1f} ms"


def waited(pid: int | str) -> float:
    """Seconds that a process has waited for a processor, see proc(5)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def main(address: str, pid: str, job: str) -> None:
    client = Client(address)
    client.call(MANAGER, EXTENSION, "Quiet")
    client.call(MANAGER, UPSTART, "GetJobByName", "s", job)
    print("begun", flush=True)
    taken = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        before = waited(pid) + waited("self")
        began = time.monotonic()
        client.call(MANAGER, UPSTART, "GetJobByName", "s", job)
        took = time.monotonic() - began
        taken.append(max(0.0, took - (waited(pid) + waited("self") - before)))
    print(json.dumps(taken))


if __name__ == "__main__":
    main(*sys.argv[1:])
