"""Chroot sessions: a client in another root sees and changes that root's jobs, and nothing outside."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import MANAGER, UPSTART, Client, DBusError, SessionInit, wait_for

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


def test_without_the_option_roots_do_not_matter(tmp_path: Path, root: Path) -> None:
    init = SessionInit(tmp_path, OUTSIDE)
    assert inside(root, lambda: names(init.client())) == ["both", "hears", "outside"]
    init.close()
