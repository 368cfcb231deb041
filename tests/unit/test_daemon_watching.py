"""What processes have open to init: their output while the log is behind, a script as it is read, and what cannot be
watched at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from upstart.base.loop import READ, Loop
from upstart.daemon import watching
from upstart.daemon.running import Running
from upstart.daemon.watching import Watching
from upstart.process.log import PIECE, JobLog, LogFile, LogStore
from upstart.process.members import Members


class Named:
    """As much of an instance as is looked at."""

    display = "web"


INSTANCE: Any = Named()


class Writer:
    """Takes pieces, and writes them when it is told to."""

    def __init__(self) -> None:
        self.has: list[LogFile] = []
        self.wrote = b""

    def submit(self, file: LogFile) -> None:
        self.has.append(file)

    def write(self) -> None:
        files, self.has = self.has, []
        for file in files:
            piece = file.piece()
            self.wrote += piece
            file.written(len(piece), 0)


class Desk:
    """One process, and who watches what it has open to us."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.said: list[str] = []
        self.running = Running(Members(1, 0, "web", "", None))
        self.table: Any = {(INSTANCE, "main"): self.running}
        self.watching = Watching(SimpleNamespace(), self.loop, self.table, self.said.append)  # type: ignore[arg-type]
        self.writer = Writer()
        self.ours, self.theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def log(self) -> JobLog:
        self.running.log = JobLog(LogStore(self.said.append, self.writer), "/log", self.ours)
        return self.running.log

    def turns(self, count: int = 3) -> None:
        for _ in range(count):
            self.loop.turn(0.0)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    for fd in (desk.ours, desk.theirs):
        try:
            os.close(fd)
        except OSError:
            pass
    desk.loop.close()


def test_what_cannot_be_watched_is_tried_again_while_it_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.0)
    desk.log()
    add_fd = Loop.add_fd
    lacks = 2

    def lacking(self: Loop, fd: int, events: int, callback: Any) -> int:
        nonlocal lacks
        if lacks:
            lacks -= 1
            raise OSError(28, "No space left on device")
        return add_fd(self, fd, events, callback)

    monkeypatch.setattr(Loop, "add_fd", lacking)
    desk.watching.watch(INSTANCE, "main", desk.running)
    assert desk.running.log_watch < 0
    desk.turns()
    assert desk.running.log_watch >= 0
    assert desk.said == ["web main process: unable to watch it: No space left on device"] * 2
    os.write(desk.theirs, b"said\n")
    desk.turns()
    desk.writer.write()
    assert desk.writer.wrote == b"said\n"


@pytest.mark.parametrize("follower", [False, True])
def test_what_could_not_be_watched_is_not_once_it_has_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, follower: bool
) -> None:
    monkeypatch.setattr(watching, "WATCH_SECONDS", 0.0)
    desk.log()

    def lacking(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "add_fd", lacking)
        desk.watching.watch(INSTANCE, "main", desk.running)
    del desk.table[INSTANCE, "main"]
    if follower:
        desk.table[INSTANCE, "main"] = Running(Members(2, 0, "web", "", None))
    desk.turns()
    assert desk.running.log_watch < 0 and len(desk.said) == 1


def test_output_waits_with_the_process_while_the_writer_is_behind(desk: Desk) -> None:
    log = desk.log()
    desk.watching.watch(INSTANCE, "main", desk.running)
    written = 0
    while not log.file.behind:
        written += os.write(desk.theirs, b"x" * PIECE)
        desk.turns(1)
    written += os.write(desk.theirs, b"y" * 1000)
    desk.turns()
    # Not read, and the loop is not kept awake by it.
    assert len(os.read(desk.ours, 10)) == 10
    assert desk.running.log_watch < 0
    while desk.writer.has:
        desk.writer.write()
        desk.turns()
    assert len(desk.writer.wrote) == written - 10 and desk.writer.wrote.endswith(b"y" * 990)
    # It goes on as before.
    os.write(desk.theirs, b"more\n")
    desk.turns()
    desk.writer.write()
    assert desk.writer.wrote.endswith(b"more\n")
    # Until the process has closed its end.
    os.close(desk.theirs)
    desk.turns()
    assert desk.running.log_watch < 0 and log.fd < 0


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "mended"])
def test_a_writer_that_answers_late_has_nothing_watched_that_is_gone_or_watched_already(desk: Desk, gone: bool) -> None:
    log = desk.log()
    desk.watching.watch(INSTANCE, "main", desk.running)
    while not log.file.behind:
        os.write(desk.theirs, b"x" * PIECE)
        desk.turns(1)
    os.write(desk.theirs, b"y")
    desk.turns()
    assert desk.running.log_watch < 0
    if gone:
        desk.watching.end(desk.running)
        before = -1
    else:
        desk.watching.watch(INSTANCE, "main", desk.running)
        before = desk.running.log_watch
    while desk.writer.has:
        desk.writer.write()
    assert desk.running.log_watch == before


def test_a_script_is_written_as_it_is_read(desk: Desk) -> None:
    script = os.urandom(300_000)
    desk.watching.watch_feed(desk.running, desk.theirs, script)
    desk.turns()
    assert desk.running.feed is not None
    fd, rest = desk.running.feed
    # What has yet to be read by the shell, and what has yet to be written, which crosses a re-exec.
    assert fd == desk.theirs and 0 < len(rest) < len(script) and script.endswith(rest)
    got = b""
    while len(got) < len(script):
        got += os.read(desk.ours, 65536)
        desk.turns(1)
    assert got == script and desk.running.feed is None and desk.running.feed_watch < 0
    # Its end is told.
    assert os.read(desk.ours, 1) == b""


def test_a_script_that_nobody_reads_any_more_is_given_up(desk: Desk) -> None:
    desk.watching.watch_feed(desk.running, desk.theirs, b"x" * 300_000)
    desk.turns()
    os.close(desk.ours)
    desk.turns()
    assert desk.running.feed is None and desk.running.feed_watch < 0


def test_what_is_watched_is_not_watched_twice(desk: Desk) -> None:
    desk.log()
    desk.running.feed = (desk.theirs, b"x")
    desk.watching.watch(INSTANCE, "main", desk.running)
    watches = desk.running.log_watch, desk.running.feed_watch
    assert min(watches) >= 0 and watches[0] != watches[1]
    desk.watching.watch(INSTANCE, "main", desk.running)
    assert (desk.running.log_watch, desk.running.feed_watch) == watches
    assert desk.loop._fds[desk.ours][2] == READ
