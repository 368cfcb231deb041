"""initctl log and a real init: what jobs said and when, across re-exec and rotation, and as it comes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, wait_for

ROOT = Path(__file__).resolve().parents[2]
JOBS = {
    "web": "script\n  echo one\n  sleep 0.4\n  echo two\n  exec sleep 1000\nend script\n",
    "line": "instance $X\ntask\nexec echo hello from $X\n",
    "line-up": "task\nexec echo another job\n",
    "silent": "exec sleep 1000\n",
    "quiet": "instance $X\nexec sleep 1000\n",
    "chatter": 'task\nscript\n  i=0; while [ $i -lt 20000 ]; do echo "number $i"; i=$((i+1)); done\nend script\n',
    "escape": "task\nexec printf '\\033[31mred\\n'\n",
}


class Session(SessionInit):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory, JOBS)
        self.environ["UPSTART_SESSION"] = self.address
        self.logs = directory / "CACHE_HOME" / "upstart"

    def run(self, line: str) -> tuple[int, str, str]:
        program, *words = line.split()
        result = subprocess.run(
            [str(PROGRAMS / program), *words], env=self.environ, capture_output=True, text=True, timeout=20
        )
        return result.returncode, result.stdout, result.stderr

    def lines(self, words: str = "") -> list[tuple[float, str]]:
        """What `log --json` shows: times and texts."""
        status, out, err = self.run(f"initctl log --json {words}")
        assert (status, err) == (0, "")
        return [(entry["time"], entry["text"]) for entry in map(json.loads, out.splitlines())]

    def texts(self, words: str = "") -> list[str]:
        return [text for _, text in self.lines(words)]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    running = Session(tmp_path)
    yield running
    running.close()


def test_lines_have_the_time_at_which_they_were_said(session: Session) -> None:
    before = time.time()
    session.run("start web")
    wait_for(lambda: "two" in session.job_log("web"))
    (first, one), (second, two) = session.lines("web")
    assert (one, two) == ("one", "two")
    assert before - 0.01 <= first <= second - 0.35 and second <= time.time()
    # The log itself is what it always was.
    assert session.job_log("web") == "one\ntwo\n"
    status, out, _ = session.run("initctl log web")
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first))
    assert status == 0 and out.splitlines()[0].startswith(f"{local}.") and out.splitlines()[0].endswith(" one")


def test_instances_and_jobs_with_names_alike_are_told_apart(session: Session) -> None:
    for line in ("start line X=a", "start line X=b/c", "start line-up"):
        session.run(line)
    wait_for(lambda: session.job_log("line-up") and session.job_log("line-b_c"))
    assert session.texts("line") == ["hello from a", "hello from b/c"]
    assert session.texts("line b/c") == ["hello from b/c"]
    assert session.texts("line-up") == ["another job"]
    out = session.run("initctl log")[1]
    assert [line.split(" ", 2)[2] for line in out.splitlines()] == [
        "line (a): hello from a", "line (b_c): hello from b/c", "line-up: another job",
    ]  # fmt: skip


def test_what_there_is_no_log_of(session: Session) -> None:
    assert session.run("initctl log silent") == (0, "", "")
    assert session.run("initctl log nothing") == (4, "", "initctl: Unknown job, and no log of one: nothing\n")
    assert session.run("initctl log line none")[0] == 4
    # One that runs, and has said nothing.
    session.run("start quiet X=here")
    assert session.run("initctl log quiet here") == (0, "", "")
    assert session.run("initctl log quiet there")[0] == 4
    status, _, err = session.run("initctl log web --since whenever")
    assert status == 1 and err.startswith("initctl: not a time: whenever")
    assert session.run("initctl log web -n x")[0] == 1


def test_only_the_last_lines_and_only_what_is_new(session: Session) -> None:
    session.run("start chatter")
    wait_for(lambda: session.job_log("chatter").endswith("number 19999\n"))
    assert session.texts("chatter -n 2") == ["number 19998", "number 19999"]
    assert len(session.texts("chatter")) == 20000
    assert session.texts("chatter --since @9999999999") == []
    assert session.texts("chatter --boot -n1") == ["number 19999"]
    # Whoever has seen enough is no error, and leaves nothing that goes on.
    reader = subprocess.run(
        f"{PROGRAMS}/initctl log chatter | head -n 1", shell=True, env=session.environ, capture_output=True, timeout=20
    )
    assert reader.stdout.endswith(b"number 0\n") and reader.stderr == b""


def test_a_re_exec_loses_no_time(session: Session) -> None:
    session.run("start web")
    session.restart()
    wait_for(lambda: "two" in session.job_log("web"))
    (first, _), (second, _) = session.lines("web")
    assert second - first >= 0.35


def test_what_waits_for_a_disk_keeps_its_time(session: Session) -> None:
    session.logs.rmdir()
    session.run("start web")
    began = time.time()
    time.sleep(0.8)
    assert session.job_log("web") == ""
    session.restart()
    session.logs.mkdir()
    session.run("initctl notify-disk-writeable")
    wait_for(lambda: "two" in session.job_log("web"))
    assert all(abs(when - began) < 0.7 for when, _ in session.lines("web"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_who_may_not_read_logs_is_told_so() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        session = Session(Path(directory))
        try:
            session.logs.parent.chmod(0o755)
            session.logs.chmod(0o750)
            words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"{PROGRAMS}/initctl", "log", "web"]
            done = subprocess.run(words, env=session.environ, capture_output=True, text=True, timeout=20)
        finally:
            session.close()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"initctl: You may not read logs: {session.logs} is for root and the group root\n"


def test_a_terminal_is_not_commanded(session: Session) -> None:
    session.run("start escape")
    wait_for(lambda: "red" in session.job_log("escape"))
    main, sub = os.openpty()
    subprocess.run([PROGRAMS / "initctl", "log", "escape"], env=session.environ, stdout=sub, check=True, timeout=20)
    os.close(sub)
    shown = os.read(main, 4096)
    os.close(main)
    assert b"\\x1b[31mred" in shown and b"\x1b" not in shown
    assert "\x1b[31mred" in session.run("initctl log escape")[1]


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
@pytest.mark.parametrize("more", ["", "delaycompress", "copytruncate", "dateext\n  dateformat -%Y%m%d-%s"])
def test_logs_that_logrotate_has_rotated(session: Session, tmp_path: Path, more: str) -> None:
    text = (ROOT / "debian/logrotate").read_text().replace("/var/log/upstart", str(session.logs))
    config = tmp_path / "logrotate.conf"
    config.write_text(text.replace("rotate 7", f"rotate 7\n  {more}"))
    for number in range(3):
        session.run(f"start line X={number}")
        session.run("start web")
        wait_for(lambda: session.job_log("web").endswith("two\n"))
        session.run("stop web")
        subprocess.run(
            ["logrotate", "--force", "--state", str(tmp_path / "state"), str(config)], check=True, timeout=20
        )
        time.sleep(1.1)
    found = session.lines("web")
    assert [text for _, text in found] == ["one", "two"] * 3
    assert all(when is not None for when, _ in found)
    assert all(later[0] - earlier[0] >= 0.3 for earlier, later in pairwise(found))
    # Nor is the index of times taken for a log.
    assert all(".times" not in text for text in session.texts())


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
def test_times_of_logs_that_are_gone_go_with_a_rotation(tmp_path: Path) -> None:
    logs = tmp_path / "logs of jobs"
    (logs / ".times").mkdir(parents=True)
    config = tmp_path / "logrotate.conf"
    text = (ROOT / "debian/logrotate").read_text().replace("/var/log/upstart/*.log", f'"{logs}"/*.log')
    config.write_text(text.replace("cd /var/log/upstart", f'cd "{logs}"'))
    for name in ("web.log", "rotated.log.2.gz", "dated.log-20260101.gz"):
        (logs / name).write_text("text\n")
    old = time.time() - 9 * 86400
    kept = ["dated.log", "recent.log", "rotated.log", "rotated.log.old", "web.log"]
    for name in (*kept, "gone.log", "gone.log.old", "$(echo gone) 'x'\n.log"):
        (logs / ".times" / name).write_text("0123456789abcdef")
        os.utime(logs / ".times" / name, None if name.startswith("recent") else (old, old))
    words = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in (logs / ".times").iterdir()) == kept
    # A system on which no job has said anything yet.
    shutil.rmtree(logs / ".times")
    (logs / "web.log").write_text("text\n")
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (logs / "web.log.2.gz").exists()


def test_what_comes_is_shown_as_it_comes(session: Session) -> None:
    session.run("start web")
    wait_for(lambda: "two" in session.job_log("web"))
    command = [str(PROGRAMS / "initctl"), "log", "-f", "-n", "1"]
    with subprocess.Popen([*command, "web"], env=session.environ, stdout=subprocess.PIPE, text=True) as following:
        every = subprocess.Popen(command, env=session.environ, stdout=subprocess.PIPE, text=True)
        assert following.stdout is not None and every.stdout is not None
        assert following.stdout.readline().endswith(" two\n")
        assert every.stdout.readline().endswith(" web: two\n")
        (session.logs / "web.log").rename(session.logs / "web.log.1")
        session.run("restart web")
        assert following.stdout.readline().endswith(" one\n")
        assert following.stdout.readline().endswith(" two\n")
        session.run("start line X=new")
        heard = [every.stdout.readline().split(" ", 2)[2] for _ in range(3)]
        assert sorted(heard) == ["line (new): hello from new\n", "web: one\n", "web: two\n"]
        for process in (following, every):
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT
        every.stdout.close()


def test_logs_without_an_init_that_answers(session: Session) -> None:
    session.run("start web")
    wait_for(lambda: "two" in session.job_log("web"))
    nobody = f"unix:abstract=/com/ubuntu/upstart-session/{os.getuid()}/4194304"
    environ = {**session.environ, "UPSTART_SESSION": nobody}
    done = subprocess.run(
        [PROGRAMS / "initctl", "log", "web"], env=environ, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
