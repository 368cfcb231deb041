"""Processes as jobs get them: what they inherit, and how a failed step is told."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import (
    PATH,
    Host,
    alive,
    end_each_before_its_program_runs,
    fields,
    ignore_the_signals_of_the_c_library,
    make_host,
    needs_root,
)

from upstart.base import syscalls
from upstart.process import child, limits
from upstart.process.quick import Quick
from upstart.process.spawn import SpawnError

pytestmark = needs_root


@pytest.fixture(params=["quick", "fork"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host that starts plain jobs in either way; the results must not differ."""
    for made in make_host(tmp_path, cgroups=False):
        if request.param == "fork":
            monkeypatch.setattr(Quick, "spawn", lambda self, setup: 0)
        else:
            # The first look-up of a program may find nothing in the kernel's cache.
            Path("/bin/sh").read_bytes()
            made.run(made.job("/bin/true"), console="none")
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Host]:
    yield from make_host(tmp_path, cgroups=False)


def test_exec_gets_its_words_and_its_environment(host: Host) -> None:
    assert host.run(host.job("/bin/echo one  two")) == "one two\n"
    assert host.run(host.job("/usr/bin/env"), env={"A": "b c", "E": ""}).splitlines() == [
        "PATH=" + PATH,
        "TERM=linux",
        "UPSTART_JOB=test-job",
        "UPSTART_INSTANCE=",
        "A=b c",
        "E=",
    ]


def test_scripts_run_in_a_shell_that_stops_at_errors(host: Host) -> None:
    job = host.job("echo $0\nfalse\necho no\n", script=True)
    result = host.spawn(job)
    assert host.wait(result.pid) == 1
    assert host.output(result) == "/proc/self/fd/9\n"
    assert host.run(host.job("echo $0; echo $$-$PPID", script=True)).splitlines()[0] == "/bin/sh"
    assert host.run(host.job("/bin/echo ${UPSTART_JOB}")) == "test-job\n"


def test_a_script_of_any_length_is_fed(host: Host) -> None:
    script = "".join(f": {'x' * 100} {n}\n" for n in range(3000)) + "echo end\n"
    assert len(script) > 4 * 65536
    result = host.spawn(host.job(script, script=True))
    assert result.script_feed is not None
    assert host.wait(result.pid) == 0
    assert host.output(result) == "end\n"


def test_the_script_descriptor_is_not_left_to_commands(host: Host) -> None:
    assert host.run(host.job("ls /proc/self/fd\n:\n", script=True)).split() == ["0", "1", "2", "3"]


def test_no_descriptor_leaks(host: Host) -> None:
    mine = [os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) for _ in range(5)]
    try:
        assert host.run(host.job("/bin/ls /proc/self/fd")).split() == ["0", "1", "2", "3"]
    finally:
        for fd in mine:
            os.close(fd)


def test_named_descriptors_keep_their_numbers(host: Host, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content of a\n")
    fd = os.open(tmp_path / "a", os.O_RDONLY | os.O_CLOEXEC)
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 57)
    try:
        assert host.run(host.job(f"/bin/cat /proc/self/fd/{moved}"), fds=(moved,)) == "content of a\n"
        assert not os.get_inheritable(moved)
        assert str(fd) not in host.run(host.job("/bin/ls /proc/self/fd"), fds=(moved,)).split() or fd == 3
    finally:
        os.close(fd)
        os.close(moved)


def test_spawning_leaves_no_descriptor_open_in_init(host: Host) -> None:
    host.run(host.job("a=1\necho $a\n", script=True))
    before = os.listdir("/proc/self/fd")
    for _ in range(75):
        host.run(host.job("a=1\necho $a\n", script=True))
        host.run(host.job("/bin/true"))
    assert len(os.listdir("/proc/self/fd")) <= len(before)


def test_signals_are_reset(host: Host) -> None:
    # As whoever is started by posix_spawn(3) has them.
    ignore_the_signals_of_the_c_library()
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        status = fields(host.run(host.job("/bin/cat /proc/self/status")))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)
        syscalls.reset_reserved_signals()
    for key in ("SigBlk", "SigIgn", "SigCgt", "SigPnd"):
        assert int(status[key], 16) == 0, key


def test_init_keeps_its_own_mask_and_umask(host: Host) -> None:
    mask, umask = signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.umask(0o027)
    try:
        host.run(host.job("/bin/true", umask=0o077))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(umask)


def test_the_process_leads_a_session_and_is_in_the_root_directory(host: Host, tmp_path: Path) -> None:
    script = "read -r pid name state ppid pgid sid tty rest </proc/$$/stat; echo $$ $pgid $sid $tty; pwd"
    result = host.spawn(host.job(script, script=True))
    host.wait(result.pid)
    assert host.output(result).split() == [str(result.pid)] * 3 + ["0", "/"]


