"""Random jobs, events, exits, commands and re-executions against the engine's invariants.

`World.check` looks at the engine after every step: blockers are counted rightly, nothing is held by nothing, no request
is answered twice, start/running has its process, what is being killed has a live timer.  Here the steps are random, and
at the end everything is driven to rest: each request must then have been answered, and nothing be left.
"""

from __future__ import annotations

import json

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from upstart.engine import state
from upstart.engine.core import CommandError
from upstart.engine.index import EventIndex
from upstart.engine.journal import Input, observe, replay
from upstart.engine.world import World

NAMES = ("a", "b", "c", "d")
EVENTS = ("go", "end", "x")


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        left, right = draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1))
        return f"({left} {draw(st.sampled_from(['and', 'or']))} {right})"
    job = draw(st.sampled_from(NAMES))
    choices = [*EVENTS, "go N=[12]", f"started {job}", f"stopped JOB={job}", f"starting {job}", f"stopping {job}"]
    return draw(st.sampled_from(choices))


@st.composite
def job_texts(draw: st.DrawFn) -> str:
    lines = ["kill timeout 3"]
    if draw(st.booleans()):
        lines.append("start on " + draw(conditions()))
    if draw(st.booleans()):
        lines.append("stop on " + draw(conditions()))
    for stanza in ("task", "respawn", "respawn limit 2 5", "instance ${N:-1}", "export N"):
        if draw(st.integers(0, 3)) == 0:
            lines.append(stanza)
    for process in ("pre-start", "post-start", "pre-stop", "post-stop"):
        if draw(st.integers(0, 3)) == 0:
            lines.append(f"{process} exec {process}")
    if draw(st.integers(0, 4)):
        lines.append("exec main")
        lines.append("expect " + draw(st.sampled_from(["none", "none", "none", "fork", "daemon", "stop"])))
    return "\n".join(lines)


STEPS = (
    *("emit", "start", "stop", "force", "restart", "exit", "exit", "exit", "fork", "gave-up", "stopped"),
    *("sleep", "define", "undefine", "reexec"),
)

steps = st.tuples(
    st.sampled_from(STEPS),
    st.integers(0, 7),
    st.integers(0, 3),
)


def step(world: World, what: str, pick: int, value: int, texts: list[str]) -> None:
    name = NAMES[pick % len(NAMES)]
    env = {"N": str(value)} if value else {}
    if what == "emit":
        world.emit_env(EVENTS[pick % len(EVENTS)], env)
    elif what == "sleep":
        world.sleep(value * 2)
    elif what == "define":
        world.define(name, texts[value % len(texts)])
    elif what == "undefine":
        world.engine.undefine(None, name)
        world.settle()
    elif what == "reexec":
        reexec(world)
    elif what in ("start", "stop", "force", "restart"):
        if (None, name) not in world.engine.jobs:
            return
        before = world.requests
        try:
            if what == "force":
                world.stop(name, force=True, **env)
            else:
                getattr(world, what)(name, **env)
        except CommandError:
            # Refused at once: there is nobody left to answer.
            world.answers.pop(before + 1, None)
            world.settle()
    else:
        pids = sorted(world.engine.pids)
        if not pids:
            return
        pid = pids[pick % len(pids)]
        instance, process = world.engine.pids[pid]
        if what == "exit":
            world.engine.process_exited(pid, (0, 1, 15 << 8, 9 << 8)[value])
        elif what == "stopped":
            world.engine.process_stopped(pid)
        elif process == "main" and what == "fork":
            world.next_pid += 1
            world.engine.process_forked(instance, world.next_pid)
        elif process == "main" and what == "gave-up":
            world.engine.follow_gave_up(instance, "it has not forked")
        world.settle()


def reexec(world: World) -> None:
    """Put the engine through its document; those who wait for an answer lose their connection."""
    document = json.loads(json.dumps(state.dump(world.engine)))
    names = {id(i): (i.job.name, i.name) for j in world.engine.jobs.values() for i in j.instances.values()}
    loaded = state.load(document, lambda: world.now)
    loaded.set_priority(world.engine.priority)
    timers = {}
    for (owner, timer), (when, _) in world.timers.items():
        if owner in names:
            job, name = names[owner]
            instance = loaded.jobs[None, job].instances[name]
            timers[id(instance), timer] = (when, instance)
    world.timers = timers
    world.engine = loaded
    world.answers = {request: answers for request, answers in world.answers.items() if answers}
    world.settle()


def drive_to_rest(world: World) -> None:
    """Stop everything, let processes heed their signals, and time pass; nothing starts by events any more."""
    world.engine.start_index = EventIndex()
    for _ in range(300):
        world.engine.shutdown()
        world.settle()
        if not any(job.instances for job in world.engine.jobs.values()):
            return
        for pid, (instance, process) in sorted(world.engine.pids.items()):
            if world.engine.pids.get(pid) == (instance, process) and process in instance.killed:
                world.engine.process_exited(pid, 15 << 8)
                world.settle()
        world.sleep(1)
    raise AssertionError(f"never at rest: {[i for j in world.engine.jobs.values() for i in j.instances.values()]}")


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=40))
def test_random_lives_keep_the_invariants(texts: list[str], todo: list[tuple[str, int, int]]) -> None:
    world = World()
    try:
        for name, text in zip(NAMES, texts, strict=False):
            world.define(name, text)
        for what, pick, value in todo:
            step(world, what, pick, value, texts)
        for key in list(world.engine.jobs):
            world.engine.undefine(*key)
        world.settle()
        drive_to_rest(world)
    except AssertionError as error:
        # Jobs without processes can start and stop each other for ever (a on stopped b, b on stopped a): so can the
        # original's, and no engine can tell when they should have ended.
        assume(str(error) != "the engine does not come to rest")
        raise
    assert not world.engine.jobs and not world.engine.events and not world.engine.pids
    assert all(len(answers) == 1 for answers in world.answers.values()), "a request was never answered"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=25), st.lists(steps, max_size=25))
def test_a_restored_state_behaves_as_the_unrestored_one(
    texts: list[str], before: list[tuple[str, int, int]], after: list[tuple[str, int, int]]
) -> None:
    worlds = (World(), World())
    try:
        for number, world in enumerate(worlds):
            for name, text in zip(NAMES, texts, strict=False):
                world.define(name, text)
            for what, pick, value in before:
                if what != "reexec":
                    step(world, what, pick, value, texts)
            if number:
                reexec(world)
            world.signals.clear()
            world.kills.clear()
            for what, pick, value in after:
                if what != "reexec":
                    step(world, what, pick, value, texts)
    except AssertionError as error:
        assume(str(error) != "the engine does not come to rest")
        raise
    one, other = worlds
    assert state.dump(one.engine) == state.dump(other.engine)
    assert one.signals == other.signals
    assert one.kills == other.kills


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=40))
def test_a_journal_told_to_a_new_engine_leads_to_the_same_state(
    texts: list[str], todo: list[tuple[str, int, int]]
) -> None:
    journal: list[Input] = []
    world = World()
    observe(world.engine, journal.append)
    try:
        for name, text in zip(NAMES, texts, strict=False):
            world.define(name, text)
        for what, pick, value in todo:
            if what != "reexec":
                step(world, what, pick, value, texts)
    except AssertionError as error:
        assume(str(error) != "the engine does not come to rest")
        raise
    written = json.loads(json.dumps([(given.at, given.name, given.args) for given in journal]))
    again = replay(Input(*entry) for entry in written)
    assert state.dump(again) == state.dump(world.engine)
