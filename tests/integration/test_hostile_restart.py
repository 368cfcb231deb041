"""Nothing keeps a new program from taking over, or an old one from going on: no circle of jobs, no broken build."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
from pathlib import Path

import pytest
from hostile import MANAGER, ROOT, UPSTART, Session, wait_for

CIRCLE = {
    "ping": "start on go or stopped pong\nstop on started ping\n",
    "pong": "start on stopped ping\nstop on started pong\n",
    "web": "exec sleep 1000\n",
}
LOAD = "def load(data: dict[str, Any], clock: Callable[[], float]) -> Engine:\n"
RESTORE = "    def restore(self, saved: dict[str, Any]) -> None:\n"
LOAD_ALL = "    def reload(self) -> Steps:\n"
MAKE = "        daemon = Daemon(options, argv, environ, saved)\n"


def command_line(session: Session) -> str:
    return Path(f"/proc/{session.process.pid}/cmdline").read_text()


def test_jobs_that_start_each_other_in_a_circle_hold_up_neither_memory_nor_a_restart_nor_the_end(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "session", CIRCLE, "--no-dbus")
    try:
        web = session.run("start", "web").stdout
        session.run("emit", "--no-wait", "go")
        wait_for(lambda: "do not come to rest" in session.said(), "the warning")
        before = session.resident()
        client = session.client(quiet=True)
        for _ in range(50):
            assert client.delay() < 2
        assert session.resident() - before < 8 << 10
        client.call(MANAGER, UPSTART, "Restart")
        wait_for(lambda: "--restart" in command_line(session), "the new program")
        wait_for(lambda: session.client(quiet=True).delay() < 2, "an answer")
        assert session.status("web") == web.strip()
    finally:
        session.end()


def copy_of_sources(directory: Path) -> Path:
    """A program whose modules can be broken."""
    shutil.copytree(ROOT / "src", directory / "src")
    text = (ROOT / "build" / "sbin" / "upstart").read_text().replace(str(ROOT / "src"), str(directory / "src"))
    program = directory / "upstart"
    program.write_text(text)
    program.chmod(0o755)
    return program


def broken(source: Path, old: str, new: str) -> None:
    """Change a module under a running init."""
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("base/loop.py", "class Loop:", "class Loop(:"),
        ("daemon/main.py", "import sys\n", "import sys\nimport no_such_module\n"),
        ("engine/state.py", LOAD, LOAD + "    raise RuntimeError('no')\n"),
        ("engine/state.py", LOAD, LOAD + "    import os\n    os._exit(0)\n"),
        ("daemon/main.py", "import sys\n", "import sys\nimport os\nos.write(1, b'x' * 100_000)\nos._exit(1)\n"),
        ("daemon/performer.py", RESTORE, RESTORE + "        raise RuntimeError('no')\n"),
        ("daemon/endpoints.py", RESTORE, RESTORE + "        return self.restore(saved)\n"),
        ("daemon/options.py", '"state-fd", "state_fd", argument="FD"', '"state-fd", "state_fd"'),
        ("conf/sources.py", LOAD_ALL, LOAD_ALL + "        return None + self\n"),
    ],
)
def test_a_new_program_that_does_not_work_is_not_executed(tmp_path: Path, module: str, old: str, new: str) -> None:
    session = Session(tmp_path / "session", CIRCLE, "--no-dbus", program=copy_of_sources(tmp_path))
    try:
        web = session.run("start", "web").stdout
        before = session.descriptors()
        broken(tmp_path / "src" / "upstart" / module, old, new)
        client = session.client(quiet=True)
        for _ in range(3):
            answer = client.call(MANAGER, UPSTART, "Restart")
            assert answer[0] == "org.freedesktop.DBus.Error.Failed"
            assert f"Failed to re-execute {tmp_path}/upstart: " in answer[1]
        client.close()
        assert session.status("web") == web.strip()
        wait_for(lambda: session.descriptors() <= before, "descriptors given back")
    finally:
        session.end()


@pytest.mark.parametrize("fault", ["raise RuntimeError('late')", "return None + saved"])
def test_a_program_that_fails_over_the_state_goes_on_without_and_adopts_what_runs(tmp_path: Path, fault: str) -> None:
    session = Session(tmp_path / "session", CIRCLE, "--no-dbus", program=copy_of_sources(tmp_path))
    try:
        web = session.run("start", "web").stdout
        broken(tmp_path / "src" / "upstart" / "daemon" / "main.py", MAKE, f"        {fault}\n")
        session.client(quiet=True).call(MANAGER, UPSTART, "Restart")
        wait_for(lambda: "adopted" in session.said(), "the adoption")
        session.client(quiet=True).version()
        assert session.status("web") == web.strip()
    finally:
        session.end()


@pytest.mark.parametrize("module", ["daemon/daemon", "dbus/wire", "base/glob"])
def test_a_compiled_module_that_was_cut_short_is_passed_over(tmp_path: Path, module: str) -> None:
    program = copy_of_sources(tmp_path)
    assert compileall.compile_dir(tmp_path / "src", quiet=1, force=True)
    room, name = module.split("/")
    (compiled,) = (tmp_path / "src" / "upstart" / room / "__pycache__").glob(f"{name}.*.pyc")
    os.truncate(compiled, 200)
    session = Session(tmp_path / "session", CIRCLE, "--no-dbus", program=program)
    try:
        assert "start/running" in session.run("start", "web").stdout
    finally:
        session.end()


def test_restarts_leak_neither_descriptors_nor_memory_nor_processes(tmp_path: Path) -> None:
    jobs = {f"job{number}": "exec sleep 1000\n" for number in range(20)}
    session = Session(tmp_path / "session", jobs, "--no-dbus")
    try:
        for name in jobs:
            session.run("start", name)
        before = session.run("list").stdout
        descriptors = session.descriptors()
        memory = 0
        for turn in range(12):
            session.client(quiet=True).call(MANAGER, UPSTART, "Restart")
            wait_for(lambda: "--restart" in command_line(session), "the new program")
            session.client(quiet=True).version()
            os.kill(session.process.pid, signal.SIGHUP)
            if turn == 3:
                memory = session.resident()
        assert session.run("list").stdout == before
        assert session.descriptors() <= descriptors + 1
        assert session.resident() < memory + 2048
    finally:
        session.end()
