"""docs/client-library.md: each of its programs runs against a real init and prints what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import ROOT, SessionInit

TEXT = (ROOT / "docs" / "client-library.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
JOB = next(text for kind, text in BLOCKS if kind == "upstart")


def programs() -> Iterator[tuple[str, str]]:
    """Each program, with what it prints."""
    program = ""
    for kind, text in BLOCKS:
        if kind == "python":
            assert not program, "it prints nothing that the page has"
            program = text
        elif kind == "output":
            yield program, text
            program = ""
    assert not program


PROGRAMS = list(programs())


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 5 and len(BLOCKS) == 11


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_prints_what_the_page_says(number: int, tmp_path: Path) -> None:
    program, wanted = PROGRAMS[number]
    for name in ("gi", "jeepney"):
        if name in program or (name == "jeepney" and "aio" in program):
            pytest.importorskip(name)
    init = SessionInit(tmp_path, {"tunnel": JOB})
    try:
        environ = {**init.environ, "UPSTART_SESSION": init.address, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr, done.returncode) == (wanted, "", 0)
    finally:
        init.close()


def test_programs_of_the_page_have_the_types_that_they_use(tmp_path: Path) -> None:
    """As a user of the library checks them, who finds its types by the marker in the package."""
    mypy = ROOT / "build" / "venv" / "bin" / "mypy"
    if not mypy.exists():
        pytest.skip("mypy is installed by `make lint`")
    for number, (program, _) in enumerate(PROGRAMS):
        (tmp_path / f"program{number}.py").write_text(program)
    # Of the modules of other packages nothing is known there.
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-gi.*]\nignore_missing_imports = true\n")
    site = tmp_path / "site"
    site.mkdir()
    (site / "upstart").symlink_to(ROOT / "src" / "upstart")
    python = tmp_path / "python"
    # The interpreter whose packages mypy looks at.
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [mypy, "--python-executable", python, "--cache-dir", tmp_path / "cache", *sorted(tmp_path.glob("program*.py"))],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin:/bin", "MYPYPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
