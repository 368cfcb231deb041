"""The processes at the end of a machine: real ones, in the place of all there are."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from upstart.sysv import endprocesses
from upstart.sysv.endprocesses import Ending, Process, left


class Left:
    """Processes that a test has started, and no others, are there."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.said: list[str] = []

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
        return Ending(self.said.append).end(lambda: spare)


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


def test_who_is_spared_goes_on_with_all_of_its_session(those: Left) -> None:
    leader = those.ready(": ; sleep 1000 & wait", start_new_session=True)
    assert those.end(leader.pid)
    assert leader.poll() is None
    os.killpg(leader.pid, signal.SIGKILL)


def test_who_calls_itself_by_that_name_goes_on(those: Left) -> None:
    process = those.ready(": ; exec bash -c 'echo again; exec -a @root sleep 1000'")
    assert process.stdout is not None and process.stdout.readline() == b"again\n"
    for _ in range(100):
        if Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"@"):
            break
        time.sleep(0.02)
    assert those.end() and process.poll() is None


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
