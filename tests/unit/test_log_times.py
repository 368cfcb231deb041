"""When lines of logs came: what init keeps and writes down of that, and what is found again after a rotation."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base import logtimes
from upstart.base.errors import UsageError
from upstart.base.logtimes import RECORD, boot_number, index_path, note
from upstart.initctl import kernellog, logfiles
from upstart.initctl.logfiles import Line, Reader, Source
from upstart.initctl.logfollow import Follower
from upstart.initctl.logtimes import Index
from upstart.initctl.when import moment
from upstart.process.log import LogFile, LogStore

BOOT = boot_number()


class Writer:
    """Takes as much of each piece as it is told to, and has what it was given with when that came."""

    def __init__(self, at_once: int | None = None) -> None:
        self.at_once = at_once
        self.got: list[tuple[bytes, list[logtimes.Mark]]] = []
        self.waiting: list[LogFile] = []

    def submit(self, file: LogFile) -> None:
        self.waiting.append(file)

    def work(self) -> None:
        while self.waiting:
            file = self.waiting.pop(0)
            piece, marks = file.piece(), file.marks()
            count = len(piece) if self.at_once is None else min(len(piece), self.at_once)
            self.got.append((piece[:count], [mark for mark in marks if mark[0] < count]))
            file.written(count, 0)


def times_of(got: list[tuple[bytes, list[logtimes.Mark]]]) -> list[int]:
    """The time of each byte that was written."""
    found: list[int] = []
    for piece, marks in got:
        assert marks and marks[0][0] == 0
        for number in range(len(piece)):
            found.append(next(wall for offset, wall, _ in reversed(marks) if offset <= number))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in seconds of the epoch, that it is for logs."""
    now = [1000]
    monkeypatch.setattr("upstart.base.logtimes.time.time_ns", lambda: now[0] * 10**9)
    return now


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 7])
def test_every_byte_has_the_time_at_which_it_was_read(clock: list[int], at_once: int | None) -> None:
    writer = Writer(at_once)
    file = LogStore(lambda text: None, writer).file("/log")
    file.processes = 1
    expected: list[int] = []
    for number, text in enumerate((b"one\n", b"t", b"wo\nthree\n", b"four")):
        clock[0] = 1000 + number
        file.append(text)
        expected += [clock[0] * 10**6] * len(text)
        if number == 1:
            writer.work()
    writer.work()
    assert b"".join(piece for piece, _ in writer.got) == b"one\ntwo\nthree\nfour"
    assert times_of(writer.got) == expected


def test_times_are_bounded_and_what_has_none_says_so(clock: list[int]) -> None:
    writer = Writer()
    file = LogStore(lambda text: None, writer).file("/log")
    for number in range(logtimes.MARKS + 10):
        clock[0] = 1000 + number
        file.append(b"x")
    file.sent = logtimes.MARKS + 10
    times = times_of([(file.piece(), file.marks())])
    assert times[: logtimes.MARKS - 1] == [(1000 + number) * 10**6 for number in range(logtimes.MARKS - 1)]
    assert set(times[logtimes.MARKS - 1 :]) == {0}


def test_times_cross_a_re_exec(clock: list[int]) -> None:
    before = LogStore(lambda text: None, Writer())
    file = before.file("/log")
    file.append(b"one\n")
    clock[0] = 2000
    file.append(b"two\n")
    writer = Writer()
    after = LogStore(lambda text: None, writer)
    after.load(before.dump())
    after.flush_all()
    writer.work()
    assert times_of(writer.got) == [1000 * 10**6] * 4 + [2000 * 10**6] * 4


def test_what_an_earlier_version_has_saved_has_no_times() -> None:
    writer = Writer()
    store = LogStore(lambda text: None, writer)
    store.load([{"path": "/log", "data": "old\n", "dropped": 0}])
    store.flush_all()
    file = writer.waiting[0]
    assert (file.piece(), file.marks()) == (b"old\n", [])


Say = Callable[..., None]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "web.log"


@pytest.fixture
def say(log: Path) -> Say:
    """Adds to the log as init does: at a time, of this boot or with ``boot`` of another."""

    def add(text: str, at: float, boot: int = BOOT) -> None:
        size = log.stat().st_size if log.exists() else 0
        since = 0 if boot != BOOT else round((time.clock_gettime(time.CLOCK_BOOTTIME) - time.time() + at) * 1e6)
        note(str(log), size, [(0, round(at * 1e6), max(since, 0))], boot)
        with log.open("a") as file:
            file.write(text)
        os.utime(log, (at + 0.001, at + 0.001))

    return add


