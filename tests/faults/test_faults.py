"""A few of the trials of `faults.py`, of each kind: `make faults` has a thousand.

What fails in one trial of some hundred is for that to find; here it counts when it fails again and again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "faults.py"
ATTEMPTS = 3
KINDS = ("as,data", "line,call", "nofile,pids", "fsize,disk", "1-as,1-data", "1-line,1-call")


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and namespaces")
@pytest.mark.parametrize("kinds", KINDS)
def test_an_init_that_lacks_something_lives_answers_and_is_right_afterwards(kinds: str) -> None:
    command = [sys.executable, str(PROGRAM), "--trials", "10", "--kinds", kinds]
    said = []
    for _ in range(ATTEMPTS):
        result = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if result.returncode == 0:
            return
        said.append(result.stdout + result.stderr)
    raise AssertionError("\n".join(said))
