"""What init follows although it is no child of init, by real programs under a session init: its end is always seen, a
signal never goes to another process, and status never shows one that is dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import JOB, MANAGER, UPSTART, Client, DBusError, SessionInit, lose_state, wait_for
from process_support import alive, needs_root

from upstart.process.cgroup import find_own

pytestmark = needs_root

#: Servers of every shape; whoever serves writes its pid into the second argument.
SERVER = """
import os, sys, time, signal, subprocess
shape, path = sys.argv[1:3]
def serve():
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    stay()
def stay():
    while True:
        time.sleep(600)
def worker(session=False):
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if session: os.setsid()
        stay()
    return pid
def keep(count, session=False):
    '''A master, whose workers are replaced when they end.'''
    with open(path + ".workers", "w") as file:
        for _ in range(count):
            print(worker(session), file=file)
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(path + ".new", path)
    def term(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        os._exit(0)
    signal.signal(signal.SIGTERM, term)
    while count:
        os.wait()
        worker(session)
    stay()
def middle(seconds, then):
    '''The classic two forks, whose middle stays a while.'''
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork():
        time.sleep(seconds)
        os._exit(0)
    then()
if shape == "plain": serve()
if shape == "workers": keep(int(sys.argv[3]))
if shape == "session-workers": keep(int(sys.argv[3]), True)
if shape == "middle": middle(float(sys.argv[3]), serve)
if shape == "once":
    if os.fork():
        time.sleep(float(sys.argv[3]))
        os._exit(0)
    os.setsid(); keep(int(sys.argv[4]))
if shape == "session":
    if os.fork(): stay()
    os.setsid(); serve()
if shape == "manager":
    with open(path, "w") as file: file.write(str(os.getpid()))
    while True:
        subprocess.call(["sleep", "600"])
if shape == "leaves":
    group = sys.argv[3]
    with open(group + "/cgroup.procs", "w") as file: file.write(str(os.getpid()))
    middle(0, serve)
"""


@pytest.fixture(params=["cgroups", "no-cgroups"])
def init(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionInit]:
    yield from make(tmp_path, *(["--no-cgroups"] if request.param == "no-cgroups" else []))


def make(directory: Path, *args: str) -> Iterator[SessionInit]:
    (directory / "server.py").write_text(SERVER)
    init = SessionInit(directory, {}, *args)
    try:
        yield init
    finally:
        init.close()
        for line in Path("/proc").iterdir():
            if line.name.isdecimal() and started_by(init, int(line.name)):
                os.kill(int(line.name), signal.SIGKILL)


def started_by(init: SessionInit, pid: int) -> bool:
    try:
        return f"UPSTART_SESSION={init.address}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def server(init: SessionInit, *words: object) -> str:
    shape, *rest = words
    return " ".join(map(str, ["/usr/bin/python3 -IS", init.directory / "server.py", shape, path(init), *rest]))


def path(init: SessionInit) -> Path:
    return init.directory / "pid"


def served(init: SessionInit) -> int:
    """The pid of who serves."""
    return int(wait_for(lambda: path(init).exists() and path(init).read_text()))


def main_of(init: SessionInit) -> int:
    return init.client().status("web")[1].get("main", 0)


def command_of(pid: int) -> bytes:
    """The command line of a process; empty where it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def known(client: Client, job: str) -> None:
    """Wait until a job is known whose file has been written."""
    wait_for(lambda: f"{MANAGER}/jobs/{job}" in client.call(MANAGER, UPSTART, "GetAllJobs")[0])


def start(init: SessionInit, text: str) -> float:
    """Start the job; how long that took.  Until it is done, and after, status shows no dead process."""
    init.write("web", text)
    client = init.client()
    known(client, "web")
    began = time.monotonic()
    client.start("web")
    return time.monotonic() - began


def stop(init: SessionInit) -> None:
    client = init.client()
    main = main_of(init)
    client.stop("web")
    assert client.status("web")[0] == "stop/waiting" and not alive(main)


SHAPES = [
    ("fork", "workers 1", "workers"),
    ("daemon", "workers 1", "workers"),
    ("fork", "workers 3", "workers"),
    ("daemon", "workers 3", "workers"),
    ("fork", "session-workers 3", "workers"),
    ("daemon", "session-workers 3", "workers"),
    ("fork", "session", None),
    ("daemon", "session", None),
    ("daemon", "middle 0", None),
    ("daemon", "middle 0.08", None),
    ("daemon", "middle 0.3", None),
    ("daemon", "middle 1.5", None),
    ("fork", "middle 0.3", None),
    ("fork", "once 0.05 1", "workers"),
    ("daemon", "once 0.05 1", "workers"),
    ("daemon", "once 0 3", "workers"),
]


@pytest.mark.parametrize(("expect", "words", "kind"), SHAPES)
def test_a_server_is_followed_and_stopped_whatever_the_stanza_says(
    init: SessionInit, expect: str, words: str, kind: str | None
) -> None:
    shape, *rest = words.split()
    took = start(init, f"expect {expect}\nexec {server(init, shape, *rest)}\n")
    assert took < 2.5
    pid = served(init)
    wait_for(lambda: main_of(init) == pid)
    if kind == "workers":
        for line in Path(f"{path(init)}.workers").read_text().split():
            os.kill(int(line), signal.SIGKILL)
        wait_for(lambda: not any(alive(int(line)) for line in Path(f"{path(init)}.workers").read_text().split()))
        assert main_of(init) == pid and init.client().status("web")[0] == "start/running"
    stop(init)


WRAPPERS = [
    ("setsid -w {}", "setsid"),
    ("su -s /bin/sh -c '{}' root", "su"),
    ("timeout 600 {}", "timeout"),
    ("nice -n 1 {}", "nice"),
    ("env A=B {}", "env"),
    ("nohup {}", "nohup"),
    ("sh -c '{}'", "sh"),
    ("start-stop-daemon --start --pidfile /nonexistent --exec /usr/bin/python3 -- {arguments}", "start-stop-daemon"),
]


@pytest.mark.parametrize("expect", ["none", "fork", "daemon"])
@pytest.mark.parametrize("wrapper", [wrapper for wrapper, _ in WRAPPERS], ids=[name for _, name in WRAPPERS])
def test_a_server_in_a_wrapper_is_followed_and_stopped(init: SessionInit, wrapper: str, expect: str) -> None:
    command = server(init, "plain")
    line = wrapper.format(command, arguments=command.partition(" ")[2])
    client = init.client()
    # nohup leaves what it is told where it runs.
    init.write("web", f"expect {expect}\nchdir {init.directory}\nexec {line}\n")
    known(client, "web")
    client.start("web", wait=False)
    pid = served(init)
    if expect != "none":
        wait_for(lambda: main_of(init) == pid)
    wait_for(lambda: alive(main_of(init)))
    client.stop("web")
    assert client.status("web")[0] == "stop/waiting"
    # As in the original, a signal goes to the process group of what is followed.
    wait_for(lambda: not alive(pid) or (expect == "none" and wrapper.startswith("setsid")))


def test_a_managers_only_child_is_not_the_daemon(init: SessionInit) -> None:
    start(init, f"expect daemon\nscript\nsetsid {server(init, 'manager')} & sleep .3\nend script\n")
    pid = served(init)
    assert main_of(init) == pid
    stop(init)


@pytest.mark.parametrize("respawn", [False, True])
def test_the_end_of_what_is_no_child_of_init_is_seen(init: SessionInit, respawn: bool) -> None:
    init.write("after", "start on stopped web\nexec sh -c 'echo result=$RESULT,status=$EXIT_STATUS,'\n")
    start(init, f"expect fork\n{'respawn' if respawn else ''}\nexec {server(init, 'session')}\n")
    pid = served(init)
    wait_for(lambda: main_of(init) == pid)
    os.unlink(path(init))
    os.kill(pid, signal.SIGKILL)
    if respawn:
        again = served(init)
        wait_for(lambda: main_of(init) == again)
        stop(init)
    else:
        init.client().wait_status("web", "stop/waiting")
        wait_for(lambda: "result=ok,status=,\n" in init.job_log("after").replace("\r", ""))
    assert f"web main process ({pid}) ended with unknown status: it is no child of init" in init.text()


def test_the_background_command_of_a_shell_that_stays_is_followed(init: SessionInit) -> None:
    took = start(init, f"expect fork\nscript\n{server(init, 'plain')} & sleep 601\nend script\n")
    pid = served(init)
    assert took < 1 and main_of(init) == pid
    os.kill(pid, signal.SIGKILL)
    init.client().wait_status("web", "stop/waiting")


@pytest.mark.parametrize("name", ["web-server", "sh"])
def test_a_script_is_known_as_a_shell_or_not_by_what_runs(init: SessionInit, name: str) -> None:
    script = init.directory / name
    interpreter = "/bin/sh" if name != "sh" else "/usr/bin/python3"
    body = f"sleep 1.2\n{server(init, 'once', 0, 0)}\n"
    if name == "sh":
        body = f"import subprocess\nsubprocess.call({server(init, 'plain').split()!r})\n"
    script.write_text(f"#!{interpreter}\n{body}")
    script.chmod(0o755)
    client = init.client()
    init.write("web", f"expect fork\nexec {script}\n")
    known(client, "web")
    serial = client.send(f"{MANAGER}/jobs/web", JOB, "Start", "asb", [], True)
    if name == "sh":
        # A program with a command that it waits for: the job is running with the program within a second.
        began = time.monotonic()
        client.answer(serial)
        assert time.monotonic() - began < 2 and main_of(init) != served(init)
    else:
        # A shell: its commands are none of the job's concern, for more than a second, until it ends.
        client.answer(serial)
        assert main_of(init) == served(init)
    stop(init)


@pytest.fixture
def group(grouped: SessionInit) -> Path:
    """The cgroup below which those of the jobs are."""
    found = find_own()
    path = Path(found[1] if found else "/nowhere") / f"upstart-session-{grouped.pid}"
    if not path.is_dir():
        pytest.skip("no writable cgroup v2 hierarchy")
    return path


@pytest.fixture
def grouped(tmp_path: Path) -> Iterator[SessionInit]:
    yield from make(tmp_path)


@pytest.fixture
def ungrouped(tmp_path: Path) -> Iterator[SessionInit]:
    yield from make(tmp_path, "--no-cgroups")


def test_a_daemon_that_leaves_its_cgroup_is_followed(grouped: SessionInit, group: Path) -> None:
    elsewhere = group.with_name(f"elsewhere-{os.getpid()}")
    elsewhere.mkdir()
    try:
        start(grouped, f"expect daemon\nexec {server(grouped, 'leaves', elsewhere)}\n")
        assert main_of(grouped) == served(grouped)
        stop(grouped)
    finally:
        wait_for(lambda: not (elsewhere / "cgroup.procs").read_text())
        elsewhere.rmdir()


@pytest.mark.parametrize("user", ["", "setuid nobody\n"], ids=["same-user", "nobody"])
@pytest.mark.parametrize("expect", ["fork", "daemon"])
def test_nobody_is_taken_for_a_daemon_by_its_environment(init: SessionInit, user: str, expect: str) -> None:
    # An orphan of this init, which another job has started while this one runs; it says that it is this one's.
    script = "setsid env UPSTART_JOB=web sleep 600 & echo $!"
    init.write("stranger", f"{user}script\n{script}\nend script\n")
    init.write("web", f"expect {expect}\nscript\n:\nsleep .4\nend script\n")
    client = init.client()
    known(client, "stranger")
    known(client, "web")
    serial = client.send(f"{MANAGER}/jobs/web", JOB, "Start", "asb", [], True)
    init.client().start("stranger")
    stranger = int(wait_for(lambda: init.job_log("stranger")))
    wait_for(lambda: "UPSTART_JOB=web" in Path(f"/proc/{stranger}/environ").read_text())
    with pytest.raises(DBusError, match="Job failed to start"):
        client.answer(serial)
    assert alive(stranger)
    os.kill(stranger, signal.SIGKILL)


def test_a_process_that_says_so_is_not_ended_with_the_job_either(ungrouped: SessionInit) -> None:
    ungrouped.write("stranger", "script\nsetsid env UPSTART_JOB=web sleep 600 & echo $!\nend script\n")
    ungrouped.write("web", "kill mode all\nexec sleep 600\n")
    client = ungrouped.client()
    known(client, "stranger")
    known(client, "web")
    client.start("web")
    client.start("stranger")
    stranger = int(wait_for(lambda: ungrouped.job_log("stranger")))
    wait_for(lambda: "UPSTART_JOB=web" in Path(f"/proc/{stranger}/environ").read_text())
    client.stop("web")
    assert alive(stranger)
    os.kill(stranger, signal.SIGKILL)


#: Forks twice as quickly as a program can, leaves nothing open, and wipes its environment.
QUICK = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.closerange(0, 3)
os.execve("/bin/sleep", ["sleep", "600"], {})
"""


@pytest.mark.parametrize("expect", ["fork", "daemon"])
@pytest.mark.parametrize("by", ["program", "script"])
def test_a_daemon_that_nobody_has_seen_fork_is_followed_whatever_it_says_of_itself(
    init: SessionInit, by: str, expect: str
) -> None:
    (init.directory / "quick.py").write_text(QUICK)
    command = f"/usr/bin/python3 -IS {init.directory}/quick.py"
    # A script starts it at some moment between two looks.
    text = f"exec {command}\n" if by == "program" else f"script\nsleep .1\n{command}\nsleep .07\nend script\n"
    for _ in range(3):
        start(init, f"expect {expect}\n{text}")
        wait_for(lambda: command_of(main_of(init)) == b"sleep\x00600\x00")
        stop(init)


def wardens(init: SessionInit) -> list[int]:
    """The children of init that are one."""
    children = Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text().split()
    return [int(each) for each in children if Path(f"/proc/{each}/comm").read_text() == "upstart-warden\n"]


def test_a_warden_is_there_only_as_long_as_it_is_needed(ungrouped: SessionInit) -> None:
    start(ungrouped, f"expect daemon\nexec {server(ungrouped, 'middle', 0)}\n")
    pid = served(ungrouped)
    assert main_of(ungrouped) == pid
    (warden,) = wardens(ungrouped)
    # It does what it does for the next program as well, and ends when there is no doubt about the daemon any more.
    ungrouped.restart()
    assert wardens(ungrouped) == [warden] and main_of(ungrouped) == pid
    wait_for(lambda: not wardens(ungrouped), 20)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(ungrouped.pid)
    stop(ungrouped)


def test_a_daemon_whose_warden_is_killed_stays_the_jobs(ungrouped: SessionInit) -> None:
    start(ungrouped, f"expect daemon\nexec {server(ungrouped, 'middle', 0)}\n")
    pid = served(ungrouped)
    (warden,) = wardens(ungrouped)
    os.kill(warden, signal.SIGKILL)
    wait_for(lambda: not wardens(ungrouped))
    assert main_of(ungrouped) == pid
    stop(ungrouped)


def test_how_a_daemon_ended_is_known_while_it_has_a_warden(ungrouped: SessionInit) -> None:
    ungrouped.write("after", "start on stopped web\nexec sh -c 'echo result=$RESULT,signal=$EXIT_SIGNAL,'\n")
    known(ungrouped.client(), "after")
    start(ungrouped, f"expect daemon\nexec {server(ungrouped, 'middle', 0)}\n")
    os.kill(served(ungrouped), signal.SIGUSR1)
    ungrouped.client().wait_status("web", "stop/waiting")
    wait_for(lambda: "result=failed,signal=USR1,\n" in ungrouped.job_log("after").replace("\r", ""))
    assert not wardens(ungrouped)


def test_an_init_that_begins_anew_without_its_state_adopts_what_a_warden_had(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    init = SessionInit(tmp_path, {}, "--no-cgroups", program=lose_state(tmp_path) / "init")
    try:
        start(init, f"expect daemon\nexec {server(init, 'middle', 0)}\n")
        pid = served(init)
        assert wardens(init)
        init.restart()
        wait_for(lambda: main_of(init) == pid)
        assert not wardens(init)
        stop(init)
    finally:
        init.close()


def test_what_is_followed_is_followed_after_a_restart(init: SessionInit) -> None:
    start(init, f"expect fork\nexec {server(init, 'session')}\n")
    pid = served(init)
    wait_for(lambda: main_of(init) == pid)
    init.restart()
    assert main_of(init) == pid
    os.kill(pid, signal.SIGKILL)
    init.client().wait_status("web", "stop/waiting")


def test_a_cgroup_is_removed_where_the_job_ended_without_a_process(grouped: SessionInit, group: Path) -> None:
    grouped.write("held", "instance $N\nexec sleep 600\n")
    grouped.write("holder", "start on stopping held\ntask\ninstance $INSTANCE\nexec sleep .2\n")
    client = grouped.client()
    known(client, "held")
    known(client, "holder")
    for number in range(5):
        client.start("held", f"N={number}")
    pids = [each.read_text() for each in group.glob("upstart/held*/cgroup.procs")]
    assert len(pids) == 5
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: not [each for each in group.glob("upstart/*") if each.is_dir()])
