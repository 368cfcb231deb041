"""Whose processes are whose, where init has adopted many."""

from __future__ import annotations

import os

import pytest

from upstart.process import members
from upstart.process.members import Members
from upstart.process.procfs import ProcInfo

INIT = os.getpid()
MAIN = 1000
ORPHANS = range(MAIN + 1, MAIN + 1201)


class Machine:
    """Twelve hundred orphans of init, all younger than the job, of which the oldest is the job's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = self.reads = 0
        monkeypatch.setattr(members, "_starts", {})
        monkeypatch.setattr(members, "children", lambda pid, threads=1: list(ORPHANS) if pid == INIT else [])
        monkeypatch.setattr(members, "look", self._look)
        monkeypatch.setattr(members, "environment", self._environment)
        monkeypatch.setattr(members, "users", lambda pid: {os.geteuid()})
        monkeypatch.setattr(members, "privileged", lambda pid: False)
        monkeypatch.setattr(Members, "_foreign", lambda self, pid: False)

    def _look(self, pid: int) -> ProcInfo:
        self.looks += 1
        return ProcInfo(pid, INIT, pid, pid, pid, "S", "sleep", False, 1, False)

    def _environment(self, pid: int) -> dict[bytes, bytes]:
        self.reads += 1
        return {b"UPSTART_JOB": b"web", b"UPSTART_INSTANCE": b""} if pid == ORPHANS[0] else {}


@pytest.mark.parametrize(("seconds", "looks", "reads"), [(0.0, 50, 10), (1000.0, 500, 100)])
def test_a_look_among_many_orphans_ends_soon_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int, reads: int
) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setattr(members, "_SECONDS", seconds)
    job = Members(MAIN, 500, "web", "", None)
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
    assert [info.pid for info in job.processes(fresh=True)] == found