def shown(log: Path, since: float = 0.0, boot: bool = False) -> list[tuple[str, float | None]]:
    complaints: list[str] = []
    lines = list(Reader(str(log), Source("job", "web"), complaints.append).lines(since, boot))
    assert complaints == []
    assert [line.place for line in lines] == sorted(line.place for line in lines)
    return [(line.text, None if line.time is None else round(line.time, 1)) for line in lines]


NOW = round(time.time() - 100)


def test_lines_have_the_time_of_their_first_byte(log: Path, say: Say) -> None:
    say("one\ntw", NOW)
    say("o\r\nthree\n", NOW + 5)
    assert shown(log) == [("one", NOW), ("two", NOW), ("three", NOW + 5)]


def test_rotated_logs_are_known_again(log: Path, say: Say) -> None:
    say("a\n", NOW)
    log.rename(log.with_name("web.log.2"))
    say("b\n", NOW + 1)
    say("c\n", NOW + 2)
    # As logrotate compresses: the time of the last change stays.
    rotated = log.with_name("web.log.1.gz")
    rotated.write_bytes(gzip.compress(log.read_bytes()))
    os.utime(rotated, (log.stat().st_atime, log.stat().st_mtime))
    log.unlink()
    say("d\n", NOW + 3)
    (log.parent / "web.log.rpmsave").write_text("no log\n")
    (log.parent / "web.logger").write_text("no log\n")
    assert shown(log) == [("a", NOW), ("b", NOW + 1), ("c", NOW + 2), ("d", NOW + 3)]
    assert shown(log, since=NOW + 1.5) == [("c", NOW + 2), ("d", NOW + 3)]


def test_a_log_that_was_cut_off_begins_anew(log: Path, say: Say) -> None:
    say("a\nb\nc\n", NOW)
    log.write_text("")
    say("d\n", NOW + 1)
    assert shown(log) == [("d", NOW + 1)]


def test_what_could_not_be_written_leaves_no_time(log: Path, say: Say) -> None:
    say("a\n", NOW)
    note(str(log), 2, [(0, (NOW + 1) * 10**6, 0), (1, (NOW + 2) * 10**6, 0)], 7)
    say("b\n", NOW + 3)
    assert shown(log) == [("a", NOW), ("b", NOW + 3)]


def test_without_an_index_no_time_is_made_up(log: Path, say: Say) -> None:
    log.write_text("old\nolder\n")
    assert shown(log) == [("old", None), ("older", None)]
    say("new\n", NOW)
    assert shown(log) == [("old", None), ("older", None), ("new", NOW)]
    # What came before something that is too old is too old.
    say("newest\n", NOW + 5)
    assert shown(log, since=NOW + 1) == [("newest", NOW + 5)]
    assert shown(log, since=NOW - 1) == [("old", None), ("older", None), ("new", NOW), ("newest", NOW + 5)]


def test_an_index_of_another_log_is_not_used(log: Path, say: Say) -> None:
    say("a long line that is gone\nand another\n", NOW)
    say("more\n", NOW + 1)
    log.write_text("x\n")
    assert shown(log) == [("x", None)]


def test_of_another_boot_the_time_is_the_one_that_was_noted(log: Path, say: Say) -> None:
    say("before\n", NOW - 1000, boot=BOOT ^ 1)
    say("now\n", NOW)
    assert shown(log) == [("before", NOW - 1000), ("now", NOW)]
    assert shown(log, boot=True) == [("now", NOW)]


def test_an_index_is_bounded_and_mended(log: Path) -> None:
    for number in range(10):
        note(str(log), number, [(0, number + 1, 1)], 1, cap=4 * RECORD.size)
    index = Path(index_path(str(log)))
    assert index.stat().st_size == 2 * RECORD.size
    assert index.with_name("web.log.old").stat().st_size == 4 * RECORD.size
    assert index.stat().st_mode & 0o777 == 0o640
    with index.open("ab") as file:
        file.write(b"torn")
    note(str(log), 10, [(0, 11, 1)], 1)
    assert index.stat().st_size == 3 * RECORD.size
    assert len(Index(str(log)).of_earlier(1.0).offsets) == 7


def test_what_is_in_the_way_of_an_index_is_left_alone(log: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / ".times").mkdir()
    (tmp_path / ".times" / "web.log").symlink_to(elsewhere)
    note(str(log), 0, [(0, 1, 1)], 1)
    os.mkfifo(tmp_path / ".times" / "pipe.log")
    note(str(tmp_path / "pipe.log"), 0, [(0, 1, 1)], 1)
    assert elsewhere.read_text() == "mine"
    (tmp_path / "sub").write_text("no directory")
    note(str(tmp_path / "sub" / "x.log"), 0, [(0, 1, 1)], 1)


