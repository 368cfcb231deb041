"""What the stanzas of a job change in its processes: limits, priorities, directories, identity."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit
from process_support import Host, fields, make_host, needs_root

from upstart.process import limits
from upstart.process.spawn import SpawnError

pytestmark = needs_root


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Host]:
    yield from make_host(tmp_path, cgroups=False)


def test_limits_are_set(plain: Host) -> None:
    job = plain.job(
        "/bin/cat /proc/self/limits", limits={"nofile": (100, 200), "core": (0, -1), "rttime": (1000, 2000)}
    )
    lines = {line[:25].strip(): line[25:].split()[:2] for line in plain.run(job).splitlines()}
    assert lines["Max open files"] == ["100", "200"]
    assert lines["Max core file size"][0] == "0"
    assert lines["Max realtime timeout"] == ["1000", "2000"]


def test_a_limit_that_cannot_be_set_is_named(plain: Host) -> None:
    text = plain.failure(plain.job("/bin/true", limits={"nofile": (200, 100)}))
    assert text == 'unable to set "nofile" resource limit: Invalid argument'


def test_a_limit_beyond_what_the_kernel_allows_is_set_as_far_as_it_goes(plain: Host) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    job = plain.job("/bin/cat /proc/self/limits", limits={"nofile": (most + 1, most + 1), "core": (0, 0)})
    lines = {line[:25].strip(): line[25:].split()[:2] for line in plain.run(job).splitlines()}
    assert lines["Max open files"] == [str(now)] * 2 and lines["Max core file size"] == ["0", "0"]
    assert plain.lacks == ['unable to set "nofile" resource limit: Operation not permitted']


LESS_PRIVILEGED = """#!/bin/sh
ulimit -l 64
exec setpriv --bounding-set=-sys_nice,-sys_resource --inh-caps=-sys_nice,-sys_resource {init} "$@"
"""


def test_root_without_the_privileges_for_a_stanza_runs_the_job_and_says_so(tmp_path: Path) -> None:
    """As in an unprivileged container; an ordinary user's stanza is a mistake, and an error as ever."""
    program = tmp_path / "init"
    program.write_text(LESS_PRIVILEGED.format(init=PROGRAMS / "init"))
    program.chmod(0o755)
    job = "nice -5\noom score -500\nlimit core 0 unlimited\nlimit memlock 65536 unlimited\nexec sleep 1000\n"
    init = SessionInit(tmp_path, {"job": job}, program=program)
    try:
        assert init.initctl("start", "job").stdout.startswith("job start/running, process ")
        for text in (
            "unable to set priority: Permission denied",
            "unable to set oom adjustment: Permission denied",
            'unable to set "memlock" resource limit: Operation not permitted',
        ):
            assert f"job main process: {text}; it runs without\n" in init.text()
        assert init.text().count("it runs without") == 3
    finally:
        init.close()


def test_every_limit_of_the_job_language_has_a_number() -> None:
    names = "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
    assert sorted(limits.LIMITS) == names.split()
    assert limits.LIMITS["nofile"] == resource.RLIMIT_NOFILE


def test_priority_and_oom_score(plain: Host) -> None:
    script = "cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj"
    assert plain.run(plain.job(script, script=True, nice=7, oom_score_adj=321)).split() == ["7", "321"]


@pytest.mark.parametrize("nice", [-4, 6])
def test_a_priority_is_the_jobs_alone(plain: Host, nice: int) -> None:
    """-4 is had without a fork, by an init that has it meanwhile."""
    assert plain.run(plain.job("cut -d' ' -f19 /proc/self/stat", script=True, nice=nice)) == f"{nice}\n"
    assert os.getpriority(os.PRIO_PROCESS, 0) == 0
    assert plain.run(plain.job("cut -d' ' -f19 /proc/self/stat", script=True)) == "0\n"


def test_chdir_and_its_failure(plain: Host, tmp_path: Path) -> None:
    assert plain.run(plain.job("pwd", script=True, chdir=str(tmp_path))) == f"{tmp_path}\n"
    assert (
        plain.failure(plain.job("/bin/true", chdir="/nonexistent"))
        == "unable to change working directory: No such file or directory"
    )


