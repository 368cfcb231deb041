"""Signals and SIGKILL reach what the kill mode of a job says, and nothing ever reaches init."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, alive, left, make_host, needs_root, until

from upstart.process.kill import kill_members, signal_group, signal_job, signal_process
from upstart.process.members import Members
from upstart.process.orphans import boot_ticks
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

#: A main process that obeys, and with it one in its group, one in another of its session, one in a session of its own
#: and one that has cleared its environment there.
RELATIVES = """
sleep 601 & same=$!
perl -e 'setpgrp(0, 0); exec "sleep", "604"' & group=$!
setsid sleep 602 & session=$!
setsid sh -c 'exec env -i sleep 603' & bare=$!
for pid in $same $group $session $bare; do
    while [ "$(cat /proc/$pid/comm)" != sleep ]; do :; done
done
echo $same $group $session $bare >$F
exec sleep 605
"""


@pytest.fixture(params=["cgroup", "session"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    for made in make_host(tmp_path, cgroups=request.param == "cgroup"):
        if request.param == "cgroup" and (made.cgroups is None or not made.cgroups.available):
            pytest.skip("no writable cgroup v2 hierarchy")
        yield made


def family(host: Host, name: str = "test-job", script: str = FAMILY) -> tuple[int, Members, list[int]]:
    path = host.directory / f"family-{name}"
    result = host.spawn(host.job(script, script=True, name=name), env={"F": str(path)})
    host.until(lambda: path.exists() and path.read_text().endswith("\n"))
    return result.pid, result.members, [int(word) for word in path.read_text().split()]


def test_a_signal_reaches_the_process_group_only(host: Host) -> None:
    pid, members, (a, b, c) = family(host)
    assert signal_job(pid, signal.SIGTERM, members)
    host.until(lambda: not alive(a))
    assert alive(pid) and alive(b) and alive(c)


@pytest.mark.parametrize(
    ("mode", "number", "reached"),
    [
        ("process", signal.SIGTERM, "main"),
        ("process", signal.SIGKILL, "main"),
        ("group", signal.SIGTERM, "main same"),
        ("group", signal.SIGKILL, "main same"),
        ("session", signal.SIGTERM, "main same"),
        ("session", signal.SIGKILL, "main same group"),
        ("all", signal.SIGTERM, "main same group session bare"),
        ("all", signal.SIGKILL, "main same group session bare"),
    ],
)
def test_how_far_a_signal_reaches(host: Host, mode: str, number: int, reached: str) -> None:
    main, members, others = family(host, script=RELATIVES)
    host.until(lambda: sorted(left(members)) == sorted([main, *others]))
    pids = dict(zip(("main", "same", "group", "session", "bare"), [main, *others], strict=True))
    assert signal_job(main, number, members, mode=mode)
    host.until(lambda: not any(alive(pids[name]) for name in reached.split()))
    assert all(alive(pid) for name, pid in pids.items() if name not in reached.split())


def test_a_session_is_the_jobs_where_a_launcher_made_it(host: Host) -> None:
    path = host.directory / "family-test-job"
    # The first leads a group and therefore forks; what its child starts has a session that is that child's own affair.
    inner = f"setsid sleep 602 & echo $! >{path}; exec sleep 601"
    result = host.spawn(host.job(f"setsid --wait sh -c '{inner}'"))
    host.until(lambda: path.exists() and path.read_text().endswith("\n") and len(left(result.members)) == 3)
    own = int(path.read_text())
    (launched,) = set(left(result.members)) - {result.pid, own}
    host.until(lambda: os.getsid(own) == own)
    assert os.getsid(launched) == launched
    assert signal_job(result.pid, signal.SIGKILL, result.members)
    host.until(lambda: not alive(launched) and not alive(result.pid))
    assert alive(own)


def test_the_session_of_a_daemon_is_known_when_it_has_been_reaped(host: Host) -> None:
    path = host.directory / "family-test-job"
    daemon = f"sleep 601 & echo $$ $! >{path}; exec sleep 602"
    result = host.spawn(host.job(f"setsid -f sh -c '{daemon}'"))
    host.until(lambda: path.exists() and path.read_text().endswith("\n"))
    main, worker = map(int, path.read_text().split())
    host.wait(result.pid)
    result.members.note_session(main)
    again = Members.load(result.members.dump())
    os.kill(main, signal.SIGKILL)
    host.wait(main)
    assert kill_members(again, mode="session")
    host.until(lambda: not alive(worker))


def test_kill_reaches_everything(host: Host) -> None:
    pid, members, others = family(host)
    host.until(lambda: sorted(left(members)) == sorted([pid, *others]))
    assert signal_job(pid, signal.SIGKILL, members, mode="all")
    host.until(lambda: not any(map(alive, [pid, *others])))
    assert not left(members)
    assert not kill_members(members)


def test_what_forks_without_end_is_killed_at_once_unless_something_is_to_stay(host: Host) -> None:
    forking = "trap '' TERM; while :; do (:) & sleep 0.001; done"
    result = host.spawn(host.job(forking, script=True))
    group = result.members.group
    host.until(lambda: result.ready and len(left(result.members)) > 1)
    assert signal_job(result.pid, signal.SIGKILL, result.members)
    host.until(lambda: not alive(result.pid) and not left(result.members))
    assert group is None or not group.populated()


def test_kill_leaves_other_jobs_alone(host: Host) -> None:
    pid, members, others = family(host)
    other_pid, _other_members, other_others = family(host, "test-job-other")
    signal_job(pid, signal.SIGKILL, members, mode="all")
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
    # Its own processes are the whole job's where that has a group.
    until(lambda: len(left(members)) >= (6 if members.group is not None else 4))
    assert signal_job(pid, signal.SIGKILL, members, spare=(post.pid,), mode="all")
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


@pytest.mark.parametrize("pid", [1, 0, -1, -5, pytest.param(os.getpid(), id="own")])
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
