"""The main loop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from upstart.base.loop import READ, STALE_TIMERS, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_timers_run_in_the_order_of_their_times(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_later(0.03, loop.stop)
    loop.call_later(0.02, lambda: seen.append("late"))
    loop.call_later(0.01, lambda: seen.append("early"))
    gone = loop.call_later(0.015, lambda: seen.append("never"))
    loop.remove(gone)
    loop.remove(gone)
    loop.run()
    assert seen == ["early", "late"]


def test_cancelled_timers_take_no_room(loop: Loop) -> None:
    for _ in range(10 * STALE_TIMERS):
        loop.remove(loop.call_later(1000, loop.stop))
    assert len(loop._heap) <= STALE_TIMERS + 1


def test_a_timer_set_by_a_timer_waits_for_the_next_turn(loop: Loop) -> None:
    count = []

    def again() -> None:
        count.append(1)
        if len(count) < 3:
            loop.call_later(0, again)
        else:
            loop.stop()

    loop.call_later(0, again)
    loop.run()
    assert len(count) == 3


def test_a_descriptor_is_reported_until_it_is_removed(loop: Loop) -> None:
    read, write = os.pipe()
    seen = []

    def readable(events: int) -> None:
        assert events & READ
        seen.append(os.read(read, 1))
        if len(seen) == 2:
            loop.remove(watch)
            loop.call_later(0.01, loop.stop)

    watch = loop.add_fd(read, READ, readable)
    os.write(write, b"abc")
    loop.run()
    assert seen == [b"a", b"b"]
    os.close(read)
    os.close(write)


def test_an_exception_goes_to_the_fault_handler_and_ends_nothing(loop: Loop) -> None:
    faults: list[BaseException] = []
    loop.fault = faults.append
    read, write = os.pipe()
    os.write(write, b"x")

    def broken(*_: object) -> None:
        raise ValueError("broken")

    def readable(_events: int) -> None:
        os.read(read, 1)
        broken()

    loop.add_fd(read, READ, readable)
    loop.call_soon(broken)
    loop.before_wait(broken)
    loop.call_later(0, broken)
    loop.each_turn = lambda: len(faults) < 0 or bool(broken())  # type: ignore[func-returns-value]
    loop.call_later(0.02, loop.stop)
    loop.run()
    assert len(faults) >= 5 and all(isinstance(fault, ValueError) for fault in faults)
    os.close(read)
    os.close(write)


def test_signals_reach_the_loop_in_the_order_of_their_registration(loop: Loop) -> None:
    seen: list[str] = []
    loop.watch_signal(signal.SIGUSR1, lambda: seen.append("usr1"))
    loop.watch_signal(signal.SIGUSR2, lambda: seen.append("usr2"))
    loop.each_turn = lambda: len(seen) == 2 and bool(loop.call_soon(loop.stop))  # type: ignore[func-returns-value]
    for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    loop.run()
    assert seen == ["usr1", "usr2"]


def test_a_signal_ends_the_wait(loop: Loop) -> None:
    loop.watch_signal(signal.SIGALRM, loop.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    began = time.monotonic()
    loop.call_later(5, loop.stop)
    loop.run()
    assert time.monotonic() - began < 2


def test_many_signals_do_not_fill_the_wake_up_pipe(loop: Loop) -> None:
    count: list[int] = []
    loop.watch_signal(signal.SIGUSR1, lambda: count.append(1))
    for _ in range(70_000):
        os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn(0)
    assert count == [1]
    loop.turn(0)
    assert count == [1]


def test_the_loop_does_not_wait_while_there_is_work_left(loop: Loop) -> None:
    left = [3]

    def each_turn() -> bool:
        left[0] -= 1
        if left[0] == 0:
            loop.stop()
        return left[0] > 0

    loop.each_turn = each_turn
    began = time.monotonic()
    loop.call_later(5, loop.stop)
    loop.run()
    assert time.monotonic() - began < 1


def test_a_reused_descriptor_number_is_watched_anew(loop: Loop) -> None:
    first = os.pipe()
    seen = []
    old = loop.add_fd(first[0], READ, lambda events: seen.append("old"))
    os.close(first[0])
    os.close(first[1])
    second = os.pipe()
    assert second[0] == first[0]
    loop.add_fd(second[0], READ, lambda events: seen.append("new"))
    loop.remove(old)
    os.write(second[1], b"x")
    loop.turn(0)
    assert seen == ["new"]
    os.close(second[0])
    os.close(second[1])
