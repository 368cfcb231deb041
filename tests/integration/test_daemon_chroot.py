"""Chroot sessions: a client in another root sees and changes that root's jobs, and nothing outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import MANAGER, UPSTART, Client, DBusError, SessionInit, lose_state, wait_for

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")

OUTSIDE = {"outside": "exec sleep 1000\n", "both": "exec sleep 1000\n", "hears": "start on shout\ntask\nexec true\n"}


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, OUTSIDE, "--chroot-sessions", "--verbose")
    yield init
    init.close()
    assert "Internal error" not in init.text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    conf = tmp_path / "root" / "etc" / "init"
    conf.mkdir(parents=True)
    (conf / "inside.conf").write_text("task\nexec nothing-is-here\n")
    (conf / "both.conf").write_text('description "inside"\n')
    (conf / "hears.conf").write_text("start on shout\ntask\n")
    return tmp_path / "root"


def inside(root: Path, what: Callable[[], Any]) -> Any:
    """What ``what`` gives in a process whose root directory is ``root``."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(root)
            os.chdir("/")
            result = what()
        except BaseException:
            result = traceback.format_exc()
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        result = json.loads(file.read())
    os.waitpid(pid, 0)
    return result


def names(client: Client) -> list[str]:
    return sorted(path.removeprefix(f"{MANAGER}/jobs/") for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0])


def refused(client: Client, path: str, interface: str, member: str, signature: str, *values: Any) -> str:
    try:
        client.call(path, interface, member, signature, *values)
    except DBusError as error:
        return f"{error.name}: {error.text}"
    return "done"


def test_each_sees_its_own(init: SessionInit, root: Path) -> None:
    element = str(root).encode()
    assert names(init.client()) == ["both", "hears", "outside"]
    seen = inside(root, lambda: names(init.client()))
    prefix = "".join(chr(byte) if chr(byte).isalnum() else f"_{byte:02x}" for byte in element)
    assert seen == [f"{prefix}/both", f"{prefix}/hears", f"{prefix}/inside"]
    assert names(init.client()) == ["both", "hears", "outside"]
    # What changes inside is noticed as well.
    (root / "etc" / "init" / "new.conf").write_text("exec x\n")
    wait_for(lambda: f"{prefix}/new" in inside(root, lambda: names(init.client())))


def test_what_all_are_told_is_not_for_a_session_to_record(init: SessionInit, root: Path) -> None:
    assert init.initctl("record", str(root / "record")).returncode == 0
    text = inside(root, lambda: refused(init.client(), MANAGER, UPSTART + ".Extension", "StopRecord", ""))
    assert text == "PermissionDenied: Not permissible from a chroot session"
    words = (UPSTART + ".Extension", "Record", "shbt", "x", 0, True, 0)
    text = inside(root, lambda: refused(init.client(), MANAGER, *words))
    assert text == "PermissionDenied: Not permissible from a chroot session"
    assert init.initctl("record", "--stop").returncode == 0


def test_none_changes_what_is_the_others(init: SessionInit, root: Path) -> None:
    start: tuple[Any, ...] = (UPSTART + ".Job", "Start", "asb", [], False)
    text = inside(root, lambda: refused(init.client(), f"{MANAGER}/jobs/outside", *start))
    assert text == "PermissionDenied: You do not have permission to modify job: outside"
    own = inside(root, lambda: init.client().call(MANAGER, UPSTART, "GetJobByName", "s", "both")[0])
    assert refused(init.client(), own, *start) == "PermissionDenied: You do not have permission to modify job: both"
    assert inside(root, lambda: refused(init.client(), own, *start)) == "done"
    assert inside(root, lambda: refused(init.client(), MANAGER, UPSTART, "GetJobByName", "s", "outside")).startswith(
        "UnknownJob"
    )


def test_events_stay_inside(init: SessionInit, root: Path) -> None:
    client = init.client()
    inside(root, lambda: init.client().emit("shout"))
    client.emit("quiet")
    started = [signal for signal in client.signals if signal.header.member == "InstanceAdded"]
    assert len(started) == 1 and "_2froot" in (started[0].header.path or "")


def test_requests_that_reach_outside_are_ignored(init: SessionInit, root: Path) -> None:
    def requests() -> list[str]:
        client = init.client()
        client.call(MANAGER, UPSTART, "SetEnv", "assb", [], "A=1", True)
        client.call(MANAGER, UPSTART, "Restart")
        client.call(MANAGER, UPSTART, "EndSession")
        return [*client.call(MANAGER, UPSTART, "GetState"), *client.call(MANAGER, UPSTART, "GetEnv", "ass", [], "PATH")]

    assert inside(root, requests) == ["", ""]
    with pytest.raises(DBusError, match="No such variable: A"):
        init.client().call(MANAGER, UPSTART, "GetEnv", "ass", [], "A")
    for request in ("set env request", "restart request", "session end request", "state query", "get env request"):
        assert f"Ignoring {request} from chroot session" in init.text()


