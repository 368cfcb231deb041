"""initctl and our own daemon together: what one names, the other does; scripts inside jobs find their own init."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, SessionInit, wait_for

JOBS = {
    "web": "exec sleep 100\n",
    "multi": "instance $X\nenv X\nexec sleep 100\n",
    "bad": "exec /nonexistent/program\n",
    "badtask": "task\nexec false\n",
    "slow": "pre-start exec sleep 100\nexec sleep 100\n",
    "waiter": "start on go\ntask\nscript\n  while [ ! -e $GATE ]; do sleep 0.02; done\nend script\n",
    "selfstop": "script\n  stop\n  sleep 100\nend script\n",
    "inside": "task\nscript\n  exec >$OUT 2>&1\n  status\n  initctl set-env COLOUR=red\n  initctl get-env COLOUR\n"
    "  initctl emit -n news KEY=value\n  status web\nend script\n",
    "reporter": 'start on news\ntask\nscript\n  echo "$KEY $UPSTART_EVENTS" >$TOLD\nend script\n',
}


class Session(SessionInit):
    """An init, and commands for it as a user types them."""

    def __init__(self, directory: Path) -> None:
        gate, out, told = (str(directory / name) for name in ("GATE", "OUT", "TOLD"))
        super().__init__(directory, JOBS, PATH=f"{PROGRAMS}:/usr/bin:/bin", GATE=gate, OUT=out, TOLD=told)
        self.environ["UPSTART_SESSION"] = self.address

    def run(self, line: str) -> tuple[int, str, str]:
        program, *words = line.split()
        result = subprocess.run(
            [str(PROGRAMS / program), *words], env=self.environ, capture_output=True, text=True, timeout=20
        )
        return result.returncode, result.stdout, result.stderr

    def pid_from(self, line: str) -> int:
        """The pid at the end of what a command printed, as scripts take it."""
        return int(self.run(line)[1].rpartition(" ")[2])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    running = Session(tmp_path_factory.mktemp("session"))
    yield running
    for line in running.run("initctl list")[1].splitlines():
        job, instance = line.split()[0], line.split("(")[1].split(")")[0] if "(" in line else ""
        if "start/" in line:
            running.run(f"stop --force {job} X={instance}")
    running.close()


def test_the_life_of_a_job(session: Session) -> None:
    pid = session.pid_from("start web")
    assert session.run("status web") == (0, f"web start/running, process {pid}\n", "")
    assert session.run("start web") == (1, "", "start: Job is already running: web\n")
    again = session.pid_from("restart web")
    assert again != pid
    assert session.run("stop web") == (0, "web stop/waiting\n", "")
    assert session.run("stop web") == (1, "", "stop: Unknown instance: \n")
    assert session.run("status web") == (0, "web stop/waiting\n", "")


@pytest.mark.parametrize("end", ["gone", "broken"])
def test_the_last_stop_of_a_job_whose_file_is_no_more_tells_that_it_has_stopped(session: Session, end: str) -> None:
    session.write(end, "exec sleep 100\n")
    wait_for(lambda: session.run(f"status {end}")[0] == 0)
    session.pid_from(f"start {end}")
    if end == "gone":
        (session.conf / "gone.conf").unlink()
    else:
        session.write(end, "nonsense\n")
    session.run("initctl reload-configuration")
    assert session.run(f"stop {end}") == (0, f"{end} stop/waiting\n", "")
    status, _, why = session.run(f"status {end}")
    assert (status, why.splitlines()[0]) == (1, f"status: Unknown job: {end}")
    assert ("Unknown stanza" in why) == (end == "broken")
    (session.conf / f"{end}.conf").unlink(missing_ok=True)


def test_why_a_removed_job_failed_is_no_reason_for_it_to_be_unknown(session: Session) -> None:
    session.write("failing", "exec /nonexistent/program\n")
    wait_for(lambda: session.run("status failing")[0] == 0)
    assert "unable to execute" in session.run("start failing")[2]
    (session.conf / "failing.conf").unlink()
    wait_for(lambda: session.run("status failing")[0] == 1)
    assert session.run("status failing") == (1, "", "status: Unknown job: failing\n")


def test_only_an_empty_table_lacks_a_variable_that_is_to_be_unset(session: Session) -> None:
    assert session.run("initctl unset-env nothing") == (0, "", "")
    for word in session.run("initctl list-env")[1].splitlines():
        assert session.run(f"initctl unset-env {word.partition('=')[0]}")[0] == 0
    assert session.run("initctl list-env") == (0, "", "")
    assert session.run("initctl unset-env nothing") == (1, "", "initctl: No such variable: nothing\n")
    session.run("initctl reset-env")


def test_instances_are_chosen_by_environment(session: Session) -> None:
    one, two = session.pid_from("start multi X=1"), session.pid_from("start multi X=2")
    status, out, _ = session.run("initctl list")
    assert status == 0
    assert f"multi (1) start/running, process {one}\n" in out and f"multi (2) start/running, process {two}\n" in out
    assert session.run("status multi X=1") == (0, f"multi (1) start/running, process {one}\n", "")
    assert session.run("status multi X=3") == (1, "", "status: Unknown instance: 3\n")
    assert session.run("status multi") == (1, "", "status: Unknown parameter: X\n")
    for number in (1, 2):
        assert session.run(f"stop multi X={number}") == (0, "multi stop/waiting\n", "")


def test_a_failed_start_is_explained_on_a_second_line(session: Session) -> None:
    status, out, err = session.run("start bad")
    first, second = err.splitlines()
    assert (status, out, first) == (1, "", "start: Job failed to start")
    assert second.startswith("start: ") and "main" in second and "No such file or directory" in second
    second = session.run("start badtask")[2].splitlines()[1]
    assert "main" in second and "status 1" in second


@pytest.mark.parametrize(
    "command", ["start", "stop", "restart", "reload", "status", "initctl show-config", "initctl check-config"]
)
def test_a_job_that_is_unknown_for_what_its_file_says_is_explained_on_a_second_line(
    session: Session, command: str
) -> None:
    path = session.directory / "conf" / "typo.conf"
    path.write_text("start on news\nexce sleep 1000\n")
    program = command.split()[0]
    unknown = f"{program}: {'Invalid job class' if 'check' in command else 'Unknown job'}: typo\n"
    wait_for(lambda: session.run(f"{command} typo") == (1, "", f"{unknown}{program}: {path}:2: Unknown stanza\n"))
    path.unlink()
    wait_for(lambda: session.run(f"{command} typo") == (1, "", unknown))


def test_a_stop_by_force_does_not_wait_for_a_long_pre_start(session: Session) -> None:
    session.run("start -n slow")
    wait_for(lambda: "pre-start" in session.run("status slow")[1])
    assert session.run("stop --force slow") == (0, "slow stop/waiting\n", "")


def test_emit_waits_for_the_tasks_that_the_event_starts(session: Session) -> None:
    command = [str(PROGRAMS / "initctl"), "emit", "go"]
    process = subprocess.Popen(command, env=session.environ)
    wait_for(lambda: "start/running" in session.run("status waiter")[1])
    assert process.poll() is None
    (session.directory / "GATE").write_text("")
    assert process.wait(20) == 0
    assert session.run("status waiter") == (0, "waiter stop/waiting\n", "")


def test_bare_stop_inside_a_job_stops_it_without_waiting_for_itself(session: Session) -> None:
    session.run("start -n selfstop")
    wait_for(lambda: session.run("status selfstop")[1] == "selfstop stop/waiting\n")


def test_commands_inside_a_job_find_init_and_their_own_instance(session: Session) -> None:
    assert session.run("start inside")[0] == 0
    lines = (session.directory / "OUT").read_text().splitlines()
    assert lines[0].startswith("inside start/running, process ")
    assert lines[1:] == ["red", "web stop/waiting"]
    told = session.directory / "TOLD"
    wait_for(lambda: told.exists() and told.read_text() == "value news\n")


def test_a_changed_job_is_known_after_reload_configuration(session: Session) -> None:
    path = session.directory / "conf" / "late.conf"
    path.write_text('usage "no arguments"\nemits nothing\nstart on (a and b) or c\n')
    assert session.run("initctl reload-configuration") == (0, "", "")
    assert session.run("initctl usage late") == (0, "Usage: no arguments\n", "")
    shown = "late\n  emits nothing\n  start on ((a and b) or c)\n"
    assert session.run("initctl show-config late") == (0, shown, "")
    assert session.run("initctl check-config late")[0] == 1


def test_check_config_names_the_files_that_cannot_be_read(session: Session) -> None:
    bad, override = session.directory / "conf/bad-file.conf", session.directory / "conf/web.override"
    bad.write_text("start on startup\nexce sleep 1000\n")
    override.write_text("nonsense\n")
    (session.directory / "conf/fine.conf").write_text("start on startup\n")
    assert session.run("initctl reload-configuration")[0] == 0
    try:
        status, out, err = session.run("initctl check-config")
        assert (status, err) == (1, "")
        assert {f"{bad}:2: Unknown stanza", f"{override}:1: Unknown stanza"} <= set(out.splitlines())
        assert session.run("initctl check-config web") == (1, f"{override}:1: Unknown stanza\n", "")
        assert session.run("initctl check-config fine") == (0, "", "")
    finally:
        bad.unlink()
        override.unlink()
        assert session.run("initctl reload-configuration")[0] == 0
    assert str(bad) not in session.run("initctl check-config")[1]


def test_the_session_is_listed(session: Session) -> None:
    assert session.run("initctl list-sessions") == (0, f"{session.pid} {session.address}\n", "")


def test_clients_that_come_and_go_leave_nothing_behind_in_init(session: Session) -> None:
    session.run("initctl version")
    before = session.descriptors()
    for _ in range(20):
        assert session.run("initctl version")[0] == 0
    wait_for(lambda: session.descriptors() <= before)
