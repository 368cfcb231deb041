"""A virtual machine boots our packages to a login, which is told the truth, and switches itself off with a clean
disk; it waits for a disk that comes late, and goes on without one that does not come."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def passes(program: str) -> None:
    """Run a program of this directory, and show what it said; it must succeed."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(program))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
    )
    output = done.stdout.decode(errors="replace")
    print(output)
    assert done.returncode == 0, output


def test_a_machine_boots_to_a_login_that_is_told_the_truth_and_switches_itself_off_cleanly() -> None:
    passes("vm.py")


def test_a_machine_waits_for_a_disk_that_comes_late_and_goes_on_without_one_that_does_not_come() -> None:
    passes("vm_late.py")
