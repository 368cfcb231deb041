"""Signals reach what the original's reached, SIGKILL all of a job, and nothing ever reaches init."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, alive, left, make_host, needs_root, until

from upstart.process.kill import kill_members, signal_group, signal_job, signal_process
from upstart.process.members import Members, boot_ticks
from upstart.process.procfs import ProcInfo, all_pids, environment, look
from upstart.process.reaper import reap

pytestmark = needs_root

#: Starts processes in the same group, in another session, and one that has cleared its environment too.
FAMILY = """
sleep 601 & a=$!
setsid sleep 602 & b=$!
setsid sh -c 'exec env -i sleep 603' & c=$!
trap : TERM
while [ "$(cat /proc/$b/comm)" != sleep ] || [ "$(cat /proc/$c/comm)" != sleep ]; do :; done
echo $a $b $c >$F
while :; do wait || :; done
"""


@pytest.fixture(params=["cgroup", "session"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    for made in make_host(tmp_path, cgroups=request.param == "cgroup"):
        if request.param == "cgroup" and (made.cgroups is None or not made.cgroups.available):
            pytest.skip("no writable cgroup v2 hierarchy")
        yield made


def family(host: Host, name: str = "test-job") -> tuple[int, Members, list[int]]:
    path = host.directory / f"family-{name}"
    result = host.spawn(host.job(FAMILY, script=True, name=name), env={"F": str(path)})
    host.until(lambda: path.exists() and path.read_text().endswith("\n"))
    return result.pid, result.members, [int(word) for word in path.read_text().split()]


def test_a_signal_reaches_the_process_group_only(host: Host) -> None:
    pid, members, (a, b, c) = family(host)
    assert signal_job(pid, signal.SIGTERM, members)
    host.until(lambda: not alive(a))
    assert alive(pid) and alive(b) and alive(c)


def test_kill_reaches_everything(host: Host) -> None:
    pid, members, others = family(host)
    host.until(lambda: sorted(left(members)) == sorted([pid, *others]))
    assert signal_job(pid, signal.SIGKILL, members)
    host.until(lambda: not any(map(alive, [pid, *others])))
    assert not left(members)
    assert not kill_members(members)


def test_kill_leaves_other_jobs_alone(host: Host) -> None:
    pid, members, others = family(host)
    other_pid, _other_members, other_others = family(host, "test-job-other")
    signal_job(pid, signal.SIGKILL, members)
    host.until(lambda: not any(map(alive, [pid, *others])))
    assert all(map(alive, [other_pid, *other_others]))


def test_kill_leaves_jobs_of_the_same_name_of_other_inits_and_chroots_alone(host: Host) -> None:
    spawned = []
    sessions = {"UPSTART_SESSION": "unix:abstract=/a"}, {"UPSTART_SESSION": "unix:abstract=/b"}
    chroots = {"UPSTART_CHROOT": "/a"}, {"UPSTART_CHROOT": "/a\udcff"}, {**sessions[0], "UPSTART_CHROOT": "/a"}
    env: dict[str, str]
    for env in ({}, *sessions, *chroots):
        result = host.spawn(host.job("/bin/sleep 60"), env=env)
        # What has left the groups and sessions by which it would be known.
        result.members.group = None
        result.members.sessions.clear()
        spawned.append(result)
    host.until(lambda: all(result.ready for result in spawned))
    for result in spawned:
        assert left(Members.load(result.members.dump())) == [result.pid]


def test_a_look_costs_what_the_job_consists_of_and_not_what_else_runs(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & sleep 601 & done; wait"
    crowd = host.spawn(host.job(script, script=True, name="crowd"))
    host.until(lambda: len(left(crowd.members)) >= 19)
    result = host.spawn(host.job("/bin/sleep 60"))
    host.until(lambda: result.ready)
    looks: list[int] = []

    def counted(pid: int) -> ProcInfo | None:
        looks.append(pid)
        return look(pid)

    monkeypatch.setattr("upstart.process.members.look", counted)
    assert left(result.members) == [result.pid]
    assert len(looks) <= 6


def test_kill_spares_the_jobs_other_processes(host: Host) -> None:
    pid, members, others = family(host)
    post = host.spawn(host.job("sleep 604 & wait", script=True), "post-start")
    until(lambda: len(left(members)) >= 6)
    assert signal_job(pid, signal.SIGKILL, members, spare=(post.pid,))
    host.until(lambda: not any(map(alive, [pid, *others])))
    assert alive(post.pid)


def test_members_survive_a_restart_of_init(host: Host) -> None:
    pid, members, others = family(host)
    again = Members.load(members.dump())
    host.until(lambda: sorted(left(again)) == sorted([pid, *others]))


def test_what_is_gone_is_no_error(host: Host) -> None:
    result = host.spawn(host.job("/bin/true"))
    host.wait(result.pid)
    assert not signal_group(result.pid, signal.SIGTERM)
    assert not signal_process(result.pid, signal.SIGTERM)
    assert not signal_job(result.pid, signal.SIGKILL, result.members)


def test_a_process_alone_can_be_signalled(host: Host) -> None:
    pid, _members, (a, _b, _c) = family(host)
    assert signal_process(a, signal.SIGTERM)
    host.until(lambda: not alive(a))
    assert alive(pid)


@pytest.mark.parametrize("pid", [1, 0, -1, -5, os.getpid()])
def test_init_is_never_signalled(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr(os, "kill", never)
    monkeypatch.setattr(os, "killpg", never)
    assert not signal_group(pid, signal.SIGTERM)
    assert not signal_process(pid, signal.SIGTERM)


def test_a_process_in_inits_group_is_signalled_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    monkeypatch.setattr(os, "killpg", None)
    assert signal_group(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_reaping_tells_each_kind_of_change() -> None:
    def child(number: int) -> int:
        pid = os.fork()
        if pid == 0:
            if number:
                os.kill(os.getpid(), number)
                signal.pause()
            os._exit(7)
        return pid

    seen: list[tuple[int, str, int]] = []

    def reaped(count: int) -> bool:
        seen.extend(reap())
        return len(seen) == count

    ended, stopped, killed = child(0), child(signal.SIGSTOP), child(signal.SIGTERM)
    try:
        until(lambda: reaped(3))
        assert set(seen) == {(ended, "exited", 7), (stopped, "stopped", 19), (killed, "killed", 15)}
        os.kill(stopped, signal.SIGCONT)
        until(lambda: reaped(4))
    finally:
        os.kill(stopped, signal.SIGKILL)
    until(lambda: reaped(5))
    assert seen[3:] == [(stopped, "continued", 18), (stopped, "killed", 9)]
    assert list(reap()) == []


def test_reaping_is_bounded() -> None:
    pids = set()
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.add(pid)
    while pids:
        batch = [pid for pid, _kind, _value in reap(2)]
        assert len(batch) <= 2
        pids.difference_update(batch)


def test_what_proc_says_of_a_process() -> None:
    own = look(os.getpid())
    assert own is not None
    assert (own.ppid, own.pgid, own.sid) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert 0 < own.start <= boot_ticks()
    assert os.getpid() in all_pids()
    assert look(2**22 + 1) is None and environment(2**22 + 1) == {}


def test_a_name_with_blanks_and_parentheses_is_read_right() -> None:
    pid = os.fork()
    if pid == 0:
        Path("/proc/self/comm").write_text("a) R 1 (b")
        signal.pause()
        os._exit(0)
    try:
        until(lambda: (info := look(pid)) is not None and info.name == "a) R 1 (b")
        info = look(pid)
        assert info is not None and info.ppid == os.getpid()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert look(pid) is None
