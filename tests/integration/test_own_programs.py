"""A program of ours that a boot starts is run by the fork itself: it finds all that it would as an executed one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System, pytestmark

__all__ = ["pytestmark"]

#: Writes down what it finds, and ends as its first argument says.
LOOK = r"""
import gc, json, os, posix, resource, signal, subprocess, sys
def status(pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return {line.partition(":")[0]: line.partition(":")[2].strip() for line in file}
def links():
    found = {}
    for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}").rstrip("0123456789")
        except OSError:
            pass  # the directory's own
    return found
facts = status()
found = {
    "argv": [os.path.basename(sys.argv[0]).removesuffix("-executed"), *sys.argv[1:]],
    "environ": sorted(key for key in os.environ), "FOO": os.environ.get("FOO"),
    "posix": sorted(key.decode() for key in posix.environ),
    "shell": subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout.split("\n"),
    "fds": links(), "cwd": os.getcwd(), "umask": facts["Umask"], "leads": os.getsid(0) == os.getpgrp() == os.getpid(),
    "parent": os.getppid(), "comm": facts["Name"].removesuffix("-executed"), "ignored": facts["SigIgn"],
    "caught": facts["SigCgt"], "blocked": facts["SigBlk"], "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    "nice": os.nice(0), "python": [str(signal.getsignal(each)) for each in signal.valid_signals()],
    "collects": gc.isenabled(), "main": __name__, "exe": os.readlink("/proc/self/exe"),
}
print("INIT" if "upstart.daemon.main" in sys.modules else "OWN", flush=True)
with open(os.path.dirname(sys.argv[0]) + f"/{os.path.basename(sys.argv[0])}.{sys.argv[1]}.json.new", "w") as file:
    json.dump(found, file)
os.rename(file.name, file.name[:-4])
if sys.argv[1] == "raise":
    raise ValueError("on purpose")
if sys.argv[1] == "text":
    sys.exit("said at the end")
if sys.argv[1] == "three":
    sys.exit(3)
if sys.argv[1] == "signal":
    os.kill(os.getpid(), signal.SIGTERM)
if sys.argv[1] == "stay":
    import time
    time.sleep(1000)
"""
ENDS = ("plainly", "raise", "text", "three", "signal", "stay")
JOB = """
start on startup
{task}
env FOO=bar
env LONG="{long}"
umask 027
nice 3
chdir /run
console {console}
exec {program} {end} two
"""


def make_programs(directory: Path) -> None:
    """``look``, which begins as all our scripts do, and ``look-executed``, which differs in a blank."""
    text = (PROGRAMS / "init").read_text()
    paths = next(line for line in text.splitlines() if line.startswith("sys.path += "))
    for name, line in (("look", paths), ("look-executed", paths.replace("+= [", "+=  ["))):
        path = directory / name
        path.write_text(f"#!/usr/bin/python3 -IS\nimport sys\n{line}\n{LOOK}")
        path.chmod(0o755)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("own")
    make_programs(directory)
    jobs = {
        f"{program}-{end}": JOB.format(
            program=directory / program, end=end, task="" if end == "stay" else "task", long="x" * 5000,
            console="log" if end in ("raise", "text", "stay") else "output",
        )
        for program in ("look", "look-executed")
        for end in ENDS
    }  # fmt: skip
    jobs["by-path"] = f"start on startup\ntask\nenv PATH=/nowhere:{directory}\nnice 1\nexec look by-path\n"
    system = System(directory, more=jobs)
    try:
        wait_for(lambda: all((directory / f"{job}.json").exists() for job in found_by_all()), 30)
        yield system
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()


def found_by_all() -> list[str]:
    return [f"{program}.{end}" for program in ("look", "look-executed") for end in ENDS]


def facts(system: System, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((system.directory / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("end", ENDS)
def test_it_finds_what_an_executed_one_finds(system: System, end: str) -> None:
    forked, executed = facts(system, f"look.{end}"), facts(system, f"look-executed.{end}")
    for found in (forked, executed):
        # The variable of the job's name, what the shell sets, and what the interpreter has put there by itself.
        others = ("UPSTART_JOB=", "_=", "SHLVL=", "PWD=", "LC_CTYPE=")
        found["shell"] = sorted(line for line in found["shell"] if not line.startswith(others))
        for kind in ("environ", "posix"):
            found[kind] = [name for name in found[kind] if name != "LC_CTYPE"]
    assert forked == executed
    assert forked["FOO"] == "bar" and forked["nice"] == 3 and forked["umask"] == "0027" and forked["cwd"] == "/run"
    assert set(forked["fds"]) == {"0", "1", "2"}


def test_it_is_run_without_an_exec_and_the_other_is_not(system: System) -> None:
    def said(job: str) -> str:
        return system.job_log(job).split("\n")[0].strip()

    wait_for(lambda: said("look-executed-text") and said("look-text"))
    assert (said("look-text"), said("look-executed-text")) == ("INIT", "OWN")
    wait_for(lambda: said("by-path"))
    assert said("by-path") == "INIT"


def test_it_ends_as_an_executed_one(system: System) -> None:
    for end, words in {
        "raise": "terminated with status 1", "text": "terminated with status 1", "three": "terminated with status 3",
        "signal": "killed by TERM signal",
    }.items():  # fmt: skip
        for program in ("look", "look-executed"):
            wait_for(lambda job=f"{program}-{end} main process", words=words: any(  # type: ignore[misc]
                job in line and words in line for line in system.kmsg().splitlines()
            ))  # fmt: skip
    for end, text in {"raise": "ValueError: on purpose", "text": "said at the end"}.items():
        for program in ("look", "look-executed"):
            wait_for(lambda job=f"{program}-{end}", text=text: text in system.job_log(job))  # type: ignore[misc]
    trace = system.job_log("look-raise")
    assert f"{system.directory}/look" in trace and "daemon/main.py" not in trace


def test_ps_shows_the_program_and_stop_ends_it(system: System) -> None:
    pid = system.initctl("status", "look-stay").split("process ")[1].split()[0]
    assert system.run("ps", "-p", pid, "-o", "comm=,args=").stdout.split() == ["look", str(system.directory / "look")]
    assert "stop/waiting" in system.initctl("stop", "look-stay")
    assert system.run("ps", "-p", pid).returncode != 0


def test_an_init_that_has_been_replaced_executes_all(system: System) -> None:
    system.run(str(PROGRAMS / "telinit"), "u")
    wait_for(lambda: "Performing stateful re-exec" in system.kmsg())
    wait_for(lambda: "stop/waiting" in system.initctl("status", "look-text"))
    (system.directory / "log" / "look-text.log").unlink()
    system.initctl("start", "look-text")
    wait_for(lambda: system.job_log("look-text"))
    assert system.job_log("look-text").split("\n")[0].strip() == "OWN"
