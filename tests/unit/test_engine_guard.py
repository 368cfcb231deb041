"""The guard at the door of the engine finds whoever comes in otherwise, by whatever name he has what he changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from engine_guard import Guard, Poked
from upstart.engine import snapshot, state
from upstart.engine.engine import Engine
from upstart.engine.world import World


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    try:
        yield guard
    finally:
        guard.end()


def loops(engine: Engine) -> None:
    for each in engine.jobs.values():
        each.pending = True


def hands_on(engine: Engine) -> None:
    def change(table: dict[str, int]) -> None:
        table["main"] = 1

    change(next(engine.instances()).pids)


def calls_what_is_no_input(engine: Engine) -> None:
    engine.change_goal(next(engine.instances()), "stop", None)


POKES: list[Callable[[Engine], object]] = [
    loops,
    hands_on,
    calls_what_is_no_input,
    lambda engine: setattr(engine, "priority", 1),
    lambda engine: engine.job_environ.update(A="1"),
    lambda engine: engine.pids.clear(),
    lambda engine: engine.pids.pop(101),
    lambda engine: engine.jobs.__delitem__((None, "web")),
    lambda engine: next(engine.instances()).unready.add("main"),
    lambda engine: next(engine.instances()).blocking.clear(),
    lambda engine: setattr(next(engine.instances()), "state", "running"),
    lambda engine: setattr(next(engine.instances()).job, "successor", None),
    lambda engine: setattr(next(iter(engine.events.values())), "blockers", 1),
]


@pytest.mark.parametrize("poke", POKES, ids=range(len(POKES)))
def test_whoever_changes_the_engine_from_outside_is_found(guard: Guard, poke: Callable[[Engine], object]) -> None:
    world = World(web="start on go\nexec main", held="start on starting web\ntask\nexec main")
    world.start("web")
    assert not guard.pokes
    with pytest.raises(Poked):
        poke(world.engine)
    assert len(guard.pokes) == 1


def test_what_comes_in_by_the_door_is_in_order(guard: Guard) -> None:
    world = World(web="start on go\nrespawn\nexec main")
    world.emit("go", A="1")
    world.exit("web", 1)
    engine = snapshot.load(snapshot.take(world.engine), world.engine.clock)
    engine.set_priority(1)
    world.engine.take_effects()
    state.load(state.dump(world.engine), world.engine.clock).set_priority(1)
    world.stop("web")
    assert not guard.pokes
