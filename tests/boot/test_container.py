"""A Debian root boots in namespaces with our packages, its daemons answer, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import unified_hierarchy, wait_for

RUN = Path(__file__).with_name("run.py")


class Running:
    """`make run` without a terminal, its output in a file, its temporary files below a directory of the test."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, TMPDIR=str(directory)),
            )

    def name(self) -> str:
        """The name of the boot, which its control group and its mounts carry; "" before it has one."""
        return next((path.name for path in self.directory.glob("upstart-boot-*")), "")

    def output(self) -> str:
        return self.log.read_text(errors="replace")


def traces(name: str) -> list[str]:
    """What a boot called `name` has left: processes in its control group, the group itself, mounts."""
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    hierarchy = unified_hierarchy()
    if hierarchy is not None and (hierarchy / name).exists():
        found.append(f"the control group {name}")
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if name in group.read_text():
                found.append(str(group))
        except OSError:
            continue  # it has just ended
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert not list(tmp_path.glob("upstart-*"))


def test_every_daemon_of_a_debian_root_answers_and_runlevel_0_ends_it(directory: Path) -> None:
    running = Running(directory)
    assert wait_for(lambda: bool(running.name()), 600)
    name = running.name()
    assert running.process.wait(300) == 0, running.output()
    output = running.output()
    print(output)
    assert "every daemon answers" in output
    assert "Runlevel: N 2" in output
    assert not traces(name)


def test_an_interrupted_boot_leaves_nothing_behind(directory: Path) -> None:
    running = Running(directory)
    # By the first line of a console the packages are installed and init is running.
    assert wait_for(lambda: running.output().count("\n") > 3 or running.process.poll() is not None, 600)
    name = running.name()
    assert name, running.output()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) != 0
    assert not traces(name)
