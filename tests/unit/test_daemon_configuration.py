"""The configuration of a running init: read by a child, whatever becomes of that, and acted upon by init."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from configured_init import Init, init, untouched
from started_helpers import note_helpers

from upstart.base import syscalls
from upstart.conf.disk import Direct
from upstart.conf.record import Replay
from upstart.daemon import chroots as sessions
from upstart.daemon import hearing, lacking, unanswered
from upstart.daemon import passes as module
from upstart.process import helper

__all__ = ["init"]


def test_what_changes_is_found_without_a_look_at_the_disk(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    assert init.known() == {"old": "one"}
    (init.conf / "sub").mkdir()
    (init.conf / "sub/new.conf").write_text("description two\n")
    (init.conf / "old.conf").write_text("description changed\n")
    with monkeypatch.context() as patch:
        untouched(patch)
        init.rest()
        done: list[str] = []
        init.configuration.reload(done.append)
        init.turn(lambda: done)
    assert done == [""]
    assert init.known() == {"old": "changed", "sub/new": "two"}
    (init.conf / "sub/new.conf").unlink()
    init.rest()
    assert init.known() == {"old": "changed"}
    assert not init.faults and init.said == []


def test_a_close_that_fails_leaves_no_child_that_nobody_hears(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init.rest()
    watched = len(init.loop._fds)
    us, close = os.getpid(), os.close

    def failing(fd: int) -> None:
        close(fd)
        if os.getpid() == us:
            raise InterruptedError(errno.EINTR, "it is gone all the same")

    monkeypatch.setattr(os, "close", failing)
    for number in range(3):
        (init.conf / f"new{number}.conf").write_text("description new\n")
        init.turn(lambda number=number: init.description(f"new{number}") == "new")  # type: ignore[misc]
        init.rest()
    assert len(init.loop._fds) == watched and not init.faults


def test_who_needs_to_know_waits_for_what_was_written_before(init: Init) -> None:
    configuration = init.configuration
    assert configuration.passes.current()
    for number in range(5):
        (init.conf / "old.conf").write_text(f"description {number}\n")
        assert not configuration.passes.current()
        told: list[str | None] = []
        configuration.passes.when_current(lambda: told.append(init.description("old")))  # noqa: B023
        init.turn(lambda: told)  # noqa: B023
        assert told == [str(number)]
        assert configuration.passes.current() or configuration.passes._needed


def test_changes_that_keep_coming_are_gathered(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []
    start = helper.start

    def counted(*arguments: Any) -> int:
        started.append(time.monotonic())
        return start(*arguments)

    monkeypatch.setattr(helper, "start", counted)
    end = time.monotonic() + 1.0
    number = 0
    while time.monotonic() < end:
        (init.conf / f"j{number % 50}.conf").write_text(f"description n{number}\n")
        number += 1
        init.loop.turn(0.001)
    init.rest()
    assert init.known() == init.on_disk()
    assert len(started) <= 1.0 / module.DISTANCE + 3


@pytest.fixture
def watched(init: Init) -> Init:
    """With a directory that is watched for the sake of another: that of the jobs was away for a moment."""
    away = init.conf.with_name("away")
    init.conf.rename(away)
    init.rest()
    assert init.known() == {}
    away.rename(init.conf)
    init.rest()
    assert init.known() == {"old": "one"}
    return init


def turn_for(init: Init, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        init.loop.turn(0.01)


def test_what_concerns_no_job_has_no_child_begin(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, beside = watched, watched.conf.with_name("resolv.conf")
    started = note_helpers(monkeypatch)
    for number in range(4):
        beside.with_suffix(".new").write_text(f"nameserver {number}\n")
        beside.with_suffix(".new").rename(beside)
        (init.conf / "README").write_text(f"{number}\n")
        # Nor does anybody wait for one.
        assert init.configuration.passes.current()
        beside.write_text(f"nameserver {number}\n")
        turn_for(init, 0.05)
    turn_for(init, 2 * hearing.PAUSE)
    assert started == [] and not init.configuration.passes.hearing.unread()
    # What does concern one is found by itself, and by who needs to know it, behind whatever else.
    for number in range(4):
        beside.write_text(f"nameserver {number}\n")
        if number % 2:
            turn_for(init, 0.01)
        (init.conf / "old.conf").write_text(f"description {number}\n")
        beside.write_text(f"nameserver {number}\n")
        if number < 2:
            assert not init.configuration.passes.current()
            told: list[str | None] = []
            init.configuration.passes.when_current(lambda: told.append(init.description("old")))  # noqa: B023
            init.turn(lambda: told)  # noqa: B023
            assert told == [str(number)]
        init.turn(lambda: init.description("old") == str(number))  # noqa: B023
        init.rest()
    assert init.known() == init.on_disk() and not init.faults


def test_a_call_during_a_pass_waits_for_no_other_one_that_nobody_needs(
    watched: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = watched
    started = note_helpers(monkeypatch)
    (init.conf / "old.conf").write_text("description two\n")
    assert not init.configuration.passes.current()
    init.turn(init.child)
    # It has taken what was there.
    os.waitid(os.P_PID, init.child(), os.WEXITED | os.WNOWAIT)
    init.conf.with_name("mtab").write_text("")
    assert not init.configuration.passes.current() and init.configuration.passes.hearing.unread()
    told: list[str | None] = []
    init.configuration.passes.when_current(lambda: told.append(init.description("old")))
    init.turn(lambda: told)
    init.rest()
    assert told == ["two"] and len(started) == 1


def test_a_flood_of_what_concerns_no_job_costs_little(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, beside = watched, watched.conf.with_name("log")
    started = note_helpers(monkeypatch)
    reads: list[int] = []
    real = Direct.read_events

    def counted(self: Direct, fd: int) -> bytes:
        reads.append(fd)
        return real(self, fd)

    monkeypatch.setattr(Direct, "read_events", counted)
    began = time.monotonic()
    while time.monotonic() < began + 1.0:
        for _ in range(10):
            beside.write_text("line\n")
        init.loop.turn(0.002)
    looks = (time.monotonic() - began) / hearing.PAUSE + 2
    assert started == [] and 2 <= len(reads) <= looks * 4
    (init.conf / "old.conf").write_text("description two\n")
    beside.write_text("line\n")
    init.turn(lambda: init.description("old") == "two")
    init.rest()
    assert len(started) <= 2 and not init.faults


def test_a_pass_that_is_lost_with_what_was_heard_is_followed_by_one_that_finds_it(watched: Init) -> None:
    init = watched
    for number in range(5):
        init.conf.with_name("mtab").write_text(f"{number}\n")
        (init.conf / "old.conf").write_text(f"description {number}\n")
        assert not init.configuration.passes.current()
        init.turn(init.child)
        os.kill(init.child(), signal.SIGKILL)
        init.turn(lambda: init.description("old") == str(number))  # noqa: B023
        init.rest()
    assert init.known() == init.on_disk() and not init.faults


def test_a_queue_that_cannot_be_read_is_left_to_a_child(watched: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    init, us = watched, os.getpid()
    real = Direct.read_events

    def failing(self: Direct, fd: int) -> bytes:
        if os.getpid() == us:
            raise OSError(errno.EIO, "no")
        return real(self, fd)

    monkeypatch.setattr(Direct, "read_events", failing)
    (init.conf / "old.conf").write_text("description two\n")
    init.turn(lambda: init.description("old") == "two")
    init.rest()
    assert not init.faults


@pytest.mark.parametrize("seed", range(4))
def test_a_child_that_is_killed_at_any_moment_loses_nothing(init: Init, seed: int) -> None:
    chance = random.Random(seed)
    conf = init.conf

    def act() -> None:
        name = chance.choice(("a", "b", "sub/c", "sub/deep/d", "old"))
        path = conf / f"{name}{chance.choice(('.conf', '.conf', '.override'))}"
        what = chance.random()
        try:
            if what < 0.6:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"description n{chance.randrange(100)}\n")
            elif what < 0.8:
                path.unlink()
            elif what < 0.9:
                shutil.rmtree(conf / "sub")
            else:
                os.rename(conf / "sub", conf / "other")
        except OSError:
            pass

    for _ in range(60):
        for _ in range(chance.randrange(4)):
            act()
        if init.child() and chance.random() < 0.4:
            # Whoever has ended is not waited for yet, or is.
            with contextlib.suppress(ProcessLookupError):
                os.kill(init.child(), signal.SIGKILL)
        if chance.random() < 0.05:
            init.configuration.reload()
        init.loop.turn(chance.choice((0.0, 0.002, 0.02)))
        init.reap()
    init.rest()
    assert init.known() == init.on_disk()
    # What is watched is what there now is, too.
    (conf / "old.conf").write_text("description last\n")
    (conf / "sub").mkdir(exist_ok=True)
    (conf / "sub/last.conf").write_text("description last\n")
    init.rest()
    assert init.known() == init.on_disk() and init.description("sub/last") == "last"
    assert not init.faults


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_child_that_cannot_be_started_is_tried_again(
    init: Init, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    start = helper.start
    tries: list[float] = []

    def refused(*arguments: Any) -> int:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OSError(number, os.strerror(number))
        return start(*arguments)

    monkeypatch.setattr(helper, "start", refused)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    fds = len(os.listdir("/proc/self/fd"))
    (init.conf / "new.conf").write_text("description two\n")
    init.turn(lambda: init.description("new"))
    init.rest()
    assert len(tries) == 3 and tries[2] - tries[0] >= 0.2
    assert init.said == [f"Unable to start a reader of configuration: {os.strerror(number)}"]
    assert len(os.listdir("/proc/self/fd")) == fds


@pytest.mark.parametrize("line", range(0, 60, 3))
def test_no_memory_in_the_middle_is_followed_by_another_look(
    init: Init, monkeypatch: pytest.MonkeyPatch, line: int
) -> None:
    """The ``line``-th step of what is done after the record fails."""
    us = os.getpid()
    left = [line]
    following = Replay._next

    def failing(self: Replay, operation: str, path: str) -> Any:
        if os.getpid() == us:
            left[0] -= 1
            if left[0] == 0:
                raise MemoryError
        return following(self, operation, path)

    monkeypatch.setattr(Replay, "_next", failing)
    for number in range(8):
        (init.conf / f"n{number}").mkdir()
        (init.conf / f"n{number}/x.conf").write_text(f"description d{number}\n")
    init.turn(lambda: init.known() == init.on_disk())
    (init.conf / "n3/late.conf").write_text("description late\n")
    init.turn(lambda: init.description("n3/late") == "late")
    init.rest()
    assert all(isinstance(error, MemoryError) for error in init.faults)


def test_a_path_that_does_not_answer_holds_a_child_and_nothing_else(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    (init.conf / "held.conf").write_text("description before\n")
    init.rest()
    answer, release = os.pipe()
    real = os.open

    def hang(path: Any, *rest: Any, **keywords: Any) -> int:
        if str(path).endswith("held.conf"):
            os.read(answer, 1)
        return real(path, *rest, **keywords)

    keep = helper.keep_only
    monkeypatch.setattr(helper, "keep_only", lambda fds: keep((*fds, answer)))
    monkeypatch.setattr(os, "open", hang)
    monkeypatch.setattr(unanswered, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "LOOK", 0.05)
    try:
        (init.conf / "held.conf").write_text("description after\n")
        init.turn(lambda: init.configuration.passes.unanswered.paths())
        assert init.said[-1] == f"{init.conf}/held.conf: Does not answer: what is there stays as it was until it does"
        (init.conf / "old.conf").write_text("description changed\n")
        (init.conf / "new.conf").write_text("description new\n")
        init.turn(lambda: init.description("new") == "new" and init.description("old") == "changed")
        init.rest()
        assert init.description("held") == "before"
        done: list[str] = []
        init.configuration.reload(done.append)
        init.turn(lambda: done)
        assert done == [f"Not all configuration was read, for this does not answer: {init.conf}/held.conf"]
        (init.conf / "old.conf").write_text("description again\n")
        assert not init.configuration.passes.current()
        told: list[str | None] = []
        init.configuration.passes.when_current(lambda: told.append(init.description("old")))
        init.turn(lambda: told)
        assert told == ["again"]
    finally:
        os.write(release, b"xxxxxx")
    init.turn(lambda: init.description("held") == "after")
    init.rest()
    assert not init.configuration.passes.unanswered.paths() and not init.faults
    for fd in (answer, release):
        os.close(fd)


def test_more_paths_than_may_be_left_out_hold_up_changes_and_are_named(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes = {name: os.pipe() for name in ("a", "b")}
    real = os.open

    def hang(path: Any, *rest: Any, **keywords: Any) -> int:
        name = str(path).rpartition("/")[2].removesuffix(".conf")
        if name in pipes:
            os.read(pipes[name][0], 1)
        return real(path, *rest, **keywords)

    keep = helper.keep_only
    monkeypatch.setattr(helper, "keep_only", lambda fds: keep((*fds, *(pipe[0] for pipe in pipes.values()))))
    monkeypatch.setattr(os, "open", hang)
    for where, name, value in (
        (unanswered, "PATIENCE", 0.2), (module, "LOOK", 0.05), (module, "ANSWER_SECONDS", 1.5),
        (unanswered, "MOST_HELD", 1),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, value)
    try:
        for name in ("a", "b", "later"):
            (init.conf / f"{name}.conf").write_text("description known\n")
        text = f"{init.conf}/b.conf: Does not answer: changes of configuration wait for it"
        init.turn(lambda: text in init.said)
        done: list[str] = []
        init.configuration.reload(done.append)
        init.turn(lambda: done)
        names = f"{init.conf}/a.conf, {init.conf}/b.conf"
        assert done == [f"Not all configuration was read, for this does not answer: {names}"]
        assert init.said.count(text) == 1 and init.configuration.passes.current()
        os.write(pipes["b"][1], b"x" * 9)
        init.turn(lambda: init.description("b") == "known" and init.description("later") == "known")
        assert init.description("a") is None
    finally:
        for pipe in pipes.values():
            os.close(pipe[1])
    init.turn(lambda: init.description("a") == "known")
    init.rest()
    assert init.known() == init.on_disk() and not init.faults
    for pipe in pipes.values():
        os.close(pipe[0])


def test_nobody_waits_longer_than_half_a_second_for_a_child_that_is_held(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, release = os.pipe()
    real = os.open

    def hang(path: Any, *rest: Any, **keywords: Any) -> int:
        if str(path).endswith(".conf"):
            os.read(answer, 1)
        return real(path, *rest, **keywords)

    keep = helper.keep_only
    monkeypatch.setattr(helper, "keep_only", lambda fds: keep((*fds, answer)))
    monkeypatch.setattr(os, "open", hang)
    monkeypatch.setattr(unanswered, "PATIENCE", 60.0)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 4.0)
    (init.conf / "old.conf").write_text("description changed\n")
    began = time.monotonic()
    assert not init.configuration.passes.current()
    told: list[float] = []
    done: list[str] = []
    init.configuration.passes.when_current(lambda: told.append(time.monotonic() - began))
    init.configuration.reload(done.append)
    init.turn(lambda: told)
    assert module.WAIT - 0.1 <= told[0] < 4.0
    init.turn(init.configuration.passes.current)
    init.turn(lambda: done)
    assert done == [f"Not all configuration was read, for this does not answer: {init.conf}/old.conf"]
    os.close(release)
    init.turn(lambda: init.description("old") == "changed")
    os.close(answer)


def test_sessions_whose_root_has_vanished_make_room_for_others(
    init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 4)
    root = ""
    monkeypatch.setattr(os, "readlink", lambda path: root)
    roots = [str(tmp_path / str(number)) for number in range(6)]
    for root in roots:
        os.makedirs(f"{root}/etc/init")
        Path(root, "etc/init/x.conf").write_text(f"description in{root[-1]}\n")
    for root in roots[:4]:
        assert init.chroots.session_of(2) == root
        assert not init.configuration.passes.current()
        init.rest()
        assert init.description("x", root) == f"in{root[-1]}"
    root = roots[4]
    assert init.chroots.session_of(2) == root
    init.rest()
    assert init.chroots.roots == roots[:4] and init.description("x", root) is None
    shutil.rmtree(roots[1])
    shutil.rmtree(roots[3])
    init.rest()
    assert init.chroots.session_of(2) == root
    init.rest()
    assert init.chroots.roots == [roots[0], roots[2], root]
    assert init.description("x", root) == "in4" and init.description("x", roots[0]) == "in0"
    assert init.description("x", roots[1]) is None
    root = roots[5]
    init.chroots.session_of(2)
    init.rest()
    assert init.chroots.roots == [roots[0], roots[2], roots[4], root]
    Path(root, "etc/init/x.conf").write_text("description changed\n")
    init.rest()
    assert init.description("x", root) == "changed"
    assert not init.faults


class Broken:
    """A path for which a function fails with this error, until that is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, number: int, path: Path) -> None:
        real = getattr(module, name)
        # Whoever reads is a child.
        self.page = mmap.mmap(-1, 4096)

        def fail(*arguments: Any, **keywords: Any) -> Any:
            if not self.page[0] and str(path) in map(str, arguments):
                raise OSError(number, os.strerror(number))
            return real(*arguments, **keywords)

        monkeypatch.setattr(module, name, fail)

    def mend(self) -> None:
        self.page[0] = 1


