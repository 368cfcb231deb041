"""The processes at the end of a machine: real ones, in the place of all there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_for

from upstart.sysv import endprocesses
from upstart.sysv.endprocesses import Ending, Process, left


class Left:
    """Processes that a test has started, and no others, are there."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.said: list[str] = []
        self.on_say: Callable[[], object] = lambda: None

    def say(self, text: str) -> None:
        self.said.append(text)
        if len(self.said) == 1:
            self.on_say()

    def start(self, script: str, **given: object) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", f"{script}\n:"]
        process: subprocess.Popen[bytes] = subprocess.Popen(words, stdout=subprocess.PIPE, **given)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def ready(self, script: str, **given: object) -> subprocess.Popen[bytes]:
        """One that has come as far as to say so."""
        process = self.start(f"{script.partition(';')[0]}; echo ready; {script.partition(';')[2]}", **given)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        return process

    def end(self, *spare: int) -> bool:
        return Ending(self.say).end(lambda: spare)


@pytest.fixture
def those(monkeypatch: pytest.MonkeyPatch) -> Iterator[Left]:
    made = Left()
    all_of = left

    def only(spare: object) -> list[Process]:
        pids = [process.pid for process in made.started]
        for process in made.started:
            process.poll()
        return [each for each in all_of(spare) if each.pid in pids or each.session in pids]  # type: ignore[arg-type]

    monkeypatch.setattr(endprocesses, "left", only)
    monkeypatch.setattr(endprocesses, "MERCY", 1.0)
    monkeypatch.setattr(endprocesses, "NAMED_AFTER", 0.4)
    yield made
    for process in made.started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_each_is_asked_and_nobody_waited_for_longer_than_it_takes(those: Left) -> None:
    polite = those.ready("trap 'exit 3' TERM; while :; do sleep 0.05; done")
    began = time.monotonic()
    assert those.end()
    assert polite.wait() == 3 and time.monotonic() - began < 0.9 and not those.said


def test_who_does_not_heed_it_is_named_and_killed(those: Left) -> None:
    stubborn = those.ready("trap '' TERM; while :; do sleep 0.05; done", start_new_session=True)
    assert those.end()
    assert stubborn.wait() == -signal.SIGKILL
    assert those.said and f"sh ({stubborn.pid})" in those.said[0] and "seconds more" in those.said[0]


def test_who_was_given_up_is_not_waited_for_again(those: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    send = endprocesses._send

    def no_kill(pid: int, number: int) -> None:
        if number != signal.SIGKILL:
            send(pid, number)

    monkeypatch.setattr(endprocesses, "_send", no_kill)
    monkeypatch.setattr(endprocesses, "PATIENCE", 0.2)
    those.ready("trap '' TERM; while :; do sleep 0.05; done", start_new_session=True)
    ending = Ending(those.say)
    assert not ending.end(tuple)
    assert those.said[-1].startswith("Processes that do not end: sh (")
    said = len(those.said)
    began = time.monotonic()
    # Their children change, but somebody else is waited for.
    monkeypatch.setattr(endprocesses, "left", lambda spare, real=endprocesses.left: real(spare)[:1])
    assert not ending.end(tuple)
    assert time.monotonic() - began < 0.9 and len(those.said) == said
    monkeypatch.setattr(endprocesses, "_send", send)
    assert Ending(those.say).end(tuple)


def test_who_is_stopped_is_woken_up_to_end(those: Left) -> None:
    stopped = those.ready("trap 'exit 4' TERM; while :; do sleep 0.05; done")
    stopped.send_signal(signal.SIGSTOP)
    assert those.end() and stopped.wait() == 4


def test_a_shell_on_a_terminal_is_hung_up_on(those: Left) -> None:
    master, slave = os.openpty()
    shell = those.start(
        "exec bash --norc -i", stdin=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 1),
    )  # fmt: skip
    os.close(slave)
    said = b""
    while b"$" not in said and b"#" not in said:
        said += os.read(master, 1000)
    assert those.end() and not those.said
    assert shell.wait() == -signal.SIGHUP
    os.close(master)


#: A shell that has looked for signals and not begun to wait for a key when they come: only another one wakes it up.
MISSES = """
import os, select, signal
hung_up = []
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGWINCH, lambda *words: None)
read, write = os.pipe()
os.set_blocking(write, False)
def hang_up(*words):
    hung_up.append(1)
signal.signal(signal.SIGHUP, hang_up)
print("ready", flush=True)
while not hung_up:
    pass
signal.set_wakeup_fd(write)
select.select([read], [], [])
"""


