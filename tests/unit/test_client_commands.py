"""What each command asks init, what it prints, and how it fails; init is a table of answers here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client.connection import NEVER, Connection
from upstart.client.init import Init
from upstart.initctl.context import Context
from upstart.initctl.main import run

JOB_PATH = names.PATH + "/jobs/web"
INSTANCE_PATH = JOB_PATH + "/_"

Answer = Callable[..., Any]


def failing(name: str, message: str) -> Answer:
    def answer(*args: Any) -> Any:
        raise DBusError(name, message)

    return answer


class FakeInit:
    """Answers from a table, by method or property; what is not in it is an unknown method."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.timeouts: dict[str, float | None] = {}
        self.answers: dict[str, Answer] = {
            "GetJobByName": lambda name: (JOB_PATH,),
            "GetInstance": lambda env: (INSTANCE_PATH,),
            "GetInstanceByName": lambda name: (INSTANCE_PATH,),
            "name": lambda: "web",
            "GetAll": lambda interface: (
                {"name": "", "goal": "start", "state": "running", "processes": [("main", 42)]},
            ),
        }

    def call(
        self,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        *args: Any,
        returns: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        self.calls.append((method, *args))
        self.timeouts[method] = timeout
        return self._answer(method, args)

    def _answer(self, name: str, args: tuple[Any, ...]) -> Any:
        answer = self.answers.get(name)
        if answer is None:
            raise DBusError(names.UNKNOWN_METHOD, f"no {name}")
        return answer(*args)

    def quiet(self) -> None:
        self.calls.append(("Quiet",))

    def get_property(self, path: str, interface: str, name: str) -> Any:
        self.calls.append(("Get", name))
        return self._answer(name, ())

    get_string = get_property

    def get_all(self, path: str, interface: str) -> Any:
        return self.call(path, interface, "GetAll", "s", interface)[0]

    def set_property(self, path: str, interface: str, name: str, value: str) -> None:
        self.calls.append(("Set", name, value))

    def emit_event(self, name: str, env: list[str], wait: bool) -> None:
        self.call(names.PATH, names.MANAGER, "EmitEvent", "sasb", name, env, wait)


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> FakeInit:
    fake = FakeInit()
    monkeypatch.setattr(Context, "open", lambda self: Init(cast(Connection, fake)))
    for module in ("context", "target", "commands_environment", "commands_sessions"):
        monkeypatch.setattr(f"upstart.initctl.{module}.getenv", lambda name: None)
    return fake


@pytest.fixture
def in_job(monkeypatch: pytest.MonkeyPatch, init: FakeInit) -> FakeInit:
    values = {"UPSTART_JOB": "web", "UPSTART_INSTANCE": "one"}
    for module in ("target", "commands_environment"):
        monkeypatch.setattr(f"upstart.initctl.{module}.getenv", values.get)
    return init


class Outcome:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], init: FakeInit) -> Callable[[str], Outcome]:
    def carry_out(line: str) -> Outcome:
        program, *words = line.split()
        status = run([f"/sbin/{program}", *words])
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return carry_out


Command = Callable[[str], Outcome]


def test_start_waits_for_ever_and_prints_the_status(init: FakeInit, command: Command) -> None:
    init.answers["Start"] = lambda env, wait: (INSTANCE_PATH,)
    outcome = command("initctl start web A=1 B=2")
    assert (outcome.status, outcome.out, outcome.err) == (0, "web start/running, process 42\n", "")
    assert init.calls[:3] == [("GetJobByName", "web"), ("Quiet",), ("Start", ["A=1", "B=2"], True)]
    assert init.timeouts["Start"] == NEVER


@pytest.mark.parametrize("line", ["start -n web", "initctl restart web --no-wait", "stop web -n"])
def test_no_wait_reaches_init(init: FakeInit, command: Command, line: str) -> None:
    for method in ("Start", "Restart", "Stop"):
        init.answers[method] = lambda env, wait: (INSTANCE_PATH,)
    assert command(line).status == 0
    assert init.calls[-3][1:] == ([], False)


@pytest.mark.parametrize("method", ["start", "stop", "restart"])
def test_inside_a_job_a_bare_command_means_its_own_instance_and_never_waits(
    in_job: FakeInit, command: Command, method: str
) -> None:
    in_job.answers[method.capitalize()] = lambda wait: ()
    assert command(method).status == 0
    assert ("GetInstanceByName", "one") in in_job.calls
    assert (method.capitalize(), False) in in_job.calls


@pytest.mark.parametrize("line", ["start", "initctl stop", "restart", "reload", "status", "initctl usage"])
def test_outside_a_job_a_job_must_be_named(init: FakeInit, command: Command, line: str) -> None:
    program = line.split()[0]
    outcome = command(line)
    assert outcome.status == 1
    assert outcome.err == f"{program}: missing job name\nTry `{program} --help' for more information.\n"
    assert init.calls == []