NUMBERS = [errno.EINVAL, errno.EIO, errno.EMFILE, errno.ENOMEM]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("what", [".", "sub", "new.conf", "new.override"])
def test_what_cannot_be_read_for_now_is_read_once_it_can_be(
    init: Init, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    monkeypatch.setattr(lacking, "FIRST_SECONDS", 0.05)
    (init.conf / "new.conf").write_text("description new\n")
    (init.conf / "new.override").write_text("description override\n")
    (init.conf / "sub").mkdir()
    (init.conf / "sub/deep.conf").write_text("description deep\n")
    broken = Broken(monkeypatch, os, "open" if "new" in what else "scandir", number, init.conf / what)
    after = Init(init.conf, restart=True)
    try:
        assert after.known() != {"old": "one", "new": "override", "sub/deep": "deep"}
        before = len(after.said)
        assert any(os.strerror(number) in text for text in after.said)
        # Tried again and again, and said once.
        after.turn(lambda: after.configuration.passes._serial > 4)
        assert len(after.said) == before
        # Whoever asks is told.
        after.configuration.reload()
        after.rest()
        assert len(after.said) > before
        broken.mend()
        after.turn(lambda: after.known() == {"old": "one", "new": "override", "sub/deep": "deep"})
        after.rest()
        done = after.configuration.passes._serial
        assert after.configuration.passes._lacking._timer < 0
        (init.conf / "sub/deep.conf").write_text("description deeper\n")
        after.turn(lambda: after.description("sub/deep") == "deeper")
        assert after.configuration.passes._serial <= done + 2 and not after.faults
    finally:
        after.close()


@pytest.mark.parametrize("name", ["inotify_init", "inotify_add_watch"])
def test_what_cannot_be_watched_for_now_is_watched_once_it_can_be(
    init: Init, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(lacking, "FIRST_SECONDS", 0.05)
    real = getattr(syscalls, name)
    page = mmap.mmap(-1, 4096)

    def fail(*arguments: Any) -> Any:
        if not page[0]:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*arguments)

    monkeypatch.setattr(syscalls, name, fail)
    after = Init(init.conf, restart=True)
    try:
        after.turn(lambda: after.configuration.passes._serial > 3)
        assert len([text for text in after.said if "watch" in text]) == 1
        # Somebody looks at least.
        (init.conf / "old.conf").write_text("description two\n")
        after.turn(lambda: after.known() == {"old": "two"})
        page[0] = 1
        after.turn(lambda: not after.configuration.lacks())
        after.rest()
        (init.conf / "old.conf").write_text("description three\n")
        after.turn(lambda: after.known() == {"old": "three"})
        assert not after.faults and after.configuration.passes._lacking._timer < 0
    finally:
        after.close()