def test_a_shell_that_misses_the_signal_is_not_waited_for_until_it_is_killed(those: Left) -> None:
    master, slave = os.openpty()
    shell: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-c", MISSES], stdin=slave, stdout=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 1),
    )  # fmt: skip
    those.started.append(shell)
    os.close(slave)
    assert shell.stdout is not None and shell.stdout.readline() == b"ready\n"
    assert those.end() and shell.wait() == 0
    os.close(master)


def test_who_is_spared_goes_on_with_all_of_its_session(those: Left) -> None:
    leader = those.ready(": ; sleep 1000 & wait", start_new_session=True)
    assert those.end(leader.pid)
    assert leader.poll() is None
    os.killpg(leader.pid, signal.SIGKILL)


def at_root(those: Left) -> subprocess.Popen[bytes]:
    """One that calls itself as what is spared does."""
    process = those.ready(": ; exec bash -c 'echo again; exec -a @root sleep 1000'")
    assert process.stdout is not None and process.stdout.readline() == b"again\n"
    for _ in range(100):
        if Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"@"):
            break
        time.sleep(0.02)
    return process


def test_who_calls_itself_by_that_name_goes_on(those: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endprocesses, "ROOT", os.getuid())
    process = at_root(those)
    assert those.end() and process.poll() is None


def test_nobody_but_root_is_spared_for_a_name(those: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endprocesses, "ROOT", os.getuid() + 1)
    process = at_root(those)
    assert those.end() and process.wait() == -signal.SIGTERM


#: A process that waits in the kernel: for its child, which waits for somebody who writes to a FIFO before it becomes
#: another program.
WAITS = """
import os, sys
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 9, sys.argv[1], os.O_RDONLY, 0)])
os.execv("/bin/sleep", [sys.argv[2], "1000"])
"""


class Waiting:
    """Such a process, which is to become one with the name *then*."""

    def __init__(self, those: Left, root: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> None:
        monkeypatch.setattr(endprocesses, "ROOT", os.getuid())
        self.fifo = root / "fifo"
        os.mkfifo(self.fifo)
        words = ["@waits", "-c", WAITS, str(self.fifo), then]
        self.process = subprocess.Popen(words, executable=sys.executable, start_new_session=True)
        those.started.append(self.process)
        self.memory = f"/proc/{self.process.pid}/cmdline"
        # It may wait in the kernel before it has a child, for its program to be read.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        assert wait_for(lambda: children.read_text() and self.state == "D")
        self.read: list[str] = []
        read = endprocesses._read

        def noted(path: str, most: int) -> bytes:
            if path == self.memory:
                self.read.append(self.state)
            return read(path, most)

        monkeypatch.setattr(endprocesses, "_read", noted)

    @property
    def state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def wake(self) -> None:
        os.close(os.open(self.fifo, os.O_WRONLY))

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.fixture
def waiting(those: Left, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Waiting]]:
    made: list[Waiting] = []

    def make(then: str) -> Waiting:
        made.append(Waiting(those, tmp_path, monkeypatch, then))
        return made[0]

    yield make
    for each in made:
        each.close()


def test_the_memory_of_who_waits_in_the_kernel_is_not_read(
    those: Left, waiting: Callable[[str], Waiting]
) -> None:
    one = waiting("@later")
    assert those.end()
    assert not one.read and one.process.wait() == -signal.SIGKILL
    assert "which waits for a device" in those.said[0]


@pytest.mark.parametrize(("name", "spared"), [("@later", True), ("later", False)])
def test_who_waits_in_the_kernel_is_asked_when_it_is_known_who_it_is(
    those: Left, waiting: Callable[[str], Waiting], name: str, spared: bool
) -> None:
    one = waiting(name)
    those.on_say = one.wake
    assert those.end()
    assert (one.process.poll() is None) == spared and "D" not in one.read
    assert spared or one.process.wait() == -signal.SIGTERM


def test_init_and_we_and_the_kernels_are_no_part_of_it() -> None:
    found = {each.pid for each in left([])}
    assert 1 not in found and os.getpid() not in found and os.getppid() not in found


def test_those_are_spared_that_files_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endprocesses, "OMIT_FILE", str(tmp_path / "omit"))
    monkeypatch.setattr(endprocesses, "OMIT_DIRECTORY", str(tmp_path / "omit.d"))
    assert endprocesses.spared() == []
    (tmp_path / "omit").write_text("12 x\n13\n0 99999999999\n")
    (tmp_path / "omit.d/directory").mkdir(parents=True)
    (tmp_path / "omit.d/splash").write_text("14\n")
    (tmp_path / "omit.d/gone").symlink_to(tmp_path / "gone.pid")
    assert sorted(endprocesses.spared()) == [12, 13, 14]
