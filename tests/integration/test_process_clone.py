"""Jobs begin inside their cgroup, whichever way they are started."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, end_each_before_its_program_runs, make_host_with_cgroups, needs_root

from upstart.base.syscalls import fork_into
from upstart.process import spawn
from upstart.process.group import killed
from upstart.process.quick import Quick

pytestmark = needs_root


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield from make_host_with_cgroups(tmp_path)


def unified(text: str) -> str:
    """The cgroup v2 of a process, from its /proc/PID/cgroup."""
    return next(line[3:] for line in text.splitlines() if line.startswith("0::"))


def no_clone(cgroup: int) -> int:
    raise OSError(errno.ENOSYS, "as on an older kernel")


@pytest.mark.parametrize("way", ["moved", "cloned", "forked"])
def test_a_process_begins_in_the_group_of_its_job(host: Host, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = unified(Path("/proc/self/cgroup").read_text())
    if way != "moved":
        monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    if way == "forked":
        monkeypatch.setattr(spawn, "fork_into", no_clone)
    for _ in range(2):
        result = host.spawn(host.job("/bin/cat /proc/self/cgroup"))
        group = result.members.group
        assert group is not None
        assert host.wait(result.pid) == 0
        assert unified(host.output(result)).endswith(f"/upstart/{Path(group.path).name}")
    assert unified(Path("/proc/self/cgroup").read_text()) == own


def test_what_starts_in_a_group_that_was_killed_lives(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kernels end at once what is cloned into a group in which everything was killed before."""
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    first = host.spawn(host.job("/bin/sleep 1000"))
    group = first.members.group
    assert group is not None and group.kill()
    assert host.wait(first.pid) != 0
    for _ in range(2):
        assert host.wait(host.spawn(host.job("/bin/true")).pid) == 0
    # One that has something left in it cannot be made anew.
    left = host.spawn(host.job("/bin/sleep 1000"))
    killed.add(group.path)
    assert host.wait(host.spawn(host.job("/bin/true")).pid) == 0
    os.kill(left.pid, signal.SIGKILL)
    host.wait(left.pid)


@pytest.mark.parametrize(
    ("error", "tries"), [("ENOSYS", 1), ("EINVAL", 1), ("EAGAIN", 3), ("EMFILE", 3), ("EBUSY", 3), ("ENOMEM", 3)]
)
def test_what_lacks_for_the_moment_does_not_keep_later_processes_from_being_cloned(
    host: Host, error: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fails(cgroup: int) -> int:
        asked.append(cgroup)
        raise OSError(getattr(errno, error), "said by the test")

    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    monkeypatch.setattr(spawn, "fork_into", fails)
    for _ in range(3):
        assert host.wait(host.spawn(host.job("/bin/true")).pid) == 0
    assert len(asked) == tries


@pytest.mark.parametrize("way", ["cloned", "forked"])
def test_no_signal_is_handled_ignored_or_blocked_in_it(host: Host, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    if way == "forked":
        monkeypatch.setattr(spawn, "fork_into", no_clone)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN), signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        status = host.run(host.job("/bin/cat /proc/self/status"))
    finally:
        signal.signal(signal.SIGUSR1, before[0])
        signal.signal(signal.SIGUSR2, before[1])
    found = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {int(found[key], 16) for key in ("SigIgn", "SigBlk", "SigCgt", "SigPnd")} == {0}


@pytest.mark.parametrize("way", ["cloned", "forked"])
def test_a_signal_before_the_program_runs_ends_it_and_is_not_inits(
    host: Host, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    if way == "forked":
        monkeypatch.setattr(spawn, "fork_into", no_clone)
    end_each_before_its_program_runs(host, host.job("/bin/sleep 60"))


def test_it_has_those_of_inits_descriptors_that_every_program_gets(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    meant, own = os.open("/dev/zero", os.O_RDONLY), os.open("/dev/full", os.O_RDONLY)
    os.set_inheritable(meant, True)
    try:
        found = host.run(host.job("/bin/ls -l /proc/self/fd"))
        assert f"{meant} -> /dev/zero" in found and "/dev/full" not in found
    finally:
        os.close(meant)
        os.close(own)


def test_a_failed_step_of_a_cloned_child_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    assert host.failure(host.job("/nonexistent/program")).endswith("No such file or directory")


def test_a_group_that_is_none_is_refused(tmp_path: Path) -> None:
    with tmp_path.joinpath("file").open("w") as file, pytest.raises(OSError) as raised:
        fork_into(file.fileno())
    assert raised.value.errno in (errno.EBADF, errno.ENOSYS, errno.EPERM)
