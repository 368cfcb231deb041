"""Faults of init's own: said in the log with the place, survived, and begun anew with all state."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

import pytest
from daemon_init import MANAGER, PROGRAMS, UPSTART, DBusError, Gone, SessionInit, wait_for
from test_daemon_pid1 import System

from upstart.daemon.faults import LINES

JOBS = {"service": "exec sleep 1000\n", "other": "start on go\nexec sleep 1000\n", "held": "start on big and never\n"}


def broken_program(directory: Path, code: str) -> Path:
    """The programs of this checkout, with ``code`` run in init before it starts."""
    programs = directory / "sbin"
    shutil.copytree(PROGRAMS, programs)
    script = programs / "init"
    text = script.read_text()
    head, call = text.rsplit("\nsys.exit(", 1)
    script.write_text(f"{head}\n{code}\nsys.exit({call}")
    return script


def test_a_fault_in_an_effect_has_init_begin_anew_with_its_state(tmp_path: Path) -> None:
    code = (
        "from upstart.daemon.performer import Performer\n"
        "def broken(self, effect):\n"
        "    raise RuntimeError('no such luck')\n"
        "Performer._set_timer = broken\n"
    )
    init = SessionInit(tmp_path, JOBS, "--verbose", program=broken_program(tmp_path, code))
    client = init.client()
    client.start("service")
    pids = client.status("service")[1]
    client.start("other")
    client.stop("other", wait=False)
    wait_for(lambda: "Stateful re-exec completed" in init.text())
    assert "Internal error: RuntimeError: no such luck (" in init.text()
    client = init.client_at_last()
    assert client.status("service") == ("start/running", pids)
    client.wait_status("other", "stop/waiting")
    # The same fault again is logged, and not answered with one re-exec after the other.
    client.stop("service")
    # What the effect was to do is asked for again meanwhile, and fails again.
    # The program after it counts anew.
    assert 2 <= init.text().count("Internal error: RuntimeError") <= 2 * LINES
    time.sleep(0.3)
    assert init.text().count("Stateful re-exec completed") == 1
    init.close()


def test_a_fault_in_a_call_is_an_error_for_its_client_alone(tmp_path: Path) -> None:
    code = (
        "from upstart.daemon.manager import Manager\n"
        "def broken(self, call):\n"
        "    raise KeyError('surprise')\n"
        "Manager.do_GetAllJobs = broken\n"
    )
    init = SessionInit(tmp_path, JOBS, program=broken_program(tmp_path, code))
    client = init.client()
    with pytest.raises(DBusError, match="Internal error: 'surprise'"):
        client.call(MANAGER, UPSTART, "GetAllJobs")
    assert client.status("service")[0] == "stop/waiting"
    assert "Internal error in a call: KeyError: 'surprise' (" in init.text()
    init.close()


def test_a_fault_of_the_engine_does_not_stop_the_loop(tmp_path: Path) -> None:
    code = (
        "from upstart.engine.engine import Engine\n"
        "handle = Engine._handle\n"
        "def broken(self, event):\n"
        "    if event.name == 'poison':\n"
        "        raise ZeroDivisionError('poisoned')\n"
        "    handle(self, event)\n"
        "Engine._handle = broken\n"
    )
    init = SessionInit(tmp_path, JOBS, "--verbose", program=broken_program(tmp_path, code))
    client = init.client()
    client.emit("poison", wait=False)
    wait_for(lambda: "Internal error: ZeroDivisionError: poisoned" in init.text())
    wait_for(lambda: "Stateful re-exec completed" in init.text())
    client = init.client_at_last()
    client.emit("go")
    client.wait_status("other", "start/running")
    init.close()


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and namespaces")
def test_pid_1_that_cannot_even_begin_tries_until_it_can(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from upstart.daemon import daemon\n"
        "def broken():\n"
        "    raise RuntimeError('cannot begin')\n"
        f"if not os.path.exists('{tmp_path}/better'):\n"
        "    daemon.Loop = broken\n"
    )
    system = System(tmp_path, program=broken_program(tmp_path, code))
    try:
        wait_for(lambda: "Internal error: RuntimeError: cannot begin" in (tmp_path / "console").read_text())
        (tmp_path / "better").touch()
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        # What failed was the first start: the system is yet to be started.
        wait_for(lambda: "boot" in system.job_log("boot"))
    finally:
        system.close()


def test_memory_that_runs_out_fails_the_client_and_not_init(tmp_path: Path) -> None:
    init = SessionInit(tmp_path, JOBS)
    client = init.client()
    client.start("service")
    pids = client.status("service")[1]
    used = next(
        int(line.split()[1]) for line in Path(f"/proc/{init.pid}/status").read_text().splitlines() if "VmSize" in line
    )
    before = resource.prlimit(init.pid, resource.RLIMIT_AS, ((used << 10) + (6 << 20), resource.RLIM_INFINITY))
    # Each of these events stays pending, held by a condition that is half met.
    big = ["X=" + "x" * 100_000] * 20
    failed = 0
    for _ in range(30):
        try:
            client.call(
                MANAGER, UPSTART, "EmitEvent", "sasb", "big", [f"{n}{word}" for n, word in enumerate(big)], False
            )
        except (DBusError, Gone, OSError):
            failed += 1
            client = init.client_at_last()
    assert failed
    assert init.process.poll() is None
    resource.prlimit(init.pid, resource.RLIMIT_AS, before)
    client = init.client_at_last()
    assert client.status("service") == ("start/running", pids)
    client.stop("service")
    init.close()
