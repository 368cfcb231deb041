"""Records: what is in them, that a replay comes to the same states, and that no secret is in one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_engine_properties import EVENTS, NAMES, Steps, conditions, job_texts, step, steps

from upstart.conf.parse import parse_job
from upstart.engine import cleaning, snapshot
from upstart.engine.cleaning import Cleaner
from upstart.engine.door import INPUTS
from upstart.engine.engine import Engine
from upstart.engine.journal import Input, Journal, observe
from upstart.engine.record import FORGOT, Recording, digest
from upstart.engine.recorded import NotARecord, Record, read
from upstart.engine.replaying import FAULT, Replay
from upstart.engine.world import Restless, World


class Recorded:
    """A world whose engine is recorded, as init's is: by way of JSON."""

    def __init__(self, world: World, values: bool = False) -> None:
        self.world = world
        self.recording = Recording(None if values else Cleaner(b"key"))
        self.text = self.recording.begin("init (test)", world.now, 1e9)
        self.journal: Journal | None = None
        self.begin("begin")

    def taken(self) -> Any:
        effects = self.world.engine.take_effects()
        found = json.loads(json.dumps(snapshot.take(self.world.engine)))
        self.world.engine.put_back(effects)
        return found

    def begin(self, why: str) -> None:
        self.text += self.recording.snapshot(self.world.now, why, self.taken())
        self.journal = observe(self.world.engine, self.given)

    def given(self, given: Input) -> None:
        at, name, args = json.loads(json.dumps([given.at, given.name, given.args]))
        self.text += self.recording.given(at, name, args)

    def check(self) -> None:
        self.text += self.recording.check(self.world.now, self.taken())

    def end(self) -> Record:
        self.check()
        self.text += self.recording.end(self.world.now, "end")
        return read(self.text.encode().splitlines(keepends=True))


def replayed(record: Record) -> Replay:
    replay = Replay(record)
    while replay.step():
        pass
    return replay


#: Values that nobody is to see, by the variable or stanza that has them.
def secret(what: str, number: int) -> str:
    return f"geheim-{what}-{number}"


@st.composite
def secret_jobs(draw: st.DrawFn) -> str:
    """A job with secrets; it may compare variables that others do not."""
    text = draw(job_texts()).replace("exec main", "exec main --password " + secret("exec", draw(st.integers(0, 3))))
    lines = [text, f"description '{secret('description', 0)}'", f"env S={secret('S', draw(st.integers(0, 3)))}"]
    lines.append(f"chdir /home/{secret('chdir', 1)}")
    if draw(st.integers(0, 2)) == 0:
        lines.append("export S")
    if draw(st.integers(0, 3)) == 0:
        by_place = ["go [0-9] geheim-P-[12]", "end $Q", "started a * geheim-S-*"]
        other = draw(st.sampled_from([f"go P={secret('P', 1)}", "x P!=1", *by_place]))
        lines.append(f"{draw(st.sampled_from(['start', 'stop']))} on {draw(conditions())} or {other}")
    if draw(st.integers(0, 6)) == 0:
        lines.append(draw(st.sampled_from(["instance $Q", "instance ${P:-$Q}", "instance ${$P:-x}"])))
    if draw(st.integers(0, 3)) == 0:
        lines.append(f"pre-stop script\n  initctl emit x P={secret('script', 2)}\nend script")
    return "\n".join(lines)


def secret_step(recorded: Recorded, what: str, pick: int, value: int, texts: list[str]) -> None:
    """As `step`, with variables that have secrets."""
    world = recorded.world
    env = {"N": str(value), "P": secret("P", value), "Q": secret("Q", pick), "S": secret("S", value)}
    if what == "emit":
        if pick % 2:
            env = dict(list(env.items())[value:])
        request = world.request()
        world.engine.emit(EVENTS[pick % len(EVENTS)], env, request=request, tested={"T": secret("T", value)})
        world.settle()
    elif what == "tell":
        world.engine.set_job_environ("U=" + secret("U", value), True)
        world.engine.reset_job_environ({"V": secret("V", value), "Q": secret("Q", value)})
        world.engine.set_process_environ("W", secret("W", value))
        world.settle()
    elif what == "reexec" and not world.keeping:
        recorded.check()
        world.reexecute()
        recorded.begin("re-exec")
    elif what == "reexec":
        recorded.check()
    else:
        step(world, what, pick, value, texts)


