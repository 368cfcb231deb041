"""What somebody can ask of init that costs much: each is done once, by `Worker.worst_answer`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from dbus_client import INTERFACE, MANAGER, CallError, Client

JOB_INTERFACE = f"{INTERFACE}.Job"
NOBODY = 65534
#: Leaves so many processes to init, which are what says so.
CROWD = """
import os, sys
null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
for _ in range(int(sys.argv[1])):
    os.posix_spawn("/bin/sleep", ["sleep", "100000"], os.environ, file_actions=null)
print("there", flush=True)
"""
#: Leaves processes to init that have nothing to do, one after the other.
STORM = """
import os
print("there", flush=True)
while True:
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
"""
#: How often a job becomes a daemon meanwhile.
DAEMONS = 5


def large_call(client: Client, job: str, words: int) -> None:
    """Asks for the instance that so many words select."""
    path = client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
    try:
        client.call(path, JOB_INTERFACE, "GetInstance", "as", [f"X={number}" for number in range(words)])
    except (CallError, OSError):
        pass  # init may refuse it, or hang up


def pattern(client: Client, event: str) -> None:
    """Emits an event whose variable hardly matches the pattern of a job that waits for it."""
    client.call(MANAGER, INTERFACE, "EmitEvent", "sasb", event, ["X=" + "a" * 100], True)


def tasks(client: Client, event: str) -> None:
    """Emits an event that starts many tasks, and waits for them."""
    client.emit(event)


def large_state(client: Client, readers: int) -> None:
    """Several clients at once ask for the whole state."""

    def read() -> None:
        each = Client()
        each.call(MANAGER, INTERFACE, "GetState")
        each.close()

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def directories(client: Client, confdir: str, count: int) -> None:
    """Makes so many directories at once where job files are, and takes them away again."""
    top = Path(confdir, "many")
    top.mkdir()
    for number in range(count):
        (top / str(number)).mkdir()
    client.get(MANAGER, INTERFACE, "version")
    shutil.rmtree(top)


def reload(client: Client) -> None:
    """Has all job files looked at again."""
    client.call(MANAGER, INTERFACE, "ReloadConfiguration")


def kill_timeout(client: Client, job: str) -> None:
    """Stops a job that ignores TERM and has a kill timeout of years, without waiting."""
    path = client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
    client.call(path, JOB_INTERFACE, "Start", "asb", [], True)
    client.call(path, JOB_INTERFACE, "Stop", "asb", [], False)


def processes_of_a_user(client: Client, job: str, count: int) -> None:
    """A user leaves so many processes to init, with variables as if a job had them, while that job becomes a daemon
    and is stopped, some times."""
    _of_nobody(job, CROWD, str(count)).wait()
    _daemons(client, job)


def processes_that_end_at_once(client: Client, job: str, count: int) -> None:
    """A user leaves so many processes to init, and all of them are killed: the processors have that to do as well."""
    crowd = _of_nobody(job, CROWD, str(count))
    crowd.wait()
    _end([crowd])


def storm_of_forks(client: Client, job: str, count: int) -> None:
    """So many processes of a user do nothing but leave others to init, which end at once, while a job becomes a daemon
    and is stopped, some times."""
    storms = [_of_nobody(job, STORM) for _ in range(count)]
    try:
        _daemons(client, job)
    finally:
        _end(storms)


def _of_nobody(job: str, program: str, *arguments: str) -> subprocess.Popen[str]:
    """A program of ours that nobody runs, once it is at work."""
    environment = {"PATH": os.defpath, "UPSTART_JOB": job, "UPSTART_INSTANCE": ""}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment, user=NOBODY, group=NOBODY,
        extra_groups=(), start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    if process.stdout.readline() != "there\n":
        raise RuntimeError("a process that nobody was to run has ended")
    return process


def _daemons(client: Client, job: str) -> None:
    path = client.call(MANAGER, INTERFACE, "GetJobByName", "s", job)[0]
    for _ in range(DAEMONS):
        client.call(path, JOB_INTERFACE, "Start", "asb", [], True)
        client.call(path, JOB_INTERFACE, "Stop", "asb", [], True)


def _end(leaders: list[subprocess.Popen[str]]) -> None:
    """End them, and whatever they have left in their groups."""
    for leader in leaders:
        os.killpg(leader.pid, signal.SIGKILL)
    for leader in leaders:
        leader.communicate()