def test_sessions_survive_a_re_exec(init: SessionInit, root: Path) -> None:
    before = inside(root, lambda: names(init.client()))
    init.restart()
    assert inside(root, lambda: names(init.client())) == before
    assert names(init.client()) == ["both", "hears", "outside"]
    # What changes inside is still noticed.
    (root / "etc" / "init" / "new.conf").write_text("exec x\n")
    wait_for(lambda: any(name.endswith("/new") for name in inside(root, lambda: names(init.client()))))


#: A service that leaves its session and its parent, and takes along nothing but its environment.
RUNAWAY = "(setsid sh -c 'echo $$ >$1; exec sleep 1000' sh $1 &)\nexec sleep 1000\n"
SERVICE = "kill mode all\nkill signal KILL\nexec sh {0}/runaway {0}/pid\n"


def furnish(root: Path, *programs: str) -> None:
    """Put programs into a root, with the libraries that they need."""
    linked = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    for path in {*programs, *re.findall(r"(/\S+) \(0x", linked)}:
        target = root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (root / "dev").mkdir()
    os.mknod(root / "dev/null", 0o666 | 0o020000, os.makedev(1, 3))


def runaway(path: Path) -> int:
    """The pid that what a service has started wrote down."""
    text: str = wait_for(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text())
    return int(text)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def inside_job(client: Client, name: str, method: str) -> None:
    path = client.call(MANAGER, UPSTART, "GetJobByName", "s", name)[0]
    client.call(path, UPSTART + ".Job", method, "asb", [], True)


@pytest.mark.parametrize("ended", ["system", "chroot"])
def test_without_cgroups_the_end_of_a_job_leaves_that_of_the_same_name_on_the_other_side_alone(
    tmp_path: Path, root: Path, ended: str
) -> None:
    furnish(root, "/bin/sh", "/bin/sleep", "/usr/bin/setsid")
    (root / "etc/init/service.conf").write_text(SERVICE.format(""))
    pids = {"system": tmp_path / "pid", "chroot": root / "pid"}
    for directory in (tmp_path, root):
        (directory / "runaway").write_text(RUNAWAY)
    init = SessionInit(tmp_path, {"service": SERVICE.format(tmp_path)}, "--chroot-sessions", "--no-cgroups")
    try:
        do: dict[str, Callable[[str], Any]] = {
            "system": lambda what: init.client().start("service") if what == "Start" else init.client().stop("service"),
            "chroot": lambda what: inside(root, lambda: inside_job(init.client(), "service", what)),
        }
        other = "chroot" if ended == "system" else "system"
        # The one to be ended is the older: only what is younger than it can be taken for its own.
        for side in (ended, other):
            assert do[side]("Start") is None
            runaway(pids[side])
        assert do[ended]("Stop") is None
        wait_for(lambda: gone(runaway(pids[ended])))
        assert not gone(runaway(pids[other]))
        assert do[other]("Stop") is None
        wait_for(lambda: gone(runaway(pids[other])))
    finally:
        init.close()


def test_a_chroots_job_is_not_adopted_as_the_systems(tmp_path: Path, root: Path) -> None:
    furnish(root, "/bin/sh", "/bin/sleep")
    (root / "etc/init/both.conf").write_text("exec sh -c 'echo $$ >/pid; exec sleep 1000'\n")
    programs = lose_state(tmp_path)
    init = SessionInit(tmp_path, OUTSIDE, "--chroot-sessions", program=programs / "init")
    try:
        assert inside(root, lambda: inside_job(init.client(), "both", "Start")) is None
        client = init.restart()
        assert "reverting to stateless re-exec" in init.text() and "adopted" not in init.text()
        assert client.status("both")[0] == "stop/waiting"
    finally:
        # The init that lost its state does not know the process; there is none where the job could not be started.
        if (root / "pid").exists():
            os.kill(int(wait_for((root / "pid").read_text)), signal.SIGKILL)
        init.close()


def test_without_the_option_roots_do_not_matter(tmp_path: Path, root: Path) -> None:
    init = SessionInit(tmp_path, OUTSIDE)
    assert inside(root, lambda: names(init.client())) == ["both", "hears", "outside"]
    init.close()