@pytest.mark.parametrize("values", [False, True])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(secret_jobs(), min_size=1, max_size=4), st.lists(steps, max_size=15), st.lists(steps, max_size=40))
def test_a_replay_comes_to_the_same_states_and_a_record_has_no_secret(
    values: bool, texts: list[str], before: Steps, todo: Steps
) -> None:
    world = World()
    try:
        for name, text in zip(NAMES, texts[:2], strict=False):
            world.define(name, text)
        for what, pick, value in before:
            if what != "reexec":
                step(world, what, pick, value, texts)
        recorded = Recorded(world, values)
        for name, text in zip(NAMES, texts, strict=False):
            world.define(name, text)
        for what, pick, value in todo:
            secret_step(recorded, what, pick, value, texts)
    except Restless:
        assume(False)
    record = recorded.end()
    replay = replayed(record)
    assert not record.cut and not replay.differences
    assert replay.checks
    if values:
        assert json.dumps(snapshot.take(replay.engine)) == json.dumps(recorded.taken())
        return
    for what in ("exec", "description", "chdir", "script"):
        assert f"geheim-{what}" not in recorded.text, what
    everything = "\n".join(texts)
    # What is looked at by its place, or by a name that is a value, may be any of them.
    if any(words in everything for words in ("${$P", "go [0-9]", "started a *", "end $Q", "x $M")):
        return
    for what in ("S", "T", "U", "V", "W"):
        assert f"geheim-{what}" not in recorded.text, what
    assert "P=" in everything.replace("emit x P=", "") or "P!=" in everything or "${P" in everything or (
        "geheim-P" not in recorded.text
    )
    assert "$Q" in everything or "geheim-Q" not in recorded.text


def test_a_value_that_a_later_definition_compares_is_given_where_it_is_compared() -> None:
    world = World(a="start on go and never\nexec a")
    recorded = Recorded(world)
    world.emit("go", P="geheim-P", Q="geheim-Q")
    assert "geheim" not in recorded.text
    world.define("a", "start on go P=geheim-P and later\nexec a")
    world.emit("later")
    assert world.status("a") == "start/running"
    replay = replayed(recorded.end())
    assert not replay.differences and "geheim-Q" not in recorded.text
    (instance,) = replay.engine.instances()
    assert instance.state == "running" and instance.env["P"] == "geheim-P" and instance.env["Q"].startswith("~")


def test_equal_values_have_equal_marks_and_others_other_ones() -> None:
    cleaner, other = Cleaner(b"key"), Cleaner(b"another")
    args = {"name": "go", "env": {"A": "x", "B": "x", "C": "y", "D": ""}}
    env = cleaner.input("emit", args)["env"]
    assert env["A"] == env["B"] != env["C"] and env["D"] == ""
    assert other.input("emit", args)["env"]["A"] != env["A"]


def test_names_conditions_and_what_a_script_emits_stay() -> None:
    world = World(a="start on go X=1\nexec initctl emit ready TOKEN=geheim\nusage 'geheim'\nsetuid geheim")
    recorded = Recorded(world)
    world.define("b", "start on started a\nscript\n  echo geheim\n  initctl emit --no-wait done\nend script")
    record = recorded.end()
    assert "geheim" not in recorded.text
    jobs = replayed(record).engine.jobs
    assert jobs[None, "b"].job_class.start_on is not None
    assert jobs[None, "a"].job_class.processes["main"].command.endswith("\ninitctl emit ready")
    assert jobs[None, "b"].job_class.processes["main"].command.endswith("\ninitctl emit done")


