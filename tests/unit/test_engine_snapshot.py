"""A snapshot of an engine leads on exactly as the engine itself does, whatever it is taken in the middle of."""

from __future__ import annotations

import json
from itertools import count

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_engine_properties import NAMES, Steps, job_texts, step, steps

from upstart.conf.parse import parse_job
from upstart.engine import snapshot, state
from upstart.engine.engine import Engine
from upstart.engine.journal import Input, observe, perform
from upstart.engine.world import Restless, World


def taken(engine: Engine) -> str:
    """A snapshot as text, leaving the engine its effects."""
    effects = engine.take_effects()
    text = json.dumps(snapshot.take(engine))
    engine.put_back(effects)
    return text


def replayed(text: str, inputs: list[Input]) -> Engine:
    """The engine of a snapshot once it was told the inputs."""
    now = [0.0]
    engine = snapshot.load(json.loads(text), lambda: now[0])
    for each in inputs:
        now[0] = each.at
        perform(engine, each)
        engine.take_effects()
    return engine


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=40), st.lists(steps, max_size=20)
)
def test_a_snapshot_is_led_on_by_the_inputs_that_follow_it(texts: list[str], before: Steps, after: Steps) -> None:
    world = World()
    journal: list[Input] = []
    try:
        for name, text in zip(NAMES, texts, strict=False):
            world.define(name, text)
        for what, pick, value in before:
            step(world, what, pick, value, texts)
        text = taken(world.engine)
        observe(world.engine, journal.append)
        for what, pick, value in after:
            if what != "reexec":
                step(world, what, pick, value, texts)
        world.release()
    except Restless:
        assume(False)
    written = [Input(*json.loads(json.dumps([each.at, each.name, each.args]))) for each in journal]
    again = replayed(text, written)
    assert taken(again) == taken(world.engine)


def test_events_that_have_yet_to_be_handled_keep_their_order() -> None:
    world = World(a="start on go\ntask", b="start on stopped a\ntask")
    for number in range(9):
        world.engine.emit("go", {"N": str(number)})
    assert world.engine.run(3)
    text = taken(world.engine)
    journal: list[Input] = []
    observe(world.engine, journal.append)
    world.settle()
    assert taken(replayed(text, journal)) == taken(world.engine)


def test_jobs_are_found_in_the_order_in_which_the_engine_finds_them() -> None:
    world = World(a="start on go X=1", b="start on go Y=1", c="start on go X=1")
    # The one that made the place of X goes behind the others, and the place stays.
    world.define("a", "start on go X=1\nenv A=1")
    text = taken(world.engine)
    assert "index" in json.loads(text)
    engine = snapshot.load(json.loads(text), lambda: 0.0)
    for each in (world.engine, engine):
        each.emit("go", {"X": "1", "Y": "1"})
        each.run()
        each.take_effects()
    serials = [{i.job.name: i.serial for i in each.instances()} for each in (world.engine, engine)]
    assert serials[0] == serials[1]


def test_while_an_input_lasts_the_clock_of_an_observed_engine_stands_still() -> None:
    ticks = count()
    engine = Engine(lambda: float(next(ticks)))
    engine.define(parse_job("web", "exec main\nkill timeout 3", "web.conf"))
    journal: list[Input] = []
    kept = observe(engine, journal.append)
    instance = engine.start_job(engine.jobs[None, "web"], {})
    engine.run()
    engine.process_spawned(instance, "main", 7)
    engine.process_ready(instance, "main")
    engine.run()
    engine.stop(instance)
    engine.run()
    engine.take_effects()
    assert instance.timers == {"kill:main": journal[-1].at + 3}
    kept.end()
    told = len(journal)
    engine.timer_fired(instance, "kill:main")
    engine.run()
    assert len(journal) == told and not {"run", "emit"} & vars(engine).keys()
    assert engine.clock() < engine.clock()


def test_a_journal_says_whether_an_input_was_cut_short() -> None:
    world = World(web="exec main")
    kept = observe(world.engine, lambda given: None)
    world.start("web")
    assert not kept.torn
    try:
        world.engine.process_exited("no pid", None)  # type: ignore[arg-type]
        world.engine.define(None)  # type: ignore[arg-type]
    except AttributeError:
        pass
    assert kept.torn
    assert state.dump(world.engine)


def test_an_observer_that_fails_keeps_nothing_from_the_engine() -> None:
    def fail(_given: Input) -> None:
        raise MemoryError

    world = World(web="start on go\nexec main")
    kept = observe(world.engine, fail)
    world.emit("go")
    assert kept.torn and world.status("web") == "start/running"
