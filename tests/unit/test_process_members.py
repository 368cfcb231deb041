"""Whose processes are whose: where init has adopted many, and where somebody says that he is a job's."""

from __future__ import annotations

import os

import pytest

from upstart.process import members, orphans
from upstart.process.group import Group
from upstart.process.members import Members
from upstart.process.procfs import ProcInfo

INIT = os.getpid()
MAIN = 1000
WARDEN = 999
ORPHANS = range(MAIN + 1, MAIN + 1201)
SAYS = {b"UPSTART_JOB": b"web", b"UPSTART_INSTANCE": b""}


class Machine:
    """Twelve hundred orphans of init, all younger than the job, of which the oldest says that it is the job's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = self.reads = self.lists = self.asked = 0
        #: Parents, sessions and cgroups that are not init's, a process's own, or that of a login.
        self.parents: dict[int, int] = {}
        self.sessions: dict[int, int] = {}
        self.places: dict[int, str] = {}
        monkeypatch.setattr(orphans, "starts", {})
        self.now = 10_000
        monkeypatch.setattr(orphans, "boot_ticks", lambda: self.now)
        for name in ("children", "look", "environment", "cgroup_of"):
            monkeypatch.setattr(members, name, getattr(self, name))
        monkeypatch.setattr(os, "getsid", self.getsid)
        monkeypatch.setattr(os, "getpgid", lambda pid: self.sessions.get(pid, pid))
        monkeypatch.setattr(members, "begun", lambda pid: 600)
        monkeypatch.setattr(members, "users", lambda pid: {os.geteuid()})
        monkeypatch.setattr(members, "privileged", lambda pid: False)
        monkeypatch.setattr(Members, "_foreign", lambda self, pid: False)

    def getsid(self, pid: int) -> int:
        self.asked += 1
        return self.sessions.get(pid, pid)

    def children(self, pid: int, threads: int = 1) -> list[int]:
        self.lists += pid == INIT
        return [each for each in ORPHANS if self.parents.get(each, INIT) == pid]

    def look(self, pid: int) -> ProcInfo:
        self.looks += 1
        session = self.sessions.get(pid, pid)
        return ProcInfo(pid, self.parents.get(pid, INIT), session, session, pid, "S", "sleep", False, 1, False)

    def environment(self, pid: int) -> dict[bytes, bytes]:
        self.reads += 1
        return SAYS if pid == ORPHANS[0] else {}

    def cgroup_of(self, pid: int) -> str:
        return self.places.get(pid, "/user")


def job_of(monkeypatch: pytest.MonkeyPatch, group: Group | None = None) -> Members:
    if group is not None:
        monkeypatch.setattr(Group, "pids", lambda self: [])
    return Members(MAIN, 500, "web", "", group)


def pids(job: Members) -> list[int]:
    return [info.pid for info in job.processes(fresh=True)]


@pytest.mark.parametrize(("seconds", "looks", "reads"), [(0.0, 50, 10), (1000.0, 500, 100)])
def test_a_look_among_many_orphans_ends_soon_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int, reads: int
) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", seconds)
    job = job_of(monkeypatch, Group("/nowhere", True))
    for pid in (MAIN, ORPHANS[0]):
        machine.places[pid] = "/elsewhere"
    for _ in range(len(ORPHANS) // reads + 1):
        found = [info.pid for info in job.processes()]
        assert machine.looks <= looks and machine.reads <= reads
        machine.looks = machine.reads = 0
        if ORPHANS[0] in found:
            break
    else:
        raise AssertionError("never found")
    assert found == [MAIN, ORPHANS[0]]
    # It is known from now on, and looked at first.
    assert pids(job) == found


def test_without_a_cgroup_nobody_is_a_jobs_because_he_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    job = job_of(monkeypatch)
    for _ in range(4):
        assert pids(job) == [MAIN]
    assert not machine.reads


def test_in_another_cgroup_than_the_main_process_nobody_is_a_jobs_because_he_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    # It has ended in its own group.
    machine.places[MAIN] = "/upstart/web"
    job = job_of(monkeypatch, Group("/sys/fs/cgroup/upstart/web", True))
    for _ in range(len(ORPHANS) // 100 + 1):
        assert pids(job) == [MAIN]
    # Nor after a number has been used again.
    machine.places[MAIN] = "/user"
    monkeypatch.setattr(members, "begun", lambda pid: 700)
    assert pids(job) == [MAIN]


def test_an_orphan_in_a_session_that_is_the_jobs_is_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    machine.sessions[ORPHANS[3]] = MAIN
    assert pids(job_of(monkeypatch)) == [MAIN, ORPHANS[3]]


def test_what_a_warden_has_is_the_jobs_and_nothing_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    job = job_of(monkeypatch)
    job.warden = WARDEN
    # The second has another session, the third is a child of its.
    for pid, parent in ((MAIN, WARDEN), (ORPHANS[7], WARDEN), (ORPHANS[8], ORPHANS[7])):
        machine.parents[pid] = parent
    assert pids(job) == [MAIN, ORPHANS[7], ORPHANS[8]]
    assert machine.looks < 10 and not machine.reads
    # Once it is gone they are init's, and known.
    machine.parents[ORPHANS[7]] = INIT
    job.warden = 0
    assert pids(job) == [MAIN, ORPHANS[7], ORPHANS[8]]


def test_the_session_of_a_warden_is_not_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    job = job_of(monkeypatch)
    job.warden = WARDEN
    machine.parents[MAIN] = WARDEN
    machine.sessions[MAIN] = WARDEN
    assert pids(job) == [MAIN] and WARDEN not in job.sessions
    monkeypatch.setattr(os, "getsid", lambda pid: WARDEN)
    job.note_session(MAIN)
    assert WARDEN not in job.own
    # Somebody has got its number.
    job.warden = 0
    machine.sessions = {ORPHANS[5]: WARDEN}
    assert pids(job) == [MAIN]


def test_what_is_known_crosses_a_re_exec(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    job = job_of(monkeypatch)
    job.warden, job.leash = WARDEN, 17
    machine.parents = {MAIN: WARDEN, ORPHANS[7]: WARDEN}
    pids(job)
    again = Members.load(job.dump())
    assert (again.warden, again.leash, again.known) == (WARDEN, 17, {MAIN: MAIN, ORPHANS[7]: ORPHANS[7]})
    # An older build knew of none.
    older = {key: value for key, value in job.dump().items() if key not in ("warden", "begun", "place")}
    assert (Members.load(older).warden, Members.load(older).leash) == (0, -1)


def test_orphans_are_asked_for_their_session_once_while_a_main_process_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    job = job_of(monkeypatch)
    assert pids(job) == [MAIN]
    assert machine.asked == len(ORPHANS) and machine.lists == 1
    # What it looks at a second time is what has come in between.
    machine.asked = 0
    job.processes()
    assert machine.asked == 0
    # A number that somebody else has got is somebody else.
    orphans.reaped(ORPHANS[9])
    machine.now += 1
    machine.sessions[ORPHANS[9]] = MAIN
    assert [info.pid for info in job.processes()] == [MAIN, ORPHANS[9]]
    assert machine.asked < 10


def test_a_session_that_is_learnt_of_late_is_looked_for_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    job = job_of(monkeypatch)
    machine.sessions[ORPHANS[3]] = 77
    assert pids(job) == [MAIN]
    job.sessions.add(77)
    assert [info.pid for info in job.processes()] == [MAIN, ORPHANS[3]]


def test_orphans_seen_before_a_job_began_cost_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 1000.0)
    pids(job_of(monkeypatch))
    machine.looks = machine.asked = 0
    job = Members(ORPHANS[-1] + 1, machine.now + 1, "next", "", None)
    monkeypatch.setattr(members, "look", lambda pid: None)
    assert pids(job) == [] and machine.asked == 0


def test_where_a_look_has_no_time_left_the_next_goes_on_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", 0.0)
    machine.sessions[ORPHANS[3]] = MAIN
    job = job_of(monkeypatch)
    looks = 0
    while ORPHANS[3] not in [info.pid for info in job.processes()]:
        looks += 1
        assert 0 < machine.asked <= 300
        machine.asked = 0
    assert 1 < looks < 10


def test_a_zombie_in_a_session_of_the_jobs_ends_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.sessions[ORPHANS[3]] = MAIN
    look = machine.look
    monkeypatch.setattr(members, "look", lambda pid: None if pid == ORPHANS[3] else look(pid))
    assert pids(job_of(monkeypatch)) == [MAIN]


def test_what_init_has_adopted_is_not_even_listed_while_a_warden_has_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    job = job_of(monkeypatch)
    job.warden = WARDEN
    machine.parents[MAIN] = WARDEN
    machine.parents[ORPHANS[7]] = WARDEN
    assert pids(job) == [MAIN, ORPHANS[7]] and not machine.lists
