"""What init hears of where configuration is watched: what concerns none of it costs no child, and nobody waits."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest
from configured_init import Init, init
from started_helpers import note_helpers

from upstart.conf.disk import Direct
from upstart.daemon import hearing

__all__ = ["init"]


@pytest.fixture
def watched(init: Init) -> Init:
    """With a directory that is watched for the sake of another: that of the jobs was away for a moment."""
    away = init.conf.with_name("away")
    init.conf.rename(away)
    init.rest()
    assert init.known() == {}
    away.rename(init.conf)
    init.rest()
    assert init.known() == {"old": "one"}
    return init


def turn_for(init: Init, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        init.loop.turn(0.01)


def test_what_concerns_no_job_has_no_child_begin(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, beside = watched, watched.conf.with_name("resolv.conf")
    started = note_helpers(monkeypatch)
    for number in range(4):
        beside.with_suffix(".new").write_text(f"nameserver {number}\n")
        beside.with_suffix(".new").rename(beside)
        (init.conf / "README").write_text(f"{number}\n")
        # Nor does anybody wait for one.
        assert init.configuration.passes.current()
        beside.write_text(f"nameserver {number}\n")
        turn_for(init, 0.05)
    turn_for(init, 2 * hearing.PAUSE)
    assert started == [] and not init.configuration.passes.hearing.unread()
    # What does concern one is found by itself, and by who needs to know it, behind whatever else.
    for number in range(4):
        beside.write_text(f"nameserver {number}\n")
        if number % 2:
            turn_for(init, 0.01)
        (init.conf / "old.conf").write_text(f"description {number}\n")
        beside.write_text(f"nameserver {number}\n")
        if number < 2:
            assert not init.configuration.passes.current()
            told: list[str | None] = []
            init.configuration.passes.when_current(lambda: told.append(init.description("old")))  # noqa: B023
            init.turn(lambda: told)  # noqa: B023
            assert told == [str(number)]
        init.turn(lambda: init.description("old") == str(number))  # noqa: B023
        init.rest()
    assert init.known() == init.on_disk() and not init.faults


def test_a_call_during_a_pass_waits_for_no_other_one_that_nobody_needs(
    watched: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = watched
    started = note_helpers(monkeypatch)
    (init.conf / "old.conf").write_text("description two\n")
    assert not init.configuration.passes.current()
    init.turn(init.child)
    # It has taken what was there.
    os.waitid(os.P_PID, init.child(), os.WEXITED | os.WNOWAIT)
    init.conf.with_name("mtab").write_text("")
    assert not init.configuration.passes.current() and init.configuration.passes.hearing.unread()
    told: list[str | None] = []
    init.configuration.passes.when_current(lambda: told.append(init.description("old")))
    init.turn(lambda: told)
    init.rest()
    assert told == ["two"] and len(started) == 1


def test_a_flood_of_what_concerns_no_job_costs_little(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, beside = watched, watched.conf.with_name("log")
    started = note_helpers(monkeypatch)
    reads: list[int] = []
    real = Direct.read_events

    def counted(self: Direct, fd: int) -> bytes:
        reads.append(fd)
        return real(self, fd)

    monkeypatch.setattr(Direct, "read_events", counted)
    began = time.monotonic()
    while time.monotonic() < began + 1.0:
        for _ in range(10):
            beside.write_text("line\n")
        init.loop.turn(0.002)
    looks = (time.monotonic() - began) / hearing.PAUSE + 2
    assert started == [] and 2 <= len(reads) <= looks * 4
    (init.conf / "old.conf").write_text("description two\n")
    beside.write_text("line\n")
    init.turn(lambda: init.description("old") == "two")
    init.rest()
    assert len(started) <= 2 and not init.faults


def test_a_pass_that_is_lost_with_what_was_heard_is_followed_by_one_that_finds_it(watched: Init) -> None:
    init = watched
    for number in range(5):
        init.conf.with_name("mtab").write_text(f"{number}\n")
        (init.conf / "old.conf").write_text(f"description {number}\n")
        assert not init.configuration.passes.current()
        init.turn(init.child)
        os.kill(init.child(), signal.SIGKILL)
        init.turn(lambda: init.description("old") == str(number))  # noqa: B023
        init.rest()
    assert init.known() == init.on_disk() and not init.faults


def test_a_queue_that_cannot_be_read_is_left_to_a_child(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, us = watched, os.getpid()
    real = Direct.read_events

    def failing(self: Direct, fd: int) -> bytes:
        if os.getpid() == us:
            raise OSError(errno.EIO, "no")
        return real(self, fd)

    monkeypatch.setattr(Direct, "read_events", failing)
    (init.conf / "old.conf").write_text("description two\n")
    init.turn(lambda: init.description("old") == "two")
    init.rest()
    assert not init.faults
