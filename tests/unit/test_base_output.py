"""Programs that print: how they end where their output cannot be written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SBIN = Path(__file__).resolve().parents[2] / "build/sbin"
JOB = "start on startup\nexec /bin/true\n"
#: Each with its statuses for trouble, and where nobody reads.
PROGRAMS = [
    ("init-checkconf jobs", 1, 1),
    ("init-checkconf --json jobs", 1, 1),
    ("init-checkconf --help", 1, 1),
    ("init-simulate jobs", 2, 2),
    ("init-simulate --help", 2, 2),
    ("init-replay --help", 2, 2),
    ("init-checkunits --help", 2, 2),
    ("initctl2dot -f jobs -o -", 1, 0),
    ("initctl2dot --help", 1, 0),
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.conf").write_text(JOB)
    return tmp_path


def shell(directory: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", f"{SBIN}/{command}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("command", "trouble", "unread"), PROGRAMS)
def test_output_that_is_lost_is_told_in_one_line(directory: Path, command: str, trouble: int, unread: int) -> None:
    result = shell(directory, f"{command} >/dev/full")
    program = command.partition(" ")[0]
    assert (result.returncode, result.stderr) == (trouble, f"{program}: Unable to write: No space left on device\n")


@pytest.mark.parametrize(("command", "trouble", "unread"), PROGRAMS)
def test_nothing_is_said_where_nobody_reads(directory: Path, command: str, trouble: int, unread: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        result = subprocess.run(
            [SBIN / command.split()[0], *command.split()[1:]],
            cwd=directory,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (result.returncode, result.stderr) == (unread, "")


@pytest.mark.parametrize(("command", "trouble", "unread"), PROGRAMS)
def test_a_closed_output_does_no_harm(directory: Path, command: str, trouble: int, unread: int) -> None:
    result = shell(directory, f"{command} >&-")
    assert (result.returncode, result.stderr) == (int(command == "init-checkconf --help"), "")
