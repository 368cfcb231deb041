"""A few of the trials of `faults.py`, of each kind: `make faults` has a thousand.

An init that has died counts at once.  One that was found deaf or untrue may have lacked a processor: the same life, as
its seed has it, is lived again, and counts when it ends so once more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "faults.py"
#: How often a life that has failed is lived again.
AGAIN = 2
KINDS = ("as,data", "line,call", "nofile,pids", "fsize,disk", "1-as,1-data", "1-line,1-call")
FAILED = re.compile(r"^--life (?P<life>\S+) round \d+: .*?: (?P<verdict>dead|deaf|untrue): ", re.MULTILINE)


def lived(*words: str) -> tuple[dict[str, str], str]:
    """What has failed: verdicts by life; and all that was said."""
    command = [sys.executable, str(PROGRAM), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    said = ended.stdout + ended.stderr
    failed = {match["life"]: match["verdict"] for match in FAILED.finditer(said)}
    # Whatever else has gone wrong is no verdict.
    assert bool(failed) == bool(ended.returncode), said
    return failed, said


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and namespaces")
@pytest.mark.parametrize("kinds", KINDS)
def test_an_init_that_lacks_something_lives_answers_and_is_right_afterwards(kinds: str) -> None:
    failed, said = lived("--trials", "10", "--kinds", kinds)
    for life, verdict in failed.items():
        assert verdict != "dead", said
        for _ in range(AGAIN):
            again, more = lived("--life", life, "--kinds", life.partition(":")[2])
            assert not again, said + more


def test_what_has_failed_is_read_from_what_is_said() -> None:
    said = (
        "--life 1:as round 2: 0 bytes left of (1: 2): dead: ended with 1: x\n"
        "--life 7:1-line round 0: line 3 and each 10 to 1 times lacks memory: untrue: web () start/running: deaf: no\n"
    )
    found = {match["life"]: match["verdict"] for match in FAILED.finditer(said)}
    assert found == {"1:as": "dead", "7:1-line": "untrue"}
