"""What administrators ask of a real init beyond the original's commands: full statuses, choices, JSON, statuses."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, on_terminal, wait_for

JOBS = {
    "web": 'description "A web server"\nusage "PORT=8080"\nemits web-up\nstart on never\n'
    "script\n  echo one\n  echo two\n  exec sleep 1000\nend script\n",
    "line": "instance $TTY\nexec sleep 1000\n",
    "bad": "exec sh -c 'exit 7'\n",
    "idle": "exec sleep 1000\n",
    "slow": "pre-start exec sleep 1000\nexec sleep 1000\n",
    "looping": "respawn\nrespawn limit unlimited\nexec sleep 0.05\n",
}


class Session(SessionInit):
    """An init with jobs in every state, and commands for it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, JOBS)
        self.environ["UPSTART_SESSION"] = self.address
        for line in ("start web", "start line TTY=tty1", "start line TTY=tty2", "start -n slow", "start -n looping"):
            assert self.run(line)[0] == 0, line
        assert self.run("start -n bad")[0] == 0
        wait_for(lambda: self.run("initctl list --failed bad")[0] == 0)

    def run(self, line: str) -> tuple[int, str, str]:
        program, *words = line.split()
        result = subprocess.run(
            [str(PROGRAMS / program), *words], env=self.environ, capture_output=True, text=True, timeout=20
        )
        return result.returncode, result.stdout, result.stderr

    def json(self, line: str) -> object:
        status, out, err = self.run(line)
        assert (status, err) == (0, ""), (status, err)
        return json.loads(out)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    running = Session(tmp_path_factory.mktemp("session"))
    yield running
    running.run("stop --force slow")
    running.close()


def jobs_of(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines() if not line.startswith("\t")]


@pytest.mark.parametrize(
    ("line", "status", "jobs"),
    [
        ("list --running line web", 0, ["line", "line", "web"]),
        ("list --stopped", 0, ["bad", "idle"]),
        ("list --failed", 0, ["bad"]),
        ("list --changing", 0, ["slow"]),
        ("list --failed --changing", 0, ["bad", "slow"]),
        ("list i* w*", 0, ["idle", "web"]),
        ("list nothing*", 3, []),
        ("list --failed web", 3, []),
        ("list --services idle", 0, ["idle"]),
    ],
)
def test_list_shows_what_is_chosen(session: Session, line: str, status: int, jobs: list[str]) -> None:
    done = session.run(f"initctl {line}")
    assert (done[0], jobs_of(done[1]), done[2]) == (status, jobs, "")


def test_a_table_has_the_columns_and_the_order_that_are_asked_for(session: Session) -> None:
    columns = "--columns=job,instance,state,pid,description"
    status, out, _ = session.run(f"initctl list {columns} --sort=-instance line web bad")
    head, *rows = out.splitlines()
    assert (status, head.split()) == (0, ["JOB", "INSTANCE", "STATE", "PID", "DESCRIPTION"])
    assert [row.split()[:3] for row in rows] == [
        ["line", "tty2", "running"], ["line", "tty1", "running"], ["bad", "-", "waiting"], ["web", "-", "running"],
    ]  # fmt: skip
    assert rows[3].endswith("A web server") and rows[2].split()[3] == "-"
    status, out, err = session.run("initctl list --columns=job,colour")
    assert (status, out) == (1, "") and err.startswith("initctl: unknown column: colour; there are job, instance, ")
    assert session.run("initctl list --sort=colour")[0] == 1


def test_an_order_by_memory_and_time(session: Session) -> None:
    found = session.json("initctl list --columns=memory,since --sort=memory --json")
    assert isinstance(found, list)
    sizes = [entry["memory"] for entry in found]
    known = [size for size in sizes if size is not None]
    assert known == sorted(known) and len(known) >= 4
    assert sizes[len(known) :] == [None] * (len(sizes) - len(known))
    assert all(abs(time.time() - entry["since"]) < 300 for entry in found if entry["since"] is not None)


