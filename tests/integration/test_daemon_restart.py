"""A re-exec in the middle of anything: what ran runs on, what was half done is done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, Client, DBusError, SessionInit, lose_state, wait_for

from upstart.daemon.options import arguments

#: A process that goes on when a file appears.
GATE = 'while [ ! -e "$GATES/{}" ]; do sleep 0.02; done'

JOBS = {
    "starting": "exec sleep 1000\n",
    "holds-starting": f"start on starting starting\ntask\nscript\n{GATE.format('starting')}\nend script\n",
    "pre-start": f"pre-start script\n{GATE.format('pre-start')}\nend script\nexec sleep 1000\n",
    "spawned": f"expect stop\nscript\n{GATE.format('spawned')}\nkill -STOP $$\nsleep 1000\nend script\n",
    "post-start": f"exec sleep 1000\npost-start script\n{GATE.format('post-start')}\nend script\n",
    "running": f"script\necho before\n{GATE.format('running')}\necho after\nsleep 1000\nend script\n",
    "pre-stop": f"exec sleep 1000\npre-stop script\n{GATE.format('pre-stop')}\nend script\n",
    "stopping": "exec sleep 1000\n",
    "holds-stopping": f"start on stopping stopping\ntask\nscript\n{GATE.format('stopping')}\nend script\n",
    # It counts as started when it no longer heeds TERM.
    "killed": "kill timeout 2\nexpect stop\nscript\ntrap '' TERM\nkill -STOP $$\nsleep 1000\nend script\n",
    "post-stop": f"exec sleep 1000\npost-stop script\n{GATE.format('post-stop')}\nend script\n",
    "daemon": "expect daemon\nexec sh -c '(sleep 1000 &) & exit 0'\n",
    "respawn": "respawn\nexec sleep 1000\n",
    "instance": "instance $N\nenv N=0\nexec sleep 1000\n",
    "half": "start on first A=1 and second\ntask\nscript\necho $UPSTART_EVENTS $A $B\nend script\n",
    "abstract": "start on first\n",
}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS, GATES=str(tmp_path))
    yield init
    for name in JOBS:
        (tmp_path / name).touch()
    assert "Internal error" not in init.text()
    init.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


STATES = {
    "starting": ("start/starting", "start/running"),
    "pre-start": ("start/pre-start", "start/running"),
    "spawned": ("start/spawned", "start/running"),
    "post-start": ("start/post-start", "start/running"),
    "pre-stop": ("stop/pre-stop", "stop/waiting"),
    "stopping": ("stop/stopping", "stop/waiting"),
    "post-stop": ("stop/post-stop", "stop/waiting"),
}


def in_its_state(client: Client, job: str) -> dict[str, int]:
    """Wait until a job has come to its state, and has the process that this one asks for; gives its processes."""

    def look() -> list[dict[str, int]]:
        state, pids = client.status(job)
        return [pids] if state == STATES[job][0] and (job in pids or job in ("starting", "spawned", "stopping")) else []

    found: dict[str, int] = wait_for(look)[0]
    return found


@pytest.mark.parametrize("job", STATES)
def test_in_every_state_the_job_goes_on(init: SessionInit, job: str) -> None:
    state, last = STATES[job]
    client = init.client()
    if last == "start/running":
        client.start(job, wait=False)
    else:
        client.start(job)
        client.stop(job, wait=False)
    before = in_its_state(client, job)
    client = init.restart()
    assert client.status(job) == (state, before)
    (init.directory / job).touch()
    after = client.wait_status(job, last)
    assert ("main" in after) == (last == "start/running")
    if "main" in before and "main" in after:
        assert after["main"] == before["main"]
    if last == "start/running":
        client.stop(job)
        assert not alive(after["main"])


def test_all_of_them_at_once_and_again(init: SessionInit) -> None:
    client = init.client()
    for job, (_, last) in STATES.items():
        client.start(job, wait=last != "start/running")
        if last != "start/running":
            client.stop(job, wait=False)
    before = {job: in_its_state(client, job) for job in STATES}
    for _ in range(3):
        client = init.restart()
        assert {job: client.status(job) for job in STATES} == {
            job: (state, before[job]) for job, (state, _) in STATES.items()
        }
    for job in STATES:
        (init.directory / job).touch()
    for job, (_, last) in STATES.items():
        client.wait_status(job, last)


def test_output_goes_on_in_the_same_log(init: SessionInit) -> None:
    client = init.client()
    client.start("running")
    pids = client.wait_status("running", "start/running")
    wait_for(lambda: "before" in init.job_log("running"))
    client = init.restart()
    (init.directory / "running").touch()
    wait_for(lambda: init.job_log("running") == "before\nafter\n")
    assert client.status("running")[1] == pids
    client.stop("running")


def test_a_kill_timer_goes_on(init: SessionInit) -> None:
    client = init.client()
    client.start("killed")
    pid = client.status("killed")[1]["main"]

    def due(client: Client) -> list[float]:
        state = json.loads(client.call(MANAGER, UPSTART, "GetState")[0])
        return [timer[-1] for timer in state["performer"]["timers"] if timer[1] == "killed"]

    client.stop("killed", wait=False)
    before = due(client)
    assert len(before) == 1
    client = init.restart()
    # On a busy machine it may have run out by now.
    assert due(client) == before or time.monotonic() >= before[0]
    client.wait_status("killed", "stop/waiting")
    assert not alive(pid) and time.monotonic() >= before[0]


def test_daemons_respawn_and_instances_keep_their_processes(init: SessionInit) -> None:
    client = init.client()
    client.start("daemon")
    client.start("respawn")
    client.start("instance", "N=1")
    client.start("instance", "N=two words/x")
    before = {job: client.status(job) for job in ("daemon", "respawn")}
    everything = client.call(MANAGER, UPSTART + ".Extension", "GetStatusAll")
    client = init.restart()
    assert client.call(MANAGER, UPSTART + ".Extension", "GetStatusAll") == everything
    pid = before["respawn"][1]["main"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: client.status("respawn")[1].get("main", pid) != pid)
    daemon = before["daemon"][1]["main"]
    assert alive(daemon)
    for job, env in (("daemon", ()), ("respawn", ()), ("instance", ("N=1",)), ("instance", ("N=two words/x",))):
        client.stop(job, *env)
    assert not alive(daemon)


def test_half_met_conditions_and_blocked_events(init: SessionInit) -> None:
    client = init.client()
    client.emit("first", "A=1", wait=False)
    client.wait_status("abstract", "start/running")
    client = init.restart()
    assert init.job_log("half") == ""
    client.emit("second", "B=2")
    assert init.job_log("half") == "first second 1 2\n"
    assert client.status("half")[0] == "stop/waiting"


def test_changed_files_count_afterwards(init: SessionInit) -> None:
    client = init.client()
    client.start("respawn")
    pids = client.status("respawn")[1]
    # Nobody looks at the directory while the new program is being executed.
    state = json.loads(client.call(MANAGER, UPSTART, "GetState")[0])
    assert {job["class"]["name"] for job in state["engine"]["jobs"]} == set(JOBS)
    init.write("new", "exec sleep 1000\n")
    (init.conf / "abstract.conf").unlink()
    client = init.restart()
    names = {path.rpartition("/")[2] for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0]}
    assert "new" in names and "abstract" not in names
    assert client.status("respawn")[1] == pids
    client.stop("respawn")


def test_environment_priority_and_descriptors_survive(init: SessionInit) -> None:
    client = init.client()
    client.call(MANAGER, UPSTART, "SetEnvList", "asasb", [], ["NEW=value"], True)
    client.call(MANAGER, "org.freedesktop.DBus.Properties", "Set", "ssv", "", "log_priority", ("s", "info"))
    descriptors = init.descriptors()
    for _ in range(3):
        client = init.restart()
    assert client.call(MANAGER, UPSTART, "GetEnv", "ass", [], "NEW") == ("value",)
    assert client.call(MANAGER, "org.freedesktop.DBus.Properties", "Get", "ss", "", "log_priority") == (("info"),)
    wait_for(lambda: init.descriptors() <= descriptors)


def test_connections_made_during_the_exec_are_served(init: SessionInit) -> None:
    for _ in range(5):
        init.client().send(MANAGER, UPSTART, "Restart")
        # Sooner or later than the exec: an answer comes either way.
        init.client_at_last()
    init.restart()


def test_children_that_end_during_the_exec_are_noticed(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {f"short{number}": "task\nexec sleep 0.3\n" for number in range(40)})
    client = init.client()
    for number in range(40):
        client.start(f"short{number}", wait=False)
    client = init.restart()
    for number in range(40):
        client.wait_status(f"short{number}", "stop/waiting")
    init.close()


def test_a_broken_new_program_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    programs = tmp_path / "sbin"
    shutil.copytree(PROGRAMS, programs)
    init = SessionInit(tmp_path, JOBS, program=programs / "init")
    client = init.client()
    client.start("respawn")
    pids = client.status("respawn")[1]
    script = (programs / "init").read_text()
    for broken in ("#!/bin/false\n", "#!/nonexistent\n", script.replace("import main", "import nothing_of_that_name")):
        (programs / "init").write_text(broken)
        with pytest.raises(DBusError, match="Failed to re-execute"):
            client.call(MANAGER, UPSTART, "Restart")
        assert client.status("respawn") == ("start/running", pids)
    assert "Failed to re-execute" in init.text()
    (programs / "init").write_text(script)
    client = init.restart()
    assert client.status("respawn") == ("start/running", pids)
    init.close()


def test_a_trial_leaves_nothing_behind_and_jobs_inherit_nothing_of_it(tmp_path: Path) -> None:
    programs = tmp_path / "sbin"
    shutil.copytree(PROGRAMS, programs)
    script = (programs / "init").read_text()
    jobs = JOBS | {"look": "task\nexec ls /proc/self/fd\n"}
    init = SessionInit(tmp_path, jobs, program=programs / "init", GATES=str(tmp_path))
    client = init.client()
    client.start("running")
    # Everything works, and is refused all the same.
    begin, call, _ = script.rpartition("sys.exit(")
    refusing = "from upstart.daemon import restart\nrestart.CHECK_OK = b'of no use'\n"
    (programs / "init").write_text(begin + refusing + call + "main(sys.argv))\n")

    def surroundings() -> tuple[list[str], str, dict[str, int]]:
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/upstart-session-{init.pid}/**")]
        return sorted(groups), init.session_file.read_text(), client.status("running")[1]

    # What writes the log is there by then.
    wait_for(lambda: init.job_log("running") == "before\n")
    before, descriptors = surroundings(), init.descriptors()
    client.call(MANAGER, UPSTART, "GetState")
    said = init.text()
    for _ in range(2):
        with pytest.raises(DBusError, match="of no use"):
            client.call(MANAGER, UPSTART, "Restart")
    assert surroundings() == before
    wait_for(lambda: init.descriptors() <= descriptors)
    assert [line for line in init.text()[len(said) :].splitlines() if "of no use" not in line] == []
    client.start("look")
    assert init.job_log("look").split() == ["0", "1", "2", "3"]
    (tmp_path / "running").touch()
    wait_for(lambda: init.job_log("running") == "before\nafter\n")
    init.close()


def test_without_a_state_running_jobs_are_adopted(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS, program=lose_state(tmp_path) / "init")
    client = init.client()
    client.start("respawn")
    client.start("instance", "N=1")
    before = {job: client.status(job) for job in ("respawn", "instance")}
    client = init.restart()
    assert {job: client.status(job) for job in before} == before
    assert "reverting to stateless re-exec" in init.text()
    pid = before["respawn"][1]["main"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: client.status("respawn")[1].get("main", pid) != pid)
    client.stop("instance", "N=1")
    init.close()


#: Puts into a program that the file of one job cannot be read while there is a file.
UNREADABLE = """import os
_open = os.open
def _fail(path, *rest, **more):
    if str(path).endswith("/respawn.conf") and os.path.exists({mark!r}):
        raise OSError(22, "Invalid argument")
    return _open(path, *rest, **more)
