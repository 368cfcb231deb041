"""The limits of `make check-services` are those of an idle machine: a busy one has longer."""

from __future__ import annotations

import os
import sys

import pytest

from manual import ROOT

sys.path.append(str(ROOT / "tests" / "boot"))

from services import patience


class Machine:
    """A clock, and how slow the machine is just now."""

    def __init__(self) -> None:
        self.now, self.slow = 100.0, 1.0

    def patience(self, seconds: float) -> patience.Patience:
        return patience.Patience(seconds, lambda: self.now, lambda: self.slow)


def test_on_an_idle_machine_seconds_are_seconds() -> None:
    machine = Machine()
    limit = machine.patience(10)
    machine.now += 9.9
    assert not limit.is_over()
    machine.now += 0.2
    assert limit.is_over()


def test_seconds_count_for_less_while_the_machine_is_busy() -> None:
    machine = Machine()
    limit = machine.patience(10)
    machine.slow = 5.0
    machine.now += 45
    assert not limit.is_over()
    # A second is left, and the others have gone home.
    machine.slow = 1.0
    machine.now += 0.9
    assert not limit.is_over()
    machine.now += 0.2
    assert limit.is_over()


def test_how_slow_a_machine_is_is_its_load_for_each_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, slow in ((0.1, 1.0), (2.0, 1.0), (9.0, 4.5)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert patience.slowness() == slow


def test_a_program_that_is_late_is_ended_and_another_s_status_given() -> None:
    assert patience.run(["sleep", "1000017"], 0.1) is None
    assert patience.run(["sh", "-c", "exit 3"], 60) == 3


def test_a_condition_is_waited_for_no_longer_than_that() -> None:
    answers = iter((False, False, True))
    assert patience.wait_for(lambda: next(answers), 60, 0.01)
    assert not patience.wait_for(lambda: False, 0.05, 0.01)
