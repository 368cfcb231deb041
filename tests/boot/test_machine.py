"""A virtual machine boots our packages to a login, which is told the truth, and switches itself off with a clean
disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_machine_boots_to_a_login_that_is_told_the_truth_and_switches_itself_off_cleanly() -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("vm.py"))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
    )
    output = done.stdout.decode(errors="replace")
    print(output)
    assert done.returncode == 0, output
