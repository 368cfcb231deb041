"""initctl2dot asks a running init: the same graph as of its files, and how its jobs stand."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, wait_for

JOBS = {
    "web": "start on started db or go now\nstop on stopping db\nemits web-*\nexec sleep 1000\n",
    "db": "pre-start exec sleep 1000\nexec sleep 1000\n",
    "bad": "exec /nonexistent/program\n",
    "idle": "start on web-ready\nexec sleep 1000\n",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionInit]:
    running = SessionInit(tmp_path_factory.mktemp("session"), JOBS)
    yield running
    for job in JOBS:
        run(running, "initctl", "stop", "--force", job)
    running.close()


def run(session: SessionInit, program: str, *words: str) -> str:
    done = subprocess.run(
        [str(PROGRAMS / program), *words],
        env={**session.environ, "UPSTART_SESSION": session.address},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return done.stdout + done.stderr


def arrows(text: str) -> list[str]:
    return sorted(line for line in text.splitlines() if " -> " in line)


def test_the_graph_is_that_of_show_config(session: SessionInit, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.write_text(run(session, "initctl", "show-config", "-e"))
    live = run(session, "initctl2dot", "-o", "-")
    assert arrows(live) == arrows(run(session, "initctl2dot", "-f", str(shown), "-o", "-"))
    assert len(arrows(live)) == 6
    assert f"for session '{session.address}'" in live


def test_the_colours_say_how_jobs_stand(session: SessionInit) -> None:
    run(session, "initctl", "emit", "go", "A=now")
    run(session, "initctl", "start", "--no-wait", "db")
    run(session, "initctl", "start", "bad")
    wait_for(lambda: "db start/pre-start" in run(session, "initctl", "list"))
    text = run(session, "initctl2dot", "--state", "-o", "-")
    colours = dict(re.findall(r'"job_(\w+)" .*fillcolor="([^"]+)"', text))
    legend = {state: color for color, state in re.findall(r"Jobs of color (\S+) are (\w+)\.", text)}
    assert {job: [state for state in legend if legend[state] == colours[job]] for job in JOBS} == {
        "web": ["running"],
        "db": ["moving"],
        "bad": ["failed"],
        "idle": [],
    }


def test_an_init_that_cannot_be_asked_is_said(session: SessionInit) -> None:
    environ = {**session.environ, "UPSTART_SESSION": "unix:abstract=/com/ubuntu/upstart-session/0/0"}
    done = subprocess.run(
        [str(PROGRAMS / "initctl2dot"), "-o", "-"], env=environ, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
