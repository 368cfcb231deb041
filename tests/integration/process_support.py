"""A small init for the tests of the process room: spawns, adopts, reaps and cleans up, in the test's own process."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from direct_writer import DirectWriter
from upstart.conf.jobclass import JobClass, ProcessDef
from upstart.process import warden
from upstart.process.cgroup import Cgroups
from upstart.process.log import JobLog, LogStore
from upstart.process.members import Members
from upstart.process.orphans import reaped
from upstart.process.procfs import all_pids, look
from upstart.process.reaper import EXITED, KILLED, reap
from upstart.process.spawn import Spawner, SpawnRequest, SpawnResult, read_outcome

PATH = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin"
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def ignore_the_signals_of_the_c_library() -> None:
    """As a program does that knows nothing of them: rt_sigaction(2) with SIG_IGN."""
    number = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    for each in (32, 33):
        action = (1).to_bytes(8, "little") + bytes(56)
        assert ctypes.CDLL(None).syscall(number, each, action, None, ctypes.c_size_t(8)) == 0


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def fields(text: str) -> dict[str, str]:
    """The lines of /proc/PID/status by their names."""
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


class Host:
    """What init is to the process room.  ``statuses`` has what was reaped: exit status, or signal << 8."""

    def __init__(self, directory: Path, cgroups: Cgroups | None, user_mode: bool) -> None:
        self.directory = directory
        self.cgroups = cgroups
        self.spawner = Spawner(user_mode, cgroups, debugging=True)
        self.warnings: list[str] = []
        self.store = LogStore(self.warnings.append, DirectWriter())
        self.statuses: dict[int, int] = {}
        self.changes: list[tuple[int, str, int]] = []
        self.started: list[SpawnResult] = []
        self.logs: dict[int, JobLog] = {}
        self.failures: dict[int, str] = {}
        #: What processes do without, that the kernel has refused.
        self.lacks: list[str] = []

    def job(self, command: str, script: bool = False, name: str = "test-job", **stanzas: object) -> JobClass:
        """A job class whose every process is the same command."""
        job = JobClass(name, "/etc/init/test-job.conf")
        job.processes = {
            process: ProcessDef(command, script) for process in ("main", "security", "pre-start", "post-start")
        }
        for key, value in stanzas.items():
            setattr(job, key, value)
        return job

    def spawn(
        self,
        job: JobClass,
        process: str = "main",
        console: str = "log",
        fds: tuple[int, ...] = (),
        env: dict[str, str] | None = None,
        instance: str = "",
    ) -> SpawnResult:
        """Start a process of ``job``; its output goes to `output`."""
        variables = {"PATH": PATH, "TERM": "linux", "UPSTART_JOB": job.name, "UPSTART_INSTANCE": instance}
        variables.update(env or {})
        request = SpawnRequest(job, job.name, process, instance, variables, fds, console, job.session)
        request.warded = process == "main" and job.expect in ("fork", "daemon")
        result = self.spawner.spawn(request)
        self.started.append(result)
        if result.output_fd >= 0:
            self.logs[result.pid] = JobLog(self.store, str(self.directory / f"{result.pid}.log"), result.output_fd)
        return result

    def turn(self) -> None:
        """What a turn of the loop does: read outcomes and output, feed scripts, reap."""
        for result in self.started:
            self._outcome(result)
            if result.script_feed is not None:
                fd, rest = result.script_feed
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    rest = b""
                result.script_feed = (fd, rest) if rest else None
                if not rest:
                    os.close(fd)
        for log in self.logs.values():
            if log.fd >= 0 and not log.on_readable():
                log.close()
        for pid, kind, value in reap():
            self.changes.append((pid, kind, value))
            if kind in (EXITED, KILLED):
                self.statuses[pid] = value if kind == EXITED else value << 8
                reaped(pid)
                warden.ended([result.members for result in self.started], pid)
                for result in self.started:
                    if result.pid == pid:
                        self._outcome(result)
                if pid in self.logs:
                    self.logs[pid].ended()

    def _outcome(self, result: SpawnResult) -> None:
        if result.error_fd < 0:
            return
        outcome = read_outcome(result.error_fd, self.lacks.append)
        if outcome is None:
            return
        os.close(result.error_fd)
        result.error_fd = -1
        result.ready = not outcome
        if outcome:
            self.failures[result.pid] = outcome

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Turn until ``condition`` holds."""

        def turned() -> object:
            self.turn()
            return condition()

        until(turned, seconds)

    def wait(self, pid: int, seconds: float = 10.0) -> int:
        """Until ``pid`` is reaped; its status."""
        self.until(lambda: pid in self.statuses, seconds)
        return self.statuses[pid]

    def output(self, result: SpawnResult) -> str:
        """What the process has written, line ends of the terminal removed."""
        path = self.directory / f"{result.pid}.log"
        return path.read_text(errors="replace").replace("\r\n", "\n") if path.exists() else ""

    def run(self, job: JobClass, process: str = "main", **options: object) -> str:
        """Spawn, wait for the end, give the output; the program must have been executed."""
        result = self.spawn(job, process, **options)  # type: ignore[arg-type]
        self.wait(result.pid)
        assert result.pid not in self.failures, self.failures[result.pid]
        return self.output(result)

    def failure(self, job: JobClass, process: str = "main") -> str:
        """Spawn what must fail between fork and exec: the text."""
        result = self.spawn(job, process)
        assert self.wait(result.pid) == 255
        return self.failures[result.pid]

    def close(self) -> None:
        """Kill what is left of all that was started: what has lost its parent is our child."""

        def none_left() -> bool:
            self.turn()
            for info in filter(None, map(look, all_pids())):
                if info.ppid == os.getpid():
                    os.kill(info.pid, signal.SIGKILL)
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            return False

        until(none_left)
        for result in self.started:
            self._outcome(result)
            warden.let_go(result.members)
            if result.script_feed is not None:
                os.close(result.script_feed[0])
        for log in self.logs.values():
            log.close()
        self.spawner.close()
        if self.cgroups is not None:
            self.cgroups.close()


def left(members: Members) -> list[int]:
    """Pids of the members that live."""
    return [info.pid for info in members.processes(fresh=True)]


def make_host(directory: Path, cgroups: bool = True, user_mode: bool = False) -> Iterator[Host]:
    """A host as a fixture; with ``cgroups`` where the machine has them, in a subtree of its own."""
    before = os.getcwd()
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        # Whatever started the tests may have left something open; init starts clean.
        if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
            os.set_inheritable(int(name), False)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    host = Host(directory, Cgroups(session=True) if cgroups else None, user_mode)
    try:
        yield host
    finally:
        try:
            host.close()
        finally:
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            os.chdir(before)


def make_host_with_cgroups(directory: Path) -> Iterator[Host]:
    """The same where jobs get cgroups; elsewhere the test is skipped."""
    for host in make_host(directory):
        if host.cgroups is None or not host.cgroups.available:
            pytest.skip("no writable cgroup v2 hierarchy")
        yield host


def end_each_before_its_program_runs(host: Host, job: JobClass) -> None:
    """A signal that comes as soon as there is a process ends it, and reaches none of init's handlers."""
    seen: list[int] = []
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    wakeup = signal.set_wakeup_fd(write)
    try:
        for _ in range(20):
            result = host.spawn(job)
            os.kill(result.pid, signal.SIGTERM)
            assert host.wait(result.pid) == signal.SIGTERM << 8
        assert not seen
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, before)
        os.close(read)
        os.close(write)
