"""A real init, whose engine is guarded: nobody in it changes what the engine owns but by one of its inputs."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from daemon_init import EXTENSION, INSTANCE, JOB, MANAGER, PROGRAMS, UPSTART, Client, DBusError, SessionInit, wait_for

TESTS = Path(__file__).resolve().parents[1]
JOBS = {
    "service": "respawn\nrespawn limit 10 5\nstart on go\nstop on gone\npost-start exec true\nexec sleep 1000\n",
    "task": "task\nstart on go\npre-start exec true\nscript\necho $A\nend script\n",
    "many": "instance $N\nstop on gone N=$N\nexec sleep 1000\n",
    "forks": "expect fork\nscript\nsleep 1000 &\nend script\n",
    "daemon": "expect daemon\nscript\nsetsid sh -c 'sleep 1000 &' &\nend script\n",
    "stops": "expect stop\nscript\nkill -STOP $$\nexec sleep 1000\nend script\n",
    "holds": "start on starting held\ntask\nexec sleep .2\n",
    "held": "kill timeout 1\nscript\ntrap '' TERM\nwhile :; do sleep .1; done\nend script\n",
    "fails": "exec /nonexistent\n",
    "half": "start on service-up and never\n",
    "changed": "exec sleep 1000\n",
}


def guarded(directory: Path) -> tuple[Path, Path]:
    """A copy of the programs whose init has its engine guarded, and the file that names who changes it."""
    programs, pokes = directory / "sbin", directory / "pokes"
    shutil.copytree(PROGRAMS, programs)
    script = (programs / "init").read_text()
    install = (
        f"sys.path.append({str(TESTS)!r})\nimport engine_guard\nengine_guard.install({str(pokes)!r})\n"
        "from upstart.engine.engine import Engine\n"
        f"open({str(directory / 'guarded')!r}, 'a').write(Engine.__setattr__.__qualname__ + '\\n')\n"
    )
    assert script.count("sys.dont_write_bytecode") == 1
    (programs / "init").write_text(script.replace("sys.dont_write_bytecode", install + "sys.dont_write_bytecode"))
    return programs / "init", pokes


def refused(client: Client, *call: object) -> None:
    try:
        client.call(*call)  # type: ignore[arg-type]
    except DBusError:
        return
    raise AssertionError("not refused")


def live(init: SessionInit) -> None:
    """Something of all that an init does."""
    client = init.client()
    client.emit("go", "A=1")
    client.wait_status("service", "start/running")
    for number in range(3):
        client.start("many", f"N={number}")
    for job in ("forks", "daemon", "stops", "changed", "held"):
        client.start(job)
    refused(client, f"{MANAGER}/jobs/fails", JOB, "Start", "asb", [], True)
    refused(client, MANAGER, UPSTART, "GetJobByName", "s", "nowhere")
    main = client.status("service")[1]["main"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: client.status("service")[1].get("main", main) != main)
    client.call(MANAGER, UPSTART, "SetEnv", "assb", [], "A=2", True)
    client.call(MANAGER, UPSTART, "UnsetEnv", "ass", [], "A")
    client.call(MANAGER, UPSTART, "ListEnv", "as", [])
    client.emit("service-up", wait=False)
    init.write("changed", "exec sleep 2000\n")
    init.write("new", "start on go\ntask\nexec true\n")
    assert init.initctl("reload-configuration").returncode == 0
    wait_for(lambda: f"{MANAGER}/jobs/new" in client.call(MANAGER, UPSTART, "GetAllJobs")[0])
    path = client.call(f"{MANAGER}/jobs/changed", JOB, "GetInstanceByName", "s", "")[0]
    client.call(path, INSTANCE, "Restart", "b", True)
    client.call(path, INSTANCE, "Reload")
    client.call(f"{MANAGER}/jobs/service", JOB, "Restart", "asb", [], True)
    for words in (
        ["list"], ["status", "--verbose", "service"], ["explain", "service"], ["explain", "half"], ["history"],
        ["log-priority", "debug"], ["show-config"], ["emit", "gone", "N=1"], ["stop", "held"],
    ):  # fmt: skip
        ended = init.initctl(*words)
        # A job that does not run is explained by a status of its own.
        assert ended.returncode == (3 if words == ["explain", "half"] else 0), (words, ended.stderr)
    client.call(MANAGER, EXTENSION, "GetStatusAll")
    client.call(MANAGER, UPSTART, "GetState")
    client.stop("stops")
    (init.conf / "new.conf").unlink()


def test_nobody_in_a_running_init_changes_its_engine_but_by_an_input(tmp_path: Path) -> None:
    program, pokes = guarded(tmp_path)
    init = SessionInit(tmp_path, JOBS, program=program)
    try:
        live(init)
        client = init.restart()
        assert client.status("forks")[0] == "start/running"
        for job in ("forks", "daemon"):
            client.stop(job)
        client.call(MANAGER, UPSTART, "EndSession")
        init.process.wait(20)
    finally:
        init.close()
    # Before and after, and in the trial between.
    assert (tmp_path / "guarded").read_text().count("Guard._setter.<locals>.set_attribute\n") == 3
    assert not pokes.exists(), pokes.read_text()
    assert "Internal error" not in init.text() and "Poked" not in init.text()
