"""The helpers that append to logs: what they are made of, and that nothing is lost where that changes."""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

import pytest
from daemon_init import wait_for
from test_process_guard import has_executed

from upstart.base.loop import Loop
from upstart.process import helper, logserver
from upstart.process.log import LogStore
from upstart.process.writer import Writers


@pytest.mark.parametrize("can", [True, False])
def test_one_that_lives_on_becomes_a_small_program_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: bool
) -> None:
    monkeypatch.setattr(helper, "SETTLED", 0.3)
    if not can:
        monkeypatch.setattr(sys, "executable", "/nonexistent")
    warned: list[str] = []
    loop = Loop()
    writers = Writers(loop, warned.append)
    path = tmp_path / "log"
    file = LogStore(warned.append, writers).file(str(path))
    numbers = itertools.count()
    last = -1

    def write_until(seconds: float) -> None:
        nonlocal last
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            last = next(numbers)
            file.append(b"%d\n" % last)
            file.flush()
            loop.turn(0.01)

    write_until(0.1)
    (pid,) = (each.pid for each in writers._helpers.values())
    assert not has_executed(pid)
    write_until(0.5)
    wait_for(lambda: has_executed(pid) == can)
    write_until(0.5)
    assert [each.pid for each in writers._helpers.values()] == [pid]
    assert Path(f"/proc/{pid}/comm").read_text() == f"{logserver.NAME}\n"
    writers.finish(10)
    os.waitpid(pid, 0)
    assert path.read_text() == "".join(f"{number}\n" for number in range(last + 1))
    assert not warned
