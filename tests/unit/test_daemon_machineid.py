"""The machine's id, which init is asked for and a child reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from upstart.base.loop import Loop
from upstart.daemon import machineid
from upstart.daemon.machineid import MachineId


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()
    try:
        while os.waitpid(-1, 0)[0]:
            pass
    except ChildProcessError:
        pass


def told(loop: Loop, machine: MachineId) -> str:
    """What is known when whoever waits is told."""
    calls: list[str] = []
    machine.when_read(lambda: calls.append(machine.text))
    deadline = time.monotonic() + 10
    while not calls:
        assert time.monotonic() < deadline
        loop.turn(0.05)
    return calls[0]


def test_it_is_read_once_and_by_a_child(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machineid, "FILES", (str(tmp_path / "one"), str(tmp_path / "two")))
    machine = MachineId(loop)
    # There may be none yet.
    assert machine.to_be_read()
    assert told(loop, machine) == ""
    (tmp_path / "two").write_text("0123456789abcdef\n")
    assert machine.to_be_read()
    assert told(loop, machine) == "0123456789abcdef"
    (tmp_path / "two").unlink()
    assert not machine.to_be_read() and machine.text == "0123456789abcdef"


def test_nobody_waits_long_for_a_file_that_does_not_answer(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever opens a FIFO waits for its other end.
    os.mkfifo(tmp_path / "one")
    monkeypatch.setattr(machineid, "FILES", (str(tmp_path / "one"),))
    machine = MachineId(loop)
    began = time.monotonic()
    assert machine.to_be_read()
    assert told(loop, machine) == ""
    assert machineid.PATIENCE - 0.1 < time.monotonic() - began < 5
    # Later it is not waited for at all, and there is no second child, until it answers.
    assert not machine.to_be_read()
    (tmp_path / "one").write_text("late\n")
    wait(loop, lambda: machine.text == "late")


def wait(loop: Loop, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not until():
        assert time.monotonic() < deadline
        loop.turn(0.05)
