"""A turn of the daemon by itself: what the engine asks for is performed in its order, in slices, once, whatever fails.

The clock stands still but for what performing takes, and the engine is none: it has what it is to ask for.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from upstart.daemon import turn
from upstart.daemon.turn import FEW, FIRST_SECONDS, LAST_SLICE, SLICE, Turn
from upstart.engine.effects import CancelSpawn, CloseFd, Effect, Log, Spawn


class Desk:
    """An engine that asks for what it is given, and whoever performs that; each effect takes ``seconds``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.effects: list[Effect] = []
        self.runs = 0
        #: How often it says that it has more to do than it did in one run.
        self.restless = 0
        self.seconds = seconds
        self.now = 1000.0
        self.performed: list[object] = []
        self.faults: list[BaseException] = []
        self.failing: dict[object, list[BaseException]] = {}
        self.withdrawn: list[str] = []
        self.settled = 0
        self.more: list[bool] = []
        self.on_settled: list[Effect] = []
        self.turn = Turn(self, self.perform, self.faults.append, self.at_rest)  # type: ignore[arg-type]
        monkeypatch.setattr(turn, "time", SimpleNamespace(monotonic=lambda: self.now))

    def run(self) -> bool:
        self.runs += 1
        self.restless -= 1
        return self.restless >= 0

    def take_effects(self) -> list[Effect]:
        effects, self.effects = self.effects, []
        return effects

    def put_back(self, effects: list[Effect]) -> None:
        self.effects[:0] = effects

    def spawn_withdrawn(self, instance: Any, process: str) -> None:
        self.withdrawn.append(instance.name)

    def at_rest(self) -> bool:
        self.settled += 1
        return self.more.pop(0) if self.more else False

    def perform(self, effect: Effect) -> None:
        self.now += self.seconds
        name = name_of(effect)
        self.performed.append(name)
        failures = self.failing.get(name)
        if failures:
            raise failures.pop(0)

    def settle(self) -> tuple[bool, float, list[object]]:
        """One slice: what it said, how long it took, and what it performed."""
        began, before = self.now, len(self.performed)
        more = self.turn.settle()
        return more, self.now - began, self.performed[before:]

    def settle_all(self, most: int = 1000) -> int:
        """Until nothing is left to do; gives in how many slices."""
        for number in range(1, most):
            if not self.turn.settle():
                return number
        raise AssertionError("never at rest")


class Of:
    """An instance, as far as it matters here."""

    def __init__(self, name: str, serial: int) -> None:
        self.name = name
        self.serial = serial


def name_of(effect: Effect) -> object:
    if isinstance(effect, Log):
        return effect.text
    if isinstance(effect, CloseFd):
        return effect.fd
    return effect.instance.name if isinstance(effect, Spawn) else effect.kind


def logs(count: int, prefix: str = "") -> list[Effect]:
    return [Log(1, f"{prefix}{number}") for number in range(count)]


def spawns(count: int, prefix: str = "job") -> list[Spawn]:
    made = []
    for number in range(count):
        instance: Any = Of(f"{prefix}{number}", number)
        made.append(Spawn(instance, "main", {}, ()))
    return made


def names(effects: Any) -> list[object]:
    return [name_of(effect) for effect in effects]


def test_effects_are_performed_in_their_order_and_only_then_the_engine_is_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(monkeypatch)
    desk.effects = logs(100)
    assert desk.settle() == (False, 0.0, names(logs(100)))
    assert desk.settled == 1 and not desk.faults


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.1])
def test_a_slice_ends_soon_after_its_time_and_the_next_goes_on_where_it_stood(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    desk = Desk(monkeypatch, seconds)
    desk.effects = logs(300)
    more, took, done = desk.settle()
    # The clock is looked at after every sixteenth.
    assert more and took <= SLICE + 16 * seconds + 1e-9 and len(done) % 16 == 0
    assert desk.settled == 0
    # What was asked for meanwhile comes after what had been.
    desk.effects += logs(3, "later")
    slices = 1 + desk.settle_all()
    assert desk.performed == names(logs(300)) + names(logs(3, "later"))
    assert slices >= 303 * seconds / (SLICE + 16 * seconds)
    assert [desk.settled] == [1]


def test_no_slice_begins_with_its_time_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 1.0)
    desk.effects = logs(40)
    assert [len(desk.settle()[2]) for _ in range(3)] == [16, 16, 8]


def test_an_engine_that_never_rests_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 0.001)
    desk.restless = 10**6

    def run() -> bool:
        desk.effects += logs(1)
        return Desk.run(desk)

    monkeypatch.setattr(desk, "run", run)
    more, took, done = desk.settle()
    assert more and took <= SLICE + 0.002 and 1 <= len(done) <= 8 and not desk.settled


def test_more_that_comes_with_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.more = [True, False]
    assert desk.settle()[0] is True and desk.settle()[0] is False


