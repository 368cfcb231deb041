"""Jobs with limits and oom scores are started without a fork, in an init that has them itself for that moment."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from process_support import Host, make_host, needs_root
from test_process_guard import ACCESS_PERM, Holder, guarded, program

from upstart.base.syscalls import Spawner
from upstart.process.bequest import Bequest
from upstart.process.quick import Quick
from upstart.process.spawn import SpawnError

pytestmark = needs_root

SCORE = Path("/proc/self/oom_score_adj")
#: What init's own is meanwhile, so that lower ones need no privilege.
OWN = 200
TOLD = "cat /proc/self/limits /proc/self/oom_score_adj; umask"


def state() -> tuple[str, str, int]:
    umask = os.umask(0o22)
    os.umask(umask)
    return Path("/proc/self/limits").read_text(), SCORE.read_text(), umask


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    before = SCORE.read_text()
    SCORE.write_text(str(OWN))
    try:
        for made in make_host(tmp_path, cgroups=False):
            # The first look-up of a program may find nothing in the kernel's cache.
            made.run(made.job("/bin/sh -c true"))
            yield made
    finally:
        SCORE.write_text(before)


def most(number: int) -> int:
    """The hard limit."""
    return resource.getrlimit(number)[1]


def able() -> dict[str, Any]:
    """Stanzas that need no privilege."""
    limits = {
        "nofile": (100, most(resource.RLIMIT_NOFILE)),
        "core": (4096, most(resource.RLIMIT_CORE)),
        "nproc": (5000, most(resource.RLIMIT_NPROC)),
        "memlock": (8192, most(resource.RLIMIT_MEMLOCK)),
    }
    return {"limits": limits, "oom_score_adj": 150, "umask": 0o27}


@pytest.mark.parametrize("process", ["main", "pre-start", "security"])
def test_both_ways_give_the_same(host: Host, monkeypatch: pytest.MonkeyPatch, process: str) -> None:
    before = state()
    job = host.job(TOLD, script=True, **able())
    said = host.run(job, process)
    assert host.spawn(job, process).ready and state() == before
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    result = host.spawn(job, process)
    assert not result.ready and host.wait(result.pid) == 0
    assert host.output(result) == said
    limits = {line[:25].strip(): line[25:].split()[:1] for line in said.splitlines()}
    if process != "security":
        assert limits["Max open files"] == ["100"] and limits["Max core file size"] == ["4096"]
        assert limits["Max processes"] == ["5000"] and limits["Max locked memory"] == ["8192"]
        assert said.splitlines()[-2:] == ["150", "0027"]
    else:
        assert said.splitlines()[-2:] == [str(OWN), f"{before[2]:04o}"]


def test_a_lowered_hard_limit_is_given_without_a_fork_where_init_may_have_its_own_again(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state()
    may = Bequest()._raises()
    job = host.job(TOLD, script=True, limits={"nofile": (90, 95), "core": (0, 0)}, oom_score_adj=-900 if may else 150)
    said = host.run(job)
    assert host.spawn(job).ready == may and state() == before
    assert f"{'Max open files':26}{90:<21}{95:<21}files" in said
    monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
    assert host.run(job) == said


def test_a_higher_oom_score_takes_a_fork(host: Host) -> None:
    before = state()
    job = host.job("/bin/cat /proc/self/oom_score_adj", oom_score_adj=OWN + 1)
    assert host.run(job) == f"{OWN + 1}\n"
    assert not host.spawn(job).ready and state() == before


def test_a_limit_below_what_the_process_needs_to_begin_takes_a_fork(host: Host) -> None:
    before = state()
    hard = most(resource.RLIMIT_NOFILE)
    for soft in range(12):
        result = host.spawn(host.job("/bin/true", limits={"nofile": (soft, hard)}))
        # With few it may be that its libraries cannot be loaded.
        host.wait(result.pid)
        assert result.pid not in host.failures and state() == before
    result = host.spawn(host.job("echo $0\nulimit -n\n", script=True, limits={"nofile": (40, hard)}))
    assert result.ready and host.wait(result.pid) == 0 and host.output(result) == "/proc/self/fd/9\n40\n"


def test_an_exec_that_fails_leaves_init_as_it_was(host: Host) -> None:
    before = state()
    job = host.job("/bin/echo " + "x" * 3_000_000, **able())
    assert host.failure(job) == "unable to execute: Argument list too long"
    assert state() == before


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "no room"), ValueError("embedded null byte")])
def test_what_fails_in_the_middle_leaves_init_as_it_was(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    before = state()
    meanwhile = []

    def fails(*args: object) -> int:
        meanwhile.append(state())
        raise error

    monkeypatch.setattr(Spawner, "spawn", fails)
    job = host.job("/bin/true", **able())
    if isinstance(error, MemoryError):
        with pytest.raises(SpawnError, match="Temporary"):
            host.spawn(job)
    else:
        assert host.wait(host.spawn(job).pid) == 0
    assert state() == before != meanwhile[0]
    assert meanwhile[0][1:] == ("150\n", 0o27)


def test_a_program_that_is_held_leaves_init_as_it_was(host: Host, tmp_path: Path) -> None:
    before = state()
    path = program(tmp_path)
    guard = guarded(host)
    host.run(host.job(str(path)))
    with Holder(path, ACCESS_PERM) as holder:
        result = host.spawn(host.job(str(path), **able()))
        # The guard has ended the first one.
        assert guard.rest > 0 and not result.ready and state() == before
        holder.let_go()
        assert host.wait(result.pid) == 0


UNPRIVILEGED = """
import os, resource, sys
sys.path[:0] = [SOURCE]
from pathlib import Path
from upstart.conf.jobclass import JobClass, ProcessDef
from upstart.process.spawn import Spawner, SpawnRequest, read_outcome
os.chdir("/")
spawner = Spawner()
before = Path("/proc/self/limits").read_text()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
lacks = []
def quick(**stanzas):
    job = JobClass("job", "job.conf")
    job.processes = {"main": ProcessDef("/bin/true", False)}
    for key, value in stanzas.items():
        setattr(job, key, value)
    for _ in range(2):
        result = spawner.spawn(SpawnRequest(job, "job", "main", "", {"PATH": "/bin"}))
        assert os.waitpid(result.pid, 0)[1] == 0
        assert result.ready or read_outcome(result.error_fd, lacks.append) == ""
        assert Path("/proc/self/limits").read_text() == before
        assert Path("/proc/self/oom_score_adj").read_text() == own
    return result.ready
own = Path("/proc/self/oom_score_adj").read_text()
assert quick() and quick(limits={"nofile": (50, hard)}) and quick(limits={"core": (0, -1)}) == FREE_CORE
assert not quick(limits={"nofile": (50, hard - 1)}) and not quick(limits={"core": (0, 0)})
assert not lacks
assert not quick(oom_score_adj=-1000) and lacks == ["unable to set oom adjustment: Permission denied"] * 2
"""


def test_root_without_the_privilege_forks_for_what_it_could_not_have_back() -> None:
    """As in an unprivileged container."""
    source = str(Path(__file__).resolve().parents[2] / "src")
    free = most(resource.RLIMIT_CORE) == resource.RLIM_INFINITY
    values = f"SOURCE = {source!r}\nFREE_CORE = {free}\n"
    setpriv = ["setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]
    done = subprocess.run(
        [*setpriv, sys.executable, "-c", values + UNPRIVILEGED], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
