"""init-replay, and init-simulate from a record: what they show of one, and of any point in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_record import Recorded

from upstart.engine.world import World
from upstart.tools import replay, simulate
from upstart.tools.situation import Situation

#: A web server that waits for a database for ever, since it holds what that waits for.
DEADLOCK = {"db": "start on go\nexec db", "web": "start on starting db and started db\nexec web"}


class Record:
    """A world that is recorded to a file."""

    def __init__(self, path: Path, **jobs: str) -> None:
        self.path = path
        self.world = World()
        self._recorded = Recorded(self.world)
        for name, text in jobs.items():
            self.world.define(name.replace("_", "-"), text)

    def end(self) -> str:
        self._recorded.end()
        self.path.write_text(self._recorded.text)
        return str(self.path)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Record]:
    return lambda **jobs: Record(tmp_path / "record", **jobs)


class Command:
    """Runs one of the programs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, program: Any, *arguments: str, status: int = 0) -> str:
        assert program.main([program.__name__, *arguments]) == status
        found = self._capsys.readouterr()
        return found.out if status < 2 else found.err

    def document(self, program: Any, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(program, "--json", *arguments, status=status))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def stands(text: str) -> list[str]:
    """How jobs stand, as a text of init-replay has it."""
    return [line.strip() for line in text.partition("\nAt ")[2].splitlines()[1:]]


def test_the_end_of_a_record_is_shown_as_list_shows_it(make: Callable[..., Record], command: Command) -> None:
    record = make(web="start on go N=*\ninstance $N\nexec web", task="start on go\ntask\nexec task")
    record.world.emit("go", N="7", PASSWORD="geheim")
    record.world.sleep(1.5)
    record.world.exit("task")
    text = command(replay, record.end())
    assert "The state was compared once, and was the recorded one" in text
    assert "Values are replaced by marks where nothing compares them" in text
    assert "\nAt 1.500 s, after input 11:\n" in text
    assert stands(text) == ["web (7) start/running, process 101", "task stop/waiting"]
    document = command.document(replay, str(record.path), "--inputs")
    assert document["jobs"][0] == {
        "job": "web", "instance": "7", "goal": "start", "state": "running", "processes": {"main": 101},
    }  # fmt: skip
    assert document["checks"] == 1 and document["differences"] == [] and document["cut"] is None
    assert [told["name"] for told in document["told"]][-2:] == ["process_exited", "run"]


def test_a_point_is_a_number_of_inputs_seconds_or_an_event(make: Callable[..., Record], command: Command) -> None:
    record = make(web="start on go\nstop on end X=2\nexec web")
    world = record.world
    world.sleep(1)
    world.emit("go")
    world.sleep(1)
    world.emit("end", X="1")
    world.sleep(1)
    world.emit("end", X="2")
    world.exit("web")
    path = record.end()
    assert stands(command(replay, "--until=1", path)) == ["web stop/waiting"]
    assert "after input 1 (define web)" in command(replay, "--until=1", path)
    assert stands(command(replay, "--until", "0.5", path)) == ["web stop/waiting"]
    for until in ("1s", "2.5", "end", "end X=1", "end X=[13]", "started web", "started"):
        assert stands(command(replay, "--until", until, path)) == ["web start/running, process 101"], until
    assert stands(command(replay, "--until=end X=2", path)) == ["web stop/killed, process 101"]
    assert "before the first input" in command(replay, "--until=0", path)
    assert stands(command(replay, "--until=0", path)) == []
    refused = command(replay, "--until=99", path, status=2)
    assert refused == f"init-replay: {path}: the record has 12 inputs, and not 99\n"
    assert "the event end X=3 does not come in the record" in command(replay, "--until=end X=3", path, status=2)


def test_inputs_are_listed_as_people_read_them(make: Callable[..., Record], command: Command) -> None:
    record = make(web="start on go N=*\nexec web")
    record.world.emit("go", N="1")
    record.world.exit("web", 15 << 8)
    record.world.engine.emit("by-hand", {}, by=("client", 0, 77, "initctl", "bash", None))
    text = command(replay, "--inputs", record.end())
    lines = [line.split(maxsplit=2)[2] for line in text.partition("Inputs:\n")[2].partition("\n\n")[0].splitlines()]
    assert lines == [
        "define web", "emit go N=1", "process-spawned web main 101", "process-ready web main",
        "process-exited 101 by TERM", "emit by-hand by initctl (77)",
    ]  # fmt: skip


