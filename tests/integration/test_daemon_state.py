"""The state document of another build of ours: what it may lack, and that a re-exec from it loses nothing."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import EXTENSION, MANAGER, PROGRAMS, UPSTART, Client, SessionInit, wait_for

from upstart.daemon import options as command_line
from upstart.daemon.daemon import Daemon

#: What a document has had from the first, by its place: without these it is none.  All else may be missing, as where a
#: build did not know it yet: whoever adds a key to the document has its reader do without.
ALWAYS = {
    "": {"version", "engine", "performer", "endpoints"},
    "engine": {"version", "serial", "job_environ", "events", "jobs"},
    "engine.events": {"serial", "name", "env", "progress"},
    "engine.jobs": {"class", "instances"},
    "engine.jobs.class": {"name", "source"},
    "engine.jobs.successor": {"name", "source"},
    "engine.jobs.instances": {"name", "serial", "goal", "state", "env", "pids", "blocker", "blocking"},
    "reporter": set(),
    "reporter.console": set(),
    "performer": {"limits", "children", "timers"},
    "performer.children": {"running"},
    "performer.children.running": {"of", "members"},
    "performer.children.running.members": {"pid", "since", "job", "instance"},
    "performer.children.running.following": {"expect", "name", "pid", "phase", "members"},
    "performer.children.running.following.members": {"pid", "since", "job", "instance"},
    "performer.children.running.log": {"path", "fd"},
    "endpoints": {"listening"},
    "keeping": set(),
    "history": {"first", "recent"},
}
#: Dictionaries whose keys are those of jobs and events, and no part of the layout.
OPEN = (
    "env", "start_env", "stop_env", "job_environ", "pids", "limits", "processes", "timers", "began", "recent", "chunks",
)  # fmt: skip
#: What was added since.
NEWER = {"reporter", "respawning", "address", "chroot", "held", "kills", "known", "left", "user", "launched", "looks",
         "own", "shared"}  # fmt: skip

JOBS = {
    "service": "respawn\nexec sleep 1000\n",
    "changed": "exec sleep 1000\n",
    "pre-start": "pre-start exec sleep 1000\nexec sleep 1000\n",
    "forks": "expect fork\nexec sleep 1000\n",
    "killed": "kill timeout 100\nexpect stop\nscript\ntrap '' TERM\nkill -STOP $$\nsleep 1000\nend script\n",
    "half": "start on go and never\n",
    "holds": "start on starting held\ntask\nexec sleep 1000\n",
    "held": "instance $N\nenv N=1\nstop on never and go\nexec sleep 1000\n",
    # What it starts leaves its session and its parent, and takes along nothing but its environment.
    "runaway": "kill mode all\nkill signal KILL\n"
    "script\n(setsid sh -c 'echo $$ >$NOTE; exec sleep 1000' &)\nsleep 1000\nend script\n",
}
STATES = {
    "service": "start/running",
    "changed": "start/running",
    "pre-start": "start/pre-start",
    "forks": "start/spawned",
    "killed": "stop/killed",
    "held": "start/starting",
    "holds": "start/running",
    "runaway": "start/running",
}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    """An init in whose state there is something of everything."""
    program = with_another_state(tmp_path)
    init = SessionInit(tmp_path, JOBS, "--no-cgroups", program=program, NOTE=str(tmp_path / "note"))
    try:
        client = init.client()
        for job in ("service", "changed", "killed", "runaway"):
            client.start(job)
        for job in ("pre-start", "forks"):
            client.start(job, wait=False)
        client.start("held", wait=False)
        client.stop("killed", wait=False)
        client.emit("go", "A=1", wait=False)
        init.write("changed", "exec sleep 2000\n")
        wait_for(lambda: any(job["successor"] for job in document(init)["engine"]["jobs"]))
        for job, state in STATES.items():
            client.wait_status(job, state)
        wait_for(lambda: (tmp_path / "note").exists() and (tmp_path / "note").read_text().endswith("\n"))
        yield init
    finally:
        noted = (tmp_path / "note").read_text().split() if (tmp_path / "note").exists() else []
        for pid in {*processes(init.client()).values(), *map(int, noted)}:
            # A script's own processes are of its group, and what a daemon has forked is of another.
            for end in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError):
                    end(pid, signal.SIGKILL)
        init.close()


def with_another_state(directory: Path) -> Path:
    """A copy of init that at a re-exec finds the state that is in the file ``state``, where there is one."""
    programs = directory / "sbin"
    shutil.copytree(PROGRAMS, programs)
    replace = (
        "import os\n"
        f'if "--state-fd" in sys.argv and os.path.exists({str(directory / "state")!r}):\n'
        '    fd = int(sys.argv[sys.argv.index("--state-fd") + 1])\n'
        "    os.ftruncate(fd, 0)\n"
        f'    os.pwrite(fd, open({str(directory / "state")!r}, "rb").read(), 0)\n'
    )
    script = (programs / "init").read_text()
    (programs / "init").write_text(script.replace("import sys\n", "import sys\n" + replace, 1))
    return programs / "init"


def document(init: SessionInit) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads(init.client().call(MANAGER, UPSTART, "GetState")[0])
    return saved


def processes(client: Client) -> dict[tuple[str, str], int]:
    """The processes of all jobs."""
    entries = client.call(MANAGER, EXTENSION, "GetStatusAll")[0]
    return {(job, process): pid for job, _, _, _, pids in entries for process, pid in pids}


def dictionaries(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary of a document with its place."""
    if isinstance(value, list):
        for item in value:
            yield from dictionaries(item, place)
    elif isinstance(value, dict) and place.rpartition(".")[2] not in OPEN:
        yield place, value
        for key, item in value.items():
            yield from dictionaries(item, f"{place}.{key}".lstrip("."))