def test_processes_are_started_after_all_else_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    first, second = spawns(2)
    desk.effects = [first, *logs(2), second, *logs(1, "after")]
    assert desk.settle() == (False, 0.0, ["0", "1", "after0", "job0", "job1"])


def test_many_processes_are_started_in_slices_and_answers_go_between(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 0.002)
    desk.effects = [*spawns(50)]
    slices: list[list[object]] = []
    while True:
        desk.effects += logs(1, f"answer{len(slices)}-")
        more, took, done = desk.settle()
        slices.append(done)
        assert done[0] == f"answer{len(slices) - 1}-0" and took <= LAST_SLICE + 0.002 + 1e-9
        if not more:
            break
    started = [name for done in slices for name in done if str(name).startswith("job")]
    assert started == names(spawns(50)) and len(slices) > 50 * 0.002 / LAST_SLICE
    # While many wait a slice is a short one.
    assert all(len(done) <= SLICE / 0.002 + 3 for done in slices[:10])


def test_the_last_few_processes_are_started_in_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 0.003)
    desk.effects = [*spawns(FEW)]
    more, took, done = desk.settle()
    assert not more and took == pytest.approx(FEW * 0.003) and done == names(spawns(FEW))
    # Of those that take long each has a slice.
    desk = Desk(monkeypatch, LAST_SLICE + 0.001)
    desk.effects = [*spawns(FEW)]
    assert [len(desk.settle()[2]) for _ in range(FEW)] == [1] * FEW


def test_what_is_cancelled_while_it_waits_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.turn.hold()
    first, second = spawns(2)
    desk.effects = [first, second]
    assert desk.settle()[0] is False and not desk.performed and desk.turn.waiting() == [(0, "main"), (1, "main")]
    desk.effects = [CancelSpawn(first.instance, "main")]
    desk.settle()
    assert desk.withdrawn == ["job0"] and desk.turn.waiting() == [(1, "main")]
    desk.turn.release()
    assert desk.settle()[2] == ["job1"]
    # Of one that does not wait any more somebody else has to know.
    desk.effects = [CancelSpawn(first.instance, "main")]
    assert desk.settle()[2] == ["cancel-spawn"] and desk.withdrawn == ["job0"]


def test_what_is_asked_for_again_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    (one,) = spawns(1)
    again = Spawn(one.instance, "main", {"A": "1"}, ())
    desk.turn.hold()
    desk.effects = [one]
    desk.settle()
    desk.effects = [again]
    desk.settle()
    desk.turn.release()
    desk.settle()
    assert desk.performed == ["job0"]


def test_a_descriptor_is_closed_after_who_is_given_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.effects = [CloseFd(5), *spawns(1), CloseFd(6), *logs(1)]
    assert desk.settle()[2] == [5, "0", "job0", 6]


def test_what_fails_is_told_and_keeps_nothing_else_from_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    error = OSError("no")
    desk.failing = {"1": [error], "job0": [error]}
    desk.effects = [*logs(3), *spawns(2)]
    assert desk.settle()[2] == ["0", "1", "2", "job0", "job1"]
    assert desk.faults == [error, error]


def test_what_lacked_memory_is_done_once_more_but_no_process_is_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    first, second, third = MemoryError(), MemoryError(), MemoryError()
    desk.failing = {"0": [first], "1": [second, OSError("no")], "job0": [third]}
    desk.effects = [*logs(3), *spawns(1)]
    assert desk.settle()[2] == ["0", "0", "1", "1", "2", "job0"]
    assert desk.faults == [first, second, third]


def test_what_a_turn_that_was_cut_short_has_not_come_to_is_the_engines_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.effects = logs(5)

    def cut(effect: Effect) -> None:
        desk.perform(effect)
        if name_of(effect) == "2":
            raise KeyboardInterrupt

    broken = Turn(desk, cut, desk.faults.append, desk.at_rest)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        broken.settle()
    desk.effects += logs(1, "since")
    broken.recover()
    assert names(desk.effects) == ["3", "4", "since0"]
    broken.recover()
    assert names(desk.effects) == ["3", "4", "since0"]


def test_the_first_jobs_may_go_on_for_a_second_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch, 0.001)

    def run() -> bool:
        desk.effects += logs(1)
        return True

    monkeypatch.setattr(desk, "run", run)
    began = desk.now
    desk.turn.settle_first()
    assert FIRST_SECONDS <= desk.now - began <= FIRST_SECONDS + 2 * SLICE
    monkeypatch.setattr(desk, "run", lambda: 1 / 0)
    desk.turn.settle_first()
    assert isinstance(desk.faults[-1], ZeroDivisionError)


def test_before_the_first_turn_there_is_nothing_to_recover(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(monkeypatch)
    desk.effects = logs(1)
    desk.turn.recover()
    assert names(desk.effects) == ["0"] and not desk.turn.waiting() and not desk.turn.descriptors()