def test_an_error_carries_the_name_the_command_was_called_by(init: FakeInit, command: Command) -> None:
    init.answers["GetJobByName"] = failing(names.MANAGER + ".Error.UnknownJob", "Unknown job: nope")
    assert command("start nope").err == "start: Unknown job: nope\n"
    assert command("initctl start nope").err == "initctl: Unknown job: nope\n"
    assert command("initctl -q start nope").err == "initctl: Unknown job: nope\n"


def test_an_error_that_begins_with_a_place_follows_the_name_without_a_blank(init: FakeInit, command: Command) -> None:
    init.answers["GetJobByName"] = failing(names.FAILED, "/etc/init/x.conf:3: Unknown stanza")
    assert command("start x").err == "start:/etc/init/x.conf:3: Unknown stanza\n"


def test_the_reason_of_a_failure_follows_on_a_second_line(init: FakeInit, command: Command) -> None:
    init.answers["Start"] = failing(names.JOB_FAILED, "Job failed to start")
    init.answers["FailureReason"] = lambda job, instance: ("main process terminated with status 1",)
    outcome = command("start web")
    assert outcome.status == 1 and outcome.out == ""
    assert outcome.err == "start: Job failed to start\nstart: main process terminated with status 1\n"
    assert init.calls[-1] == ("FailureReason", "web", "")


def test_without_a_reason_the_error_stands_alone(init: FakeInit, command: Command) -> None:
    init.answers["Stop"] = failing(names.JOB_FAILED, "Job failed while stopping")
    assert command("stop web").err == "stop: Job failed while stopping\n"
    init.answers["FailureReason"] = lambda job, instance: ("",)
    assert command("stop web").err == "stop: Job failed while stopping\n"


def test_what_is_wrong_with_the_file_of_an_unknown_job_follows_on_a_second_line(
    init: FakeInit, command: Command
) -> None:
    init.answers["GetJobByName"] = failing(names.UNKNOWN_JOB, "Unknown job: web")
    init.answers["FailureReason"] = lambda job, instance: ("/etc/init/web.conf:3: Unknown stanza",)
    outcome = command("start web")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == "start: Unknown job: web\nstart: /etc/init/web.conf:3: Unknown stanza\n"


