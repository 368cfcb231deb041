"""The tools beside the init of a system: what it has is checked and drawn, and its jobs are simulated."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"), reason="needs root and namespaces"
)

#: The directory of jobs where a system has it, without anything written to that of this machine.
PLACE = """
mkdir -p /run/upper/init /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc
mount --bind "$1" /etc/init
"""
JOBS = {"web": "start on startup\nstop on shutdown\nexec sleep 1000\n"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("pid1"), more=JOBS)
    wait_for(lambda: "start/running" in system.initctl("status", "web"))
    placed = system.run("sh", "-ec", PLACE, "sh", str(system.directory / "conf"))
    assert placed.returncode == 0, placed.stderr
    yield system
    system.close()


def test_the_jobs_of_the_running_init_are_checked(system: System) -> None:
    done = system.run(str(PROGRAMS / "init-checkconf"), "--running")
    assert (
        "WARNING: File /etc/init/web.conf:2: stop on shutdown: no program of Debian or Ubuntu emits an event shutdown,"
        " so the job never stops by that; write: stop on runlevel [016]\n" in done.stderr
    ), done
    assert "File /etc/init/web.conf: syntax ok\n" in done.stdout


def test_the_graph_of_the_running_init_has_its_jobs_in_colour(system: System) -> None:
    done = system.run(str(PROGRAMS / "initctl2dot"), "--state", "--outfile=-")
    assert '"job_web"' in done.stdout, done.stderr
    assert "for the system" in done.stdout


def test_the_jobs_of_the_system_are_simulated(system: System) -> None:
    done = system.run(str(PROGRAMS / "init-simulate"), "--no-races")
    assert "\n  web start/running, process " in done.stdout, done