def test_what_a_job_waits_for_is_explained(make: Callable[..., Record], command: Command) -> None:
    record = make(**DEADLOCK, late="start on db-ready\nexec late", task="task\nexec task")
    record.world.emit("go")
    record.world.start("task")
    record.world.exit("task", 1)
    path = record.end()
    text = command(replay, path, "--explain=db", "--explain=web", "--explain=late", "--explain=task")
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    assert text.endswith(
        "\ndb:\n"
        "  db is starting: starting since TIME (0 ms).\n"
        "    It waits for its event 'starting db' to finish, emitted at TIME. That is held by\n"
        "      web, whose condition is met by half ('initctl explain web' says more)\n"
        "    TIME  db was started by go, emitted by init itself\n"
        "    Until that is done it holds the event go.\n"
        "\nweb:\n"
        "  web does not run, and has not since the history begins, TIME.\n"
        "    Start on starting db and started db:\n"
        "      has come: starting db at TIME\n"
        "      is missing: started db\n"
        "        db is on its way, start/starting ('initctl explain db')\n"
        "\nlate:\n"
        "  late does not run, and has not since the history begins, TIME.\n"
        "    It waits for db-ready ('start on'):\n"
        "      is missing: db-ready; it has not been emitted since TIME, when the history begins\n"
        "        no job says that it emits it, and no page of the manual: whoever does is not known\n"
        "\ntask:\n"
        "  task does not run: it stopped at TIME (0 ms ago).\n"
        "    It failed: task main process (101) terminated with status 1\n"
        "    It has no 'start on': it starts only when somebody asks for it, as by 'initctl start task'.\n"
    )
    assert command.document(replay, path, "--explain=late")["explained"]["late"][0].startswith("late does not run")
    assert command(replay, path, "--explain=nothing", status=2).startswith("init-replay: unknown job: nothing\n")


def test_what_is_wrong_with_a_record_is_told(make: Callable[..., Record], command: Command, tmp_path: Path) -> None:
    record = make(web="start on go\nexec web")
    record.world.emit("go")
    path = Path(record.end())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:6]) + lines[6][:-5])
    text = command(replay, str(path))
    assert "The record breaks off in the middle of line 7; what there is is replayed" in text
    assert stands(text) == ["web start/spawned, process 101"]
    path.write_text("".join(lines[:2]) + "".join(lines[3:]))
    assert "The record has lost a line before line 3; what there is is replayed" in command(replay, str(path))
    assert "(The record has lost a line before line 3):" in command(simulate, "--from", str(path))
    (place,) = [at for at, line in enumerate(lines) if '"emit"' in line]
    path.write_text("".join([*lines[:place], lines[place].replace('"go"', '"no"'), *lines[place + 1 :]]))
    assert "DIFFERENT: 0.000 s, at a check behind input" in command(replay, str(path), status=1)
    path.write_text("start on startup\n")
    assert command(replay, str(path), status=2) == f"init-replay: {path}: This is not a record of init's\n"
    path.write_text('{"upstart-record": 9}\n')
    assert "is of version 9, and version 2 can be read here" in command(replay, str(path), status=2)
    assert "No such file or directory" in command(replay, str(tmp_path / "nothing"), status=2)
    assert "missing record" in command(replay, status=2)
    assert "one record at a time" in command(replay, "a", "b", status=2)
    assert "invalid option: --nothing" in command(replay, "--nothing", "a", status=2)


# Going on


def test_from_a_point_a_simulation_goes_on_with_other_events(make: Callable[..., Record], command: Command) -> None:
    record = make(
        db="start on go\nexec db",
        web="start on started db and network\nstop on stopping db\nexec web",
        late="start on started web\ntask\nexec initctl emit finished\n",
        last="start on finished\nexec last",
    )
    record.world.emit("go")
    path = record.end()
    text = command(simulate, f"--from={path}", "--emit=network")
    assert text.startswith(f"From where init was after input 9 of {path}, 0.000 s:\n\nStarted, in this order:\n")
    assert text.endswith(
        "In the end:\n"
        "  db start/running, process 101\n"
        "  web start/running, process 102\n"
        "  late stop/waiting\n"
        "  last start/running, process 104\n"
    )
    document = command.document(simulate, f"--from={path}")
    # What waited when the record ended is not stuck: its event may come.
    assert document["states"] == {
        "db": "start/running", "web": "stop/waiting", "late": "stop/waiting", "last": "stop/waiting",
    }  # fmt: skip
    assert document["never"]["web"] == "network (never emitted)"
    document = command.document(simulate, f"--from={path}", "--until=1", "--emit=network", "--emit=go")
    assert document["states"]["db"] == "not there" if "db" not in document["states"] else "start/running"


def test_what_was_stuck_in_a_record_is_stuck_in_what_follows(make: Callable[..., Record], command: Command) -> None:
    record = make(**DEADLOCK)
    record.world.emit("go")
    path = record.end()
    document = command.document(simulate, f"--from={path}", status=1)
    assert [stuck["instance"] for stuck in document["stuck"]] == ["db"] and len(document["circles"]) == 1