def test_of_an_unknown_job_that_is_a_script_the_second_line_says_so(
    init: FakeInit, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("upstart.initctl.target.SCRIPTS", str(tmp_path))
    for name, mode in (("cron", 0o755), ("README", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("/lib/init/upstart-job")
    init.answers["FailureReason"] = lambda job, instance: ("",)
    for program in ("status", "start", "stop", "restart", "reload"):
        for name in ("cron", "README", "link", "nothing", "sub/cron"):
            for method in ("GetJobByName", "GetStatus"):
                init.answers[method] = failing(names.UNKNOWN_JOB, f"Unknown job: {name}")
            outcome = command(f"{program} {name}")
            first, *second = outcome.err.splitlines()
            assert (outcome.status, outcome.out, first) == (1, "", f"{program}: Unknown job: {name}")
            said = f"{program}: There is no job, but a script {tmp_path}/cron, for service(8)"
            assert second == ([said] if name == "cron" else [])


def test_who_is_not_root_is_told_what_a_refusal_means(
    init: FakeInit, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    init.answers["Start"] = failing(names.ACCESS_DENIED, "Rejected send message")
    assert command("start web").err == "start: Rejected send message\n"
    monkeypatch.setattr("posix.getuid", lambda: 1000)
    first, second = command("start web").err.splitlines()
    assert first == "start: Rejected send message" and second.startswith("start: Only root may do this")


def test_other_errors_are_not_asked_a_reason_for(init: FakeInit, command: Command) -> None:
    init.answers["Start"] = failing(names.MANAGER + ".Error.AlreadyStarted", "Job is already running: web")
    assert command("start web").err == "start: Job is already running: web\n"
    assert all(call[0] != "FailureReason" for call in init.calls)


def test_stop_looks_for_the_instance_before_it_stops_it(init: FakeInit, command: Command) -> None:
    init.answers["GetInstance"] = failing(names.UNKNOWN_INSTANCE, "Unknown instance: ")
    assert command("stop web").err == "stop: Unknown instance: \n"
    assert [call[0] for call in init.calls] == ["GetJobByName", "GetInstance"]


def test_stop_by_force_names_the_job(init: FakeInit, command: Command) -> None:
    init.answers["StopForce"] = lambda path, env, wait: ()
    init.answers["GetAll"] = failing(names.UNKNOWN_METHOD, "gone")
    outcome = command("stop --force web X=1")
    assert outcome.out == "web stop/waiting\n"
    assert ("StopForce", JOB_PATH, ["X=1"], True) in init.calls


def test_stop_by_force_inside_a_job_names_the_instance(in_job: FakeInit, command: Command) -> None:
    in_job.answers["StopForce"] = lambda path, env, wait: ()
    assert command("stop --force").status == 0
    assert ("StopForce", INSTANCE_PATH, [], False) in in_job.calls


def test_an_init_that_cannot_stop_by_force_is_not_asked_to_stop_gently(init: FakeInit, command: Command) -> None:
    init.answers["Stop"] = lambda env, wait: ()
    outcome = command("stop --force web")
    assert (outcome.status, outcome.err) == (1, "stop: This init daemon does not support --force\n")
    assert all(call[0] != "Stop" for call in init.calls)


STATUSES = [
    ([], "web start/running"),
    ([("main", 7)], "web start/running, process 7"),
    ([("pre-start", 7)], "web start/running, process 7"),
    ([("post-stop", 7)], "web start/running, process 7"),
    ([("post-start", 7)], "web start/running, (post-start) process 7"),
    ([("pre-stop", 7)], "web start/running, (pre-stop) process 7"),
    ([("main", 7), ("post-start", 8)], "web start/running, process 7\n\tpost-start process 8"),
    ([("main", 7), ("pre-stop", 8)], "web start/running, process 7\n\tpre-stop process 8"),
]


@pytest.mark.parametrize(("processes", "text"), STATUSES)
@pytest.mark.parametrize("extension", [True, False])
def test_status_lines(
    init: FakeInit, command: Command, processes: list[tuple[str, int]], text: str, extension: bool
) -> None:
    if extension:
        init.answers["GetStatus"] = lambda job, env: ([(job, "", "start", "running", processes)],)
    else:
        properties = {"name": "", "goal": "start", "state": "running", "processes": processes}
        init.answers["GetAll"] = lambda interface: (properties,)
    outcome = command("status web")
    assert (outcome.status, outcome.out, outcome.err) == (0, text + "\n", "")


def test_status_is_one_call_where_init_has_the_extension(init: FakeInit, command: Command) -> None:
    init.answers["GetStatus"] = lambda job, env: ([("web", "one", "stop", "killed", [("main", 5)])],)
    assert command("initctl status web X=one").out == "web (one) stop/killed, process 5\n"
    assert init.calls == [("GetStatus", "web", ["X=one"])]


def test_status_warns_beside_its_line_of_what_is_respawned_again_and_again(init: FakeInit, command: Command) -> None:
    init.answers["GetStatus"] = lambda job, env: ([(job, "", "start", "running", [("main", 7)])],)
    init.answers["KeepsEnding"] = lambda job, instance: (f"{job} main process keeps ending",)
    outcome = command("status web")
    assert (outcome.status, outcome.out) == (0, "web start/running, process 7\n")
    assert outcome.err == "status: web main process keeps ending\n"
    init.answers["KeepsEnding"] = lambda job, instance: ("",)
    assert command("status web").err == ""


@pytest.mark.parametrize("name", names.NO_EXTENSION)
def test_without_the_extension_status_is_asked_the_old_way(init: FakeInit, command: Command, name: str) -> None:
    init.answers["GetStatus"] = failing(name, "no")
    assert command("status web").out == "web start/running, process 42\n"


def test_a_stopped_job_is_no_error_and_a_missing_instance_that_was_asked_for_is(
    init: FakeInit, command: Command
) -> None:
    init.answers["GetInstance"] = failing(names.UNKNOWN_INSTANCE, "Unknown instance: X")
    assert (command("status web").status, command("status web").out) == (0, "web stop/waiting\n")
    outcome = command("status web X=X")
    assert (outcome.status, outcome.err) == (1, "status: Unknown instance: X\n")


def test_inside_a_job_bare_status_means_its_own_instance(in_job: FakeInit, command: Command) -> None:
    assert command("status").out == "web start/running, process 42\n"
    in_job.answers["GetInstanceByName"] = failing(names.UNKNOWN_INSTANCE, "Unknown instance: one")
    assert command("status").status == 1


def test_list_prints_every_instance(init: FakeInit, command: Command) -> None:
    init.answers["GetStatusAll"] = lambda: (
        [
            ("a", "", "stop", "waiting", []),
            ("b", "x", "start", "running", [("main", 1)]),
            ("b", "y", "start", "starting", []),
        ],
    )
    assert command("initctl list").out == "a stop/waiting\nb (x) start/running, process 1\nb (y) start/starting\n"
    assert len(init.calls) == 1


def test_list_without_the_extension_leaves_out_what_vanishes(init: FakeInit, command: Command) -> None:
    init.answers["GetAllJobs"] = lambda: ([JOB_PATH, JOB_PATH],)
    answers: Iterator[Answer] = iter([failing(names.UNKNOWN_METHOD, "gone"), lambda: ([],)])
    init.answers["GetAllInstances"] = lambda: next(answers)()
    outcome = command("initctl list")
    assert (outcome.status, outcome.out, outcome.err) == (0, "web stop/waiting\n", "")


def test_reload_falls_back_to_the_main_process_of_an_older_init(
    init: FakeInit, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr("posix.kill", lambda pid, signal: signals.append((pid, signal)))
    init.answers["processes"] = lambda: [("main", 42)]
    assert command("reload web").status == 0
    assert signals == [(42, 1)]
    init.answers["processes"] = lambda: [("post-stop", 42)]
    assert command("reload web").err == "reload: Not running\n"


def test_emit_waits_unless_told_otherwise(init: FakeInit, command: Command) -> None:
    init.answers["EmitEvent"] = lambda name, env, wait: ()
    assert command("initctl emit ev A=1").status == 0
    assert init.calls == [("Quiet",), ("EmitEvent", "ev", ["A=1"], True)]
    command("initctl emit -n ev")
    assert init.calls[-1] == ("EmitEvent", "ev", [], False)
    init.answers["EmitEvent"] = failing(names.MANAGER + ".Error.EventFailed", "Event failed")
    assert command("initctl emit ev").err == "initctl: Event failed\n"


MISSING = [
    ("emit", "missing event name"),
    ("get-env", "missing variable name"),
    ("set-env", "missing variable value"),
    ("unset-env", "missing variable name"),
    ("notify-dbus-address", "missing D-Bus address"),
    ("notify-cgroup-manager-address", "missing address"),
]


@pytest.mark.parametrize(("name", "text"), MISSING)
def test_a_missing_argument_is_named(init: FakeInit, command: Command, name: str, text: str) -> None:
    outcome = command(f"initctl {name}")
    assert outcome.status == 1 and init.calls == []
    assert outcome.err == f"initctl: {text}\nTry `initctl --help' for more information.\n"


def test_environment_commands_act_on_the_job_around_them_or_on_all(in_job: FakeInit, command: Command) -> None:
    in_job.answers.update(
        GetEnv=lambda details, name: ("value",),
        SetEnvList=lambda details, values, replace: (),
        UnsetEnvList=lambda details, wanted: (),
        ResetEnv=lambda details: (),
        ListEnv=lambda details: (["b=2", "A=1", "a=3"],),
    )
    own = ["web", "one"]
    assert command("initctl get-env X").out == "value\n"
    for line in ("set-env A=1 B", "set-env -r A=1", "unset-env A B", "reset-env", "set-env -g A=1", "reset-env -g"):
        assert command(f"initctl {line}").status == 0
    assert in_job.calls == [
        ("GetEnv", own, "X"),
        ("SetEnvList", own, ["A=1", "B"], True),
        ("SetEnvList", own, ["A=1"], False),
        ("UnsetEnvList", own, ["A", "B"]),
        ("ResetEnv", own),
        ("SetEnvList", [], ["A=1"], True),
        ("ResetEnv", []),
    ]
    assert sorted(command("initctl list-env --global").out.split()) == ["A=1", "a=3", "b=2"]
    assert in_job.calls[-1] == ("ListEnv", [])


def test_a_job_without_an_instance_around_an_environment_command_is_an_error(
    init: FakeInit, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upstart.initctl.commands_environment.getenv", {"UPSTART_JOB": "web"}.get)
    assert command("initctl list-env").err.startswith("initctl: missing job name\nTry ")


def test_log_priority_is_shown_or_set(init: FakeInit, command: Command) -> None:
    init.answers["log_priority"] = lambda: "message"
    assert command("initctl log-priority").out == "message\n"
    assert command("initctl log-priority info").out == ""
    assert init.calls[-1] == ("Set", "log_priority", "info")


def test_quiet_suppresses_answers(init: FakeInit, command: Command) -> None:
    init.answers["version"] = lambda: "init (upstart 1.13.2)"
    assert command("initctl version").out == "init (upstart 1.13.2)\n"
    outcome = command("initctl version --quiet")
    assert (outcome.status, outcome.out) == (0, "")


def test_unknown_commands_and_none_recommend_help(init: FakeInit, command: Command) -> None:
    hint = "Try `initctl --help' for more information.\n"
    assert command("initctl nope").err == "initctl: invalid command: nope\n" + hint
    assert command("initctl").err == "initctl: missing command\n" + hint
