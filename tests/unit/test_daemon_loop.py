"""The main loop."""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from upstart.base.loop import PAUSE, READ, STALE_TIMERS, Loop


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


def test_signals_that_somebody_left_blocked_are_heard_all_the_same(loop: Loop) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    loop.watch_signal(signal.SIGUSR1, loop.stop)
    loop.call_later(5, lambda: pytest.fail("not heard of"))
    try:
        loop.keep_blocked((signal.SIGUSR2,))
        # As after a fork or a re-exec that came to nothing for want of memory.
        loop.call_soon(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))
        loop.call_soon(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        loop.run()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def test_a_timer_that_is_due_in_a_million_years_holds_up_nothing(loop: Loop) -> None:
    for seconds in (2592000, 2**63 - 1, 1e300, float("inf")):
        loop.call_later(seconds, loop.stop)
    seen: list[str] = []
    loop.fault = lambda error: seen.append(str(error))
    read, write = os.pipe()
    loop.add_fd(read, READ, lambda _events: loop.stop())
    loop.turn(0)
    os.write(write, b"x")
    loop.run()
    assert seen == []
    os.close(read)
    os.close(write)


def test_what_fails_every_time_costs_little_and_the_others_are_served(loop: Loop) -> None:
    faults: list[BaseException] = []
    loop.fault = faults.append
    (broken, source), (read, write) = os.pipe(), os.pipe()
    os.write(source, b"x")
    loop.add_fd(broken, READ, lambda _events: 1 // 0)
    delays: list[float] = []

    def ask() -> None:
        asked = time.monotonic()

        def answered(_events: int) -> None:
            os.read(read, 1)
            loop.remove(watch)
            delays.append(time.monotonic() - asked)
            loop.call_later(0.03, ask if len(delays) < 10 else loop.stop)

        watch = loop.add_fd(read, READ, answered)
        os.write(write, b"x")

    ask()
    began, used = time.monotonic(), time.process_time()
    loop.run()
    passed = time.monotonic() - began
    assert len(faults) <= passed / PAUSE + 1
    assert time.process_time() - used < passed / 2
    assert sorted(delays)[5] < 0.05
    for fd in (broken, source, read, write):
        os.close(fd)


def test_a_wait_that_fails_does_not_keep_timers_and_signals_from_running(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[BaseException] = []
    loop.fault = faults.append

    class Broken:
        def poll(self, *_: object) -> None:
            raise OverflowError("timeout is too large")

    seen: list[str] = []
    monkeypatch.setattr(loop, "_epoll", Broken())
    loop.watch_signal(signal.SIGUSR1, lambda: seen.append("signal"))
    loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    loop.call_later(0.1, loop.stop)
    loop.run()
    assert seen == ["signal"]
    assert 1 <= len(faults) < 50
    monkeypatch.undo()


def test_where_even_telling_of_a_fault_fails_nobody_loses_a_turn(loop: Loop) -> None:
    def no_memory(_error: BaseException) -> None:
        raise MemoryError

    def broken() -> None:
        raise ValueError("broken")

    loop.fault = no_memory
    seen: list[str] = []
    for call in (loop.call_soon, loop.before_wait, lambda callback: loop.call_later(0, callback)):
        call(broken)
        call(lambda: seen.append("called"))
    loop.watch_signal(signal.SIGUSR1, broken)
    loop.watch_signal(signal.SIGUSR2, lambda: seen.append("called"))
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)
    loop.call_later(0.05, loop.stop)
    loop.run()
    assert seen == ["called"] * 4


def test_a_settling_that_failed_is_tried_again_without_an_event(loop: Loop) -> None:
    loop.fault = lambda _error: None
    tries: list[int] = []

    def settle() -> bool:
        tries.append(1)
        if len(tries) < 4:
            raise MemoryError
        loop.stop()
        return False

    loop.each_turn = settle
    began = time.monotonic()
    loop.call_later(20, loop.stop)
    loop.run()
    assert len(tries) == 4 and time.monotonic() - began < 10


def test_after_a_turn_that_failed_a_signal_that_may_have_been_lost_counts_as_come(loop: Loop) -> None:
    loop.fault = lambda _error: None
    seen: list[str] = []

    def broken() -> None:
        raise MemoryError

    loop.watch_signal(signal.SIGUSR1, lambda: seen.append("other"))
    loop.watch_signal(signal.SIGUSR2, lambda: seen.append("child"), repeated=True)
    loop.call_soon(broken)
    loop.call_later(2 * PAUSE, loop.stop)
    loop.run()
    assert seen == ["child"]


def test_the_program_may_end_from_a_callback(loop: Loop) -> None:
    def leave(error: BaseException) -> None:
        if isinstance(error, SystemExit):
            raise error

    def end() -> None:
        raise SystemExit(3)

    loop.fault = leave
    loop.call_soon(end)
    with pytest.raises(SystemExit):
        loop.run()


def test_thousands_of_cancelled_timers_leave_the_others_in_order(loop: Loop) -> None:
    seen: list[int] = []
    idents = [loop.call_later(0.001 * (1 + number * 7919 % 31), lambda: None) for number in range(3 * STALE_TIMERS)]
    for number in range(20):
        # So far from each other that being kept from the processor for a while puts none before another.
        loop.call_later(0.05 * (20 - number), lambda number=number: seen.append(number))  # type: ignore[misc]
    for ident in idents:
        loop.remove(ident)
    loop.call_later(2.0, loop.stop)
    loop.run()
    assert seen == list(reversed(range(20)))


def test_what_is_ready_is_not_told_to_who_gets_its_number(loop: Loop) -> None:
    told: list[str] = []
    pipes = [os.pipe() for _ in range(3)]
    quiet, _ = pipes[2]

    def first(_events: int) -> None:
        # Whichever of the two comes first takes the other's number for a descriptor on which nothing is to be had.
        for read, _write in pipes[:2]:
            loop.remove(watches[read])
            os.dup2(quiet, read)
            loop.add_fd(read, READ, lambda events: told.append("too often"))
        told.append("once")

    watches = {read: loop.add_fd(read, READ, first) for read, _ in pipes[:2]}
    for _, write in pipes[:2]:
        os.write(write, b"x")
    loop.turn(1)
    loop.turn(0)
    assert told == ["once"]
    for pair in pipes:
        for fd in pair:
            os.close(fd)


def test_what_was_closed_before_it_was_removed_is_never_heard_of_again(loop: Loop) -> None:
    told: list[int] = []
    read, write = os.pipe()
    # As a child has it between its fork and its exec.
    copy = os.dup(read)
    watch = loop.add_fd(read, READ, told.append)
    os.close(read)
    loop.remove(watch)
    os.close(write)
    other, end = os.pipe()
    assert other == read
    loop.add_fd(other, READ, told.append)
    began = time.monotonic()
    loop.turn(0.05)
    assert not told and time.monotonic() - began >= 0.05, "nothing is ready"
    os.write(end, b"x")
    loop.turn(1)
    assert told == [READ]
    for fd in (copy, other, end):
        os.close(fd)


def test_a_change_of_what_is_waited_for_outlives_a_descriptor_that_was_closed_first(loop: Loop) -> None:
    told: list[str] = []
    pipes = [os.pipe() for _ in range(2)]
    quiet = loop.add_fd(pipes[0][0], READ, lambda events: told.append("quiet"))
    loop.modify(quiet, 0)
    closed = loop.add_fd(pipes[1][0], READ, lambda events: told.append("closed"))
    os.close(pipes[1][0])
    loop.remove(closed)
    os.write(pipes[0][1], b"x")
    loop.turn(0)
    assert not told
    loop.modify(quiet, READ)
    loop.turn(1)
    assert told == ["quiet"]
    for fd in (*pipes[0], pipes[1][1]):
        os.close(fd)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC, errno.EPERM, errno.EINTR])