def test_the_plain_list_and_status_stay_what_they_are(session: Session) -> None:
    out = session.run("initctl list")[1]
    assert sorted(jobs_of(out)) == ["bad", "idle", "line", "line", "looping", "slow", "web"]
    assert session.run("status bad") == (0, "bad stop/waiting\n", "")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("web", 0), ("line TTY=tty1", 0), ("idle", 3), ("nothing", 4), ("line TTY=other", 4), ("slow", 5), ("bad", 6),
    ],
)  # fmt: skip
def test_the_exit_status_tells_how_a_job_stands(session: Session, line: str, status: int) -> None:
    done = session.run(f"status --check --quiet {line}")
    assert (done[0], done[1]) == (status, "")
    # Without the option the original's.
    assert session.run(f"status {line}")[0] == (1 if status == 4 else 0)


def test_a_job_that_keeps_ending_does_not_count_as_running(session: Session) -> None:
    wait_for(lambda: session.run("status --check looping")[0] == 6)
    status, _, err = session.run("status --check looping")
    assert (status, err.startswith("status: looping")) == (6, True)


def test_status_in_full_tells_what_is_known(session: Session) -> None:
    wait_for(lambda: "two" in session.job_log("web"))
    status, out, err = session.run("status --verbose web")
    first, *rest = out.splitlines()
    assert (status, err) == (0, "") and first.startswith("web start/running, process ")
    pid = first.rpartition(" ")[2]
    known = {line.split(":")[0].strip(): line.partition(":")[2].strip() for line in rest if line.startswith("  ")}
    assert known["Description"] == "A web server"
    assert known["Job file"] == f"{session.conf}/web.conf"
    assert known["Main"] == f"{pid} sleep 1000"
    assert known["Since"].endswith(" ago)")
    assert known["Memory"].endswith("1 process")
    assert known["Log"].endswith("/upstart/web.log")
    assert rest[-2:] == ["    one", "    two"]
    failure = "Failure:     bad main process ("
    assert failure in session.run("status -v bad")[1]
    assert "Failure" not in session.run("status -v idle")[1]


def test_what_init_remembers_is_told(session: Session) -> None:
    wait_for(lambda: "Respawns" in session.run("status -v looping")[1])
    out = session.run("status -v looping")[1]
    assert re.search(r"^  Respawns:    [1-9]\d* since 20\d\d-", out, re.M), out
    assert re.search(r"^  Last exit:   status 0, after 0\.\d s, at 20\d\d-", out, re.M), out
    assert re.search(r"^  Last exit:   status 7, after ", session.run("status -v bad")[1], re.M)
    found = session.json("initctl list --json --columns=since,respawns,exit bad looping idle")
    assert isinstance(found, list)
    bad, idle, looping = found
    assert bad["exit"].startswith("status 7, after ") and abs(time.time() - bad["since"]) < 300
    assert looping["respawns"] > 0
    assert (idle["since"], idle["respawns"], idle["exit"]) == (None, None, "")
    session.restart()
    again = session.json("status --verbose --json bad")
    assert isinstance(again, dict)
    assert (again["exit_status"], again["since"]) == (7, pytest.approx(bad["since"], abs=0.05))


def test_status_in_full_as_json(session: Session) -> None:
    found = session.json("status --verbose --json web")
    assert isinstance(found, dict)
    assert found["job"] == "web" and found["goal"] == "start" and found["processes"][0]["name"] == "main"
    assert found["log_lines"] == ["one", "two"]
    assert found["file"] == f"{session.conf}/web.conf" and found["override"] is None and found["failure"] is None
    assert found["memory"] > 0 and found["memory_counted"] in ("cgroup", "resident")
    plain = session.json("status --json line TTY=tty1")
    assert isinstance(plain, dict)
    assert sorted(plain) == ["goal", "instance", "job", "processes", "state"] and plain["instance"] == "tty1"


def test_a_failure_is_forgotten_once_the_job_has_run_well(session: Session) -> None:
    session.write("bad", "exec sleep 1000\n")
    wait_for(lambda: session.run("start bad")[0] == 0)
    assert session.run("initctl list --failed bad")[0] == 3
    session.run("stop bad")
    assert session.run("initctl list --failed bad")[0] == 3
    assert session.run("status --check bad")[0] == 3
    session.write("bad", JOBS["bad"])

    def fails() -> bool:
        session.run("start -n bad")
        return session.run("initctl list --failed bad")[0] == 0

    wait_for(fails)


