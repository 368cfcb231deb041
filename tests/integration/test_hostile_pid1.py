"""PID 1 among those who mean it ill: every signal at once, its FIFO replaced, its socket flooded by nobody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System, pytestmark, running

from upstart.base.signals import ENDS, ENDS_AT_ONCE

__all__ = ["pytestmark"]

VERSION = "init (upstart 1.13.2)\n"
#: All that init has no use of its own for, or that it bears at any time.
SIGNALS = sorted(
    set(range(1, 65))
    - {signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT, 32, 33, *ENDS, *ENDS_AT_ONCE}
)
SEND = "import os\nfor _ in range(3):\n    for number in {signals}:\n        os.kill(1, number)\n"
FLOOD = """
import os, socket, time
os.setgid(65534)
os.setuid(65534)
end = time.monotonic() + 2
while time.monotonic() < end:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect("\\0/com/ubuntu/upstart")
            sock.send(b"\\0AUTH EXTERNAL 30")
        except OSError:
            pass
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("pid1")) as system:
        yield system


def test_every_signal_at_once_is_survived_also_after_a_re_exec(system: System) -> None:
    for _ in range(2):
        system.run("python3", "-c", SEND.format(signals=SIGNALS))
        assert system.initctl("version") == VERSION
        assert system.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        wait_for(lambda: system.initctl("version") == VERSION)
    system.run("python3", "-c", SEND.format(signals=SIGNALS))
    assert system.initctl("version") == VERSION
    assert "start/running" in system.initctl("status", "service")


def heard(system: System, text: str, times: int) -> bool:
    return system.kmsg().count(text) >= times


def test_something_else_in_the_place_of_the_fifo_is_neither_followed_nor_read(system: System, tmp_path: Path) -> None:
    fifo = Path(f"/proc/{system.pid}/root/run/initctl")
    victim = tmp_path / "victim"
    said = "/run/initctl: Unable to listen"
    for replace in (lambda: fifo.symlink_to(victim), lambda: fifo.write_text("text"), fifo.mkdir):
        if fifo.is_dir() and not fifo.is_symlink():
            fifo.rmdir()
        else:
            fifo.unlink()
        replace()
        lines = system.kmsg().count(said) + 1
        os.kill(system.pid, signal.SIGUSR1)
        wait_for(partial(heard, system, said, lines))
        assert not victim.exists()
    fifo.rmdir()
    os.kill(system.pid, signal.SIGUSR1)
    wait_for(lambda: fifo.exists() and stat.S_IMODE(fifo.stat().st_mode) == 0o600 and fifo.is_fifo())


def test_nobody_cannot_keep_root_from_being_served(system: System) -> None:
    descriptors = f"/proc/{system.pid}/fd"
    before = len(os.listdir(descriptors))
    command = ["nsenter", "-t", str(system.pid), "-p", "-n", "--", "python3", "-c", FLOOD]
    flood = [subprocess.Popen(command) for _ in range(6)]
    for _ in range(5):
        assert system.initctl("version") == VERSION
    for process in flood:
        assert process.wait(20) == 0
    wait_for(lambda: len(os.listdir(descriptors)) <= before)
