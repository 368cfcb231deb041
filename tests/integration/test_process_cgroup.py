"""Jobs in cgroups of their own, on the machine's cgroup v2 hierarchy, in a subtree made for the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import Host, alive, make_host, make_host_with_cgroups, needs_root

from upstart.process import cgroup as cgroup_module
from upstart.process.cgroup import Cgroups, find_own
from upstart.process.group import Group
from upstart.process.kill import signal_job
from upstart.process.spawn import SpawnError

pytestmark = [needs_root, pytest.mark.skipif(find_own() is None, reason="no cgroup v2 hierarchy")]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield from make_host_with_cgroups(tmp_path)


def cgroups(host: Host) -> Cgroups:
    assert host.cgroups is not None
    return host.cgroups


def base(host: Host) -> str:
    path = cgroups(host).base
    assert path is not None
    return path


def own_line() -> str:
    return next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))


SHOW = "/bin/grep ^0:: /proc/self/cgroup"


@pytest.mark.parametrize("nice", [None, 1])
def test_a_job_runs_in_its_own_group_and_init_in_its_own(host: Host, nice: int | None) -> None:
    before = own_line()
    for _ in range(3):
        assert host.run(host.job(SHOW, name="plain", nice=nice)).strip().endswith("/upstart/plain")
        assert own_line() == before


def test_nobody_else_makes_groups_where_those_of_jobs_are(host: Host) -> None:
    own = base(host).rpartition("/")[0]
    before = os.umask(0)  # as PID 1 has it
    try:
        # The pid is nobody's.
        made = Cgroups(own, session=True, pid=(1 << 22) + 1)
        try:
            assert made.base is not None
            directories = [Path(made.base), *(path for path in Path(made.base).rglob("*") if path.is_dir())]
            assert len(directories) == 2
            assert [path.stat().st_mode & 0o777 for path in directories] == [0o755] * 2
        finally:
            made.close()
        group = host.spawn(host.job("/bin/sleep 60", cgroups=(("cpu", "a/b/c", None, None),))).members.group
        assert group is not None
        host.until(lambda: group.populated())
        path = Path(group.path)
        assert [one.stat().st_mode & 0o777 for one in (path, path.parent, path.parent.parent)] == [0o755] * 3
    finally:
        os.umask(before)


def test_instances_have_groups_of_their_own(host: Host) -> None:
    job = host.job(SHOW, name="net/if-up")
    assert host.run(job, instance="eth0").strip().endswith("/upstart/net%2Fif-up@eth0")
    assert host.run(job).strip().endswith("/upstart/net%2Fif-up@")


def test_the_end_of_a_chroot_sessions_job_is_not_that_of_the_systems_job_of_its_name(host: Host) -> None:
    ours = host.spawn(host.job("/bin/sleep 60", name="both"))
    theirs = host.spawn(host.job("/bin/sleep 60", name="both", session="/"))
    host.until(lambda: ours.ready and theirs.ready)
    assert signal_job(theirs.pid, signal.SIGKILL, theirs.members)
    host.wait(theirs.pid)
    host.turn()
    assert alive(ours.pid) and ours.pid not in host.statuses


def test_forks_of_a_job_are_in_its_group_from_the_first_on(host: Host) -> None:
    result = host.spawn(host.job("setsid env -i sleep 60 & wait", script=True))
    group = result.members.group
    assert group is not None
    host.until(lambda: len(group.pids()) == 2)
    assert group.populated()
    os.kill(result.pid, signal.SIGKILL)
    host.wait(result.pid)
    assert len(result.members.processes()) == 1


def test_an_ended_job_leaves_no_directory(host: Host) -> None:
    result = host.spawn(host.job("/bin/true"))
    host.wait(result.pid)
    group = result.members.group
    assert group is not None and os.path.isdir(group.path)
    cgroups(host).release(group)
    assert not os.path.exists(group.path)


def test_a_group_with_left_processes_is_removed_when_they_have_gone(host: Host) -> None:
    result = host.spawn(host.job("setsid sleep 60 & :", script=True, name="first"))
    host.wait(result.pid)
    group = result.members.group
    assert group is not None
    cgroups(host).release(group)
    assert os.path.isdir(group.path)
    assert group.kill()
    host.until(lambda: not group.populated())
    other = host.spawn(host.job("/bin/true", name="second"))
    host.wait(other.pid)
    assert other.members.group is not None
    cgroups(host).release(other.members.group)
    assert not os.path.exists(group.path)


def test_a_group_with_left_processes_is_kept_in_mind_once(host: Host) -> None:
    group = None
    for _ in range(5):
        result = host.spawn(host.job("setsid sleep 60 & :", script=True, name="first"))
        host.wait(result.pid)
        group = result.members.group
        cgroups(host).release_of("first", "")
    assert group is not None and list(cgroups(host)._left) == [group.path]
    assert group.kill()
    host.until(lambda: not group.populated())
    cgroups(host).release_of("first", "")
    cgroups(host).release(group)
    assert not os.path.exists(group.path) and not cgroups(host)._left


def test_groups_are_known_again_after_a_restart_of_init(host: Host) -> None:
    paths = []
    for name in ("lives", "left"):
        host.run(host.job("/bin/true", name=name))
        paths.append(f"{base(host)}/upstart/{name}")
    result = host.spawn(host.job("setsid sleep 60 & :", script=True, name="left"))
    host.wait(result.pid)
    cgroups(host).release_of("left", "")
    assert result.members.group is not None and result.members.group.kill()
    host.until(lambda: not result.members.processes())
    again = Cgroups(session=True)
    again.restore(cgroups(host).dump())
    again.release_of("lives", "")
    assert not any(map(os.path.exists, paths))


def test_groups_that_a_job_makes_below_its_own_are_its_too(host: Host) -> None:
    script = "d=$B/upstart/maker; mkdir $d/inner; echo $$ >$d/inner/cgroup.procs; sleep 60"
    result = host.spawn(host.job(script, script=True, name="maker"), env={"B": base(host)})
    group = result.members.group
    assert group is not None
    host.until(lambda: os.path.isdir(group.path + "/inner") and len(group.pids()) == 2)
    assert group.kill()
    assert host.wait(result.pid) == signal.SIGKILL << 8
    host.until(lambda: not group.populated())
    assert group.remove() and not os.path.exists(group.path)


def test_init_stays_out_of_a_frozen_group(host: Host) -> None:
    job = host.job("/bin/sleep 60", name="frozen")
    host.run(host.job("/bin/true", name="frozen"))
    group = cgroups(host).group("frozen", "")
    assert group is not None
    freeze = Path(group.path + "/cgroup.freeze")
    freeze.write_text("1")
    try:
        assert not cgroups(host).enter(group)
        result = host.spawn(job)
        before = own_line()
        assert "frozen" not in before
        assert alive(result.pid)
    finally:
        freeze.write_text("0")
    host.until(lambda: result.ready)


def test_nothing_is_moved_while_all_jobs_are_frozen(host: Host) -> None:
    freeze = Path(base(host) + "/upstart/cgroup.freeze")
    assert cgroups(host).group("any", "") is not None
    freeze.write_text("1")
    try:
        assert not cgroups(host).moves
    finally:
        freeze.write_text("0")


def test_a_group_removed_by_others_is_made_again(host: Host) -> None:
    host.run(host.job(SHOW, name="again"))
    os.rmdir(base(host) + "/upstart/again")
    assert host.wait(host.spawn(host.job("/bin/true", name="again")).pid) == 0
    assert host.run(host.job(SHOW, name="again")).strip().endswith("/upstart/again")


def test_a_job_runs_without_a_group_where_none_can_be_made(host: Host) -> None:
    assert cgroups(host).group("cgroup.procs", "") is None
    assert cgroups(host).group("x" * 5000, "") is None
    assert host.run(host.job("/bin/echo ran", name="cgroup.procs")) == "ran\n"


def test_the_stanza_puts_the_job_where_it_says(host: Host) -> None:
    for process in ("main", "pre-start"):
        job = host.job(SHOW, name="stanza", cgroups=(("cpu", None, None, None),))
        assert host.run(job, process).strip().endswith("/upstart/stanza")
        job = host.job(SHOW, name="stanza", cgroups=(("cpu", "$UPSTART_CGROUP/$K", None, None),))
        assert host.run(job, process, env={"K": "deep/er"}).strip().endswith("/upstart/stanza/deep/er")
        job = host.job(SHOW, name="stanza", cgroups=(("cpu", "shared", None, None),))
        assert host.run(job, process).strip().endswith(os.path.basename(base(host)) + "/shared")
    assert not host.run(host.job(SHOW, cgroups=(("cpu", None, None, None),)), "security").strip().endswith("stanza")


def test_the_groups_of_a_stanza_belong_to_the_jobs_user(host: Host) -> None:
    job = host.job("/bin/true", name="owned", setuid="nobody", cgroups=(("cpu", None, None, None),))
    host.run(job)
    path = Path(base(host) + "/upstart/owned")
    assert path.stat().st_uid == 65534 and (path / "cgroup.procs").stat().st_uid == 65534
    assert (path / "cgroup.freeze").stat().st_uid == 0


def available() -> set[str]:
    own = find_own()
    assert own is not None
    return set(Path(own[1] + "/cgroup.controllers").read_text().split())


def test_settings_are_applied(host: Host) -> None:
    there = available()
    if "pids" in there:
        stanza, file, value = ("pids", None, "max", "100"), "pids.max", "100"
    elif "hugetlb" in there:
        stanza, file, value = ("hugetlb", None, "2MB.limit_in_bytes", "4194304"), "hugetlb.2MB.max", "4194304"
    else:
        pytest.skip("no controller to try")
    host.run(host.job(SHOW, name="limited", cgroups=(stanza,)))
    assert Path(f"{base(host)}/upstart/limited/{file}").read_text().strip() == value


def test_a_setting_that_the_kernel_refuses_names_its_key(host: Host) -> None:
    there = available()
    if "hugetlb" not in there:
        pytest.skip("no controller to try")
    text = host.failure(host.job(SHOW, name="bad", cgroups=(("hugetlb", None, "2MB.limit_in_bytes", "many"),)))
    assert text == "unable to setup cgroup: hugetlb.2MB.limit_in_bytes: Invalid argument"


def test_a_controller_that_the_machine_lacks_names_the_key(host: Host) -> None:
    lacking = sorted({"cpu", "memory", "io", "rdma", "misc"} - available())
    if not lacking:
        pytest.skip("the machine has every controller")
    with pytest.raises(SpawnError) as caught:
        host.spawn(host.job(SHOW, cgroups=((lacking[0], None, "max", "1"),)))
    assert str(caught.value) == (
        f"unable to setup cgroup: {lacking[0]}.max: {lacking[0]}: controller not available"
    )


def test_without_cgroups_the_stanza_is_ignored_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in make_host(tmp_path, cgroups=False):
        assert host.run(host.job("/bin/echo x", cgroups=(("cpu", None, "shares", "5"),))) == "x\n"
    monkeypatch.setattr(cgroup_module, "find_own", lambda: None)
    for host in make_host(tmp_path):
        assert not cgroups(host).available and cgroups(host).group("x", "") is None
        assert host.run(host.job("/bin/echo y", cgroups=(("cpu", None, None, None),))) == "y\n"
        with pytest.raises(SpawnError, match=r"unable to setup cgroup: cpu\.shares: no cgroup v2 hierarchy"):
            host.spawn(host.job("/bin/echo z", cgroups=(("cpu", None, "shares", "5"),)))


def test_another_inits_groups_are_left_alone(host: Host, tmp_path: Path) -> None:
    place = base(host) + "/elsewhere"
    os.makedirs(place + "/upstart/theirs")
    os.setxattr(place + "/upstart", "user.upstart.owner", b"pid:[1]/1")
    sleeper = os.fork()
    if sleeper == 0:
        signal.pause()
        os._exit(0)
    Path(place + "/upstart/theirs/cgroup.procs").write_text(str(sleeper))
    try:
        ours = Cgroups(place)
        assert ours.base is not None and ours.base != place and ours.base.startswith(place)
    finally:
        os.kill(sleeper, signal.SIGKILL)
        host.wait(sleeper)
        Path(os.path.dirname(base(host)) + "/cgroup.procs").write_text(str(os.getpid()))
    ours.close()
    theirs = Cgroups(place)
    Path(os.path.dirname(base(host)) + "/cgroup.procs").write_text(str(os.getpid()))
    assert theirs.base == place
    theirs.close()
    assert Group(place, True).remove()


def test_what_a_killed_session_init_has_left_is_removed(host: Host) -> None:
    place = base(host) + "/sessions"
    os.mkdir(place)
    child = os.fork()
    if child == 0:
        Cgroups(place, session=True).group("job", "")
        os._exit(0)
    host.wait(child)
    assert os.listdir(place).count(f"upstart-session-{child}") == 1
    again = Cgroups(place, session=True)
    try:
        names = [name for name in os.listdir(place) if name.startswith("upstart-session-")]
        assert names == [f"upstart-session-{os.getpid()}"]
    finally:
        Path(os.path.dirname(base(host)) + "/cgroup.procs").write_text(str(os.getpid()))
        again.close()
        assert Group(place, True).remove()


def test_init_is_not_killed_with_a_group_it_is_stuck_in(host: Host) -> None:
    result = host.spawn(host.job("/bin/sleep 60", name="stuck"))
    group = result.members.group
    assert group is not None
    assert cgroups(host).enter(group)
    try:
        assert not group.kill()
        assert signal_job(result.pid, signal.SIGKILL, result.members)
    finally:
        cgroups(host).leave()
    assert host.wait(result.pid) == signal.SIGKILL << 8


AS_NOBODY = """
import os, sys
sys.path[:0] = [SOURCE, "/usr/lib/python3/dist-packages"]
from upstart.conf.jobclass import JobClass, ProcessDef
from upstart.process.cgroup import Cgroups
from upstart.process.spawn import Spawner, SpawnRequest, read_outcome
cgroups = Cgroups(session=True)
assert not cgroups.available
spawner = Spawner(True, cgroups)
def start(**stanzas):
    job = JobClass("job", "job.conf")
    job.processes = {"main": ProcessDef("/bin/true", False)}
    for key, value in stanzas.items():
        setattr(job, key, value)
    result = spawner.spawn(SpawnRequest(job, "job", "main", "", {"PATH": "/bin"}))
    status = os.waitpid(result.pid, 0)[1]
    assert (status == 0) == (result.ready or not (text := read_outcome(result.error_fd, print)))
    return "" if status == 0 else text
assert start() == "" and start(nice=5) == "" and start(setgid="nogroup") == ""
assert start(cgroups=(("cpu", None, None, None),)) == ""
assert start(setuid="root") == "unable to setgid: Operation not permitted"
assert start(nice=-5) == "unable to set priority: Permission denied"
assert start(limits={"nofile": (1 << 30, 1 << 30)}) == 'unable to set "nofile" resource limit: Operation not permitted'
assert start(chroot="/tmp") == "unable to change root directory: Operation not permitted"
"""


def test_a_session_init_without_privileges_runs_its_jobs() -> None:
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", f"SOURCE = {source!r}\n" + AS_NOBODY],
        user="nobody",
        group="nogroup",
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
