"""Without descriptors, processes or memory, init goes on: what cannot be done waits or fails, and works again later."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile import EXTENSION, MANAGER, UPSTART, Session, wait_for

JOBS = {
    "web": "exec sleep 1000\n",
    "nice": "nice 1\nexec sleep 1000\n",
    "lines": "script\n  echo a\n  exec sleep 1000\nend script\n",
    "many": "instance $N\nexec sleep 1000\n",
}


def limited(number: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(number, (value, value))


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Session]:
    """A session with few descriptors."""
    session = Session(tmp_path, JOBS, "--no-dbus", preexec_fn=limited(resource.RLIMIT_NOFILE, 30))
    yield session
    session.end()


def take_all(session: Session) -> list[socket.socket]:
    """Connections until there is no descriptor left."""
    taken = [session.connect() for _ in range(40)]
    wait_for(lambda: session.descriptors() >= 30, "no descriptor left")
    return taken


@pytest.mark.parametrize("job", ["web", "nice", "lines"])
def test_a_job_that_lacks_descriptors_starts_when_there_are_some(few: Session, job: str) -> None:
    client = few.client(quiet=True)
    taken = take_all(few)
    path = f"{MANAGER}/jobs/{job}"
    for member in ("Start", "Stop", "Start"):
        client.call(path, "com.ubuntu.Upstart0_6.Job", member, "asb", [], False)
    assert client.delay() < 2
    for sock in taken:
        sock.close()
    wait_for(lambda: "start/running, process" in few.status(job), "running")
    assert few.run("stop", job).stdout.startswith(f"{job} stop/waiting")
    assert "Internal error" not in few.said()


def test_jobs_that_fail_for_want_of_descriptors_leave_none_open(few: Session) -> None:
    client = few.client(quiet=True)
    before = few.descriptors()
    path = f"{MANAGER}/jobs/many"
    for number in range(40):
        client.call(path, "com.ubuntu.Upstart0_6.Job", "Start", "asb", [f"N={number}"], False)
    assert client.delay() < 2
    for number in range(40):
        client.call(path, "com.ubuntu.Upstart0_6.Job", "Stop", "asb", [f"N={number}"], False)
    wait_for(lambda: few.descriptors() <= before, "descriptors given back")
    statuses = client.call(MANAGER, EXTENSION, "GetStatusAll")[0]
    wait_for(lambda: all(not status[4] for status in statuses), "processes ended")
    assert "Internal error" not in few.said()


def test_files_that_change_while_there_are_no_descriptors_are_read_later(few: Session) -> None:
    client = few.client(quiet=True)
    taken = take_all(few)
    (few.conf / "late.conf").write_text("exec sleep 1000\n")
    (few.conf / "web.conf").write_text("description late\nexec sleep 1000\n")
    assert client.delay() < 2
    assert "web" in [status[0] for status in client.call(MANAGER, EXTENSION, "GetStatusAll")[0]]
    for sock in taken:
        sock.close()
    wait_for(lambda: client.delay() < 1 and few.descriptors() < 20, "descriptors given back")
    few.run("reload-configuration")
    assert few.status("late") == "late stop/waiting"


def test_little_memory_fails_a_client_and_not_init(tmp_path: Path) -> None:
    session = Session(tmp_path, JOBS, "--no-dbus")
    try:
        limit = session.resident("VmSize") * 1024 + (3 << 20)
        resource.prlimit(session.process.pid, resource.RLIMIT_AS, (limit, -1))
        for _ in range(3):
            client = session.client(quiet=True)
            try:
                big = ["X=" + "x" * (3 << 20)]
                client.call(MANAGER, UPSTART, "EmitEvent", "sasb", "big", big, False)
            except (EOFError, ConnectionResetError, BrokenPipeError):
                pass
            client.close()
        assert session.client(quiet=True).delay() < 2
        resource.prlimit(session.process.pid, resource.RLIMIT_AS, (-1, -1))
        assert session.run("start", "web").returncode == 0
    finally:
        session.end()