def test_a_session_init_leaves_the_working_directory(tmp_path: Path) -> None:
    for host in make_host(tmp_path, cgroups=False, user_mode=True):
        os.chdir(tmp_path)
        assert host.run(host.job("pwd", script=True)) == f"{tmp_path}\n"
        assert host.run(host.job("pwd", script=True, chdir="/")) == "/\n"
        os.chdir("/")


@pytest.fixture
def chroot(tmp_path: Path) -> Path:
    """A root directory with busybox-like means: the dynamic linker, libc, a shell and a few programs."""
    root = tmp_path / "root"
    for program in ("/bin/sh", "/bin/cat", "/usr/bin/id"):
        wanted = [program, *subprocess.run(["ldd", program], capture_output=True, text=True).stdout.split()]
        for path in wanted:
            if path.startswith("/"):
                target = root / path[1:]
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.write_bytes(Path(path).read_bytes())
                    target.chmod(0o755)
    (root / "etc").mkdir()
    (root / "inside").mkdir()
    return root


def test_chroot_changes_root_before_the_directory_and_the_user(plain: Host, chroot: Path) -> None:
    (chroot / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\ninner:x:4321:1234::/:/bin/sh\n")
    (chroot / "etc/group").write_text("root:x:0:\nin:x:1234:\nextra:x:99:inner\n")
    job = plain.job("pwd; id -u; id -g; id -G", script=True, chroot=str(chroot), chdir="/inside", setuid="inner")
    output = plain.run(job).split()
    assert output[:3] == ["/inside", "4321", "1234"]
    assert sorted(output[3:]) == ["1234", "99"]


def test_chroot_without_a_password_file(plain: Host, chroot: Path) -> None:
    assert plain.run(plain.job("id -u; id -G", script=True, chroot=str(chroot))).split() == ["0", "0"]
    assert plain.failure(plain.job("/bin/sh", chroot=str(chroot), setuid="x")) == "unable to find setuid user"


def test_chroot_of_the_session_comes_first(plain: Host, chroot: Path) -> None:
    (chroot / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    assert plain.run(plain.job("cd /; echo *", script=True, session=str(chroot))).split() == sorted(os.listdir(chroot))
    job = plain.job("/bin/true", session=str(chroot), chroot=str(chroot))
    assert plain.failure(job) == "unable to change root directory: No such file or directory"


def test_setuid_drops_everything(plain: Host) -> None:
    text = plain.run(plain.job("/bin/cat /proc/self/status", setuid="nobody"))
    status = fields(text)
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert status["Groups"].split() == ["65534"]
    assert int(status["CapEff"], 16) == 0


def test_setgid_alone_and_both(plain: Host) -> None:
    assert plain.run(plain.job("id -u; id -g", script=True, setgid="daemon")).split() == ["0", "1"]
    assert plain.run(plain.job("id -u; id -g; id -G", script=True, setuid="nobody", setgid="daemon")).split() == [
        "65534",
        "1",
        "1",
    ]


def test_a_setuid_job_reads_its_long_script(plain: Host) -> None:
    assert plain.run(plain.job("id -un\necho second\n", script=True, setuid="nobody")) == "nobody\nsecond\n"


def test_unknown_user_and_group_are_told(plain: Host) -> None:
    assert plain.failure(plain.job("/bin/true", setuid="no-such-user")) == "unable to find setuid user"
    assert plain.failure(plain.job("/bin/true", setgid="no-such-group")) == "unable to find setgid group"


def test_the_security_process_goes_without_identity_and_limits(plain: Host) -> None:
    job = plain.job("id -u; ulimit -n; pwd", script=True, setuid="nobody", chdir="/tmp", limits={"nofile": (77, 77)})
    assert plain.run(job, "security").split() == ["0", str(limits.original_descriptors()[0]), "/"]


def test_apparmor_is_no_obstacle_where_there_is_none(plain: Host) -> None:
    if os.path.exists("/sys/module/apparmor"):
        pytest.skip("this kernel has AppArmor")
    assert plain.run(plain.job("/bin/echo ok", apparmor_switch="/usr/bin/$X"), env={"X": "y"}) == "ok\n"
    with pytest.raises(SpawnError, match="unable to switch security profile: Unknown parameter: NOPE"):
        plain.spawn(plain.job("/bin/echo ok", apparmor_switch="$NOPE"))
    assert plain.run(plain.job("/bin/echo ok", apparmor_switch="$NOPE"), "pre-start") == "ok\n"
