"""Nothing that holds a program's start holds init: a fanotify daemon that does not answer, a frozen cgroup, a lost
guard."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import Client, Session, wait_for
from process_support import Host, alive, make_host, needs_root, until

from upstart.process.cgroup import find_own
from upstart.process.guard import HELD, Guard
from upstart.process.guarding import find_child

pytestmark = needs_root

#: Seconds: what a client may wait, here where other tests run meanwhile.
PATIENCE = 0.3
_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_CLASS_CONTENT = 1, 2, 4
_FAN_MARK_ADD, _FAN_MARK_FLUSH = 1, 0x80
#: struct fanotify_event_metadata
_EVENT = struct.Struct("IBBHQii")
OPEN_PERM, ACCESS_PERM, OPEN_EXEC_PERM = 0x10000, 0x20000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


class Holder:
    """A fanotify(7) daemon that answers nobody who wants ``path`` until it lets go."""

    def __init__(self, path: Path, events: int) -> None:
        self.fd = _libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC | _FAN_NONBLOCK, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            pytest.skip("no fanotify")
        mask = ctypes.c_uint64(events)
        if _libc.fanotify_mark(self.fd, _FAN_MARK_ADD, mask, -100, os.fsencode(path)) < 0:
            os.close(self.fd)
            pytest.skip("no permission events")

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """All may go on: those who wait are answered, for who forks from us holds a copy of the descriptor."""
        if self.fd < 0:
            return
        _libc.fanotify_mark(self.fd, _FAN_MARK_FLUSH, ctypes.c_uint64(0), -100, None)
        try:
            while True:
                data = os.read(self.fd, 4096)
                for at in range(0, len(data), _EVENT.size):
                    fd = _EVENT.unpack_from(data, at)[5]
                    os.write(self.fd, struct.pack("iI", fd, 1))
                    os.close(fd)
        except BlockingIOError:
            pass
        os.close(self.fd)
        self.fd = -1


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield from make_host(tmp_path)


def guard_of(host: Host) -> Guard:
    guard = host.spawner._quick.guard
    assert guard is not None
    return guard


def guarded(host: Host) -> Guard:
    """The guard, once it watches."""
    if host.spawner._quick.guard is None:
        host.spawner.guard()
    guard = guard_of(host)
    guard.rest = 0.0
    home = host.cgroups.home if host.cgroups is not None else ""
    until(lambda: guard.watches(home))
    return guard


def program(directory: Path, text: str = "") -> Path:
    """A program of its own, which prints ``text``."""
    path = directory / "program"
    if text:
        path.write_text(f"#!/bin/sh\necho {text}\n")
        path.chmod(0o755)
    else:
        shutil.copy("/bin/true", path)
    return path


@pytest.mark.parametrize("text", ["", "script"])
@pytest.mark.parametrize("events", [OPEN_PERM, ACCESS_PERM, OPEN_EXEC_PERM])
@pytest.mark.parametrize("seen", [False, True])
def test_a_program_that_nobody_lets_execute_does_not_hold_init(
    host: Host, tmp_path: Path, text: str, events: int, seen: bool
) -> None:
    path = program(tmp_path, text)
    guarded(host)
    if seen:
        host.run(host.job(str(path)))
    with Holder(path, events) as holder:
        began = time.monotonic()
        result = host.spawn(host.job(str(path)))
        assert time.monotonic() - began < PATIENCE
        assert not result.ready
        assert alive(result.pid)
        other = host.spawn(host.job("/bin/echo other"))
        assert host.wait(other.pid) == 0
        assert result.pid not in host.statuses
        holder.let_go()
        assert host.wait(result.pid) == 0
        assert result.pid not in host.failures
        assert host.output(result) == (f"{text}\n" if text else "")


def test_what_it_takes_is_a_small_process_that_sleeps(host: Host) -> None:
    guard = guarded(host)
    path = Path(f"/proc/{guard.pid}")
    assert (path / "comm").read_text() == "upstart-guard\n"
    kept = {os.readlink(entry) for entry in (path / "fd").iterdir()} - {"/dev/null", "anon_inode:[timerfd]"}
    assert all(name.startswith("pipe:") or name.endswith("/cgroup.procs") for name in kept)

    def sleeps() -> int:
        lines = (path / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("voluntary")).split()[1])

    host.run(host.job("/bin/true"))
    before = sleeps()
    for _ in range(20):
        host.run(host.job("/bin/true"))
    # A host that is busy may keep an exec from the processor for as long as one that is held.
    assert sleeps() - before <= 2


def has_executed(pid: int) -> bool:
    """Whether a process has executed a program since its fork (PF_FORKNOEXEC of the kernel is off)."""
    return not int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]) & 0x40


def test_it_is_there_at_once_and_a_program_of_its_own_takes_its_place(host: Host, tmp_path: Path) -> None:
    """Which takes the memory of an interpreter alone, and would take its time from a boot."""
    path = program(tmp_path, "text")
    first = guarded(host).pid
    assert not has_executed(first)
    until(host.spawner.settle_guard)
    guard = guard_of(host)
    assert guard.pid != first and has_executed(guard.pid)
    assert Path(f"/proc/{guard.pid}/comm").read_text() == "upstart-guard\n"
    host.until(lambda: not alive(first))
    with Holder(path, OPEN_EXEC_PERM) as holder:
        began = time.monotonic()
        result = host.spawn(host.job(str(path)))
        assert time.monotonic() - began < PATIENCE
        assert not result.ready
        holder.let_go()
        assert host.wait(result.pid) == 0
    assert host.output(result) == "text\n"


@contextmanager
def let_go_in_the_end(holder: Holder) -> Iterator[None]:
    """Should nobody guard, a process lets us go on all the same: none of our threads could."""
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(5)
            holder.let_go()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_while_the_program_is_held_that_is_to_be_the_guard_init_is_guarded(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path, "text")
    interpreter = shutil.copy(sys.executable, tmp_path / "interpreter")
    monkeypatch.setattr(sys, "executable", interpreter)
    guard = guarded(host)
    # What it has executed before nobody is asked for.
    host.run(host.job(str(path)))
    with Holder(Path(interpreter), OPEN_EXEC_PERM) as other:
        assert not host.spawner.settle_guard() and not host.spawner.settle_guard()
        with Holder(path, OPEN_EXEC_PERM) as holder:
            with let_go_in_the_end(holder):
                began = time.monotonic()
                result = host.spawn(host.job(str(path)))
                assert time.monotonic() - began < PATIENCE
            holder.let_go()
            assert host.wait(result.pid) == 0
        assert guard_of(host) is guard
        other.let_go()
    guard.rest = 0.0
    until(host.spawner.settle_guard)
    assert has_executed(guard_of(host).pid)


def test_a_fork_s_child_that_waits_is_not_taken_for_the_one_that_holds_init() -> None:
    """Another process of ours that has not executed anything yet is left alone."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(7)
    os.close(read)
    try:
        assert find_child(str(os.getpid())) == ""
    finally:
        os.close(write)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.fixture
