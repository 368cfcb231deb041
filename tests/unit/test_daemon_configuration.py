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

from upstart.base import syscalls
from upstart.conf.record import Replay
from upstart.daemon import chroots as sessions
from upstart.daemon import lacking, unanswered
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