def test_what_cannot_be_watched_anew_for_a_moment_is_watched_all_the_same(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Lacking:
        """One that watches nothing more."""

        def register(self, fd: int, events: int) -> None:
            raise OSError(number, os.strerror(number))

        def close(self) -> None:
            pass

    told: list[int] = []
    pipes = [os.pipe() for _ in range(2)]
    loop.add_fd(pipes[0][0], READ, lambda events: told.append(os.read(pipes[0][0], 1)[0]))
    closed = loop.add_fd(pipes[1][0], READ, told.append)
    os.close(pipes[1][0])
    loop.remove(closed)
    with monkeypatch.context() as patch:
        patch.setattr(select, "epoll", Lacking)
        for text in b"ab":
            os.write(pipes[0][1], bytes([text]))
            loop.turn(1)
    os.write(pipes[0][1], b"c")
    loop.turn(1)
    assert bytes(told) == b"abc"
    for fd in (*pipes[0], pipes[1][1]):
        os.close(fd)


def test_without_a_descriptor_to_begin_anew_it_is_tried_again(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    read, write = os.pipe()
    copy = os.dup(read)
    watch = loop.add_fd(read, READ, told.append)
    os.close(read)
    loop.remove(watch)
    os.close(write)

    def lacking() -> select.epoll:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(select, "epoll", lacking)
    loop.turn(0)
    monkeypatch.undo()
    began = time.monotonic()
    loop.turn(0.05)
    assert not told and time.monotonic() - began >= 0.05
    os.close(copy)


def test_what_was_queued_is_sent_before_the_engine_has_its_turn_and_after_it(loop: Loop) -> None:
    seen: list[str] = []

    def settle() -> bool:
        seen.append("settle")
        if len(seen) == 3:
            loop.send_soon(lambda: seen.append("of the engine"))
            loop.stop()
        return False

    loop.each_turn = settle
    loop.call_later(0, lambda: loop.send_soon(lambda: seen.append("answer")))
    loop.run()
    assert seen == ["settle", "answer", "settle", "of the engine"]
