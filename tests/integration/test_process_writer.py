"""The helpers that append to logs: what they are made of, and that nothing is lost where that changes."""

from __future__ import annotations

import itertools
import os
import resource
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


def test_a_limit_of_the_size_of_files_that_init_has_no_more_is_none_for_a_writer(tmp_path: Path) -> None:
    loop = Loop()
    warned: list[str] = []
    writers = Writers(loop, warned.append)
    path = tmp_path / "log"
    file = LogStore(warned.append, writers).file(str(path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        file.append(b"more than that\n")

        def failed() -> bool:
            loop.turn(0.01)
            # What a helper notes is cut short as well.
            writers._look()
            return file.settled

        wait_for(failed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (pid,) = (each.pid for each in writers._helpers.values())
    assert path.read_text() == "more than " and len(warned) == 1
    file.append(b"and more\n")

    def written() -> bool:
        loop.turn(0.01)
        return not file.holds

    wait_for(written)
    assert path.read_text() == "more than that\nand more\n"
    assert [each.pid for each in writers._helpers.values()] == [pid]
    writers.finish(10)
    os.waitpid(pid, 0)
