"""The configuration of a running init: read by a child, whatever becomes of that, and acted upon by init."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from upstart.base import syscalls
from upstart.base.loop import Loop
from upstart.base.priority import MESSAGE
from upstart.conf.record import Lost, Replay
from upstart.conf.sources import Sources
from upstart.daemon import chroots as sessions
from upstart.daemon import configuration, lacking, mounts, reading, unanswered
from upstart.daemon import passes as module
from upstart.daemon.basis import Basis
from upstart.daemon.chroots import Chroots
from upstart.daemon.configuration import Configuration
from upstart.daemon.options import Options
from upstart.engine import state
from upstart.engine.engine import Engine
from upstart.process import helper

#: Seconds.
SOON = 10.0


class Init:
    """A loop, an engine and the configuration in ``conf``; ``said`` is the log."""

    def __init__(self, conf: Path, before: Init | None = None, *, restart: bool = False) -> None:
        """With ``before`` it has the jobs of that, with ``restart`` it begins anew without."""
        self.conf = conf
        self.said: list[str] = []
        options = Options("init")
        options.user = True
        options.confdirs = [str(conf)]
        options.restart = restart or before is not None
        self.loop = Loop()
        self.engine = Engine(time.monotonic) if before is None else before.next_engine()
        self.chroots = Chroots(True)
        log = lambda priority, text: self.said.append(text) if priority > MESSAGE else None  # noqa: E731
        self.configuration = Configuration(Basis(options, {}, self.engine, self.loop, log), self.chroots)
        self.loop.fault = self._fault
        self.faults: list[BaseException] = []
        self.configuration.load(before is not None)

    def next_engine(self) -> Engine:
        """The engine that a re-exec has."""
        self.engine.take_effects()
        return state.load(json.loads(json.dumps(state.dump(self.engine))), time.monotonic)

    def _fault(self, error: BaseException) -> None:
        self.faults.append(error)
        # As what mends an init does.
        self.configuration.passes.look_again()

    def turn(self, until: Callable[[], Any], seconds: float = SOON) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"not in time; {self.said}"
            self.loop.turn(0.02)
            self.reap()

    def rest(self) -> None:
        """Until all that has changed is known."""
        self.turn(lambda: self.configuration.passes._pass is None and not self.configuration.passes._needed
                  and not self.configuration.passes.hearing.unread())  # fmt: skip

    @staticmethod
    def reap() -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def description(self, name: str, session: str | None = None) -> str | None:
        job = self.engine.jobs.get((session, name))
        return None if job is None else (job.successor or job.job_class).description

    def known(self) -> dict[str, str | None]:
        return {name: self.description(name) for session, name in self.engine.jobs if session is None}

    def on_disk(self) -> dict[str, str | None]:
        """What an init that begins now would know."""
        sources = Sources(lambda text: None)
        sources.add_dir(str(self.conf))
        found = [change for change in sources.load() if change is not None]
        return {each.name: each.job_class.description for each in found if each.job_class is not None}

    def child(self) -> int:
        reader = self.configuration.passes._reader
        return reader._pid if reader is not None else 0

    def close(self) -> None:
        for reader in [self.configuration.passes._reader, *self.configuration.passes.unanswered._held.values()]:
            if reader is not None:
                reader.kill()
                reader.close()
        if self.configuration._watch is not None:
            self.configuration._watch.close()
        self.loop.close()
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break


@pytest.fixture
def init(tmp_path: Path) -> Iterator[Init]:
    conf = tmp_path / "init"
    conf.mkdir()
    (conf / "old.conf").write_text("description one\n")
    instance = Init(conf)
    yield instance
    instance.close()


def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on whoever looks at a path in this process fails."""
    us = os.getpid()

    def guard(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            assert os.getpid() != us or not isinstance(arguments[0], str), f"{name} {arguments}"
            return real(*arguments, **keywords)

        monkeypatch.setattr(os, name, call)

    for name in ("open", "stat", "lstat", "scandir", "listdir"):
        guard(name)


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

    keep = helper._keep_only
    monkeypatch.setattr(helper, "_keep_only", lambda fds: keep((*fds, answer)))
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

    keep = helper._keep_only
    monkeypatch.setattr(helper, "_keep_only", lambda fds: keep((*fds, *(pipe[0] for pipe in pipes.values()))))
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

    keep = helper._keep_only
    monkeypatch.setattr(helper, "_keep_only", lambda fds: keep((*fds, answer)))
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


def test_a_program_with_a_state_looks_at_nothing_before_it_serves_and_at_everything_then(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stays", "goes", "changes", "broken", "comes-back"):
        (init.conf / f"{name}.conf").write_text("description one\n")
    init.rest()
    engine = init.engine
    instance = engine.start_job(engine.jobs[None, "comes-back"], {}, None)
    (init.conf / "comes-back.conf").unlink()
    init.rest()
    assert engine.jobs[None, "comes-back"].pending and instance is not None
    (init.conf / "goes.conf").unlink()
    (init.conf / "comes-back.conf").write_text("description two\n")
    for name, text in (("changes", "description two\n"), ("new", "description new\n"), ("broken", "nonsense\n")):
        (init.conf / f"{name}.conf").write_text(text)
    with monkeypatch.context() as patch:
        untouched(patch)
        patch.setattr(os, "mkdir", None)
        after = Init(init.conf, init)
        known = after.engine.jobs[None, "stays"].job_class
        assert after.configuration.sources.job_class("stays") is known
        assert not after.configuration.passes.current()
        after.rest()
    try:
        assert after.known() == after.on_disk()
        assert after.engine.jobs[None, "stays"].job_class is known is after.configuration.sources.job_class("stays")
        assert after.said == [f"{init.conf}/broken.conf:1: Unknown stanza"]
        assert after.configuration.sources.error("broken") == after.said[0]
        (init.conf / "new.conf").write_text("description newer\n")
        after.rest()
        assert after.description("new") == "newer" and not after.faults
    finally:
        after.close()


def held_open(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[int, int]:
    """Have whoever opens a file of this name wait until something is written to the second descriptor."""
    answer, release = os.pipe()
    real, keep = os.open, helper._keep_only

    def hang(path: Any, *rest: Any, **keywords: Any) -> int:
        if str(path).endswith(name):
            os.read(answer, 1)
        return real(path, *rest, **keywords)

    monkeypatch.setattr(helper, "_keep_only", lambda fds: keep((*fds, answer)))
    monkeypatch.setattr(os, "open", hang)
    monkeypatch.setattr(unanswered, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "LOOK", 0.05)
    return answer, release


def test_a_start_without_state_waits_for_what_answers_and_is_told_of_the_rest(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    (init.conf / "held.conf").write_text("description held\n")
    fds = held_open(monkeypatch, "held.conf")
    began = time.monotonic()
    after = Init(init.conf, restart=True)
    try:
        assert time.monotonic() - began < 5.0
        assert after.known() == {"old": "one"}
        assert after.said[0] == f"{init.conf}/held.conf: Does not answer: what is there stays as it was until it does"
        (init.conf / "old.conf").write_text("description two\n")
        after.rest()
        assert after.known() == {"old": "two"}
        os.write(fds[1], b"xxxx")
        after.turn(lambda: "held" in after.known())
        after.rest()
        assert after.description("held") == "held" and not after.faults
    finally:
        os.close(fds[1])
        after.close()
        os.close(fds[0])


@pytest.mark.parametrize("trouble", ["start", "end"])
def test_a_start_reads_by_itself_where_no_child_can(
    init: Init, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def no_child(*arguments: Any) -> int:
        raise OSError(errno.EAGAIN, "no")

    def ended(*arguments: Any) -> None:
        os._exit(1)

    with monkeypatch.context() as patch:
        if trouble == "start":
            patch.setattr(helper, "start", no_child)
        else:
            patch.setattr(reading, "_serve", ended)
        after = Init(init.conf, restart=True)
        assert after.known() == {"old": "one"}
    try:
        (init.conf / "old.conf").write_text("description two\n")
        after.rest()
        assert after.known() == {"old": "two"} and not after.faults
    finally:
        after.close()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", False),
        ("22 1 0:40 / / rw - nfs4 server:/root rw\n23 22 0:5 / /proc rw - proc proc rw\n", False),
        ("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:50 / /home rw master:4 - fuse.sshfs x:/ rw\n", True),
        ("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:50 / /home\\040x rw - nfs4 x:/ rw\n", True),
        ("", False),
    ],
)
def test_a_mount_with_a_server_is_known_by_its_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(text)
    monkeypatch.setattr(mounts, "TABLE", str(table))
    assert mounts.may_wait() is expected
    monkeypatch.setattr(mounts, "TABLE", str(tmp_path / "none"))
    assert not mounts.may_wait()


def test_a_start_beside_a_mount_with_a_server_has_a_child_read(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = helper.start

    def noted(name: str, *arguments: Any) -> int:
        started.append(name)
        return start(name, *arguments)

    monkeypatch.setattr(helper, "start", noted)
    for waits in (False, True):
        monkeypatch.setattr(configuration, "may_wait", lambda: waits)  # noqa: B023
        other = Init(init.conf)
        assert other.known() == {"old": "one"}
        assert len(started) == waits
        other.close()


def test_a_trial_goes_through_a_pass_as_far_as_that_answers(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    (init.conf / "new.conf").write_text("description new\n")
    trial = Init(init.conf, init)
    with monkeypatch.context() as patch:
        patch.setattr(module, "TRIAL_SECONDS", SOON)
        trial.configuration.passes.rehearse()
    assert trial.known() == {"old": "one", "new": "new"} and trial.said == []
    trial.close()
    fds = held_open(monkeypatch, "new.conf")
    try:
        trial = Init(init.conf, init)
        began = time.monotonic()
        trial.configuration.passes.rehearse()
        assert module.TRIAL_SECONDS <= time.monotonic() - began < 2.0
        assert trial.known() == {"old": "one"}
    finally:
        os.close(fds[1])
        trial.close()
        os.close(fds[0])


def test_what_fails_in_a_child_is_said_and_fails_a_trial(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    us, real = os.getpid(), Sources.reload

    def fails(self: Sources) -> Any:
        if os.getpid() != us:
            raise TypeError("it is broken")
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Sources, "reload", fails)
        trial = Init(init.conf, init)
        with pytest.raises(Lost, match="it is broken"):
            trial.configuration.passes.rehearse()
        trial.close()
        init.configuration.reload()
        init.turn(lambda: init.said)
        assert init.said == ["Reading job files again: TypeError: it is broken"]
    init.rest()
    assert init.known() == {"old": "one"} and not init.faults


def test_a_call_waits_for_a_pass_that_is_under_way_and_not_longer_than_it_may(
    init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    fds = held_open(monkeypatch, "old.conf")
    monkeypatch.setattr(unanswered, "PATIENCE", 60.0)
    passes = init.configuration.passes
    try:
        (init.conf / "old.conf").write_text("description two\n")
        init.turn(lambda: passes._pass)
        while time.monotonic() < passes._began + module.WAIT - 0.1:
            assert not passes.current()
            init.loop.turn(0.05)
        init.turn(passes.current)
        assert time.monotonic() >= passes._began + module.WAIT and init.description("old") == "one"
    finally:
        os.close(fds[1])
    init.turn(lambda: init.description("old") == "two")
    os.close(fds[0])


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