os.open = _fail
"""


def test_a_job_whose_file_cannot_be_read_for_now_gets_its_process_back_once_it_can_be(tmp_path: Path) -> None:
    program = lose_state(tmp_path) / "init"
    lost, mark = tmp_path / "lost", tmp_path / "unreadable"
    text = program.read_text().replace(
        '"UPSTART_RESTART_CHECK" not in os.environ:', f'not os.path.exists({str(lost)!r}) and "UPSTART_RESTART_CHECK" '
        f'not in os.environ:\n    open({str(lost)!r}, "w").close()', 1)
    program.write_text(text.replace("import sys\n", "import sys\n" + UNREADABLE.format(mark=str(mark)), 1))
    init = SessionInit(tmp_path, JOBS, program=program)
    client = init.client()
    client.start("respawn")
    client.start("instance", "N=1")
    before = {job: client.status(job) for job in ("respawn", "instance")}
    mark.touch()
    client = init.restart()
    assert "reverting to stateless re-exec" in init.text()
    assert client.status("instance") == before["instance"]
    with pytest.raises(DBusError, match="Unknown job"):
        client.status("respawn")
    # What is left to be adopted crosses a re-exec.
    client = init.restart()
    assert init.text().count("reverting to stateless re-exec") == 1
    mark.unlink()
    wait_for(lambda: "respawn main process" in init.text() and client.status("respawn") == before["respawn"])
    pid = before["respawn"][1]["main"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: client.status("respawn")[1].get("main", pid) != pid)
    init.close()


def test_the_command_line_does_not_grow() -> None:
    argv = ["init", "--user", "--restart", "--state-fd", "7", "--debug", "--confdir", "x"]
    assert arguments(argv, 9, 1) == ["init", "--user", "--confdir", "x", "--restart", "--state-fd", "9", "--verbose"]
    assert arguments(argv, -1, 2) == ["init", "--user", "--confdir", "x", "--restart"]
