"""A session init from its first breath to its last."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, DBusError, Gone, SessionInit, wait_for

JOBS = {
    "service": "exec sleep 1000\n",
    # It counts as started when it no longer heeds TERM.
    "stubborn": "kill timeout 1\nexpect stop\nscript\ntrap '' TERM\nkill -STOP $$\nsleep 1000\nend script\n",
    "at-end": 'start on session-end\ntask\nscript\necho "end $TYPE"\nsleep 0.3\necho "done"\nend script\n',
    "variables": "task\nscript\necho \"$UPSTART_SESSION $UPSTART_JOB $LC_CTYPE\"\nend script\n",
}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS, "--verbose")
    yield init
    init.close()
    assert "Internal error" not in init.text()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_session_file_is_there_while_init_is(init: SessionInit) -> None:
    address = f"unix:abstract=/com/ubuntu/upstart-session/{os.getuid()}/{init.pid}"
    assert init.session_file.read_text() == f"UPSTART_SESSION={address}\n"
    init.client().emit("x")
    init.process.send_signal(signal.SIGTERM)
    assert init.process.wait(10) == 0
    assert not init.session_file.exists()


def test_jobs_know_their_session(init: SessionInit) -> None:
    init.client().start("variables")
    wait_for(lambda: init.job_log("variables") == f"{init.address} variables \n")


def test_term_ends_the_session_as_a_shutdown(init: SessionInit) -> None:
    client = init.client()
    client.start("service")
    client.start("stubborn")
    pids = [client.status(job)[1]["main"] for job in ("service", "stubborn")]
    began = time.monotonic()
    init.process.send_signal(signal.SIGTERM)
    assert init.process.wait(10) == 0
    assert time.monotonic() - began < 4
    assert not any(map(alive, pids))
    assert init.job_log("at-end").startswith("end shutdown\n")
    text = init.text()
    assert "Quiescing due to shutdown request" in text
    assert "Quiesce shutdown sequence took " in text
    assert "stubborn main process" in text.partition("Sending KILL")[2]


def test_end_session_is_a_logout_that_waits_for_jobs_that_start_on_it(init: SessionInit) -> None:
    client = init.client()
    client.start("service")
    client.call(MANAGER, UPSTART, "EndSession")
    assert init.process.wait(10) == 0
    assert init.job_log("at-end") == "end logout\ndone\n"
    assert "Quiescing due to logout request" in init.text()


def test_a_session_that_nobody_waits_for_ends_at_once(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"service": "exec sleep 1000\n"})
    client = init.client()
    client.start("service")
    began = time.monotonic()
    client.call(MANAGER, UPSTART, "EndSession")
    assert init.process.wait(10) == 0
    assert time.monotonic() - began < 0.9


def test_nothing_respawns_while_the_session_ends(tmp_path: Path) -> None:
    respawner = "respawn\nrespawn limit unlimited\nexec sleep 1000\n"
    init = SessionInit(tmp_path, {"at-end": JOBS["at-end"], "respawner": respawner})
    client = init.client()
    client.start("respawner")
    client.call(MANAGER, UPSTART, "EndSession")
    assert init.process.wait(10) == 0
    assert "respawning" not in init.text()


def test_orphans_of_jobs_are_reaped_by_the_session(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"orphan": "task\nexec sh -c 'sleep 0.2 & echo $!'\n"})
    init.client().start("orphan")
    pid = int(wait_for(lambda: init.job_log("orphan")))
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(init.pid)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    init.close()


def test_files_that_come_and_go_are_noticed_by_themselves(init: SessionInit) -> None:
    client = init.client()

    def names() -> set[str]:
        return {path.rpartition("/")[2] for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0]}

    init.write("new", "exec sleep 1000\n")
    wait_for(lambda: "new" in names())
    client.start("new")
    init.write("new", "task\nexec true\n")
    (init.conf / "broken.conf").write_text("exec true\nnonsense here\n")
    wait_for(lambda: f"{init.conf}/broken.conf:2: Unknown stanza" in init.text())
    assert client.status("new")[0] == "start/running"
    client.stop("new")
    client.start("new")
    client.wait_status("new", "stop/waiting")
    (init.conf / "new.conf").unlink()
    wait_for(lambda: "new" not in names())
    with pytest.raises(DBusError, match="Unknown job: new"):
        client.call(MANAGER, UPSTART, "GetJobByName", "s", "new")


def test_hup_reloads_the_configuration_and_alrm_is_survived(init: SessionInit) -> None:
    init.process.send_signal(signal.SIGALRM)
    init.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "Reloading configuration" in init.text())


def test_started_without_standard_descriptors_its_log_goes_nowhere(tmp_path: Path) -> None:
    program = tmp_path / "closed"
    program.write_text(f'#!/bin/sh\nexec {PROGRAMS}/init "$@" <&- >&- 2>&-\n')
    program.chmod(0o755)
    init = SessionInit(tmp_path, {}, "--debug", program=program)
    assert [os.readlink(f"/proc/{init.pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
    assert init.client().call(MANAGER, UPSTART, "GetAllJobs") == ([],)
    init.restart()
    init.close()


def test_job_environment_table(init: SessionInit) -> None:
    client = init.client()
    client.start("service")

    def call(member: str, *args: object) -> object:
        signature = {"SetEnv": "assb", "UnsetEnv": "ass", "GetEnv": "ass", "ListEnv": "as", "ResetEnv": "as"}[member]
        return client.call(MANAGER, UPSTART, member, signature, *args)

    call("SetEnv", [], "A=1", True)
    assert call("GetEnv", [], "A") == ("1",)
    assert call("GetEnv", ["service", ""], "A") == ("1",)
    call("SetEnv", ["service", ""], "A=2", True)
    call("SetEnv", [], "A=3", False)
    assert call("GetEnv", ["service", ""], "A") == ("2",)
    assert call("GetEnv", [], "A") == ("1",)
    call("SetEnv", [], "EMPTY", True)
    assert call("GetEnv", [], "EMPTY") == ("",)
    call("UnsetEnv", ["service", ""], "A")
    with pytest.raises(DBusError, match="No such variable: A"):
        call("GetEnv", ["service", ""], "A")
    call("ResetEnv", [])
    with pytest.raises(DBusError, match="No such variable: A"):
        call("GetEnv", [], "A")
    client.stop("service")


def test_init_called_beside_another_init_is_telinit(tmp_path: Path) -> None:
    telinit = tmp_path / "telinit"
    telinit.write_text('#!/bin/sh\necho "$0 $@"\n')
    telinit.chmod(0o755)
    program = tmp_path / "init"
    program.write_text((PROGRAMS / "init").read_text())
    program.chmod(0o755)
    result = subprocess.run([program, "3"], capture_output=True, text=True)
    if os.getuid():
        assert (result.returncode, result.stderr) == (1, "init: Need to be root\n")
    else:
        assert (result.returncode, result.stdout) == (0, f"{telinit} 3\n")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["--confdir"], 1, "init: missing argument: --confdir\nTry `init --help' for more information.\n"),
        (["--nope=1"], 1, "init: unexpected argument: --nope=1\nTry `init --help' for more information.\n"),
        (["--user", "--nope"], 1, "init: invalid option: --nope\nTry `init --help' for more information.\n"),
        (["--default-console=x"], 1, "init: invalid console type specified: x\n"),
        (["--state-fd=x"], 1, "init: illegal argument: x\nTry `init --help' for more information.\n"),
        (["--version"], 0, ""),
        (["--help"], 0, ""),
    ],
)
def test_command_lines_that_end_at_once(words: list[str], status: int, error: str) -> None:
    result = subprocess.run([PROGRAMS / "init", *words], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (status, error)


def test_called_upstart_it_says_so(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"bad": "nonsense\n"}, program=PROGRAMS / "upstart")
    version = init.client().call(MANAGER, "org.freedesktop.DBus.Properties", "Get", "ss", "", "version")
    assert version == ("upstart (upstart 1.13.2)",)
    assert init.text() == f"upstart:{init.conf}/bad.conf:1: Unknown stanza\n"
    init.close()


def test_a_client_sees_init_go(init: SessionInit) -> None:
    client = init.client()
    client.call(MANAGER, UPSTART, "EndSession")
    with pytest.raises(Gone):
        while True:
            client.read()
