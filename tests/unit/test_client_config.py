"""show-config and check-config say of conditions what the original says."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base import names
from upstart.base.errors import ClientError, DBusError
from upstart.base.names import UNKNOWN_METHOD
from upstart.client.connection import Connection
from upstart.client.init import Init
from upstart.initctl.commands_config import Checker
from upstart.initctl.context import Context
from upstart.initctl.main import run

Items = list[list[str]]
Jobs = dict[str, tuple[list[str], Items, Items]]


class FakeInit:
    """Jobs by name: what they emit, their start on and stop on, in reverse Polish notation.

    ``errors`` are what is wrong with files; None has the init be an original, which does not tell.
    """

    def __init__(self, jobs: Jobs, errors: list[str] | None = None) -> None:
        self.jobs = jobs
        self.errors = errors

    def call(self, path: str, interface: str, method: str, signature: str = "", *args: Any, returns: str) -> Any:
        if method == "GetAllJobs":
            return ([f"/job/{name}" for name in self.jobs],)
        if method == "ConfigurationErrors":
            if self.errors is None:
                raise DBusError(UNKNOWN_METHOD, "no such method")
            return (self.errors,)
        if args[0] not in self.jobs:
            raise DBusError(names.MANAGER + ".Error.UnknownJob", f"Unknown job: {args[0]}")
        return (f"/job/{args[0]}",)

    def get_property(self, path: str, interface: str, name: str) -> Any:
        job = path.removeprefix("/job/")
        if job == "gone":
            raise DBusError(UNKNOWN_METHOD, "gone")
        return self.jobs[job][("emits", "start_on", "stop_on").index(name)]

    def get_string(self, path: str, interface: str, name: str) -> str:
        return path.removeprefix("/job/")


def rpn(text: str) -> Items:
    """"a X=1, b, and" as init gives it."""
    words = [item.split() for item in text.split(",") if item.strip()]
    return [["/" + item[0].upper()] if item[0] in ("and", "or") else item for item in words]


JOBS: Jobs = {
    "alpha": (["foo", "*-bar"], rpn("a, b, and, c X=1 Y!=2, or"), rpn("stopped beta RESULT=ok")),
    "beta": ([], rpn("started alpha"), rpn("runlevel [016]")),
    "gamma": ([], rpn("foo, zed, x-bar, or, and"), rpn("starting JOB=nope, stopping $JOB, or")),
    "idle": ([], [], []),
}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    def carry_out(
        *words: str, jobs: Jobs = JOBS, errors: list[str] | None = None
    ) -> tuple[int, list[str], str]:
        monkeypatch.setattr(Context, "open", lambda self: Init(cast(Connection, FakeInit(jobs, errors))))
        status = run(["initctl", *words])
        captured = capfd.readouterr()
        return status, captured.out.splitlines(), captured.err

    return carry_out


def test_conditions_are_shown_with_parentheses(ask: Any) -> None:
    assert ask("show-config", "alpha")[1] == [
        "alpha",
        "  emits foo",
        "  emits *-bar",
        "  start on ((a and b) or c X=1 Y!=2)",
        "  stop on stopped beta RESULT=ok",
    ]
    assert ask("show-config", "idle")[1] == ["idle"]


def test_without_a_name_all_jobs_are_shown(ask: Any) -> None:
    _, lines, _ = ask("show-config")
    assert [line for line in lines if not line.startswith(" ")] == list(JOBS)


def test_enumerated_conditions_tell_jobs_from_environments(ask: Any) -> None:
    assert ask("show-config", "-e", "alpha")[1][3:] == [
        "  start on a (job:, env:)",
        "  start on b (job:, env:)",
        "  start on c (job:, env: X=1 Y!=2)",
        "  stop on stopped (job: beta, env: RESULT=ok)",
    ]
    jobs: Jobs = {"x": ([], rpn("started A=1 JOB=web B=2, other web"), rpn("stopping A=1 web"))}
    assert ask("show-config", "--enumerate", jobs=jobs)[1][1:] == [
        "  start on started (job: web, env: A=1 B=2)",
        "  start on other (job:, env: web)",
        "  stop on stopping (job:, env: A=1 web)",
    ]


def test_an_unknown_job_is_an_error(ask: Any) -> None:
    assert ask("show-config", "nope") == (1, [], "initctl: Unknown job: nope\n")


def test_a_job_that_vanishes_is_told(ask: Any) -> None:
    status, lines, err = ask("show-config", jobs={"gone": ([], [], [])})
    assert (status, lines, err) == (0, ["gone"], "initctl: gone\n")


def test_a_condition_that_can_come_true_is_not_told(ask: Any) -> None:
    assert ask("check-config", "gamma") == (0, [], "")


def test_an_alternative_makes_up_for_an_unknown_event_unless_warnings_are_wanted(ask: Any) -> None:
    jobs: Jobs = {"x": (["foo"], rpn("foo, nope, or"), [])}
    assert ask("check-config", jobs=jobs) == (0, [], "")
    assert ask("check-config", "-w", jobs=jobs) == (1, ["x", "  start on: unknown event nope"], "")


def test_files_with_errors_are_told_first(ask: Any) -> None:
    jobs: Jobs = {"x": ([], rpn("nope"), []), "y": ([], [], [])}
    errors = ["/etc/init/bad.conf:2: Unknown stanza", "/etc/init/y.override:1: Expected token"]
    complaint = ["x", "  start on: unknown event nope"]
    assert ask("check-config", jobs=jobs, errors=errors) == (1, [*errors, *complaint], "")
    assert ask("check-config", "x", jobs=jobs, errors=errors) == (1, complaint, "")
    assert ask("check-config", "y", jobs=jobs, errors=errors) == (1, errors[1:], "")
    assert ask("check-config", "y", jobs=jobs, errors=errors[:1]) == (0, [], "")


def test_both_operands_are_told_the_last_first(ask: Any) -> None:
    jobs: Jobs = {"x": ([], rpn("one, started two, and"), rpn("three"))}
    assert ask("check-config", jobs=jobs) == (
        1,
        [
            "x",
            "  start on: unknown job two",
            "  start on: unknown event one",
            "  stop on: unknown event three",
        ],
        "",
    )


def test_a_pattern_stands_for_the_jobs_that_it_matches(ask: Any) -> None:
    jobs: Jobs = {"x": ([], rpn("starting a-*-b"), []), "a-1-b": ([], [], [])}
    assert ask("check-config", jobs=jobs) == (0, [], "")
    assert ask("check-config", jobs={"x": jobs["x"]}) == (1, ["x", "  start on: unknown job a-*-b"], "")


def test_an_impossible_part_of_a_possible_condition_is_told(ask: Any) -> None:
    jobs: Jobs = {"x": (["ok"], rpn("one, two, and, ok, or"), [])}
    assert ask("check-config", jobs=jobs)[1] == ["x", "  start on: unknown event two", "  start on: unknown event one"]


def test_events_to_ignore(ask: Any) -> None:
    jobs: Jobs = {"x": ([], rpn("one, two, and"), rpn("three"))}
    assert ask("check-config", "-i", "one,,two", "--ignore-events=three", jobs=jobs) == (0, [], "")


@pytest.mark.parametrize("event", ["startup", "control-alt-delete", "keyboard-request", "power-status-changed"])
def test_events_of_init_itself_are_known(ask: Any, event: str) -> None:
    assert ask("check-config", jobs={"x": ([], [[event]], [])})[0] == 0


def test_session_end_is_known_to_a_session_only() -> None:
    for user in (True, False):
        checker = Checker([], user, False)
        checker.jobs["x"] = []
        assert bool(checker.complaints("stop on", [["session-end"]])) is not user


def test_a_job_named_by_a_variable_is_not_looked_for(ask: Any) -> None:
    assert ask("check-config", jobs={"x": ([], rpn("started $OTHER"), [])})[0] == 0


def test_one_job_may_be_chosen_and_must_exist(ask: Any) -> None:
    jobs: Jobs = {"x": ([], rpn("one"), []), "y": ([], rpn("two"), [])}
    assert ask("check-config", "y", jobs=jobs)[1] == ["y", "  start on: unknown event two"]
    assert ask("check-config", "z", jobs=jobs) == (1, [], "initctl: Invalid job class: z\n")


def test_jobs_come_in_the_order_of_the_originals_table(ask: Any) -> None:
    jobs: Jobs = {name: ([], rpn("nope"), []) for name in ("plain", "task", "multi", "cond", "cond2", "fine")}
    _, lines, _ = ask("check-config", jobs=jobs)
    assert [line for line in lines if not line.startswith(" ")] == ORDER


ORDER = ["cond", "plain", "fine", "cond2", "task", "multi"]


def test_that_init_cannot_be_asked_is_told_but_no_failure(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Context) -> None:
        raise ClientError("Unable to connect to Upstart: no")

    monkeypatch.setattr(Context, "open", refuse)
    assert run(["initctl", "check-config"]) == 0
    assert capfd.readouterr().err == "initctl: Unable to connect to Upstart: no\n"


def _flat(tree: Any) -> Items:
    if isinstance(tree, str):
        return [[tree]]
    operator, left, right = tree
    return [*_flat(left), *_flat(right), [operator]]


OPERATORS = st.sampled_from(["/AND", "/OR"])
TREES = st.recursive(st.sampled_from(["yes", "no"]), lambda inner: st.tuples(OPERATORS, inner, inner), max_leaves=8)


@given(TREES)
def test_a_condition_is_possible_exactly_if_its_events_allow_it(tree: Any) -> None:
    def possible(part: Any) -> bool:
        if isinstance(part, str):
            return part == "yes"
        operator, left, right = part
        return (possible(left) and possible(right)) if operator == "/AND" else (possible(left) or possible(right))

    checker = Checker(["yes"], user=False, warn=False)
    assert checker.tree(_flat(tree)).possible == possible(tree)
    strict = Checker(["yes"], user=False, warn=True).tree(_flat(tree))
    assert strict.possible == all(leaf.unknown_event is None for leaf in strict.leaves())