def little_processor() -> Iterator[None]:
    """For us and our children, a small part of one processor, and that in pieces far apart."""
    allowed, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {min(allowed)})
    busy = [subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"]) for _ in range(4)]
    os.setpriority(os.PRIO_PROCESS, 0, 15)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        os.sched_setaffinity(0, allowed)
        for each in busy:
            each.kill()
            each.wait()


def test_an_exec_that_only_waits_for_a_processor_is_not_cut_short(
    host: Host, tmp_path: Path, little_processor: None
) -> None:
    guard = guarded(host)
    os.setpriority(os.PRIO_PROCESS, guard.pid, -10)
    slow = 0
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        path = program(tmp_path / str(number))
        until(lambda: guard.watches(host.cgroups.home if host.cgroups is not None else ""))
        host.spawn(host.job(str(path)))
        slow += guard.armed_for() > HELD
        if slow == 4:
            break
    assert slow, "the machine was quick"
    assert not guard.rest


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_without_its_guard_init_forks(host: Host, tmp_path: Path, number: signal.Signals) -> None:
    path = program(tmp_path, "text")
    guard = guarded(host)
    pid = guard.pid
    os.kill(pid, number)

    def seen() -> bool:
        options = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, pid, options) is not None

    until(seen)
    with Holder(path, OPEN_PERM):
        assert not host.spawn(host.job(str(path))).ready
    assert guard.pid != pid
    host.until(lambda: not alive(pid))
    assert guarded(host).pid not in (0, pid)
    assert host.run(host.job(str(path))) == "text\n"