def test_a_definition_that_has_not_changed_has_not_changed_in_a_replay_either() -> None:
    world = World(a="start on go\nexec a --geheim")
    recorded = Recorded(world)
    world.emit("go")
    world.define("a", "start on go\nexec a --geheim")
    assert not world.job("a").pending
    world.define("a", "start on go\nexec a --geheimer")
    assert world.job("a").pending
    assert not replayed(recorded.end()).differences


def test_sessions_stay_apart() -> None:
    world = World()
    recorded = Recorded(world)
    for root in ("/srv/geheim1", "/srv/geheim2"):
        world.engine.define(parse_job("web", "start on go\nexec web", f"{root}/etc/init/web.conf", session=root))
    world.engine.emit("go", {"P": "/srv/geheim1"}, session="/srv/geheim1")
    world.settle()
    # The value of a variable that is compared from now on is given, and the session's root is none.
    world.engine.define(parse_job("other", "start on go P=/srv/geheim1", "other.conf"))
    world.settle()
    record = recorded.end()
    replay = replayed(record)
    assert not replay.differences
    assert sorted(job.session is not None and len(job.instances) for job in replay.engine.jobs.values()) == [0, 0, 1]
    assert "/srv/geheim2" not in recorded.text


def test_reasons_of_inits_own_stay_and_others_do_not() -> None:
    cleaner = Cleaner(b"key", ("unable to execute", "No such file or directory"))
    args = {"instance": None, "process": "main", "reason": "unable to execute: No such file or directory"}
    assert cleaner.input("spawn_failed", args)["reason"] == args["reason"]
    found = cleaner.input("spawn_failed", args | {"reason": "unable to execute: geheim"})["reason"]
    assert found.startswith("unable to execute: ~")


def test_of_everything_that_comes_into_an_engine_is_known_whether_it_is_a_secret() -> None:
    known = cleaning.ENVIRONMENTS | cleaning.PLAIN | cleaning.OTHERS
    for name in INPUTS:
        code = getattr(Engine, name).__code__
        for parameter in code.co_varnames[1 : code.co_argcount]:
            assert parameter in known, f"{name} has {parameter}, of which cleaning.py does not say what it is"


def test_of_everything_that_is_in_a_snapshot_is_known_whether_it_is_a_secret() -> None:
    world = World(web="start on go and never\nstop on end and never\nexec main\nenv A=1\ninstance $N")
    world.define("other", "start on go\nexec main")
    world.emit("go", N="1")
    world.start("web", N="1")
    world.emit("end")
    world.define("web", "exec other")
    found = snapshot.take(world.engine)
    assert found.keys() <= {"state", "environ", "extra_environ", "waiting", "moved", "index", *cleaning.SNAPSHOT_PLAIN}
    document = found["state"]
    assert document.keys() == {"job_environ", "failures", "events", "jobs", *cleaning.STATE_PLAIN}
    assert document["events"]
    for event in document["events"]:
        assert event.keys() <= {"env", "values", "session", *cleaning.EVENT_PLAIN}
    for job in document["jobs"]:
        assert job.keys() == {"class", "successor", "instances", *cleaning.JOB_PLAIN}
        for instance in job["instances"]:
            assert instance.keys() <= {
                *cleaning.INSTANCE_ENVIRONMENTS, "failure", "cause", "class", *cleaning.INSTANCE_PLAIN,
            }  # fmt: skip


def test_more_values_than_are_remembered_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "REMEMBERED", 1000)
    world = World()
    recorded = Recorded(world)
    for number in range(20):
        world.emit("go", P=f"geheim-{number}")
    replay = replayed(recorded.end())
    assert replay.notes == [FORGOT] and not replay.differences and "geheim" not in recorded.text


# Reading


def short_record() -> list[bytes]:
    world = World(a="start on go\nexec a")
    recorded = Recorded(world)
    world.emit("go")
    world.exit("a", 1)
    recorded.end()
    return recorded.text.encode().splitlines(keepends=True)