def test_output_is_a_terminal_and_input_is_null(host: Host) -> None:
    script = "test -t 1 && test -t 2 && echo terminal; readlink /proc/self/fd/0"
    assert host.run(host.job(script, script=True)).split() == ["terminal", "/dev/null"]


def test_console_none_has_no_output(host: Host) -> None:
    result = host.spawn(host.job("readlink /proc/$$/fd/1 >/proc/$$/fd/57", script=True), console="none")
    host.wait(result.pid)
    assert result.output_fd == -1


def test_without_ptys_output_goes_through_a_pipe(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> tuple[int, int]:
        raise FileNotFoundError(2, "no pty")

    monkeypatch.setattr("upstart.process.spawn.open_pty", none)
    assert host.run(host.job("test -p /dev/stdout && echo pipe", script=True)) == "pipe\n"


def test_the_umask_is_the_jobs(host: Host) -> None:
    assert host.run(host.job("umask", script=True)) == "0022\n"
    assert host.run(host.job("umask", script=True, umask=0o077)) == "0077\n"


def test_inits_raised_descriptor_limit_does_not_leak(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = (min(soft, 200), hard)
    monkeypatch.setattr(limits, "_original", given)
    assert host.run(host.job("ulimit -n", script=True)) == f"{given[0]}\n"
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_descriptors_above_the_jobs_limit_are_no_obstacle(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(limits, "_original", (40, hard))
    filler: list[int] = []
    while not filler or filler[-1] < 60:
        filler.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    try:
        for _ in range(2):
            assert host.run(host.job("echo $0\nulimit -n\n", script=True)) == "/proc/self/fd/9\n40\n"
    finally:
        for fd in filler:
            os.close(fd)


def test_a_program_that_is_not_there_is_told(host: Host) -> None:
    assert host.failure(host.job("/nonexistent/program")) == "unable to execute: No such file or directory"
    assert host.failure(host.job("no-such-program-anywhere")) == "unable to execute: No such file or directory"


def test_a_file_that_cannot_be_executed_is_told(host: Host, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    assert host.failure(host.job(f"{tmp_path}/plain")) == "unable to execute: Permission denied"


def test_path_of_the_job_is_searched(host: Host, tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found $1\n")
    tool.chmod(0o755)
    for _ in range(2):
        assert host.run(host.job("tool x"), env={"PATH": f"/nonexistent:{tmp_path}/bin:/bin"}) == "found x\n"
    (tmp_path / "denied").mkdir()
    (tmp_path / "denied" / "tool").write_text("not executable")
    assert host.run(host.job("tool x"), env={"PATH": f"{tmp_path}/denied:{tmp_path}/bin"}) == "found x\n"


def test_a_script_without_an_interpreter_line_is_given_to_the_shell(host: Host, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("echo shell $1\n")
    tool.chmod(0o755)
    assert host.run(host.job(f"{tool} x")) == "shell x\n"


def test_too_long_arguments_are_told(host: Host) -> None:
    job = host.job("/bin/echo " + "x" * 3_000_000)
    assert host.failure(job) == "unable to execute: Argument list too long"


def test_a_fifo_as_program_holds_nobody_up(plain: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o755)
    began = time.monotonic()
    assert plain.failure(plain.job(f"{tmp_path}/fifo")) == "unable to execute: Permission denied"
    assert time.monotonic() - began < 5


def test_a_console_that_cannot_be_opened_holds_nobody_up(
    plain: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "fifo"
    os.mkfifo(link)
    # Opening a FIFO for reading alone would wait for a writer.
    monkeypatch.setattr(child, "CONSOLE", str(link))
    monkeypatch.setattr(os, "O_RDWR", os.O_RDONLY)
    began = time.monotonic()
    result = plain.spawn(plain.job("/bin/true"), console="owner")
    assert time.monotonic() - began < 2 and not result.ready
    plain.turn()
    assert result.pid not in plain.statuses
    os.kill(result.pid, signal.SIGKILL)
    assert plain.wait(result.pid) == signal.SIGKILL << 8


def test_console_output_and_owner(plain: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    try:
        monkeypatch.setattr(child, "CONSOLE", os.ttyname(slave))
        job = plain.job("test -t 0 && echo out; : </dev/tty && echo owned", script=True)
        result = plain.spawn(job, console="owner")
        plain.wait(result.pid)
        # What is written to a terminal comes out at its other end a moment later, and in pieces.
        text = os.read(master, 1000)
        while text.count(b"\n") < 2:
            text += os.read(master, 1000)
        assert text.split() == [b"out", b"owned"]
        result = plain.spawn(plain.job("echo output; read x </dev/tty || echo none", script=True), console="output")
        plain.wait(result.pid)
        assert b"output" in os.read(master, 1000)
        # That needs no code in the child.
        result = plain.spawn(plain.job("/bin/true"), console="output")
        assert result.ready and plain.wait(result.pid) == 0
    finally:
        os.close(master)
        os.close(slave)


def test_a_missing_console_fails_an_owner_and_not_output(plain: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "CONSOLE", "/nonexistent/console")
    result = plain.spawn(plain.job("/bin/true"), console="owner")
    assert plain.wait(result.pid) == 255
    assert plain.failures[result.pid] == "unable to open console: No such file or directory"
    result = plain.spawn(plain.job("/bin/true"), console="output")
    assert plain.wait(result.pid) == 0


def test_debug_stops_before_the_program(plain: Host) -> None:
    # It ends only when it is told to: the kernel does not tell of the going on of what has ended.
    result = plain.spawn(plain.job("/bin/sleep 1000", debug=True))
    plain.until(lambda: (result.pid, "stopped", signal.SIGSTOP) in plain.changes)
    assert result.ready and result.error_fd == -1
    os.kill(result.pid, signal.SIGCONT)
    plain.until(lambda: (result.pid, "continued", signal.SIGCONT) in plain.changes)
    os.kill(result.pid, signal.SIGTERM)
    assert plain.wait(result.pid) == signal.SIGTERM << 8


def test_a_signal_before_the_program_runs_does_not_reach_inits_handlers(plain: Host) -> None:
    end_each_before_its_program_runs(plain, plain.job("/bin/sleep 60", nice=1))


def test_no_room_for_another_process_is_temporary(plain: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", full)
    monkeypatch.setattr("upstart.base.syscalls.Spawner.spawn", full)
    with pytest.raises(SpawnError) as caught:
        plain.spawn(plain.job("a\nb\n", script=True))
    assert caught.value.temporary
    assert str(caught.value) == "Temporary process spawn error: Resource temporarily unavailable"
    assert len(os.listdir("/proc/self/fd")) == before


def test_plain_jobs_take_the_quick_way(plain: Host) -> None:
    plain.run(plain.job("/bin/sh -c true"))
    assert plain.spawn(plain.job("/bin/sh -c true")).ready
    assert plain.spawn(plain.job("a=1\nb=2\n", script=True)).ready
    assert plain.spawn(plain.job("/bin/sh -c true", nice=-1)).ready
    assert not plain.spawn(plain.job("/bin/sh -c true", nice=1)).ready


def test_root_with_more_groups_takes_the_other_way(
    plain: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "group"
    monkeypatch.setattr("upstart.process.quick._GROUP_FILE", str(group))
    group.write_text("root:x:0:\ndaemon:x:1:other,root\n")
    plain.run(plain.job("/bin/sh -c true"))
    assert not plain.spawn(plain.job("/bin/sh -c true")).ready
    group.write_text("root:x:0:\ndaemon:x:1:other,rooted\nbroken\n")
    assert plain.spawn(plain.job("/bin/sh -c true")).ready


def test_a_spawned_process_is_not_ours_to_wait_for_twice(plain: Host) -> None:
    result = plain.spawn(plain.job("/bin/sleep 60"))
    assert alive(result.pid)
    assert stat.S_ISCHR(os.fstat(result.output_fd).st_mode)


BARE = """
import os, sys
sys.path[:0] = [SOURCE]
from upstart.conf.jobclass import JobClass, ProcessDef
from upstart.process.spawn import Spawner, SpawnRequest
os.chdir("/")
report = os.dup(2)
os.set_inheritable(report, False)
spawner = Spawner()
job = JobClass("job", "job.conf")
job.processes = {"main": ProcessDef("echo one\\nls /proc/self/fd\\n", True)}
for nice in (None, None, 1):
    job.nice = nice
    for fd in range(3):
        try:
            os.close(fd)
        except OSError:
            pass
    result = spawner.spawn(SpawnRequest(job, "job", "main", "", {"PATH": "/bin:/usr/bin"}, (), "log"))
    os.waitpid(result.pid, 0)
    said = b""
    try:
        # A terminal hands on what was written in as many pieces as it likes.
        while piece := os.read(result.output_fd, 1000):
            said += piece
    except OSError:
        pass
    os.write(report, b" ".join(said.split()) + b"\\n")
    os.close(result.output_fd)
"""


def test_an_init_without_standard_descriptors_starts_jobs_with_them() -> None:
    source = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", f"SOURCE = {source!r}\n" + BARE], stderr=subprocess.PIPE, text=True, timeout=60
    )
    assert done.stderr.splitlines() == ["one 0 1 2 3"] * 3