@given(st.lists(st.text("ab\n", max_size=9), max_size=12), st.integers(0, 8))
def test_the_last_lines_are_the_last_of_all_lines(texts: list[str], count: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "web.log"
        path.write_text("".join(texts))
        reader = Reader(str(path), Source("job", "web"), lambda text: None)
        every = [line.text for line in reader.lines()]
        assert [line.text for line in reader.last(count)] == (every[-count:] if count else [])


def test_the_last_lines_of_a_long_log_and_of_one_that_was_rotated(log: Path, say: Say) -> None:
    log.write_text("".join(f"line {number}\n" for number in range(50000)))
    reader = Reader(str(log), Source("job", "web"), lambda text: None)
    assert [line.text for line in reader.last(2)] == ["line 49998", "line 49999"]
    log.rename(log.with_name("web.log.1"))
    log.write_text("new\n")
    assert [line.text for line in reader.last(3)] == ["line 49998", "line 49999", "new"]


def test_a_file_that_cannot_be_read_is_told_of(log: Path) -> None:
    log.with_name("web.log.1.gz").write_bytes(b"no gzip")
    log.write_text("new\n")
    complaints: list[str] = []
    lines = list(Reader(str(log), Source("job", "web"), complaints.append).lines())
    assert [line.text for line in lines] == ["new"] and len(complaints) == 1 and "web.log.1.gz: " in complaints[0]


def test_names_of_logs_are_found_by_what_is_left_of_them(tmp_path: Path) -> None:
    for name in ("a.log", "b.log.1.gz", "c.log-20260101", "d.txt", "e.log.old", "net_if.log.3"):
        (tmp_path / name).touch()
    assert logfiles.names(str(tmp_path)) == ["a", "b", "c", "e", "net_if"]


def test_what_is_added_is_followed_across_rotation(log: Path, say: Say) -> None:
    say("before\n", NOW)
    follower = Follower([Reader(str(log), Source("job", "web"), lambda text: None)])

    def new() -> list[tuple[str, float | None]]:
        return [(line.text, None if line.time is None else round(line.time, 1)) for line in follower.lines()]

    assert new() == []
    say("one\ntw", NOW + 1)
    assert new() == [("one", NOW + 1)]
    say("o\n", NOW + 2)
    log.rename(log.with_name("web.log.1"))
    say("three\n", NOW + 3)
    assert [text for text, _ in new()] == ["two", "three"]
    log.write_text("")
    assert new() == []
    say("four\n", NOW + 4)
    assert new() == [("four", NOW + 4)]


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("2026-03-01", (2026, 3, 1, 0, 0, 0)), ("2026-03-01 16:05", (2026, 3, 1, 16, 5, 0)),
        ("2026-03-01T16:05:07", (2026, 3, 1, 16, 5, 7)), ("16:05", (2026, 3, 10, 16, 5, 0)),
        ("today", (2026, 3, 10, 0, 0, 0)), ("yesterday", (2026, 3, 9, 0, 0, 0)),
        ("yesterday 8:30", (2026, 3, 9, 8, 30, 0)), ("now", (2026, 3, 10, 12, 0, 0)),
        ("10min", (2026, 3, 10, 11, 50, 0)), ("-2h", (2026, 3, 10, 10, 0, 0)),
        ("1h 30 minutes ago", (2026, 3, 10, 10, 30, 0)), ("2days", (2026, 3, 8, 12, 0, 0)),
    ],
)  # fmt: skip
def test_moments_as_people_write_them(text: str, local: tuple[int, ...]) -> None:
    now = time.mktime((2026, 3, 10, 12, 0, 0, 0, 0, -1))
    assert time.localtime(moment(text, now))[:6] == local
    assert moment("@12.5") == 12.5


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "25:00", "5", "10 lightyears", "2026-03-01 noon", "-"])
def test_what_is_no_moment_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"^not a time: "):
        moment(text)


def test_records_of_the_kernel() -> None:
    def parsed(record: str) -> tuple[str, str, float]:
        line = kernellog.parse(record, 100.0)
        assert isinstance(line, Line)
        return line.source.label, line.text, line.time or 0.0

    assert parsed("6,339,5140900,-;NET: a\\x5cb\n SUBSYSTEM=net\n") == ("kernel", "NET: a\\b", 105.1409)
    assert parsed("12,1,0,-;init: web main process (7) killed\n") == ("init", "web main process (7) killed", 100.0)
    assert parsed("6,1,0,-;init: not from a program\n")[0] == "kernel"
    assert parsed("14,1,0,-;caf\\xc3\\xa9\n")[1] == "café"
    assert kernellog.parse("nonsense", 0.0) is None
