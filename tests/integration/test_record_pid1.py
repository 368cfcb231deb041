"""A record of PID 1 from its start: nothing of the boot is missing, and it goes on across a re-exec."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import JOBS, System
from test_record_init import replayed, states

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"), reason="needs root and namespaces"
)

MORE = {
    "after": "start on stopped boot and started service\ntask\nexec true\n",
    "net": "start on net-device-up IFACE=lo\nenv SECRET=geheim\nexec sleep 1000\n",
}
#: Where the file system can be written from the beginning, and where it can only be later.
PLACES = {"memory": "/run/boot", "later": "/run/disk/boot"}


@pytest.mark.parametrize("place", PLACES)
def test_a_boot_is_recorded_whole(tmp_path: Path, place: str) -> None:
    path = PLACES[place]
    system = System(tmp_path, "--record", path, more=MORE)
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "net"))
        if place == "later":
            assert system.run("mkdir", "/run/disk").returncode == 0
        wait_for(lambda: system.run("test", "-s", path).returncode == 0)
        assert system.run("stat", "-c", "%a %u", path).stdout == "600 0\n"
        assert "Already recording to" in system.initctl("record", "/run/another")
        system.initctl("emit", "control-alt-delete")
        assert system.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        wait_for(lambda: "Stateful re-exec completed" in system.kmsg())
        wait_for(lambda: "start/running" in system.initctl("restart", "net"))
        system.initctl("emit", "--no-wait", "power-status-changed")
        listed = system.initctl("list")
        assert system.initctl("record", "--stop") == f"Recorded to {path}\n"
        record = tmp_path / "record"
        record.write_text(system.run("cat", path).stdout)
    finally:
        system.close()
    replay = replayed(record, checks=2)
    names = [entry[1].args["name"] for entry in replay.record.entries if entry[0] == "in" and entry[1].name == "emit"]
    assert names[0] == "startup" and "net-device-up" in names and "power-status-changed" in names
    assert {name for _, name in replay.engine.jobs} == {*JOBS, *MORE} - {"broken"}
    assert ("service", "", "start", "running") in states(replay)
    assert "geheim" not in record.read_text()
    shown = subprocess.run([PROGRAMS / "init-replay", record], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    lines = {line.strip() for line in shown.stdout.partition("\nAt ")[2].splitlines()}
    # Tasks may have ended in between.
    live = {line for line in listed.splitlines() if line.startswith(("service ", "daemon ", "net "))}
    assert len(live) == 3 and live <= lines
    explained = subprocess.run(
        [PROGRAMS / "init-replay", "--until=startup", "--explain=held", record], capture_output=True, text=True
    )
    assert "has come: startup at " in explained.stdout and "is missing: never; it has not been" in explained.stdout
