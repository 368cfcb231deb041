"""init-simulate: what it says of jobs that are booted in virtual time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upstart.tools.simulate import main

ROOT = Path(__file__).parents[2]
MOUNTALL = "start on startup\ntask\nexec mountall\n"
RC_SYSINIT = "start on filesystem\ntask\nexec telinit 2\n"


class Command:
    """The command, run on a directory of jobs."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys

    def jobs(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.directory / f"{name.replace('_', '-')}.conf").write_text(text)

    def text(self, *arguments: str) -> str:
        """What it prints; the status must be 0."""
        assert main(["init-simulate", *arguments, str(self.directory)]) == 0
        return self.capsys.readouterr().out

    def __call__(self, *arguments: str, status: int = 0) -> dict[str, object]:
        """The document that it prints."""
        assert main(["init-simulate", "--json", *arguments, str(self.directory)]) == status
        document: dict[str, object] = json.loads(self.capsys.readouterr().out)
        return document


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def order(document: dict[str, object]) -> list[str]:
    """The instances that were started, in order."""
    started = document["started"]
    assert isinstance(started, list)
    return [each["instance"] for each in started]


def test_what_starts_is_told_in_order_with_its_cause(command: Command) -> None:
    command.jobs(
        web="start on started db\nexec web\n",
        db="start on stopped prepare\nexpect fork\nexec db\n",
        prepare="start on startup\ntask\nexec prepare\n",
        late="start on runlevel 2\nexec late\n",
    )
    assert command.text() == (
        "Started, in this order:\n"
        "      0.00  prepare  (startup)\n"
        "      0.00  db  (stopped)\n"
        "      0.00  web  (started)\n"
        "\nNever started, and what that lacks:\n"
        "  late: runlevel 2 (never emitted)\n"
        "\nIn the end:\n"
        "  db start/running, process 103\n"
        "  late stop/waiting\n"
        "  prepare stop/waiting\n"
        "  web start/running, process 104\n"
    )


def test_what_a_job_lacks_is_what_has_not_come(command: Command) -> None:
    command.jobs(
        mountall=MOUNTALL,
        rc_sysinit=RC_SYSINIT,
        a="start on filesystem and started b\nexec a\n",
        b="start on nothing\nexec b\n",
        c="start on runlevel [06]\nexec c\n",
        d="start on filesystem and (started web or stopped a)\nexec d\n",
    )
    assert command()["never"] == {
        "a": "started b (that job never started)",
        "b": "nothing (never emitted)",
        "c": "runlevel [06] (came with RUNLEVEL=2 PREVLEVEL=N)",
        "d": "started web (there is no such job) or stopped a (that job never started)",
    }


def test_a_deadlock_is_named_with_its_circle(command: Command) -> None:
    command.jobs(a="start on starting b and started b\nexec a\n", b="start on startup\nexec b\n")
    document = command(status=1)
    assert document["circles"] == [
        [
            "b waits for its event starting, which is held by start on of a, which is half met",
            "start on of a lacks started b, which comes from b",
        ]
    ]
    assert document["stuck"] == [
        {
            "instance": "b",
            "state": "start/starting",
            "why": "b waits for its event starting, which is held by start on of a, which is half met",
        }
    ]


def test_a_circle_may_go_through_jobs_that_have_not_started(command: Command) -> None:
    command.jobs(
        h="start on starting x and stopped t\nexec h\n",
        x="start on startup\nexec x\n",
        t="start on started x\ntask\nexec t\n",
    )
    assert command(status=1)["circles"] == [
        [
            "x waits for its event starting, which is held by start on of h, which is half met",
            "start on of h lacks stopped t, which comes from t",
            "start on of t lacks started x, which comes from x",
        ]
    ]
    # What another event may start waits for nobody.
    command.jobs(t="start on started x or go\ntask\nexec t\n")
    assert command(status=1)["circles"] == []
    command.jobs(t="start on started x and stopping x\ntask\nemits t-is-done\nexec t\n")
    command.jobs(h="start on starting x and t-is-done\nexec h\n")
    circles = command(status=1)["circles"]
    assert isinstance(circles, list)
    assert circles[0][1] == "start on of h lacks t-is-done, which comes from t"


