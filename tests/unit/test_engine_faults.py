"""Faults that there were, put back: the random lives of `test_engine_properties` must find each of them.

A machine that finds nothing proves nothing.  Each of these faults got by the tests of its time, for effects were
performed at once in them, and no state was written down before all of them were.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_engine_properties import Steps, job_texts, live, steps

from upstart.engine import effects as fx
from upstart.engine.data import Instance
from upstart.engine.effects import SetTimer
from upstart.engine.engine import Engine
from upstart.engine.lifecycle import LifeCycle
from upstart.engine.world import World

#: Lives of any jobs, and those of one in which each step may be where the fault shows.
MANY = st.tuples(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=50))
FEW = st.tuples(
    st.just(["kill timeout 3\nrespawn\nexpect stop\nexec main"]),
    st.lists(
        st.tuples(
            st.sampled_from(["start", "stop", "restart", "exit", "sleep", "lack", "keep", "perform", "release"]),
            st.just(0),
            st.integers(0, 3),
        ),
        min_size=4,
        max_size=30,
    ),
)


def finding(
    world: Callable[[], World],
    lives: st.SearchStrategy[tuple[list[str], Steps]] = MANY,
    *,
    reexecute_always: bool = False,
    to_rest: bool = True,
) -> str:
    """What the random lives say of a world."""

    @settings(
        max_examples=5000, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(lives)
    def machine(life: tuple[list[str], Steps]) -> None:
        live(world(), *life, reexecute_always=reexecute_always, to_rest=to_rest)

    with pytest.raises((AssertionError, KeyError)) as found:
        machine()
    return str(found.value).partition("\n")[0]


class Hasty(World):
    """Writes its state down while effects are still to be performed, and forgets those."""

    def leave_processes(self) -> None:
        self.engine.take_effects()


def test_a_state_that_is_written_down_with_effects_to_perform_is_found() -> None:
    assert finding(Hasty, reexecute_always=True)


def test_a_timer_that_outlives_its_state_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = LifeCycle.cancel_timer

    def forgetful(self: LifeCycle, instance: Instance, timer: str) -> None:
        if timer != "expect":
            cancel(self, instance, timer)

    monkeypatch.setattr(LifeCycle, "cancel_timer", forgetful)
    assert finding(World, FEW) == "a timer has outlived its state: expect"


class Blind(World):
    """Looks at nothing but how many main processes there are."""

    def check(self) -> None:
        mains = [key for key in self.alive.values() if key[1] == "main"]
        assert len(mains) == len(set(mains)), "two main processes"


def test_a_stale_timer_and_a_try_to_start_a_process_that_make_two_main_processes_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole of the fault as it was: nothing but a second process tells of it."""
    timer_fired = Engine.timer_fired
    enter_rest = LifeCycle._enter_rest

    def set_timer(self: LifeCycle, instance: Instance, timer: str, seconds: float) -> None:
        if timer != "expect":
            instance.timers[timer] = self.clock() + seconds
        self.effects.append(SetTimer(instance, timer, seconds))

    def fired(self: Engine, instance: Instance, timer: str) -> None:
        if timer != "expect":
            timer_fired(self, instance, timer)
        elif instance.state == "spawned":
            self.advance(instance)

    def spawned(self: Engine, instance: Instance, process: str, pid: int) -> bool:
        instance.pids[process] = pid
        self.pids[pid] = (instance, process)
        return True

    def entered(self: LifeCycle, instance: Instance, state: str, came_from: str) -> str | None:
        if state == "killed" and not instance.main_pid:
            return self.next_state(instance)
        return enter_rest(self, instance, state, came_from)

    monkeypatch.setattr(LifeCycle, "_enter_rest", entered)
    monkeypatch.setattr(LifeCycle, "set_timer", set_timer)
    monkeypatch.setattr(Engine, "timer_fired", fired)
    monkeypatch.setattr(Engine, "process_spawned", spawned)
    assert finding(Blind, FEW, to_rest=False) == "two main processes"


class Stubborn(World):
    """Goes on trying to start what was given up."""

    def _cancel_spawn(self, effect: fx.CancelSpawn) -> None:
        if any((spawn.instance, spawn.process) == (effect.instance, effect.process) for _, _, spawn in self.retries):
            self.engine.spawn_withdrawn(effect.instance, effect.process)


def test_a_try_to_start_a_process_that_outlives_its_state_is_found() -> None:
    assert finding(Stubborn, FEW) == "a process is asked for that the engine does not wait for"
