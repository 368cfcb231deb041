"""How init comes to its configuration when it begins, when its program is changed, and when that is tried before."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from configured_init import SOON, Init, init, untouched
from started_helpers import note_helpers

from upstart.conf.record import Lost
from upstart.conf.sources import Sources
from upstart.daemon import configuration, mounts, reading, unanswered
from upstart.daemon import passes as module
from upstart.process import helper

__all__ = ["init"]


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
    real, keep = os.open, helper.keep_only

    def hang(path: Any, *rest: Any, **keywords: Any) -> int:
        if str(path).endswith(name):
            os.read(answer, 1)
        return real(path, *rest, **keywords)

    monkeypatch.setattr(helper, "keep_only", lambda fds: keep((*fds, answer)))
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
    started = note_helpers(monkeypatch)
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