def test_a_boot_that_mountall_and_a_job_hold_up_is_named(command: Command) -> None:
    command.jobs(mountall=MOUNTALL, web="start on mounted MOUNTPOINT=/ and filesystem\nexec web\n")
    document = command(status=1)
    assert document["circles"] == [
        [
            "mountall waits for its event mounted MOUNTPOINT=/, which is held by start on of web, which is half met",
            "start on of web lacks filesystem, which comes from mountall",
        ]
    ]


def test_jobs_that_start_when_each_other_starts_are_no_deadlock(command: Command) -> None:
    command.jobs(a="start on starting b or go\nexec a\n", b="start on starting a\nexec b\n")
    document = command("--emit", "go")
    assert sorted(order(document)) == ["a", "b"]
    assert document["states"] == {"a": "start/running", "b": "start/running"}


def test_an_instance_that_has_no_name_is_told_as_init_tells_it(command: Command) -> None:
    command.jobs(
        a="start on startup\ninstance $N\nexec a\n",
        b="start on go NAME=b\nexec b\n",
        c="start on startup\ntask\nexec initctl emit go\n",
    )
    assert command()["never"] == {
        "a": "Failed to obtain a instance: Unknown parameter: N",
        "b": "go NAME=b (came without variables)",
    }


def test_jobs_that_start_each_other_for_ever_end_the_simulation(command: Command) -> None:
    command.jobs(
        a="start on started b or startup\ntask\nexec a\n",
        b="start on stopped a\ntask\nexec b\n",
        c="start on startup\nexec c\n",
        d="start on started c and never\nexec d\n",
    )
    document = command("--races", status=1)
    assert document["restless"] is True
    assert document["races"] is None
    assert document["stuck"] == []
    assert order(document) == ["a", "c"]
    repeats = document["repeats"]
    assert isinstance(repeats, list)
    assert [(each["instance"], each["events"]) for each in repeats] == [("b", ["stopped"]), ("a", ["started"])]
    assert main(["init-simulate", str(command.directory)]) == 1
    text = command.capsys.readouterr().out
    assert text.startswith(
        "Started, in this order:\n"
        "      0.00  a  (startup)\n"
        "      0.00  c  (startup)\n"
        "\nJobs start each other for ever, and the simulation was ended; what repeats is this:\n"
        "      0.00  b  (stopped)\n"
        "      0.00  a  (started)\n"
        "\nNever started"
    )


def test_an_order_in_which_jobs_start_each_other_for_ever_is_told_once(command: Command) -> None:
    command.jobs(
        one="start on startup\ntask\nexec initctl emit up\n",
        two="start on startup\ntask\nexec initctl emit down\n",
        web="start on down\nstop on up\nexec web\n",
        a="start on stopped web or started b\ntask\nexec a\n",
        b="start on stopped a\ntask\nexec b\n",
    )
    document = command(status=1)
    races = document["races"]
    assert isinstance(races, list)
    assert [(race["instance"], race["or"], race["where_last"]) for race in races] == [
        ("a", "started again and again", "one"),
        ("b", "started again and again", "one"),
    ]
    assert all(len(order) <= 21 for race in races for order in race["orders"])


