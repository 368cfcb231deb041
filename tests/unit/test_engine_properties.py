"""Random jobs, events, exits, commands and re-executions against the engine's invariants.

`World.check` looks at the engine and its world after every step: blockers are counted rightly, nothing is held by
nothing, no request is answered twice, start/running has its process, what is being killed has a live timer, and no
timer, try to start a process or process is there that the engine does not know of.  Here the steps are random: effects
are performed at once or late, with inputs in between, processes come late, after other tries or not at all.  At the end
everything is driven to rest: each request must then have been answered, and nothing be left.
"""

from __future__ import annotations

import json

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from upstart.engine import state
from upstart.engine.core import CommandError
from upstart.engine.data import Instance
from upstart.engine.index import EventIndex
from upstart.engine.journal import Input, observe, replay
from upstart.engine.world import BROKEN, FATES, READY, SHORT, SLOW, Restless, World

NAMES = ("a", "b", "c", "d")
EVENTS = ("go", "end", "x")


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        left, right = draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1))
        return f"({left} {draw(st.sampled_from(['and', 'or']))} {right})"
    job = draw(st.sampled_from(NAMES))
    choices = [*EVENTS, "go N=[12]", "go N=$N", f"started {job}", f"stopped JOB={job}"]
    choices += [f"starting {job}", f"stopping {job}"]
    choices += ["awaited EVENT=go", "awaited EVENT=[ex]*", "awaited/none c", "x $M"]
    return draw(st.sampled_from(choices))


@st.composite
def job_texts(draw: st.DrawFn) -> str:
    lines = ["kill timeout 3"]
    if draw(st.booleans()):
        lines.append("start on " + draw(conditions()))
    if draw(st.booleans()):
        lines.append("stop on " + draw(conditions()))
    for stanza in ("task", "respawn", "respawn limit 2 5", "instance ${N:-1}", "export N", "env M=m"):
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
    *("emit", "start", "stop", "force", "restart", "exit", "exit", "exit", "fork", "gave-up", "stopped", "ready"),
    *("sleep", "define", "undefine", "reexec", "fates", "lack", "come", "no-program", "tell"),
    *("keep", "perform", "perform", "release"),
)

steps = st.tuples(
    st.sampled_from(STEPS),
    st.integers(0, 7),
    st.integers(0, 3),
)

Steps = list[tuple[str, int, int]]


def step(world: World, what: str, pick: int, value: int, texts: list[str]) -> None:
    name = NAMES[pick % len(NAMES)]
    env = {"N": str(value)} if value else {}
    if what == "emit":
        world.emit_env(EVENTS[pick % len(EVENTS)], env)
    elif what == "sleep":
        world.sleep((0.5, 2, 4, 11)[value])
    elif what == "define":
        world.define(name, texts[value % len(texts)])
    elif what == "tell":
        world.engine.tell_awaited()
        world.settle()
    elif what == "undefine":
        world.engine.undefine(None, name)
        world.settle()
    elif what == "reexec":
        world.reexecute()
    elif what == "fates":
        # What becomes of the next processes that are asked for.
        world.fates += (FATES[pick % len(FATES)], FATES[value])
    elif what == "lack":
        # Memory lacks for a process from now on, or does no more.
        world.short ^= {f"{name} {('main', 'pre-start', 'post-start', 'post-stop')[value]}"}
    elif what == "come":
        if world.late:
            world.come(pick % len(world.late), (READY, SLOW, SHORT, BROKEN)[value])
    elif what == "keep":
        world.keeping = True
    elif what == "perform":
        world.perform(1 + pick)
    elif what == "release":
        world.release()
    elif what in ("start", "stop", "force", "restart"):
        command(world, what, name, env)
    else:
        of_a_process(world, what, pick, value)


def command(world: World, what: str, name: str, env: dict[str, str]) -> None:
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


def of_a_process(world: World, what: str, pick: int, value: int) -> None:
    pids = sorted(world.engine.pids)
    if not pids:
        return
    pid = pids[pick % len(pids)]
    instance, process = world.engine.pids[pid]
    if what == "exit":
        world.end(pid, (0, 1, 15 << 8, None)[value])
    elif what == "stopped":
        world.engine.process_stopped(pid)
    elif what == "ready":
        world.engine.process_ready(instance, process)
    elif what == "no-program" and process in instance.unready:
        world.not_executed(instance, process)
    elif process == "main" and process not in instance.unready and what == "fork":
        world.become_daemon(instance)
    elif process == "main" and what == "gave-up":
        world.engine.follow_gave_up(instance, "it has not forked")
    world.settle()


