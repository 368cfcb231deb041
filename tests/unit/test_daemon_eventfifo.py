"""The FIFO of events: what a line means, how lines come together, and what becomes of them."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base.loop import Loop
from upstart.conf.eventline import LONGEST, parse_event
from upstart.conf.parse import parse_job
from upstart.daemon import eventfifo
from upstart.daemon.eventfifo import EventFifo
from upstart.engine.engine import Engine


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"static-network-up", ("static-network-up", {})),
        (b" net-device-up\tIFACE=lo  METHOD= ", ("net-device-up", {"IFACE": "lo", "METHOD": ""})),
        (b"a B='two words' C=\"it's\" D=x'y z'", ("a", {"B": "two words", "C": "it's", "D": "xy z"})),
        (b"a B='#' C=d=e B=f", ("a", {"B": "f", "C": "d=e"})),
        (b"a B=x\\\\y C='x\\\\y'", ("a", {"B": "x\\y", "C": "x\\y"})),
        ("Grün Ö=ß".encode(), ("Grün", {"Ö": "ß"})),
    ],
)
def test_a_line_is_an_event(line: bytes, event: tuple[str, dict[str, str]]) -> None:
    assert parse_event(line) == event


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a b", "'b' is not KEY=VALUE"),
        (b"a =b", "'=b' is not KEY=VALUE"),
        (b"a b=c#d", "# has to stand in quotes"),
        (b"# a comment", "# has to stand in quotes"),
        (b"a b='c", "Unterminated quoted string"),
        (b"a b=\\", "Trailing slash"),
        (b"a b=\xff", "not UTF-8"),
        (b"a b=\0", "NUL"),
        (b"", "no name"),
        (b"'' a=b", "Expected token"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_event(line)


@given(st.lists(st.text(st.characters(blacklist_characters="'\\\n\r\0", blacklist_categories=["Cs"])), max_size=5))
def test_a_value_in_single_quotes_is_what_it_was(values: list[str]) -> None:
    line = " ".join(["event", *(f"V{at}='{value}'" for at, value in enumerate(values))])
    assert parse_event(line.encode()) == ("event", {f"V{at}": value for at, value in enumerate(values)})


@given(st.binary(max_size=100))
def test_any_bytes_are_an_event_or_refused(line: bytes) -> None:
    try:
        name, env = parse_event(line)
    except ValueError:
        return
    assert name and all(env)


class Listening:
    """A FIFO, an engine with a job for each event, and a loop that runs both."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = Loop()
        self.engine = Engine(time.monotonic)
        self.said: list[str] = []
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.loop.each_turn = self._settle
        self.fifo = EventFifo(self.loop, str(path), self.engine, lambda priority, text: self.said.append(text))

    def _settle(self) -> bool:
        for event in sorted(self.engine.events.values(), key=lambda event: event.serial):
            if event.progress == "pending":
                self.heard.append((event.name, event.env))
        self.engine.run()
        self.engine.take_effects()
        return False

    def turns(self, count: int = 10) -> None:
        for _ in range(count):
            self.loop.turn(0)


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    listening = Listening(tmp_path / "upstart" / "events")
    listening.fifo.open()
    yield listening
    listening.fifo.close()
    listening.loop.close()


