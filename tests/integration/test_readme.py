"""The session that README.md starts without a boot runs as it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from manual import ROOT


def test_a_session_is_started_as_the_readme_says(tmp_path: Path) -> None:
    found = re.search(r"^### Without a boot\n.*?\n\n((?: {4}[^\n]*\n)+)", (ROOT / "README.md").read_text(), re.M | re.S)
    assert found
    make, script = re.sub("(?m)^ {4}", "", found[1]).split("\n", 1)
    assert make == "make" and script.endswith("kill %1\n")
    # On a busy machine a second may be too short.
    assert "\nsleep 1\n" in script
    script = script.replace("sleep 1\n", "until initctl list-sessions 2>/dev/null | grep -q :; do sleep 0.1; done\n")
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-ec", script + "wait\n"], cwd=ROOT, env=environment, timeout=60, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    # The init says how the job ended once the session does.
    pattern = r"nap start/running, process (\d+)\nupstart: nap main process \(\1\) killed by TERM signal\n"
    assert done.returncode == 0 and re.fullmatch(pattern, done.stdout), done.stdout