def numbered(lines: list[bytes]) -> list[bytes]:
    """The same lines, as if they had been written so."""
    entries = [[*json.loads(line)[:-1], at] for at, line in enumerate(lines[1:], 1)]
    return [lines[0], *(json.dumps(entry).encode() + b"\n" for entry in entries)]


def test_a_record_that_breaks_off_is_good_up_to_there() -> None:
    lines = short_record()
    whole = read(lines)
    assert not whole.cut
    for length in range(2, len(lines)):
        record = read(lines[:length])
        assert record.cut == "The record was not ended: it may lack the last inputs"
        assert not replayed(record).differences
        record = read([*lines[:length], lines[length][:-2]])
        assert record.cut == f"The record breaks off in the middle of line {length + 1}"
        assert len(record.entries) == length - 1
    record = read([*lines[:3], b'["in", 1]\n', *lines[3:]])
    assert record.cut == "The record breaks off at line 4" and len(record.entries) == 2


def test_a_record_that_has_lost_lines_says_where_and_is_good_up_to_there() -> None:
    lines = short_record()
    for at in range(1, len(lines) - 1):
        record = read([*lines[:at], *lines[at + 1 :]])
        assert record.cut == f"The record has lost a line before line {at + 1}"
        assert len(record.entries) == at - 1
        record = read([*lines[: at + 1], *lines[at:]])
        assert record.cut == f"Line {at + 2} of the record is not the one that was written there"
        assert not replayed(record).differences if at > 1 else True
    assert read([*lines[:2], *lines[4:]]).cut == "The record has lost 2 lines before line 3"


def test_a_record_whose_lines_have_no_numbers_is_read_as_before() -> None:
    head, *lines = short_record()
    older = [head.replace(b'"upstart-record":2', b'"upstart-record":1')]
    older += [json.dumps(json.loads(line)[:-1]).encode() + b"\n" for line in lines]
    assert older[0] != head
    record = read(older)
    assert not record.cut and not replayed(record).differences
    assert len(record.entries) == len(read([head, *lines]).entries)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"", "This is not a record of init's"),
        (b"\x7fELF\n", "This is not a record of init's"),
        (b"[]\n", "This is not a record of init's"),
        (b'{"version": 1}\n', "This is not a record of init's"),
        (b'{"upstart-record": 3}\n', "The record is of version 3, and version 2 can be read here"),
        (b'{"upstart-record": 1}\n', "The first line of the record is damaged"),
    ],
)
def test_what_is_no_record_is_refused(line: bytes, text: str) -> None:
    with pytest.raises(NotARecord) as caught:
        read([line])
    assert str(caught.value) == text


def test_a_state_that_is_not_the_recorded_one_is_told() -> None:
    lines = short_record()
    changed = numbered([line for line in lines if b'"process_exited"' not in line])
    assert len(changed) == len(lines) - 1
    assert [text.partition(" s, ")[2] for text in replayed(read(changed)).differences] == [
        "at a check behind input 6: the state is not the recorded one"
    ]


def test_an_input_that_cannot_be_told_is_a_difference() -> None:
    lines = short_record()
    lines.insert(3, b'["in",1000.0,"start_job",{"job":{"job":[null,"gone"]},"env":{}},0]\n')
    differences = replayed(read(numbered(lines))).differences
    assert differences == ["Input 2 (start_job) cannot be told: KeyError: 'gone'"]


def test_after_a_fault_the_record_goes_on_from_what_there_was() -> None:
    world = World(a="start on go\nexec a")
    recorded = Recorded(world)
    world.emit("go")
    # What an exception has cut short is not what a replay does.
    world.instance("a").env["X"] = "1"
    recorded.begin(FAULT)
    world.exit("a")
    replay = replayed(recorded.end())
    assert not replay.differences and replay.checks == 1
    assert replay.notes == ["0.000 s: init went on after a fault"]


def test_two_states_have_two_digests() -> None:
    world = World(a="exec a")
    before = digest(snapshot.take(world.engine), True)
    world.start("a")
    assert digest(snapshot.take(world.engine), True) != before
