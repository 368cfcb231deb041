"""What tests of machines start ends with them: by a signal that a person, a terminal or a supervisor sends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ending
import pytest
import root

HERE = Path(__file__).resolve().parent
#: A program whose child ignores the requests that it passes on; it says who they are.
STUBBORN = "sh -c 'trap \"\" HUP INT TERM; echo $$; while :; do sleep 1; done' & echo $$; wait"
STARTER = f"""
import subprocess, sys, tempfile
import ending
ending.SECONDS = 0.5
ending.end_by_signals()
with tempfile.TemporaryDirectory(), ending.program(["sh", "-c", {STUBBORN!r}], subprocess.PIPE) as process:
    for line in process.stdout:
        print(line.decode().strip(), flush=True)
"""


def until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def those_with(word: str) -> list[int]:
    """Processes that have `word` in their arguments or their environment."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            said = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:
            continue
        if word.encode() in said:
            found.append(int(directory.name))
    return found


def heed_signals() -> None:
    """Whoever runs the tests may ignore signals, which what they start would do, too."""
    for number in ending.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", ending.SIGNALS)
def test_a_signal_ends_a_program_and_all_that_it_started(number: signal.Signals, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(HERE)}
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdout=subprocess.PIPE,
        env=environment,
        preexec_fn=heed_signals,
    ) as starter:
        assert starter.stdout is not None
        started = [int(starter.stdout.readline()) for _ in range(2)]
        assert all(map(lives, started)) and list(tmp_path.iterdir())
        starter.send_signal(number)
        assert starter.wait(20) == 128 + number
    assert not any(map(lives, started))
    assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_so() -> None:
    text = "import os, signal, ending; ending.end_by_signals(); os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    command = ["nohup", sys.executable, "-c", text]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(HERE)}, capture_output=True, text=True)
    assert done.stdout == "goes on\n"


def test_the_machine_of_autopkgtest_ends_with_it() -> None:
    before = set(root.BUILD.glob("upstart-autopkgtest-*"))
    # The directories of pytest are too deep for sockets below them.
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {"TMPDIR": directory}
        command = [sys.executable, str(HERE / "autopkgtest.py"), "install"]
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, preexec_fn=heed_signals)
        try:
            until(lambda: list(Path(directory).glob("*/autopkgtest-qemu.*/ttyS0")) or program.poll() is not None, 900)
            assert len(those_with(directory)) > 2
            program.terminate()
            assert program.wait(30) == 128 + signal.SIGTERM
        finally:
            program.kill()
            program.wait()
        assert not those_with(directory)
        assert not list(Path(directory).iterdir())
    assert set(root.BUILD.glob("upstart-autopkgtest-*")) == before
