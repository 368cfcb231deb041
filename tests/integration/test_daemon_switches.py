"""What each option and variable of init(8) does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, SessionInit, wait_for

ECHO = {"echo": "task\nexec echo said\n", "hello": "start on startup\ntask\nexec echo up\n"}


def run(init: SessionInit, job: str = "echo") -> None:
    client = init.client()
    client.start(job)


def test_startup_event(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {"other": "start on other-event\ntask\nexec echo up\n", **ECHO})
    assert init.job_log("hello") == ""
    init.close()
    command = [str(PROGRAMS / "init"), "--user", "--confdir", str(init.conf), "--no-dbus"]
    for words, job in (([], "hello"), (["--startup-event", "other-event"], "other")):
        process = subprocess.Popen([*command, *words], env=init.environ)
        wait_for(lambda job=job: init.job_log(job) == "up\n")  # type: ignore[misc]
        process.terminate()
        process.wait(10)


def test_logdir_and_no_log(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    init = SessionInit(tmp_path, ECHO, "--logdir", str(tmp_path / "elsewhere"))
    run(init)
    wait_for(lambda: (tmp_path / "elsewhere" / "echo.log").exists())
    assert (tmp_path / "elsewhere" / "echo.log").read_text() == "said\n"
    init.close()
    init = SessionInit(tmp_path, ECHO, "--no-log")
    run(init)
    init.close()
    assert init.job_log("echo") == ""


def test_default_console(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, {**ECHO, "logs": "console log\ntask\nexec echo logged\n"}, "--default-console=none")
    run(init)
    run(init, "logs")
    wait_for(lambda: init.job_log("logs") == "logged\n")
    assert init.job_log("echo") == ""
    init.close()


def test_directories_and_their_precedence(tmp_path: Path) -> None:
    for name in ("first", "last"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both.conf").write_text(f'description "{name}"\n')
        (tmp_path / name / f"{name}.conf").touch()
    words = ["--append-confdir", str(tmp_path / "last"), "--prepend-confdir", str(tmp_path / "first")]
    init = SessionInit(tmp_path, {"both": 'description "middle"\n', "middle": ""}, *words)
    client = init.client()
    names = {path.rpartition("/")[2] for path in client.call(MANAGER, UPSTART, "GetAllJobs")[0]}
    assert names == {"both", "first", "middle", "last"}
    get = ("org.freedesktop.DBus.Properties", "Get", "ss", "", "description")
    assert client.call(f"{MANAGER}/jobs/both", *get) == ("first",)
    (tmp_path / "first" / "both.conf").unlink()
    wait_for(lambda: client.call(f"{MANAGER}/jobs/both", *get) == ("middle",))
    init.close()


def test_without_confdir_the_directories_of_the_user(tmp_path: Path) -> None:
    config = tmp_path / "CONFIG_HOME" / "upstart"
    config.mkdir(parents=True)
    (config / "mine.conf").touch()
    (tmp_path / ".init").mkdir()
    (tmp_path / ".init" / "old.conf").touch()
    environ = {
        "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(config.parent),
        "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "nothing"), "PATH": os.environ["PATH"],
    }  # fmt: skip
    process = subprocess.Popen([str(PROGRAMS / "init"), "--user", "--no-dbus", "--no-startup-event"], env=environ)
    session = tmp_path / "upstart" / "sessions" / f"{process.pid}.session"
    wait_for(lambda: session.exists() and session.read_text())
    environ["UPSTART_SESSION"] = session.read_text().strip().partition("=")[2]
    listed = subprocess.run([str(PROGRAMS / "initctl"), "list"], env=environ, capture_output=True, text=True).stdout
    assert "mine stop/waiting\n" in listed and "old stop/waiting\n" in listed
    process.terminate()
    process.wait(10)


@pytest.mark.parametrize(("words", "inherited"), [([], True), (["--no-inherit-env"], False)])
def test_inherited_environment(tmp_path: Path, words: list[str], inherited: bool) -> None:
    job = {"env": 'task\nscript\necho "$MINE $TERM $(umask)"\nend script\n'}
    before = os.umask(0o077)
    try:
        init = SessionInit(tmp_path, job, *words, MINE="here")
    finally:
        os.umask(before)
    run(init, "env")
    wait_for(lambda: init.job_log("env") == ("here dumb 0077\n" if inherited else " dumb 0022\n"))
    init.close()


@pytest.mark.parametrize("how", ["--write-state-file", "UPSTART_WRITE_STATEFILE"])
def test_state_file(tmp_path: Path, how: str) -> None:
    option = how.startswith("--")
    environ = {} if option else {how: "1"}
    init = SessionInit(tmp_path, ECHO, *([how] if option else []), program=PROGRAMS / "init", **environ)
    init.restart()
    path = tmp_path / "CACHE_HOME" / "upstart" / "upstart.state"
    # A helper writes it.
    wait_for(lambda: path.exists() and '"engine"' in path.read_text())
    assert path.stat().st_mode & 0o777 == 0o400
    init.close()


def test_a_file_that_comes_with_an_event_is_the_jobs(tmp_path: Path) -> None:
    jobs = {
        "reader": "start on file-reader\ntask\nscript\ncat /proc/self/fd/$UPSTART_FDS\nend script\n",
        "later": "start on file-later and go\ntask\nscript\necho later; cat /proc/self/fd/$UPSTART_FDS\nend script\n",
    }
    init = SessionInit(tmp_path, jobs)
    client = init.client()
    for job, survive in (("reader", False), ("later", True)):
        read, write = os.pipe()
        serial = client.send_with_fds([read], "EmitEventWithFile", "sasbh", f"file-{job}", ["A=b"], not survive, 0)
        os.close(read)
        if survive:
            assert client.answer(serial) == ()
            client = init.restart()
        os.write(write, b"through the pipe\n")
        os.close(write)
        if survive:
            client.emit("go")
        wait_for(lambda job=job: "through the pipe\n" in init.job_log(job))  # type: ignore[misc]
    init.close()


def test_verbosity(tmp_path: Path) -> None:
    for words, lines in (([], 0), (["--verbose"], 1), (["--debug"], 2), (["--quiet"], 0)):
        init = SessionInit(tmp_path, ECHO, *words)
        run(init)
        init.close()
        text = init.text()
        assert ("goal changed from" in text) == (lines > 0), words
        assert ("Pending" in text) == (lines > 1), words
        init.log.unlink()