def write(path: Path, *pieces: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    for piece in pieces:
        assert os.write(fd, piece) == len(piece)
    os.close(fd)


def test_it_is_root_s_alone_in_a_directory_that_others_may_look_into(listening: Listening) -> None:
    assert listening.path.is_fifo() and stat.S_IMODE(listening.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(listening.path.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize("kind", ["file", "link", "open to all", "socket"])
def test_what_else_has_its_name_makes_way_for_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "upstart" / "events"
    path.parent.mkdir(mode=0o777)
    path.parent.chmod(0o777)
    victim = tmp_path / "victim"
    if kind == "file":
        path.write_text("text")
    elif kind == "link":
        path.symlink_to(victim)
    elif kind == "open to all":
        os.mkfifo(path)
        path.chmod(0o666)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    listening = Listening(path)
    listening.fifo.open()
    assert stat.S_ISFIFO(path.lstat().st_mode) and stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert not victim.exists()
    listening.fifo.close()
    listening.loop.close()


def test_its_directory_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "upstart").symlink_to("elsewhere")
    listening = Listening(tmp_path / "upstart" / "events")
    with pytest.raises(OSError):
        listening.fifo.open()
    assert not list((tmp_path / "elsewhere").iterdir())
    listening.loop.close()


def test_lines_come_together_however_they_are_written(listening: Listening) -> None:
    write(listening.path, b"one A=1\ntwo B='2", b" 3'\n\n  \nthr")
    listening.turns()
    assert listening.heard == [("one", {"A": "1"}), ("two", {"B": "2 3"})]
    write(listening.path, b"ee\n")
    listening.turns()
    assert listening.heard[2:] == [("three", {})]


def test_a_line_may_be_as_long_as_the_pipe_keeps_together_and_no_longer(listening: Listening) -> None:
    longest = b"longest A=".ljust(LONGEST - 1, b"x") + b"\n"
    for line in (longest, b"long" + longest, b"longer A=" + b"y" * 60000 + b"\n", b"last\n"):
        write(listening.path, line)
        listening.turns(20)
    assert [name for name, _ in listening.heard] == ["longest", "last"]
    assert len(listening.said) == 1 and "Dropped 'longlongest A=xx" in listening.said[0]
    assert "too long" in listening.said[0] and len(listening.said[0]) < 250


def test_a_flood_of_nonsense_says_little(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(eventfifo, "time", SimpleNamespace(monotonic=lambda: now[0]))
    write(listening.path, b"a b\n" * 1000 + b"good\n")
    listening.turns(50)
    assert len(listening.said) == 1 and listening.heard == [("good", {})]
    now[0] += eventfifo.LOG_SECONDS
    write(listening.path, b"a b\n")
    listening.turns()
    assert listening.said[1].endswith("; 999 others since the last such message")


def test_a_turn_takes_few_lines_and_none_is_lost(listening: Listening) -> None:
    lines = [b"event N=%d\n" % number for number in range(2000)]
    write(listening.path, b"".join(lines))
    before = 0
    while len(listening.heard) < len(lines):
        listening.loop.turn(0)
        assert len(listening.heard) - before <= eventfifo.LINES
        before = len(listening.heard)
    assert [env["N"] for _, env in listening.heard] == [str(number) for number in range(2000)]


def test_what_there_is_no_room_for_stays_in_the_fifo(listening: Listening) -> None:
    for number in range(eventfifo.ROOM + 50):
        job = parse_job(f"job{number}", f"start on event N={number} and never\nexec true\n", "x")
        listening.engine.define(job)
    lines = [b"event N=%d\n" % number for number in range(eventfifo.ROOM + 50)]
    write(listening.path, b"".join(lines), b"never\n")
    listening.turns(200)
    assert len(listening.heard) == eventfifo.ROOM
    # It does not keep the loop from waiting.
    began = time.monotonic()
    listening.loop.turn(0.05)
    assert time.monotonic() - began > 0.04
    for number in range(eventfifo.ROOM + 50):
        listening.engine.undefine(None, f"job{number}")
    listening.turns(300)
    assert [name for name, _ in listening.heard[-51:]] == ["event"] * 50 + ["never"]


def test_a_re_exec_loses_nothing_of_it(listening: Listening, tmp_path: Path) -> None:
    write(listening.path, b"one\n" * 100 + b"torn A=")
    listening.loop.turn(0)
    write(listening.path, b"1\ntwo\n")
    saved = json.loads(json.dumps(listening.fifo.dump()))
    saved["fd"] = os.dup(saved["fd"])
    heard = listening.heard + [
        (event.name, event.env) for event in listening.engine.events.values() if event.progress == "pending"
    ]
    again = Listening(listening.path)
    again.fifo.restore(saved)
    again.fifo.open()
    again.turns(20)
    assert heard + again.heard == [("one", {})] * 100 + [("torn", {"A": "1"}), ("two", {})]
    again.fifo.close()
    again.loop.close()


def test_another_is_made_where_it_is_gone_and_what_was_written_to_the_first_counts(listening: Listening) -> None:
    assert listening.fifo.in_place()
    write(listening.path, b"one\ntorn")
    listening.path.unlink()
    listening.path.parent.rmdir()
    assert not listening.fifo.in_place()
    listening.fifo.open()
    assert listening.fifo.in_place()
    write(listening.path, b"two\n")
    listening.turns()
    assert [name for name, _ in listening.heard] == ["one", "torn", "two"]


def test_empty_lines_are_nothing(listening: Listening) -> None:
    write(listening.path, b"\n\none\n\n")
    listening.turns()
    assert listening.heard == [("one", {})] and not listening.said
    # And nothing is left to be done.
    began = time.monotonic()
    listening.loop.turn(0.05)
    assert time.monotonic() - began > 0.04


def test_a_turn_ends_when_its_time_is_up(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0

    def monotonic() -> float:
        nonlocal now
        now += 0.6 * eventfifo.SLICE
        return now

    monkeypatch.setattr(eventfifo, "time", SimpleNamespace(monotonic=monotonic))
    write(listening.path, b"".join(b"event N=%d\n" % number for number in range(10)))
    before = 0
    while before < 10:
        listening.loop.turn(0)
        assert len(listening.heard) - before <= 2
        before = len(listening.heard)
