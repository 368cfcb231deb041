"""A session init: what jobs find in their environment, and how a session ends, as 1.13.2 was seen to do it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from dropin import JOB, MANAGER, UPSTART, Session, job_path

ENVIRON = "exec cat /proc/self/environ"
GIVEN = {"A_B": "x y", "EMPTY": "", "LANG": "C", "LC_CTYPE": "xx", "LC_ALL": ""}
DEAF = "kill timeout 1\nscript\n  trap '' TERM\n  echo deaf\n  while :; do sleep 0.1; done\nend script\n"


def output(session: Session, job: str) -> list[str]:
    """The variables that a job has printed; the file is there once its last process has ended."""
    path = session.directory / "CACHE_HOME" / "upstart" / f"{job}.log"
    session.wait(lambda: path.exists() and path.read_bytes().endswith(b"\0"))
    return path.read_text().removesuffix("\0").split("\0")


def start(session: Session, job: str) -> None:
    assert session.call(job_path(job), JOB, "Start", "asb", [], True)[0] == ""


def test_a_job_finds_the_variables_of_init_of_its_definition_and_of_its_events(tmp_path: Path) -> None:
    jobs = {
        "task": f"instance $N\nstart on go\ntask\nenv X=1\nenv HOME\nenv NOPE\nexport N X\n{ENVIRON}\n",
        "next": f"start on stopped task N=v\nstop on bye\nexec sleep 1000\npost-stop {ENVIRON}\n",
    }
    session = Session(tmp_path, jobs, "", "--no-cgroups", **GIVEN)
    try:
        session.call(MANAGER, UPSTART, "SetEnv", "assb", [], "GLOB=1", True)
        words = ["N=v", "é=ü", "A=a b\nc"]
        assert session.call(MANAGER, UPSTART, "EmitEvent", "sasb", "go", words, True) == ("", [])
        own = [f"{key}={value}" for key, value in session.environment.items()] + ["GLOB=1"]
        # Init's PATH and TERM come first, as in the table that all jobs begin with.
        own.sort(key=lambda word: not word.startswith("PATH="))
        own.sort(key=lambda word: not word.startswith(("PATH=", "TERM=")))
        last = f"UPSTART_SESSION={session.address}"
        events = [*words, "UPSTART_EVENTS=go", "UPSTART_JOB=task", "UPSTART_INSTANCE=v", last]
        assert output(session, "task-v") == [*own, "X=1", *events]
        session.wait(lambda: session.status("next")[1] == "running")
        assert session.call(MANAGER, UPSTART, "EmitEvent", "sasb", "bye", ["W=2"], True) == ("", [])
        stopped = ["JOB=task", "INSTANCE=v", "RESULT=ok", "N=v", "X=1", "UPSTART_EVENTS=stopped", "W=2"]
        assert output(session, "next") == [
            *own, *stopped, "UPSTART_STOP_EVENTS=bye", "UPSTART_JOB=next", "UPSTART_INSTANCE=", last,
        ]  # fmt: skip
    finally:
        session.close()


def test_without_inheriting_a_job_finds_path_and_term_only(tmp_path: Path) -> None:
    session = Session(tmp_path, {"task": f"task\n{ENVIRON}\n"}, "", "--no-cgroups", "--no-inherit-env", **GIVEN)
    try:
        start(session, "task")
        assert output(session, "task") == [
            "PATH=/usr/bin:/bin", "TERM=dumb", "UPSTART_JOB=task", "UPSTART_INSTANCE=",
            f"UPSTART_SESSION={session.address}",
        ]  # fmt: skip
    finally:
        session.close()


def end(session: Session, how: str) -> tuple[int, float]:
    """End a session one way or the other; its exit status and the seconds that it took."""
    before = time.monotonic()
    if how == "shutdown":
        session.process.send_signal(signal.SIGTERM)
    else:
        session.send("end", MANAGER, UPSTART, "EndSession", "")
        session.connection.flush()
    status = session.process.wait(30)
    return status, time.monotonic() - before


@pytest.mark.parametrize("how", ["shutdown", "logout"])
class TestTheEnd:
    def test_without_jobs_is_at_once(self, tmp_path: Path, how: str) -> None:
        session = Session(tmp_path, {}, "", "--no-cgroups", "--verbose")
        assert end(session, how)[0] == 0
        log = "\n".join(session.log())
        assert f"Quiescing due to {how} request\n" in log + "\n"
        assert f"Quiesce {how} sequence took " in log
        assert not list((tmp_path / "RUNTIME_DIR").rglob("*.session"))

    def test_kills_what_ignores_being_asked_after_its_kill_timeout(self, tmp_path: Path, how: str) -> None:
        session = Session(tmp_path, {"deaf": DEAF, "web": "exec sleep 1000\n"}, "", "--no-cgroups")
        start(session, "web")
        start(session, "deaf")
        log = tmp_path / "CACHE_HOME" / "upstart" / "deaf.log"
        session.wait(log.exists)  # it has said so: its trap is set
        status, seconds = end(session, how)
        assert status == 0 and 0.9 < seconds < 15
        lines = [line.rpartition(" (")[0] + line.rpartition(")")[2] for line in session.log()]
        assert sorted(lines) == [
            "init: deaf main process killed by KILL signal", "init: web main process killed by TERM signal",
        ]  # fmt: skip

    def test_is_told_to_jobs_that_start_on_it(self, tmp_path: Path, how: str) -> None:
        jobs = {"bye": "start on session-end\ntask\nexec echo $TYPE\n", "web": "exec sleep 1000\n"}
        session = Session(tmp_path, jobs, "", "--no-cgroups")
        start(session, "web")
        assert end(session, how)[0] == 0
        assert (tmp_path / "CACHE_HOME" / "upstart" / "bye.log").read_text() == how + "\n"

    def test_lets_nothing_respawn(self, tmp_path: Path, how: str) -> None:
        session = Session(tmp_path, {"web": "respawn\nexec sleep 1000\n"}, "", "--no-cgroups")
        start(session, "web")
        assert end(session, how)[0] == 0
        assert not any("respawning" in line for line in session.log())
