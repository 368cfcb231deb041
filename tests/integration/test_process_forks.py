"""A child that has no memory to begin with ends: it never goes on with what is init's to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from upstart.conf.jobclass import JobClass, ProcessDef
from upstart.process import child, guard, helper, spawn
from upstart.process.request import SpawnRequest

#: What a child that goes on ends with here.
WENT_ON = 77


def start_helper() -> None:
    helper.start("upstart-test", (), lambda: None)


def start_program() -> None:
    child.start_program(["/bin/true"], {}, 2)


def start_guard() -> None:
    guard.Guard().watches("")


def start_job() -> None:
    job = JobClass("test", "test.conf")
    # What asks for a fork.
    job.nice = 1
    job.processes = {"main": ProcessDef("true", False)}
    spawner = spawn.Spawner(user_mode=True)
    try:
        spawner.spawn(SpawnRequest(job, "test", "main", "", {"PATH": "/bin"}, (), "none", None))
    finally:
        spawner.close()


@pytest.mark.parametrize(
    ("begun", "start"),
    [
        ("upstart.process.helper._run", start_helper),
        ("upstart.process.child._become", start_program),
        ("upstart.process.helper._run", start_guard),
        ("upstart.process.child.run", start_job),
    ],
)
@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_child_that_cannot_begin_is_no_second_init(
    monkeypatch: pytest.MonkeyPatch, begun: str, start: Callable[[], None], error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setattr(begun, fail)
    us = os.getpid()
    try:
        start()
    finally:
        if os.getpid() != us:
            os._exit(WENT_ON)
    status = os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])
    assert status not in (0, WENT_ON)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