def without(saved: dict[str, Any], where: str | None, lost: set[str]) -> dict[str, Any]:
    """A copy of a document that lacks these keys at this place, or at every one."""
    less = copy.deepcopy(saved)
    for place, found in list(dictionaries(less)):
        if where in (None, place):
            for key in lost & found.keys():
                del found[key]
    return less


def why_not(saved: dict[str, Any], less: dict[str, Any]) -> str:
    """What keeps an init from beginning with the document ``less``, whose descriptors are those of ``saved``.

    Tried in a process of its own, in which pipes and a socket are in the place of those descriptors.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write = fcntl.fcntl(write, fcntl.F_DUPFD, 1000)
            for _, found in dictionaries(saved):
                for fd in (found.get("fd", -1), found.get("error_fd", -1), *(found.get("feed") or [])[:1]):
                    if fd >= 0:
                        os.dup2(os.pipe()[0], fd)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind("")
            listening.listen()
            os.dup2(listening.fileno(), saved["endpoints"]["listening"])
            options = command_line.parse(["init", "--user", "--no-cgroups", "--no-dbus"], {}, False)
            Daemon(options, ["/sbin/init"], {}, less, 1)
            answer = ""
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer


def test_what_a_state_lacks_that_it_did_not_always_have_is_done_without(init: SessionInit) -> None:
    saved = document(init)
    assert why_not(saved, saved) == ""
    keys = sorted({(place, key) for place, found in dictionaries(saved) for key in found})
    assert {place for place, _ in keys} == ALWAYS.keys()
    for place, key in keys:
        reason = why_not(saved, without(saved, place, {key}))
        assert (reason != "") == (key in ALWAYS[place]), f"{place}.{key}: {reason}"


def test_nothing_is_lost_after_a_build_that_wrote_less(init: SessionInit) -> None:
    # What is between its fork and its exec has a descriptor that is closed before this document is used.
    wait_for(lambda: all(each.get("error_fd", -1) < 0 for _, each in dictionaries(document(init))))
    before = processes(init.client())
    saved = document(init)
    older = without(saved, None, NEWER)
    assert older != saved
    (init.directory / "state").write_text(json.dumps(older))
    client = init.restart()
    assert "stateless" not in init.text()
    assert processes(client) == before
    for job, state in STATES.items():
        client.wait_status(job, state)
    # Its processes are still known as its own.
    client.stop("runaway")
    pid = int((init.directory / "note").read_text())
    wait_for(lambda: not Path(f"/proc/{pid}/exe").exists())
