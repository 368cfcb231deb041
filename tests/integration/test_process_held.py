"""A process that is held: its end is told whoever its parent is, and no signal reaches who has got its number since."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_support import alive, needs_root, until

from upstart.base.loop import READ, Loop
from upstart.process.held import Held
from upstart.process.procfs import look

SOURCE = str(Path(__file__).resolve().parents[2] / "src")

#: In a PID namespace: a grandchild ends, its parent waits for it, and a stranger is given its number.
REUSED = """
import os, signal, sys, time
sys.path[:0] = [SOURCE]
from upstart.base.loop import READ, Loop
from upstart.process.held import Held
from upstart.process.kill import SIGKILL, _signal_exactly, signal_group, signal_process
from upstart.process.procfs import look
def sleeper():
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.pause()
    return pid
read, write = os.pipe()
parent = os.fork()
if not parent:
    child = sleeper()
    os.write(write, str(child).encode())
    os.waitpid(child, 0)
    os.write(write, b"gone")
    signal.pause()
pid = int(os.read(read, 100))
loop, told = Loop(), []
seen = look(pid)
held = Held(loop, pid, seen.start, told.append)
start = held.start
os.kill(pid, signal.SIGTERM)
assert os.read(read, 100) == b"gone"
time.sleep(0.02)
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(pid - 1))
stranger = sleeper()
assert stranger == pid and look(pid).start != start
for number in (signal.SIGTERM, SIGKILL):
    assert not signal_group(pid, number, held.pidfd) and not signal_process(pid, number, held.pidfd)
assert not _signal_exactly(seen, SIGKILL)
loop.turn(5)
assert told == [False]
held.close()
# After a re-exec, when it is to be held again.
told.clear()
held = Held(loop, pid, start, told.append)
loop.turn(5)
assert told == [False]
time.sleep(0.1)
assert look(pid) is not None and os.waitpid(stranger, os.WNOHANG) == (0, 0)
"""


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def child() -> int:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def test_the_end_of_a_child_of_ours_is_left_to_who_waits_for_it(loop: Loop) -> None:
    pid = child()
    info = look(pid)
    assert info is not None
    told: list[bool] = []
    held = Held(loop, pid, info.start, told.append)
    loop.turn(0)
    assert not told and held.lives()
    os.kill(pid, signal.SIGKILL)
    loop.turn(10)
    assert told == [True]
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    held.close()


def test_a_call_that_was_for_another_descriptor_of_that_number_is_no_end(loop: Loop) -> None:
    pid = child()
    info = look(pid)
    assert info is not None
    told: list[bool] = []
    held: list[Held] = []
    read, write = os.pipe()
    other, its_end = os.pipe()

    def change(_events: int) -> None:
        # What the other was ready for in this turn is what the loop calls the new one for.
        loop.remove(its)
        os.close(other)
        held.append(Held(loop, pid, info.start, told.append))
        loop.remove(first)

    first = loop.add_fd(read, READ, change)
    its = loop.add_fd(other, READ, lambda _events: None)
    os.write(write, b"x")
    os.write(its_end, b"x")
    loop.turn(10)
    assert held[0].pidfd == other and not told
    os.kill(pid, signal.SIGKILL)
    loop.turn(10)
    assert told == [True] and os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    held[0].close()
    for fd in (read, write, its_end):
        os.close(fd)


def test_without_a_descriptor_the_process_is_looked_at(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise OSError(24, "Too many open files")

    pid = child()
    info = look(pid)
    assert info is not None
    told: list[bool] = []
    monkeypatch.setattr(os, "pidfd_open", none)
    monkeypatch.setattr("upstart.process.held.LOOK_SECONDS", 0.02)
    held = Held(loop, pid, info.start, told.append)
    assert held.pidfd < 0
    loop.turn(1)
    assert not told
    with monkeypatch.context() as patch:
        patch.setattr("upstart.process.procfs.read_file", none)
        for _ in range(3):
            loop.turn(1)
    assert not told
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        loop.turn(1)
    assert told == [True]
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    held.close()


@needs_root
def test_a_number_that_is_used_again_is_nobodys() -> None:
    code = f"SOURCE = {SOURCE!r}\n{REUSED}"
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]
    command = [*unshare, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_seen_has_not_ended(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> bytes:
        raise OSError(12, "Cannot allocate memory")

    pid = child()
    info = look(pid)
    assert info is not None
    told: list[bool] = []
    monkeypatch.setattr("upstart.process.held.LOOK_SECONDS", 0.02)
    with monkeypatch.context() as patch:
        patch.setattr("upstart.process.procfs.read_file", none)
        held = Held(loop, pid, info.start, told.append)
        for _ in range(3):
            loop.turn(1)
        assert not told
    loop.turn(1)
    assert held.pidfd >= 0 and not told
    os.kill(pid, signal.SIGKILL)
    loop.turn(10)
    assert told == [True] and os.waitpid(pid, 0) == (pid, signal.SIGKILL)
    held.close()
