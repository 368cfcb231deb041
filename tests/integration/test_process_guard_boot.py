"""A boot starts processes the quick way before its guard watches, and while all is to be read from the disk."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_support import Host, make_host, needs_root, until
from test_process_guard import Holder, guard_of, guarded, program

from upstart.base.syscalls import RESOLVE_CACHED, openat2
from upstart.process import child, guarding, quick
from upstart.process import guard as guards
from upstart.process import program as programs
from upstart.process.guard import HELD, HELD_IN_A_BOOT
from upstart.process.pace import Pace
from upstart.process.quick import Quick

pytestmark = needs_root

OPEN_PERM = 0x10000


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    # The quick way is taken also where the kernel takes long to move init into a group.
    monkeypatch.setattr(Pace, "worth_moving", lambda *_: True)
    yield from make_host(tmp_path)


@pytest.fixture
def cold(host: Host) -> Iterator[Path]:
    """A program on the file system that init looks for programs on, which the kernel has forgotten."""
    directory = Path("/usr/libexec") / f"test-{os.getpid()}"
    directory.mkdir(parents=True)
    path = directory / "program"
    shutil.copy("/bin/true", path)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            os.preadv(fd, [bytearray(256)], 0, os.RWF_NOWAIT)
            pytest.skip("the kernel forgets nothing here")
        except BlockingIOError:
            # That has it begin to read.
            os.pread(fd, 256, 0)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pytest.skip("this file system cannot tell")
    finally:
        os.close(fd)
    yield path
    shutil.rmtree(directory)


def way(host: Host) -> Quick:
    return host.spawner._quick


def test_a_running_init_does_not_wait_for_the_disk(host: Host, cold: Path) -> None:
    result = host.spawn(host.job(str(cold)))
    assert not result.ready and host.wait(result.pid) == 0


def test_a_boot_waits_for_the_disk_until_it_is_guarded(host: Host, cold: Path) -> None:
    host.spawner.begin_boot("/nowhere")
    result = host.spawn(host.job(str(cold)))
    assert result.ready and host.wait(result.pid) == 0
    host.spawner.guard()
    until(lambda: way(host).watched() and way(host).guard is not None)
    assert not way(host)._programs.waits


@pytest.mark.parametrize("booting", [True, False])
def test_a_boots_guard_looks_up_what_the_kernel_does_not_know_of(
    host: Host, monkeypatch: pytest.MonkeyPatch, booting: bool
) -> None:
    known: list[bytes] = []

    def opened(fd: int, path: bytes, flags: int, resolve: int) -> int:
        if path.endswith(b"bin/true") and resolve & RESOLVE_CACHED:
            known.append(path)
            if len(known) == 1:
                raise OSError(errno.EAGAIN, "not known")
        return openat2(fd, path, flags, resolve)

    if booting:
        host.spawner.begin_boot("/nowhere")
    monkeypatch.setattr(programs, "openat2", opened)
    host.spawner.guard()
    until(lambda: way(host).watched() and way(host).guard is not None)
    job = host.job("/bin/true")
    result = host.spawn(job)
    assert result.ready == booting and len(known) == 1 + booting and host.wait(result.pid) == 0
    result = host.spawn(job)
    assert result.ready and host.wait(result.pid) == 0


def test_until_its_guard_watches_a_boot_does_not_fork(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(answers: int, requests: int, timer: int, home: int, look: Callable[[str], bool] | None) -> None:
        time.sleep(0.3)
        guarding.serve(answers, requests, timer, home, look)

    monkeypatch.setattr(guards, "serve", late)
    host.spawner.begin_boot("/nowhere")
    assert host.spawner.guard(now=True) and not host.spawner.guard()
    result = host.spawn(host.job("/bin/true"))
    assert result.ready and host.wait(result.pid) == 0 and way(host).guard is None
    until(lambda: way(host).watched() and way(host).guard is not None)
    assert guard_of(host)._held == HELD_IN_A_BOOT
    # And a small one after it, which is not as patient.
    until(host.spawner.settle_guard)
    assert guard_of(host).small and guard_of(host)._held == HELD


def test_a_guard_that_does_not_begin_is_not_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(guards, "serve", lambda *_: time.sleep(100))
    host.spawner.begin_boot("/nowhere")
    host.spawner.guard(now=True)
    first = way(host)._next_guard
    assert first is not None and first.pid
    pid = first.pid
    try:
        assert host.spawn(host.job("/bin/true")).ready
        until(lambda: not way(host).watched())
        assert not host.spawn(host.job("/bin/true")).ready and not way(host)._programs.waits
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_answer_that_stays_away_costs_forks_and_no_guard(host: Host, tmp_path: Path) -> None:
    path = program(tmp_path)
    guard = guarded(host)
    pid, home = guard.pid, host.cgroups.home if host.cgroups is not None else ""
    with Holder(path, OPEN_PERM) as holder:
        result = host.spawn(host.job(str(path)))
        other = host.spawn(host.job("/bin/true"))
        # Who looks at the file cannot watch meanwhile.
        assert not result.ready and not other.ready and not guard.watches(home)
        holder.let_go()
    assert host.wait(result.pid) == 0
    until(lambda: guard.watches(home))
    assert guard.pid == pid
    assert host.spawn(host.job("/bin/true")).ready


def test_an_answer_that_never_comes_costs_the_guard(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "OWED_SECONDS", 0.1)
    path = program(tmp_path)
    guard = guarded(host)
    home = host.cgroups.home if host.cgroups is not None else ""
    with Holder(path, OPEN_PERM) as holder:
        result = host.spawn(host.job(str(path)))
        time.sleep(0.15)
        assert not guard.watches(home) and not guard.pid
        holder.let_go()
    assert host.wait(result.pid) == 0


def test_a_patient_guard_that_is_lost_is_followed_by_one_that_is_not(host: Host) -> None:
    host.spawner.begin_boot("/nowhere")
    host.spawner.guard(now=True)
    until(lambda: way(host).watched() and way(host).guard is not None)
    guard = guard_of(host)
    os.kill(guard.pid, signal.SIGKILL)
    until(lambda: not guard.watches(host.cgroups.home if host.cgroups is not None else "") and not guard.pid)
    assert host.spawner.settle_guard()
    assert guard_of(host).small and guard_of(host)._held == HELD and guard_of(host).rest == guard.rest


@pytest.mark.parametrize(("number", "quick"), [((5, 1), True), ((136, 3), True), ((4, 64), False)])
def test_a_console_that_may_be_waited_for_is_opened_by_a_fork_in_a_boot(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: tuple[int, int], quick: bool
) -> None:
    class Found:
        st_rdev = os.makedev(*number)

    real = os.stat
    monkeypatch.setattr(child, "CONSOLE", "/dev/null")
    monkeypatch.setattr(os, "stat", lambda path, **how: Found if path == "/dev/null" else real(path, **how))
    host.spawner.begin_boot("/nowhere")
    result = host.spawn(host.job("/bin/true"), console="output")
    assert result.ready == quick and host.wait(result.pid) == 0
