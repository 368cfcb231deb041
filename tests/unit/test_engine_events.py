"""Events and conditions: matching, blocking, failure, instances, definitions that change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from upstart.base.glob import match
from upstart.conf.jobclass import And, Match, Or
from upstart.conf.parse import parse_job
from upstart.engine import state
from upstart.engine.condition import active_events, is_met, leaves, matches
from upstart.engine.data import Event
from upstart.engine.world import World


def leaf(text: str) -> Match:
    name, *args = text.split()
    return Match(name, tuple(args))


def event(name: str, **env: str) -> Event:
    return Event(1, name, env)


def test_positional_and_named_tests() -> None:
    mounted = event("mounted", DEVICE="/dev/sda1", MOUNTPOINT="/srv", TYPE="ext4")
    assert matches(leaf("mounted"), mounted, None)
    assert matches(leaf("mounted /dev/sd*"), mounted, None)
    assert matches(leaf("mounted /dev/sda1 /srv"), mounted, None)
    assert matches(leaf("mounted MOUNTPOINT=/srv ext*"), mounted, None), "a positional test follows the one before it"
    assert matches(leaf("mounted TYPE!=nfs"), mounted, None)
    assert not matches(leaf("mounted TYPE!=ext4"), mounted, None)
    assert not matches(leaf("mounted OPTIONS=x"), mounted, None)
    assert not matches(leaf("mounted OPTIONS!=x"), mounted, None), "a variable that is not there passes no test"
    assert not matches(leaf("mounted a b c d"), mounted, None)
    assert not matches(leaf("mounting"), mounted, None)


def test_variables_in_tests_come_from_the_instance() -> None:
    down = event("net-device-down", INTERFACE="eth0")
    assert matches(leaf("net-device-down INTERFACE=$INTERFACE"), down, {"INTERFACE": "eth0"})
    assert not matches(leaf("net-device-down INTERFACE=$INTERFACE"), down, {"INTERFACE": "eth1"})
    assert not matches(leaf("net-device-down INTERFACE=$INTERFACE"), down, None)
    assert matches(leaf("net-device-down INTERFACE=${X:-eth}?"), down, {})


def test_patterns_are_those_of_fnmatch() -> None:
    assert match("[!2345]", "0") and not match("[!2345]", "3")
    assert match("[^2345]", "S") and match("[2-5]", "4") and not match("[2-5]", "6")
    assert match(r"a\*", "a*") and not match(r"a\*", "ab")
    assert match("[[:digit:]]*", "7up") and match("[]a]", "]") and match("[", "[") and match("*", "")
    assert match("*/x", "a/b/x") and not match("a", "A")


@given(st.text(), st.text())
def test_any_pattern_gives_an_answer(pattern: str, text: str) -> None:
    assert match(pattern, text) in (True, False)


@given(st.text(alphabet=st.characters(blacklist_characters="*?[\\")))
def test_a_text_without_magic_matches_itself_only(text: str) -> None:
    assert match(text, text) and not match(text, text + "x")


def test_and_waits_for_both_and_holds_the_first_event() -> None:
    world = World(web="start on a and b\nexec main")
    first = world.emit("a", A="1")
    assert world.answers[first] == [] and [e.name for e in world.engine.events.values()] == ["a"]
    second = world.emit("b", B="2")
    assert world.answers[first] == ["ok"] and world.answers[second] == ["ok"]
    env = world.spawned[-1][3]
    assert env["UPSTART_EVENTS"] == "a b" and env["A"] == "1" and env["B"] == "2"


def test_or_takes_the_events_of_the_true_branch_only() -> None:
    world = World(web="start on (a and b) or c\nexec main")
    held = world.emit("a")
    world.emit("c")
    assert world.spawned[-1][3]["UPSTART_EVENTS"] == "c"
    assert world.answers[held] == ["ok"], "a condition that was met begins anew"


def test_starting_is_held_until_its_handlers_have_ended() -> None:
    world = World(web="exec main", prepare="start on starting web\ntask\nexec prep")
    request = world.start("web")
    assert world.status("web") == "start/starting" and world.status("prepare") == "start/running"
    world.exit("prepare", 1)
    assert world.status("web") == "start/running" and world.answers[request] == ["ok"]
    assert "starting/failed" in world.events()


def test_stop_comes_before_start_for_an_event_in_both() -> None:
    world = World(web="start on go\nstop on go\nexec main")
    world.emit("go")
    assert world.status("web") == "start/running"
    pid = world.pid("web")
    world.emit("go")
    assert world.status("web") == "start/killed" and world.kills == [(pid, 15)]
    world.exit("web", 15 << 8)
    assert world.status("web") == "start/running"


def test_instances_are_told_apart_by_their_name() -> None:
    world = World(getty="start on tty-added\nstop on tty-removed TTY=$TTY\ninstance $TTY\nexec getty")
    world.emit("tty-added", TTY="tty1")
    world.emit("tty-added", TTY="tty2")
    assert sorted(world.job("getty").instances) == ["tty1", "tty2"]
    world.emit("tty-removed", TTY="tty2")
    assert world.status("getty", "tty1") == "start/running" and world.status("getty", "tty2") == "stop/killed"


def test_an_instance_that_cannot_be_named_is_logged_and_holds_nothing() -> None:
    world = World(getty="start on tty-added\ninstance $TTY\nexec getty")
    request = world.emit("tty-added")
    assert world.answers[request] == ["ok"]
    assert "Failed to obtain getty instance: Unknown parameter: TTY" in world.log


def test_a_condition_of_any_depth_is_met_and_names_its_events() -> None:
    parts = [Match(f"e{n}") for n in range(5000)]
    events = [Event(n, part.name, {}) for n, part in enumerate(parts)]
    left: Match | And | Or = parts[0]
    right: Match | And | Or = parts[0]
    for part in parts[1:]:
        left, right = And(left, part), And(part, right)
    progress = dict(zip(parts, events, strict=True))
    assert list(leaves(left)) == parts and list(leaves(right)) == [*reversed(parts)]
    for condition in (left, right):
        assert is_met(condition, progress) and set(active_events(condition, progress)) == set(events)
    del progress[parts[7]]
    for condition in (left, right):
        assert not is_met(condition, progress) and not list(active_events(condition, progress))
        assert list(active_events(Or(condition, parts[1]), progress)) == [events[1]]


def test_an_event_with_few_variables_finds_those_who_ask_for_one_of_many() -> None:
    jobs = {f"j{n}": f"start on dev K{n}=1\nexec x" for n in range(50)}
    world = World(**jobs, first="start on dev 1\nexec x", other="start on dev K7=2\nexec x")
    world.emit("dev", K7="1", K9="1", K8="2")
    assert {job.name for job in world.engine.jobs.values() if job.instances} == {"j7", "j9", "first"}


def test_an_event_is_found_by_its_discriminating_argument() -> None:
    jobs = {f"j{n}": f"start on started d{n}\nexec x" for n in range(50)}
    world = World(**jobs, d7="exec x", any="start on started\nexec x", named="start on started JOB=d7\nexec x")
    world.start("d7")
    running = {job.name for job in world.engine.jobs.values() if job.instances}
    assert running == {"d7", "j7", "any", "named"}


def test_what_a_changed_definition_has_seen_it_need_not_see_again() -> None:
    world = World(web="start on a and b\nexec old")
    world.emit("a")
    world.define("web", "start on b and a\nexec new")
    world.emit("b")
    assert world.status("web") == "start/running"
    assert world.instance("web").job_class.processes["main"].command == "new"


def test_an_event_that_a_deleted_definition_held_goes_on() -> None:
    world = World(web="start on a and b\nexec old")
    request = world.emit("a")
    world.engine.undefine(None, "web")
    world.settle()
    assert world.answers[request] == ["ok"] and not world.engine.jobs


def test_a_deleted_job_goes_when_its_last_instance_has_ended() -> None:
    world = World(web="exec main")
    world.start("web")
    world.engine.undefine(None, "web")
    world.settle()
    assert world.status("web") == "start/running"
    world.stop("web")
    world.exit("web", 15 << 8)
    assert not world.engine.jobs and ("JobRemoved", "web", None) in world.signals


def test_descriptors_of_an_event_stay_open_while_an_instance_needs_them() -> None:
    world = World(web="start on connect\nrespawn\nexec main")
    world.emit("connect", fd=42)
    assert world.spawned[-1][3]["UPSTART_FDS"] == "42" and world.closed == []
    world.exit("web", 1)
    assert world.spawned[-1][3]["UPSTART_FDS"] == "42"
    world.stop("web")
    world.exit("web", 15 << 8)
    assert world.closed == [42]
    world.emit("nobody", fd=43)
    assert world.closed == [42, 43]


def test_events_of_a_session_reach_its_jobs_only() -> None:
    world = World(web="start on go\nstop on halt\nexec main")
    world.engine.define(parse_job("web", "start on go\nstop on halt\nexec main", "web.conf", "/srv/chroot"))
    own = world.engine.jobs["/srv/chroot", "web"]

    def states() -> tuple[str, list[str]]:
        world.settle()
        return world.status("web"), [f"{each.goal}/{each.state}" for each in own.instances.values()]

    world.engine.emit("go", {}, session="/srv/chroot")
    assert states() == ("stop/waiting", ["start/running"])
    world.emit("go")
    assert states() == ("start/running", ["start/running"])
    world.engine.emit("halt", {}, session="/srv/chroot")
    assert states() == ("start/running", ["stop/killed"])
    world.engine.emit("halt", {}, session="/srv/other")
    assert states() == ("start/running", ["stop/killed"])
    # The system's reach everybody.
    world.emit("halt")
    assert states()[0] == "stop/killed"


def test_the_global_table_reaches_jobs_that_run_and_that_start() -> None:
    world = World(web="exec main", bare="env FROM_INIT\nexec x")
    world.engine.environ["FROM_INIT"] = "yes"
    world.start("web")
    world.engine.set_job_environ("A=1", True)
    assert world.instance("web").env["A"] == "1"
    world.engine.set_job_environ("A=2", False)
    world.start("bare")
    assert world.spawned[-1][3]["A"] == "1" and world.spawned[-1][3]["FROM_INIT"] == "yes"
    world.engine.unset_job_environ("A")
    assert "A" not in world.instance("web").env and "A" not in world.engine.job_environ


def test_a_state_document_holds_what_waits_and_what_runs() -> None:
    world = World(
        half="start on a and b\nexec h",
        web="respawn\nstop on x and y\nexec main",
        gate="start on starting slow\ntask\nexec g",
        slow="exec s",
    )
    world.emit("a")
    world.start("web")
    world.emit("x")
    world.start("slow")
    world.define("web", "exec other")
    document = json.loads(json.dumps(state.dump(world.engine)))
    world.reexecute()
    assert json.loads(json.dumps(state.dump(world.engine))) == document
    world.emit("b")
    assert world.status("half") == "start/running"
    world.emit("y")
    assert world.status("web") == "stop/killed"
    world.exit("web", 15 << 8)
    world.start("web")
    assert world.instance("web").job_class.processes["main"].command == "other"
    world.exit("gate")
    assert world.status("slow") == "start/running"


def test_jobs_that_start_each_other_for_ever_are_named_and_can_be_ended() -> None:
    world = World(a="start on stopped b\ntask", b="start on stopped a or go\ntask")
    world.engine.emit("go", {})
    for _ in range(50):
        assert world.engine.run()
        done = world.engine.take_effects()
        world.log += [effect.text for effect in done if effect.kind == "log"]  # type: ignore[attr-defined]
    assert sum("in a circle" in line for line in world.log) == 1
    world.engine.undefine(None, "a")
    while world.engine.run():
        pass
    assert not world.engine.events


def test_an_instance_is_found_by_the_value_that_its_stop_condition_refers_to() -> None:
    world = World(web="instance $N\nstop on gone JOB=web N=$N or gone N!=$N OTHER=$N\nexec main")
    for number in range(50):
        world.start("web", N=str(number))
    index = world.engine.stop_index
    assert [instance.name for instance in index.candidates(event("gone", JOB="web", N="7"))] == ["7"]
    assert [instance.name for instance in index.candidates(event("gone", JOB="x", N="7", OTHER="8"))] == ["7", "8"]
    world.emit("gone", JOB="web", N="7")
    assert {name for name, each in world.job("web").instances.items() if each.goal == "stop"} == {"7"}
    for name in list(world.job("web").instances):
        world.engine.stop(world.instance("web", name)) if name != "7" else None
        world.settle()
        world.exit("web", 15 << 8, instance=name)
    assert not world.job("web").instances and not index._buckets and not index._moving


def test_what_a_stop_condition_refers_to_may_change_while_the_instance_runs() -> None:
    world = World(web="stop on gone N=$N\nexec main")
    world.start("web")

    def stops(**env: str) -> bool:
        found = list(world.engine.stop_index.candidates(event("gone", **env)))
        world.emit_env("gone", env)
        assert bool(found) == (world.status("web") == "stop/killed"), "who stops has been a candidate, and nobody else"
        return bool(found)

    engine = world.engine
    web = world.instance("web")
    assert not stops(N="") and not stops(N="$N")

    def start_anew() -> None:
        engine.reset_job_environ({"N": "4"})
        engine.reset_instance_environ(web)

    changes: list[Callable[[], None]] = [
        lambda: engine.set_instance_environ(web, "N=1", True),
        lambda: engine.set_job_environ("N=2", True),
        lambda: engine.unset_job_environ("N"),
        lambda: engine.set_instance_environ(web, "N=*", True),
        lambda: engine.unset_instance_environ(web, "N"),
        start_anew,
    ]
    for change, value in zip(changes, ("1", "2", None, "anything", None, "4"), strict=True):
        change()
        assert not stops(N="never") if value != "anything" else True
        if value is not None:
            # Started again while it stops: it has the same environment, and its condition once more.
            assert stops(N=value)
            world.engine.start(web)
            world.exit("web", 15 << 8)
            assert world.status("web") == "start/running"


def test_after_a_re_execution_a_stop_condition_waits_for_what_it_did() -> None:
    world = World(web="instance $N\nstop on gone N=$N\nexec main")
    for number in (1, 2, 3):
        world.start("web", N=str(number))
    world.reexecute()
    assert [each.name for each in world.engine.stop_index.candidates(event("gone", N="2"))] == ["2"]
    world.engine.mend([], [])
    assert [each.name for each in world.engine.stop_index.candidates(event("gone", N="2"))] == ["2"]


def test_instances_stop_in_the_order_of_their_start_whatever_their_condition() -> None:
    world = World(a="stop on end N=1\nexec main", b="stop on end\nexec main", c="instance $N\nstop on end N=$N\nexec x")
    for name in ("a", "c", "b"):
        world.start(name, N="1")
    world.emit("end", N="1")
    stopped = [name for signal, name, value in world.signals if (signal, value) == ("GoalChanged", "stop")]
    assert stopped == ["a", "c (1)", "b"]


def test_a_variable_without_a_name_is_not_the_first_value() -> None:
    world = World(web="start on go =yes\nexec main")
    world.emit_env("go", {"A": "yes", "": "no"})
    assert world.status("web") == "stop/waiting"
    world.emit_env("go", {"A": "no", "": "yes"})
    assert world.status("web") == "start/running"


def test_an_event_of_many_variables_is_matched_in_time_by_their_number() -> None:
    many = {f"K{number}": "v" for number in range(100_000)}
    tests = [f"K{number}=v v" for number in range(0, 100_000, 40)]

    def seconds(size: int) -> float:
        asked = leaf("huge " + " ".join(tests[:size]))
        found = Event(1, "huge", many)
        began = time.process_time()
        assert matches(asked, found, None)
        return time.process_time() - began

    assert seconds(2500) < 20 * min(seconds(250) for _ in range(3)), "ten times the tests"
