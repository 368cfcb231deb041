"""What upstart-monitor shows, without an init and without a window: rows, filters, bounds, texts, options."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.client.history import History
from upstart.client.signals import EventEmitted, Failed, GoalChanged, InstanceRemoved, JobAdded, Signal, StateChanged
from upstart.client.status import Status
from upstart.monitor import main, past, places, related, words
from upstart.monitor.rows import EVENT, FAILED, STATE, Change, Filter, Row, Rows, Shown
from upstart.monitor.story import Story

ROOT = Path(__file__).resolve().parents[2]
TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=30)
ROWS = st.builds(Row, st.floats(0, 4e9), st.sampled_from([EVENT, STATE, FAILED]), TEXTS, TEXTS, st.lists(TEXTS))


def event(name: str, *env: str, time: float = 0.0) -> Row:
    return Row(time, EVENT, name, "", env)


class TestRows:
    @given(st.lists(ROWS, max_size=20))
    def test_come_back_as_they_were(self, given: list[Row]) -> None:
        rows = Rows()
        numbers = [rows.add(row) for row in given]
        assert numbers == list(range(1, len(given) + 1))
        # A row without variables, and one whose only one is empty, are told apart by what follows its name.
        assert [rows.row(number) for number in numbers] == given

    @given(st.integers(1, 40), st.integers(1, 2000), st.lists(st.integers(0, 300), max_size=120))
    def test_are_bounded_and_the_oldest_go(self, most: int, most_bytes: int, sizes: list[int]) -> None:
        rows = Rows(most, most_bytes)
        for count, size in enumerate(sizes, 1):
            assert rows.add(event(f"{count}", "x" * size)) == count
            assert rows.next == count + 1 and rows.first <= count
            assert rows.next - rows.first <= most
            kept = [rows.row(number) for number in range(rows.first, rows.next)]
            assert [row.name for row in kept] == [str(number) for number in range(rows.first, rows.next)]
            assert len(kept) == 1 or sum(len(row.env[0]) for row in kept) <= most_bytes

    def test_that_are_forgotten_are_not_there(self) -> None:
        rows = Rows(most=4)
        for count in range(9):
            rows.add(event(str(count)))
        assert rows.first > 1
        with pytest.raises(IndexError):
            rows.row(rows.first - 1)
        with pytest.raises(IndexError):
            rows.row(rows.next)
        rows.clear()
        assert rows.first == rows.next == 10 and rows.add(event("x")) == 10


class TestFilter:
    @pytest.mark.parametrize(
        ("filter", "wanted"),
        [
            (Filter(), ["net-up", "net-down", "mounted"]),
            (Filter([STATE, FAILED]), ["web"]),
            (Filter([EVENT, STATE]), ["net-up", "net-down", "mounted", "web"]),
            (Filter([]), []),
            (Filter(events=["net-*"]), ["net-up", "net-down"]),
            (Filter(events=["net-up", "m?unted"]), ["net-up", "mounted"]),
            (Filter([EVENT, STATE], events=["none"]), ["web"]),
            (Filter(variables=[("IFACE", "eth*")]), ["net-up"]),
            (Filter(variables=[("IFACE", "*"), ("FAST", "")]), ["net-down"]),
            (Filter(variables=[("FACE", "*")]), []),
            (Filter([EVENT, STATE], words=["NET"]), ["net-up", "net-down"]),
            (Filter([EVENT, STATE], words=["we"]), ["web"]),
            (Filter([EVENT, STATE], words=["eight"]), ["web"]),
            (Filter([EVENT, STATE], words=["*e*"]), ["net-up", "net-down", "mounted", "web"]),
            (Filter([EVENT, STATE], words=["net", "IFACE=lo"]), ["net-down"]),
            (Filter([EVENT, STATE], words=["IFACE="]), ["net-up", "net-down"]),
        ],
    )
    def test_lets_through_what_is_wanted(self, filter: Filter, wanted: list[str]) -> None:
        rows = [
            event("net-up", "IFACE=eth0"),
            event("net-down", "IFACE=lo", "FAST="),
            event("mounted", "MOUNTPOINT=/a=b"),
            Row(0, STATE, "web", "eighty", ["start", "running"]),
        ]
        assert [row.name for row in rows if filter.wants(row)] == wanted


class TestShown:
    @given(
        st.integers(3, 30),
        st.lists(
            st.one_of(
                st.tuples(st.just("add"), st.integers(0, 3)),
                st.tuples(st.just("look"), st.integers(1, 7)),
                st.tuples(st.just("filter"), st.integers(0, 3)),
                st.tuples(st.just("clear"), st.just(0)),
            ),
            max_size=80,
        ),
    )
    def test_changes_say_how_the_list_became_what_it_is(self, most: int, steps: list[tuple[str, int]]) -> None:
        rows = Rows(most)
        shown = Shown(rows, Filter())
        pattern = "*"
        seen: list[int] = []

        def apply(change: Change | None) -> None:
            if change is not None:
                fresh = [shown.number(change.position + at) for at in range(change.added)]
                seen[change.position : change.position + change.removed] = fresh

        for what, number in steps:
            if what == "add":
                rows.add(event(f"e{number}"))
                apply(shown.forgotten())
            elif what == "look":
                apply(shown.look(number))
            elif what == "filter":
                pattern = f"e{number}" if number else "*"
                apply(shown.begin(Filter(events=[pattern])))
            else:
                rows.clear()
                apply(shown.forgotten())
            assert seen == [shown.number(position) for position in range(len(shown))]
            assert all(rows.first <= each < rows.next for each in seen)
        apply(shown.look(1000))
        wanted = Filter(events=[pattern])
        assert seen == [each for each in range(rows.first, rows.next) if wanted.wants(rows.row(each))]

    def test_nothing_is_looked_at_beyond_a_pause(self) -> None:
        rows = Rows()
        shown = Shown(rows, Filter())
        for count in range(5):
            rows.add(event(str(count)))
        assert shown.look(100, until=4) == Change(0, 0, 3)
        assert shown.look(100, until=4) is None
        assert shown.look(100) == Change(3, 0, 2)

    def test_a_text_is_found_in_either_direction_and_around_the_end(self) -> None:
        rows = Rows()
        shown = Shown(rows, Filter())
        for name, value in (("a", "NEEDLE"), ("b", "x"), ("Needle", "y"), ("d", "z")):
            rows.add(event(name, f"K={value}"))
        shown.look(10)
        assert shown.find("needle", 0, True, 10)[0] == 0
        assert shown.find("needle", 1, True, 10)[0] == 2
        assert shown.find("needle", 3, True, 10)[0] == 0
        assert shown.find("needle", 1, False, 10)[0] == 0
        assert shown.find("needle", -1, False, 10)[0] == 2
        assert shown.find("nothing", 0, True, 10)[0] is None
        assert shown.find("needle", 1, True, 1) == (None, 2)


class TestWords:
    def test_a_line_is_as_that_of_the_original(self) -> None:
        row = event("net-up", "IFACE=eth0", "EMPTY=", "PATH=/a b", time=0.5)
        assert words.line(row).partition("\t")[2] == "net-up IFACE='eth0' EMPTY='' PATH='/a b'"
        assert words.line(event("startup"), " | ").partition(" | ")[2] == "startup"

    @given(TEXTS)
    def test_any_value_is_one_line_that_a_shell_reads_back(self, value: str) -> None:
        text = words.quoted(value)
        assert text.isprintable()
        if value.isprintable() and "'" not in value:
            assert text == f"'{value}'" and shlex.split(text) == [value]

    def test_odd_values_are_read_back_by_bash(self) -> None:
        values = ["it's", "a\nb", "\x1b[31m", "back\\slash'", "\x01", "\u2028", "\U000e0001", "é'"]
        script = "printf '%s\\0' " + " ".join(map(words.quoted, values))
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
        assert done.stdout.decode().split("\0")[:-1] == values

    @given(ROWS.filter(lambda row: row.kind == EVENT))
    def test_any_event_is_one_line_and_one_object(self, row: Row) -> None:
        assert words.line(row).replace("\t", "").isprintable()
        assert "\n" not in words.document(row)
        found = json.loads(words.document(row))
        assert found["event"] == row.name
        assert found["variables"] == {
            key: value if equals else None for key, equals, value in (word.partition("=") for word in row.env)
        }

    def test_states_are_as_initctl_has_them(self) -> None:
        row = Row(0, STATE, "web", "one", ["start", "running"])
        assert words.line(row).partition("\t")[2] == "web (one) start/running"
        found = json.loads(words.document(row))
        assert [found[key] for key in ("kind", "job", "instance", "goal", "state")] == [
            "state", "web", "one", "start", "running"
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("status", "text"),
        [
            (1, "failed with status 1"), (0, "failed"), (15 << 8, "failed, killed by TERM signal"),
            (-1, "failed to run"), (0x80 << 8, "failed, killed by 0 signal"),
        ],
    )  # fmt: skip
    def test_failures_are_told(self, status: int, text: str) -> None:
        assert words.failure(status) == text
        assert json.loads(words.document(Row(0, FAILED, "web", "", [str(status)])))["status"] == status

    def test_times_have_microseconds_and_an_offset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert words.moment(1.25)[-7:] == ".250000"
        text = words.instant(1.25)
        assert text[-6] in "+-" and text[-3] == ":" and ".250000" in text


class TestStory:
    def test_states_have_the_goal_that_belongs_to_them(self) -> None:
        story = Story()
        path, other = "/com/ubuntu/Upstart/jobs/web/_", "/com/ubuntu/Upstart/jobs/a_2db/x"
        story.begin([Status("a-b", "x", "stop", "killed"), Status("idle")])
        told: list[Signal] = [
            GoalChanged(path, "start"), StateChanged(path, "starting"), StateChanged(other, "waiting"),
            Failed(path, 256), GoalChanged(path, "stop"), StateChanged(path, "stopping"),
            InstanceRemoved("/com/ubuntu/Upstart/jobs/web", path), EventEmitted("/com/ubuntu/Upstart", "go", ["A=1"]),
            JobAdded("/com/ubuntu/Upstart", path), StateChanged("/nowhere", "running"),
        ]  # fmt: skip
        rows = [row for row in (story.take(signal, 1.0) for signal in told) if row is not None]
        assert rows == [
            Row(1.0, STATE, "web", "", ["start", "starting"]),
            Row(1.0, STATE, "a-b", "x", ["stop", "waiting"]),
            Row(1.0, FAILED, "web", "", ["256"]),
            Row(1.0, STATE, "web", "", ["stop", "stopping"]),
            Row(1.0, EVENT, "go", "", ["A=1"]),
        ]
        assert set(story.states) == {("a-b", "x")}


@pytest.mark.parametrize(
    ("env", "tests", "answer"),
    [
        (["A=1", "B=2"], [], related.YES),
        (["A=1", "B=2"], ["A=1"], related.YES),
        (["A=1", "B=2"], ["B=[0-9]", "A!=2"], related.YES),
        (["A=1", "B=2"], ["1", "2"], related.YES),
        (["A=1", "B=2"], ["2"], related.NO),
        (["A=1"], ["C=*"], related.NO),
        (["A=1"], ["1", "2"], related.NO),
        (["A=1", "B=2", "C=3"], ["B=2", "3"], related.YES),
        (["A=1", "B=2", "C=3"], ["B=2", "2"], related.NO),
        (["A=1"], ["A!=1"], related.NO),
        (["A=1"], ["A=$MINE"], related.UNSURE),
        (["A=1"], ["A=$MINE", "A=2"], related.NO),
    ],
)
def test_whether_an_event_is_what_a_job_waits_for(env: list[str], tests: list[str], answer: str) -> None:
    assert related.fits(env, tests) == answer


def test_jobs_that_an_event_concerns_come_first() -> None:
    leaves = [
        ("late", True, "net-up", ["IFACE=lo"]), ("web", False, "net-*", []), ("db", True, "net-up", ["IFACE=$X"]),
        ("other", True, "mounted", []), ("app", True, "net-up", ["eth0"]),
    ]  # fmt: skip
    statuses = [Status("app", "1", "start", "running"), Status("web")]
    found = related.mentions(event("net-up", "IFACE=eth0"), leaves, statuses)
    assert [(each.job, each.fits, each.states) for each in found] == [
        ("app", related.YES, ["start/running (1)"]),
        ("web", related.YES, ["stop/waiting"]),
        ("db", related.UNSURE, []),
        ("late", related.NO, []),
    ]
    assert found[2].condition() == "net-up IFACE=$X"


def remembered(*entries: list[Any]) -> History:
    """A history whose clock is 1,000 seconds before the time of day, 100 of which the machine has slept."""
    history = History()
    history.entries = list(enumerate(entries))
    history.suspended, history.wall = 100.0, 900.0
    return history


WEB, DB = [None, "web", ""], [None, "db", "one"]


class TestPast:
    def test_an_event_is_told_with_who_emitted_it_and_what_it_did(self) -> None:
        history = remembered(
            [1.0, "event", 1, "startup", {}, None],
            [2.0, "event", 7, "net-up", {"IFACE": "eth0"}, ["client", 0, 42, "initctl", "bash", None]],
            [2.1, "goal", WEB, "start", [7]],
            [2.1, "goal", DB, "stop", [7, 1]],
            [2.2, "half", [None, "late", None], "start", 7],
            [2.3, "state", WEB, "running"],
            [2.4, "freed", DB, 7],
            [4.0, "done", 7, True],
            [9.0, "event", 8, "net-up", {"IFACE": "eth0"}, None],
        )
        row = event("net-up", "IFACE=eth0", time=1004.01)
        assert past.parts(history, row) == [
            ("Event", [
                ("Emitted by", "initctl (pid 42, root), called by bash"),
                ("Finished", "after 2.0 s, and something failed over it"),
            ]),
            ("What it started and stopped", [("web", "Started"), ("db (one)", "Stopped")]),
            ("What it was held by", [
                ("web", "Until it had come to rest"), ("db (one)", "Until it had come to rest"),
                ("late", "It is a part of start on, which waits for more"), ("db (one)", "Waits for it no longer"),
            ]),
        ]  # fmt: skip
        row.time = 1009.0
        assert past.parts(history, row)[0][1][1] == ("Finished", "at once: nothing waited for it")
        assert past.parts(history, event("net-up", "IFACE=lo", time=1009.0)) == []
        assert past.parts(history, event("net-up", "IFACE=eth0", time=2000.0)) == []

    def test_variables_that_the_history_keeps_to_itself_do_not_matter(self) -> None:
        history = remembered([2.0, "event", 7, "go", {"SECRET": None, "LONG": "abc...", "A": "1"}, ["fifo"]])
        row = event("go", "SECRET=x", "LONG=abcdef", "A=1", time=1002.0)
        assert past.parts(history, row)[0][1][0] == ("Emitted by", "whoever wrote it to /run/upstart/events")

    @pytest.mark.parametrize(
        ("why", "text"),
        [
            (None, "By init itself"), ([3], "By go A=1"), ([3, 99], "By go A=1 and others that are forgotten"),
            ("respawn", "To begin anew"),
            (["client", 1000, 0, "", "", WEB], "On request of a process (uid 1000), of the job web"),
        ],
    )  # fmt: skip
    def test_a_job_s_goal_has_its_cause(self, why: object, text: str) -> None:
        history = remembered(
            [1.0, "event", 3, "go", {"A": "1", "B": None}, None],
            [1.5, "goal", WEB, "stop", None], [2.0, "goal", WEB, "start", why], [8.0, "goal", WEB, "stop", None],
        )  # fmt: skip
        assert past.parts(history, Row(1002.1, STATE, "web", "", ["start", "running"])) == [
            ("Why", [("Goal start", text)])
        ]
        assert past.parts(history, Row(1000.0, STATE, "web", "", ["start", "running"])) == []


class TestOptions:
    @pytest.mark.parametrize(
        "words", [["--destination", "moon"], ["--variable", "X"], ["-v", "=x"], ["--nothing"], ["--states=1"]]
    )
    def test_what_is_wrong_is_an_error(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main.options(["upstart-monitor", *words])
        assert ended.value.code == 2 and "usage: upstart-monitor" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "display", "wanted"),
        [
            ([], {"DISPLAY": ":0"}, True), ([], {"WAYLAND_DISPLAY": "w"}, True), ([], {}, False),
            ([], {"DISPLAY": ""}, False), (["-n"], {"DISPLAY": ":0"}, False), (["--json"], {"DISPLAY": ":0"}, False),
            (["-s", ","], {"DISPLAY": ":0"}, True),
        ],
    )  # fmt: skip
    def test_a_window_is_for_who_has_a_display(
        self, words: list[str], display: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in display.items():
            monkeypatch.setenv(name, value)
        assert main.window_wanted(main.options(["upstart-monitor", *words])) is wanted

    def test_the_default_place_is_the_session_then_the_bus_then_the_socket(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("UPSTART_SESSION", "unix:abstract=/x")
        assert places.default() == "session-socket" and places.Place("session-socket").address == "unix:abstract=/x"
        monkeypatch.delenv("UPSTART_SESSION")
        monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
        monkeypatch.setattr(places, "SYSTEM_BUS", str(tmp_path / "none"))
        assert places.default() == "system-socket"
        monkeypatch.setattr(places, "SYSTEM_BUS", str(tmp_path))
        assert places.default() == "system-bus" and places.Place("system-bus").bus == "system"
        with pytest.raises(KeyError):
            places.Place("session-socket")

    def test_a_session_that_is_not_there_is_told(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("UPSTART_SESSION", raising=False)
        assert main.main(["upstart-monitor", "-n", "-d", "session-socket"]) == 1
        assert capsys.readouterr().err == "upstart-monitor: There is no session: UPSTART_SESSION is not set\n"


def test_the_command_line_loads_nothing_of_a_window() -> None:
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'src')!r}]\nimport upstart.monitor.main, upstart.monitor.console\n"
        "print([name for name in sys.modules if name.endswith(('.Gtk', '.Gdk', '.Adw'))])"
    )
    pytest.importorskip("gi")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("tool", ["desktop-file-validate", "appstreamcli"])
def test_what_a_desktop_is_told_is_valid(tool: str) -> None:
    import shutil

    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    name = ROOT / "etc" / "monitor" / "com.ubuntu.Upstart.Monitor"
    command: dict[str, list[Any]] = {
        "desktop-file-validate": [tool, f"{name}.desktop"],
        "appstreamcli": [tool, "validate", "--no-net", "--explain", f"{name}.metainfo.xml"],
    }
    done = subprocess.run(command[tool], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