def test_a_changed_job_is_tried_at_a_point(make: Callable[..., Record], command: Command, tmp_path: Path) -> None:
    record = make(web="start on network\nexec web", db="start on network\nexec db")
    path = record.end()
    (tmp_path / "web.conf").write_text("start on started db\nexec web\n")
    (tmp_path / "new.conf").write_text("start on started web\nexec new\n")
    more = [f"--with={tmp_path / 'web.conf'}", f"--with={tmp_path / 'new.conf'}"]
    document = command.document(simulate, f"--from={path}", "--emit=network", *more)
    assert document["states"] == dict.fromkeys(("db", "web", "new"), "start/running")
    assert document["changes"] == [
        "web: started by network becomes started by started", "new: not there becomes start/running",
    ]  # fmt: skip
    document = command.document(simulate, f"--from={path}", "--emit=network", "--without=db", *more)
    assert document["states"] == {"web": "stop/waiting", "new": "stop/waiting"}
    assert "unknown job: no" in command(simulate, f"--from={path}", "--without=no", status=2)
    assert "jobs are those of the record" in command(simulate, f"--from={path}", "conf", status=2)
    assert "--until is a point" in command(simulate, "--until=3", "conf", status=2)


def test_races_of_a_recorded_situation_are_found(make: Callable[..., Record], command: Command) -> None:
    record = make(
        one="start on go\ntask\nexec one", two="start on go\ntask\nexec two",
        web="start on stopped one\nstop on stopped two\nexec web",
    )  # fmt: skip
    record.world.emit("go")
    document = command.document(simulate, f"--from={record.end()}", status=1)
    assert {race["instance"] for race in document["races"]} == {"web"}


def test_processes_that_were_on_their_way_come_to_their_end(make: Callable[..., Record]) -> None:
    record = make(
        task="start on go\ntask\npre-start exec before\nexec task",
        forks="start on go\nexpect fork\nexec forks",
        stops="start on go\nexec stops",
        waits="start on stopped task and started forks and stopped stops\nexec waits",
    )
    record.world.slow = {"stops main"}
    record.world.emit("go")
    record.world.stop("stops")
    path = record.end()
    simulation = simulate.simulate([], settings(record=path)).simulation
    assert simulation.states() == {
        "task": "stop/waiting", "forks": "start/running", "stops": "stop/waiting", "waits": "start/running",
    }  # fmt: skip


def settings(**words: Any) -> simulate.Settings:
    found = simulate.Settings()
    for name, value in words.items():
        setattr(found, name, value)
    return found


# Durations


def test_durations_are_those_of_what_ended_by_itself(make: Callable[..., Record]) -> None:
    record = make(
        task="start on go\ntask\npre-start exec before\nexec task",
        forks="start on go\nexpect fork\nexec forks",
        web="start on go\npre-start exec before\nexec web",
        mountall="start on startup\ntask\nexec mountall",
    )
    world = record.world
    world.emit("startup")
    world.emit("go")
    world.sleep(0.5)
    world.exit("task", process="pre-start")
    world.fork("forks")
    world.sleep(0.25)
    world.emit("virtual-filesystems")
    world.exit("web", process="pre-start")
    world.sleep(2)
    world.exit("task")
    # The second time does not count, and what is told to end says nothing.
    world.start("task")
    world.sleep(7)
    world.exit("task", process="pre-start")
    world.stop("web")
    world.sleep(1)
    world.exit("web")
    assert Situation(record.end()).durations() == {
        "task:pre-start": 0.5,
        "forks:main": 0.5,
        "mountall:virtual": 0.75,
        "web:pre-start": 0.75,
        "task:main": 2.25,
    }


def test_a_boot_is_simulated_with_the_durations_of_a_record(
    make: Callable[..., Record], command: Command, tmp_path: Path
) -> None:
    jobs = {"task": "start on startup\ntask\nexec task\n", "web": "start on stopped task\nexec web\n"}
    record = make(**jobs)
    record.world.emit("startup")
    record.world.sleep(3.5)
    record.world.exit("task")
    path = record.end()
    conf = tmp_path / "conf"
    conf.mkdir()
    for name, text in jobs.items():
        (conf / f"{name}.conf").write_text(text)
    started = command.document(simulate, f"--durations={path}", str(conf))["started"]
    assert {each["job"]: each["at"] for each in started} == {"task": 0.0, "web": 3.5}
    started = command.document(simulate, f"--durations={path}", "--takes=task=1", str(conf))["started"]
    assert {each["job"]: each["at"] for each in started} == {"task": 0.0, "web": 3.5}
    started = command.document(simulate, f"--durations={path}", "--takes=task:main=1", str(conf))["started"]
    assert {each["job"]: each["at"] for each in started} == {"task": 0.0, "web": 1.0}
    assert "No such file" in command(simulate, "--durations=/nothing", str(conf), status=2)