def test_a_guard_that_cannot_be_started_is_done_without(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory() -> int:
        raise MemoryError

    host.spawner.guard()
    monkeypatch.setattr("upstart.process.guard.timerfd_create", no_memory)
    before = len(os.listdir("/proc/self/fd"))
    assert host.run(host.job("echo text")) == "text\n"
    assert len(os.listdir("/proc/self/fd")) <= before


# A whole init


JOBS = {
    "respawns": "respawn\nrespawn limit unlimited\nexec /bin/sleep 0.002\n",
    "held": "respawn\nrespawn limit unlimited\nexec {program} 100\n",
    "task": "task\nexec /bin/true\n",
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    daemon = shutil.copy("/bin/sleep", tmp_path / "daemon")
    jobs = {name: text.replace("{program}", str(daemon)) for name, text in JOBS.items()}
    session = Session(tmp_path / "session", jobs, "--no-dbus")
    try:
        yield session
    finally:
        session.end()


def watched(session: Session) -> int:
    """The guard of a session init, once it runs."""

    def find() -> list[int]:
        children = Path(f"/proc/{session.process.pid}/task/{session.process.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if Path(f"/proc/{pid}/comm").read_text() == "upstart-guard\n"]

    session.run("start", "task")
    wait_for(lambda: bool(find()), "a guard")
    return find()[0]


def test_clients_are_served_while_a_service_s_program_is_held(session: Session, tmp_path: Path) -> None:
    watched(session)
    session.run("start", "held")
    client = session.client(quiet=True)
    pid = int(session.status("held").rpartition(" ")[2])
    with Holder(tmp_path / "daemon", OPEN_EXEC_PERM):
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert client.delay() < PATIENCE
            session.run("start", "task")
    client.close()

    def runs() -> bool:
        status = session.status("held")
        return "start/running, process " in status and int(status.rpartition(" ")[2]) != pid

    wait_for(runs, "the service runs again")


def group_of(session: Session, job: str) -> Path:
    found = find_own()
    path = Path(found[1] if found is not None else "/", f"upstart-session-{session.process.pid}/upstart/{job}")
    if not (path / "cgroup.freeze").exists():
        pytest.skip("no cgroups")
    return path


def frozen_again_and_again(client: Client, group: Path, seconds: float) -> float:
    """The slowest answer meanwhile."""
    worst = 0.0
    end = time.monotonic() + seconds
    pause = 0.0
    try:
        while time.monotonic() < end:
            pause = (pause + 0.0007) % 0.012
            (group / "cgroup.freeze").write_text("1")
            worst = max(worst, client.delay())
            time.sleep(0.03)
            worst = max(worst, client.delay())
            (group / "cgroup.freeze").write_text("0")
            time.sleep(pause)
    finally:
        (group / "cgroup.freeze").write_text("0")
    return worst


def test_a_job_s_cgroup_that_is_frozen_at_any_moment_does_not_hold_init(session: Session) -> None:
    watched(session)
    session.run("start", "respawns")
    group = group_of(session, "respawns")
    client: Client = session.client(quiet=True)
    assert frozen_again_and_again(client, group, 4) < PATIENCE
    pid = session.status("respawns")
    wait_for(lambda: session.status("respawns") not in (pid, ""), "it respawns")
    client.close()