def test_a_failure_outlives_a_re_exec(session: Session) -> None:
    session.restart()
    assert session.run("status --check bad")[0] == 6
    assert session.run("status --check web")[0] == 0


def test_everything_that_shows_something_has_json(session: Session) -> None:
    assert session.json("initctl version --json") == {
        "version": "1.13.2", "program": "init", "text": "init (upstart 1.13.2)",
    }  # fmt: skip
    assert session.json("initctl usage --json web") == {"job": "web", "usage": "PORT=8080"}
    assert session.json("initctl log-priority --json") == {"log-priority": "message"}
    assert session.json("initctl show-config --json web") == [
        {
            "job": "web", "emits": ["web-up"], "stop_on": None,
            "start_on": {"condition": "never", "events": [{"event": "never", "tests": []}]},
        }
    ]  # fmt: skip
    status, out, _ = session.run("initctl check-config --json web")
    assert status == 1
    assert json.loads(out) == {
        "errors": [], "jobs": [{"job": "web", "problems": ["start on: unknown event never"]}],
    }  # fmt: skip
    session.run("initctl set-env -g COLOUR=red=blue")
    table = session.json("initctl list-env --json")
    assert isinstance(table, dict) and table["COLOUR"] == "red=blue"
    assert session.json("initctl get-env --json COLOUR") == {"COLOUR": "red=blue"}
    assert session.json("initctl list-sessions --json") == [{"pid": session.pid, "address": session.address}]
    started = session.json("start --json idle")
    assert isinstance(started, dict) and started["state"] == "running"
    stopped = session.json("stop --json idle")
    assert isinstance(stopped, dict) and (stopped["goal"], stopped["state"]) == ("stop", "waiting")


def test_a_narrow_terminal_is_heeded_and_nothing_else(session: Session) -> None:
    environ = {**session.environ, "NO_COLOR": "1"}

    def shown(command: str, columns: int) -> list[str]:
        words = [str(PROGRAMS / "initctl"), *command.split()]
        return on_terminal(words, {**environ, "COLUMNS": str(columns)}).decode().replace("\r", "").splitlines()

    table = "list --columns=job,failure,description bad web"
    wide = session.run(f"initctl {table}")[1].splitlines()
    assert shown(table, 200) == wide and max(map(len, wide)) > 50
    narrow = shown(table, 40)
    assert max(map(len, narrow)) <= 40 and len(narrow) == len(wide)
    assert narrow[1].startswith("bad  bad main process (") and "..." in narrow[1]
    for command in ("status -v web", "history web", "explain bad", "blame"):
        lines = shown(command, 40)
        # A word that is longer than a line is left whole: a path.
        assert all(len(line) <= 40 or max(map(len, line.split())) > 24 for line in lines), (command, lines)
        whole = " ".join(session.run(f"initctl {command}")[1].split())
        if command not in ("status -v web", "explain bad"):
            # What tells how long ago something was changes meanwhile, as does how long what is not there yet takes.
            said = " ".join(" ".join(lines).split())
            assert re.sub(r"\S+ m?s slow", "slow", said) == re.sub(r"\S+ m?s slow", "slow", whole)
    assert shown("status line TTY=tty1", 20) == session.run("status line TTY=tty1")[1].splitlines()


def test_colours_are_for_terminals_that_have_them(session: Session) -> None:
    def shown(command: str, **environ: str) -> str:
        words = [str(PROGRAMS / "initctl"), *command.split()]
        return on_terminal(words, {**session.environ, **environ}).decode()

    assert "\x1b[32mweb start/running" in shown("list web", TERM="xterm")
    assert "\x1b" not in shown("list web", TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in shown("list web", TERM="dumb")
    assert "\x1b" not in shown("list", TERM="xterm")
    assert "\x1b" not in session.run("initctl list web")[1]
