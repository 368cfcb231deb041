"""What the engine remembers: that, with its cause, within a bound, and what strangers are told of it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from upstart.conf.parse import parse_job
from upstart.engine import history
from upstart.engine.history import CHUNK, KEPT, LONGEST_VARIABLES, RECENT, History, bounded, unpacked
from upstart.engine.public import Public
from upstart.engine.world import World


def told(world: World, *kinds: str) -> list[Any]:
    """The entries of these kinds, without their times."""
    entries = [json.loads(json.dumps(entry)) for _, entry in world.engine.history.entries()]
    return [entry[1:] for entry in entries if not kinds or entry[1] in kinds]


def serial(world: World, name: str) -> int:
    """The serial of the last event of a name."""
    return [int(entry[1]) for entry in told(world, "event") if entry[2] == name][-1]


def test_a_task_from_its_event_to_its_end() -> None:
    world = World(job="start on go\ntask\nexec x\n")
    job = [None, "job", ""]
    world.emit("go", A="1")
    world.exit("job")
    go = serial(world, "go")
    assert told(world) == [
        ["event", go, "go", {"A": "1"}, None],
        ["goal", job, "start", [go]],
        ["state", job, "spawned"],
        ["process", job, "main", 101],
        ["state", job, "running"],
        ["ended", job, "main", 101, 0, 0.0, None, None, None],
        ["goal", job, "stop", "ended"],
        ["done", go, False],
        ["state", job, "waiting"],
    ]


def test_an_event_of_a_job_is_told_where_something_comes_of_it() -> None:
    world = World(first="exec x\n", second="start on started first and starting never\nexec x\n")
    world.start("first")
    started = serial(world, "started")
    assert told(world, "event") == [["event", started, "started", {"JOB": "first", "INSTANCE": ""}, "job"]]
    assert ["half", [None, "second", None], "start", started] in told(world)


def test_an_instance_that_is_held_waits_in_that_state() -> None:
    world = World(first="exec x\n", hook="start on starting first\ntask\nexec x\n")
    world.start("first")
    starting = serial(world, "starting")
    assert ["goal", [None, "hook", ""], "start", [starting]] in told(world)
    assert ["state", [None, "first", ""], "starting"] in told(world)
    world.now += 2
    world.exit("hook")
    assert ["done", starting, False] in told(world)
    assert world.instance("first").since == 1002.0


def test_times_are_those_of_the_clock_and_a_process_knows_how_long_it_lived() -> None:
    world = World(job="start on go\nexec x\n")
    world.emit("go")
    world.now += 7.5
    world.exit("job", 3)
    entries = {entry[1]: entry for _, entry in world.engine.history.entries()}
    assert entries["process"][0] == 1000.0 and entries["ended"][0] == 1007.5
    assert entries["ended"][5:7] == [3, 7.5]
    assert entries["fail"][2:] == ((None, "job", ""), "main", 3, "job main process (101) terminated with status 3")


def test_a_half_met_condition_says_what_has_met_it_and_whom_it_holds() -> None:
    world = World(job="start on a and b\nexec x\n")
    world.emit("a")
    assert told(world, "half") == [["half", [None, "job", None], "start", serial(world, "a")]]
    world.emit("b")
    assert len(told(world, "half")) == 1
    assert told(world, "goal")[0][3] == [serial(world, "a"), serial(world, "b")]


def test_who_asks_is_the_cause_of_what_was_asked_for() -> None:
    world = World(job="exec x\n")
    who = ("client", 0, 4711, "initctl", "sh", (None, "tty1", ""))
    job = world.engine.jobs[None, "job"]
    world.engine.start_job(job, {}, by=who)
    world.settle()
    world.engine.restart(job.instances[""], by=who)
    world.settle()
    causes = [entry[2:] for entry in told(world, "goal")]
    assert causes == [[goal, json.loads(json.dumps(who))] for goal in ("start", "stop", "start")]
    assert told(world, "signal")[0][1:] == [[None, "job", ""], "main", 101, 15]


def test_respawns_and_their_limit() -> None:
    world = World(job="start on go\nrespawn\nrespawn limit 1 5\nexec x\n")
    world.emit("go")
    world.exit("job", 1)
    world.exit("job", 1)
    assert told(world, "respawn") == [["respawn", [None, "job", ""], 1, 1, 5]]
    assert told(world, "fail") == [["fail", [None, "job", ""], None, 0, "job respawning too fast, stopped"]]
    assert told(world, "goal")[-1][2:] == ["stop", "failed"]


def test_an_instance_that_has_no_name_says_why_it_is_not_there() -> None:
    world = World(job="start on go\ninstance $X\nexec x\n")
    world.emit("go")
    assert told(world, "fail") == [
        ["fail", [None, "job", None], None, None, "Failed to obtain job instance: Unknown parameter: X"]
    ]


def test_what_a_failed_event_brings_about_names_it() -> None:
    world = World(job="start on go\ntask\nexec x\n")
    world.emit("go")
    world.exit("job", 1)
    assert ["done", serial(world, "go"), True] in told(world, "done")
    assert ["go/failed", {}, serial(world, "go")] in [entry[2:] for entry in told(world, "event")]


def test_definitions_are_told_from_the_beginning_of_a_program_on_and_many_as_one() -> None:
    world = World(job="exec x\n")
    assert not told(world, "jobs")
    world.engine.note_program("boot")
    for number in range(100):
        world.engine.define(parse_job(f"job{number}", "exec x\n", ""))
    world.engine.define(parse_job("job", "exec y\n", ""))
    world.engine.undefine(None, "job")
    added, changed, removed = told(world, "jobs")
    assert added[1:4] == ["added", None, 100] and len(added[4]) == 32
    assert changed[1:] == ["changed", None, 1, ["job"]] and removed[1:] == ["removed", None, 1, ["job"]]


def test_what_a_process_has_used_is_told_whenever_it_is_known() -> None:
    world = World(job="start on go\nexec x\n", slow="start on go\nexec x\n")
    world.emit("go")
    world.engine.process_exited(101, 0)
    world.engine.process_used(101, 0.5, 1024, 2048)
    world.engine.process_used(102, 0.25, 0, 512)
    world.engine.process_exited(102, 0)
    assert [entry[3:] for entry in told(world, "ended")] == [
        [101, 0, 0.0, 0.5, 1024, 2048],
        [102, 0, 0.0, 0.25, 0, 512],
    ]


# The bound


def filled(entries: int) -> History:
    now = [0.0]

    def clock() -> float:
        now[0] += 1
        return now[0]

    found = History(clock)
    for number in range(entries):
        found.note_event(number, "event", {"NUMBER": str(number)}, None)
    return found


def held(found: History) -> int:
    return sum(len(text) for _, text in (*found._kept, *found._ring))


def test_the_beginning_stays_and_the_rest_is_a_ring() -> None:
    found = filled(40_000)
    assert held(found) <= KEPT + RECENT
    assert held(found) > (KEPT + RECENT) * 0.95
    numbers = [number for number, entry in found.entries() if entry[2] == number]
    assert numbers[0] == 0 and numbers[-1] == 39_999 == found.next - 1
    gaps = [after for before, after in pairwise(numbers) if after != before + 1]
    assert len(gaps) == 1, "there is one gap, after the beginning"


def test_the_longest_entries_do_not_exceed_it_either() -> None:
    found = filled(0)
    for number in range(5_000):
        found.note_event(number, "\U0001f600" * 500, {"\udc80" * 300: "\U0001f600" * 10_000}, None)
        assert held(found) <= KEPT + RECENT


def test_long_names_of_variables_are_bounded_too() -> None:
    found = History(lambda: 1.0)
    for number in range(CHUNK * 40):
        found.note_event(number, "e", {}, None)
    found.note_event(-1, "e", {"K" * 400_000: ""}, None)
    for number in range(CHUNK):
        found.note_event(number, "e", {}, None)
    entries = [entry for _, entry in found.entries()]
    assert len(entries) == CHUNK * 41 + 1
    assert max(len(json.dumps(entry)) for entry in entries) < 2 * LONGEST_VARIABLES


def test_variables_are_kept_as_far_as_they_fit() -> None:
    assert bounded({"A": "1"}) == {"A": "1"}
    many = bounded({f"KEY{number}": "value" for number in range(100)})
    assert len(many) == history.MOST_VARIABLES
    (long,) = bounded({"A": "x" * 1000}).items()
    assert long[1].endswith("...") and len(long[1]) <= LONGEST_VARIABLES


def test_without_memory_some_is_forgotten_and_that_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = filled(CHUNK)

    def fail(_value: object) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("upstart.engine.history.marshal.dumps", fail)
        for number in range(CHUNK):
            found.note_event(number, "lost", {}, None)
    found.note_event(0, "kept", {}, None)
    numbers = [number for number, _ in found.entries()]
    assert numbers == [*range(CHUNK), 2 * CHUNK]


# Reading on


@pytest.mark.parametrize("since", [0, 1, CHUNK - 1, CHUNK, 1000, 1023, 1024, 1030])
@pytest.mark.parametrize("most", [1, 3, 64])
@pytest.mark.parametrize("there", [0, 1, CHUNK, 1030])
def test_a_reader_comes_to_the_end_whatever_it_has_read(since: int, most: int, there: int) -> None:
    since = min(since, there)
    found = filled(there)
    numbers: list[int] = []
    following = since
    for _ in range(100):
        chunks, next_one = found.chunks(following, most)
        for first, packed in chunks:
            numbers += [number for number, _ in enumerate(unpacked(packed), first) if number >= following]
        if next_one == following:
            break
        following = next_one
    assert numbers == list(range(since, there))


def test_it_goes_on_after_a_re_exec() -> None:
    found = filled(10_000)
    again = History(lambda: 0.0)
    again.note("nonsense")
    again.restore(json.loads(json.dumps(found.dump())))
    before = list(found.entries())
    assert json.dumps(list(again.entries())) == json.dumps(before)
    assert held(again) <= KEPT + RECENT
    again.note("begin", "re-executed")
    assert again.next == found.next + 1
    assert held(again) == again._kept_size + again._ring_size


def test_what_an_older_build_has_written_is_read_and_the_other_way_nothing_is_mistaken() -> None:
    found = filled(10_000)
    saved = json.loads(json.dumps(found.dump()))
    chunks = saved.pop("chunks")
    # There it is nothing but what has not been packed.
    assert saved["kept"] == saved["ring"] == []
    for part, entries in zip(("kept", "ring"), chunks, strict=True):
        saved[part] = [(first, json.dumps(each)) for first, each in entries]
    again = History(lambda: 0.0)
    again.restore(saved)
    assert json.dumps(list(again.entries())) == json.dumps(list(found.entries()))


# Strangers


def test_strangers_are_told_values_that_conditions_compare_and_no_others() -> None:
    world = World(
        job="start on go KIND=x\nexec x\n",
        other="start on mounted /dev/sd* MOUNTPOINT=/\nexec x\n",
        plain="exec x\n",
        late="start on started plain\nexec x\n",
        placed="start on placed y USER=u\nexec x\n",
    )
    world.emit("go", KIND="y", PASSWORD="secret")
    world.emit("mounted", DEVICE="/dev/sda1", MOUNTPOINT="/srv", OPTIONS="password=secret")
    world.emit("unheard", JOB="secret")
    world.emit("placed", X="y", SECRET="secret", USER="u")
    world.start("plain")
    entries = [entry for _, entry in world.engine.history.entries()]
    public = Public(world.engine.awaited).entries(entries)
    assert "secret" in json.dumps(entries) and "secret" not in json.dumps(public)
    shown = {entry[3]: entry[4] for entry in public if entry[1] == "event"}
    assert shown["go"] == {"KIND": "y", "PASSWORD": None}
    assert shown["mounted"] == {"DEVICE": "/dev/sda1", "MOUNTPOINT": "/srv", "OPTIONS": None}
    assert shown["unheard"] == {"JOB": None}
    assert shown["placed"] == {"X": "y", "SECRET": None, "USER": "u"}
    assert shown["started"] == {"JOB": "plain", "INSTANCE": ""}