def test_what_changes_jobs_into_a_circle_is_told(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    command.jobs(a="start on startup\ntask\nexec a\n", b="start on stopped a\ntask\nexec b\n")
    changed = tmp_path_factory.mktemp("new") / "a.conf"
    changed.write_text("start on startup or started b\ntask\nexec a\n")
    assert command("--with", str(changed), status=1)["changes"] == [
        "a: stop/waiting becomes started again and again",
        "b: stop/waiting becomes started again and again",
    ]


def test_a_race_is_told_with_both_orders(command: Command) -> None:
    command.jobs(
        web="start on up\nstop on down\nexec web\n",
        one="start on startup\ntask\nexec initctl emit up\n",
        two="start on startup\ntask\nexec initctl emit down\n",
    )
    assert command(status=1)["races"] == [
        {
            "instance": "web",
            "ends": "stop/waiting",
            "or": "start/running",
            "where_last": "one",
            "orders": [["up", "down"], ["down", "up"]],
        }
    ]
    assert command("--no-races")["races"] is None


def test_an_order_that_the_conditions_see_to_is_no_race(command: Command) -> None:
    command.jobs(
        web="start on up\nstop on down\nexec web\n",
        one="start on startup\ntask\nexec initctl emit up\n",
        two="start on started web\ntask\nexec initctl emit down\n",
    )
    assert command()["races"] == []


def test_what_takes_long_comes_late(command: Command) -> None:
    command.jobs(
        one="start on startup\ntask\nexec one\n",
        two="start on stopped one\npre-start exec check\nexec two\n",
        three="start on startup and started two\nexec three\n",
    )
    document = command("--takes", "one=2.5", "--takes", "two=1")
    started = document["started"]
    assert isinstance(started, list)
    assert [(each["job"], each["at"]) for each in started] == [("one", 0.0), ("two", 2.5), ("three", 3.5)]
    assert started[0]["ended"] == 2.5
    assert order(command("--takes=two:pre-start=9", "--takes=one:main=1"))[-1] == "three"


def test_events_may_be_given_in_the_place_of_startup(command: Command) -> None:
    command.jobs(a="start on device-up NAME=b\ninstance $NAME\nexec a\n", c="start on startup\nexec c\n")
    document = command("--emit", "device-up NAME=a", "--emit", "device-up NAME=b", "--emit", "device-up NAME=b")
    assert document["states"] == {"a (b)": "start/running", "c": "stop/waiting"}
    assert document["events"] == ["device-up NAME=a", "device-up NAME=b", "device-up NAME=b"]


def test_what_a_changed_job_changes_is_told(command: Command, tmp_path: Path) -> None:
    command.jobs(a="start on startup\nexec a\n", b="start on started a\nexec b\n")
    changed = tmp_path / "new" / "a.conf"
    changed.parent.mkdir()
    changed.write_text("start on nothing\nexec a\n")
    assert command("--with", str(changed))["changes"] == [
        "a: start/running becomes stop/waiting",
        "b: start/running becomes stop/waiting",
    ]
    override = changed.with_suffix(".override")
    override.write_text("start on startup or other\n")
    assert command("--with", str(override))["changes"] == []
    assert command("--without", "a")["changes"] == [
        "a: start/running becomes not there",
        "b: start/running becomes stop/waiting",
    ]
    assert command()["changes"] is None


def test_what_changes_of_instances_is_told_by_their_names(command: Command) -> None:
    command.jobs(
        a="start on startup\ntask\nexec initctl emit go N=1\n",
        t="start on go\ninstance $N\ntask\nexec t\n",
        u="start on go\ninstance $N\nexec u\n",
    )
    assert command("--without", "a")["changes"] == [
        "a: stop/waiting becomes not there",
        "u (1): start/running becomes stop/waiting",
        "t (1): started by go becomes never started",
    ]
    assert command("--without", "t")["changes"] == ["t (1): stop/waiting becomes not there"]
    assert command("--without", "u")["changes"] == ["u (1): start/running becomes not there"]


def test_a_job_whose_instance_becomes_the_job_itself_is_told_of_both(
    command: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    command.jobs(t="start on startup N=\nexec t\n", u="start on startup\nenv N=1\ninstance $N\nexec u\n")
    changed = tmp_path_factory.mktemp("new") / "u.conf"
    changed.write_text("start on startup\nexec u\n")
    assert command("--with", str(changed))["changes"] == [
        "u (1): start/running becomes stop/waiting",
        "u: stop/waiting becomes start/running",
    ]


def test_overrides_and_directories_below_count(command: Command, tmp_path: Path) -> None:
    command.jobs(a="start on startup\nexec a\n")
    (tmp_path / "a.override").write_text("manual\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.conf").write_text("start on startup\nexec b\n")
    assert command()["states"] == {"a": "stop/waiting", "sub/b": "start/running"}


def test_a_file_in_error_is_told_and_left_out(command: Command) -> None:
    command.jobs(a="start on startup\nexec a\n", b="bogus\n")
    document = command(status=1)
    assert document["errors"] == [f"{command.directory}/b.conf:1: Unknown stanza"]
    assert document["states"] == {"a": "start/running"}


def test_a_package_is_put_on_top_of_the_jobs_of_a_system(command: Command, tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "etc" / "init").mkdir(parents=True)
    (package / "etc/init/web.conf").write_text("start on started db\nexec web\n")
    system = tmp_path / "system"
    system.mkdir()
    (system / "db.conf").write_text("start on startup\nexec db\n")
    assert main(["init-simulate", "--json", str(system), str(package)]) == 0
    assert order(json.loads(command.capsys.readouterr().out)) == ["db", "web"]
    assert main(["init-simulate", "--json", "--with", str(package), str(system)]) == 0
    assert json.loads(command.capsys.readouterr().out)["changes"] == ["web: not there becomes start/running"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--takes=none=1"], "unknown job: none"),
        (["--takes=a"], "not a job and its seconds: a"),
        (["--takes=a=-1"], "not a job and its seconds: a=-1"),
        (["--without=none"], "unknown job: none"),
        (["--takes=a:pre-start=1"], "a has no process pre-start"),
        (["--takes=a:virtual=1"], "a has no process virtual"),
        (["--takes=a:=1"], "a has no process "),
        (["--emit=go now"], "not a variable of an event: now"),
        (["--emit="], "an event has a name"),
        (["--emit", " "], "an event has a name"),
        (["--with=none.conf"], "none.conf: No such file or directory"),
        (["--bogus"], "invalid option: --bogus"),
    ],
)
def test_a_wrong_command_line_is_refused(command: Command, arguments: list[str], error: str) -> None:
    command.jobs(a="exec a\n")
    assert main(["init-simulate", *arguments, str(command.directory)]) == 2
    expected = f"init-simulate: {error}\nTry `init-simulate --help' for more information.\n"
    assert command.capsys.readouterr().err == expected


def test_without_jobs_there_is_nothing_to_simulate(command: Command) -> None:
    for path in (command.directory, command.directory / "none"):
        assert main(["init-simulate", str(path)]) == 2
        output = command.capsys.readouterr()
        assert output.out == ""
        assert str(path) in output.err
    assert "none: No such file or directory\n" in output.err


def test_a_job_may_be_left_out_twice(command: Command) -> None:
    command.jobs(a="start on startup\nexec a\n", b="start on startup\nexec b\n")
    assert command("--without", "a", "--without=a")["states"] == {"b": "start/running"}


def test_parts_of_mountall_may_take_long(command: Command) -> None:
    command.jobs(mountall=MOUNTALL, web="start on filesystem\nexec web\n")
    started = command("--takes=mountall:remote=7")["started"]
    assert isinstance(started, list)
    assert started[-1]["at"] == 7.0


def test_services_that_fork_or_stop_themselves_come_up(command: Command) -> None:
    command.jobs(
        forking="start on startup\nexpect daemon\nexec f\n",
        stopping="start on startup\nexpect stop\nexec s\n",
        task="start on startup\nexpect fork\ntask\nexec t\n",
        after="start on stopped task\npost-start exec p\nexec a\n",
        abstract="start on startup\n",
        gone="start on startup\nstop on started after\npre-stop exec p\nexec g\npost-stop exec q\n",
    )
    assert command()["states"] == {
        "abstract": "start/running",
        "after": "start/running",
        "forking": "start/running",
        "gone": "stop/waiting",
        "stopping": "start/running",
        "task": "stop/waiting",
    }


def test_what_a_job_declares_or_its_script_emits_comes(command: Command) -> None:
    command.jobs(
        a="start on startup\nemits a-is-up shutdown-*\nexec a\n",
        b='start on a-is-up\nscript\n  initctl emit --no-wait b-is-up KIND=x OTHER="$Y"\n  exec b\nend script\n',
        c="start on b-is-up KIND=x\nexec c\n",
    )
    assert order(command()) == ["a", "b", "c"]


@pytest.mark.parametrize("container", ["", "lxc"])
def test_our_own_boot_comes_to_its_login_without_a_race(container: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init-simulate", "--json", "--container", container, str(ROOT / "etc" / "init")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "runlevel RUNLEVEL=2 PREVLEVEL=N" in document["events"]
    assert document["states"]["tty1"] == "start/running"
    assert (document["states"].get("console") == "start/running") == bool(container)
    assert document["races"] == [] and document["circles"] == []


def test_a_job_that_holds_up_our_own_boot_is_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    job = tmp_path / "web.conf"
    job.write_text("start on mounted MOUNTPOINT=/var and filesystem\nexec web\n")
    assert main(["init-simulate", "--no-races", "--with", str(job), str(ROOT / "etc" / "init")]) == 1
    output = capsys.readouterr().out
    assert "start on of web lacks filesystem, which comes from mountall" in output
    assert "tty1: start/running becomes stop/waiting" in output