def drive_to_rest(world: World) -> None:
    """Stop everything, let processes heed their signals, and time pass; nothing starts by events any more."""
    world.fates.clear()
    world.short.clear()
    world.release()
    world.engine.start_index = EventIndex()
    for _ in range(300):
        world.engine.shutdown()
        world.settle()
        if not any(job.instances for job in world.engine.jobs.values()):
            return
        while world.late:
            world.come(0, READY)
        for pid, (instance, process) in sorted(world.engine.pids.items()):
            if world.engine.pids.get(pid) == (instance, process) and f"kill:{process}" in instance.timers:
                world.end(pid, 15 << 8)
        world.sleep(1)
    raise AssertionError(f"never at rest: {list(world.engine.instances())}")


def check_index(world: World) -> None:
    """Each instance waits for what its environment says now."""
    index: EventIndex[Instance] = EventIndex()
    for instance in world.engine.instances():
        if instance.job_class.stop_on is not None:
            index.add(instance, instance.job_class.stop_on, instance.env)
    assert index._moving == world.engine.stop_index._moving


def live(
    world: World, texts: list[str], todo: Steps, *, reexecute_always: bool = False, to_rest: bool = True
) -> None:
    """A life from its first job, to its rest if that is wanted."""
    try:
        for name, text in zip(NAMES, texts, strict=False):
            world.define(name, text)
        for what, pick, value in todo:
            step(world, what, pick, value, texts)
            check_index(world)
            if reexecute_always:
                world.reexecute()
        for key in list(world.engine.jobs):
            world.engine.undefine(*key)
        if not to_rest:
            return
        drive_to_rest(world)
    except Restless:
        # Jobs without processes can start and stop each other for ever (a on stopped b, b on stopped a): so can the
        # original's, and no engine can tell when they should have ended.
        assume(False)
    assert not world.engine.jobs and not world.engine.events and not world.engine.pids
    assert not world.timers and not world.retries and not world.late and not world.kept and not world.alive
    assert all(len(answers) == 1 for answers in world.answers.values()), "a request was never answered"


#: A job whose respawn somebody waits for.
RESPAWNS = "respawn\npost-start exec post-start\nexec main\n"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=50))
def test_random_lives_keep_the_invariants(texts: list[str], todo: Steps) -> None:
    live(World(), texts, todo)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=40))
def test_random_lives_that_go_through_a_re_execution_at_every_step_keep_them_too(texts: list[str], todo: Steps) -> None:
    live(World(), texts, todo, reexecute_always=True)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=25), st.lists(steps, max_size=25))
@example([RESPAWNS], [("start", 0, 0)], [("exit", 0, 0)])
def test_a_restored_state_behaves_as_the_unrestored_one(
    texts: list[str], before: Steps, after: Steps
) -> None:
    worlds = (World(), World())
    try:
        for number, world in enumerate(worlds):
            for name, text in zip(NAMES, texts, strict=False):
                world.define(name, text)
            for what, pick, value in before:
                if what != "reexec":
                    step(world, what, pick, value, texts)
            world.release()
            if number:
                world.reexecute()
            else:
                # Clients wait no longer than the program that they have asked.
                for instance in world.engine.instances():
                    instance.blocking = [blocked for blocked in instance.blocking if blocked.event is not None]
            world.signals.clear()
            world.kills.clear()
            for what, pick, value in after:
                if what != "reexec":
                    step(world, what, pick, value, texts)
            world.release()
    except Restless:
        assume(False)
    one, other = worlds
    assert state.dump(one.engine) == state.dump(other.engine)
    assert one.signals == other.signals
    assert one.kills == other.kills


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(job_texts(), min_size=1, max_size=4), st.lists(steps, max_size=40))
def test_a_journal_told_to_a_new_engine_leads_to_the_same_state(
    texts: list[str], todo: Steps
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
        world.release()
    except Restless:
        assume(False)
    written = json.loads(json.dumps([(given.at, given.name, given.args) for given in journal]))
    again = replay(Input(*entry) for entry in written)
    assert state.dump(again) == state.dump(world.engine)
