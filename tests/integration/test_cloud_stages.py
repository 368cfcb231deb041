"""cloud-init's jobs on a real init that re-executes itself in each of their stages, as an upgrade has it do."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"), reason="needs root and namespaces"
)

ROOT = Path(__file__).parents[2]
EVENTS = "/run/upstart/events"
STAGES = ("init --local", "init", "modules --mode=config", "modules --mode=final")
#: What surrounds them in a boot: the network, which waits; mountall, which goes on; devices, and the scripts of rc.
OTHERS = {
    "ifupdown": f"start on started interfaces\nexec echo static-network-up 1<>{EVENTS}\n",
    "interfaces": "start on mounted MOUNTPOINT=/\n",
    "mountall": f"start on stopped cloud-init-mounted\ntask\nexec echo filesystem 1<>{EVENTS}\n",
    "udev-finish": "start on startup\n",
    "rc": "start on filesystem\nenv RUNLEVEL=2\nexport RUNLEVEL\ntask\nexec true\n",
}
#: The program: each stage is told of, has init re-execute itself, and takes a while.
PROGRAM = """#!/bin/sh
echo "begin $*" >>{log}
cksum </proc/1/auxv >{log}.before
telinit u
while cksum </proc/1/auxv | cmp -s - {log}.before; do sleep 0.05; done
until initctl version >/dev/null 2>&1; do sleep 0.05; done
sleep 0.3
status cloud-init-mounted MOUNTPOINT=/ >>{log} 2>&1
echo "end $*" >>{log}
"""


def test_each_stage_runs_once_in_its_order_and_holds_what_it_has_to(tmp_path: Path) -> None:
    log = tmp_path / "log.stages"
    step = tmp_path / "step"
    text = (ROOT / "src/libexec/cloud-init-step").read_text()
    text = text.replace("PATH=/sbin", f"PATH={tmp_path}/bin:{PROGRAMS}:/sbin")
    text = text.replace("/etc/init/", f"{tmp_path}/conf/")
    step.write_text(text.replace("/usr/lib/python3", "/none").replace("/usr/lib/cloud-init", "/none"))
    program = tmp_path / "bin/cloud-init"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(log=log))
    for path in (step, program):
        path.chmod(0o755)
    jobs = {
        path.stem: path.read_text().replace("/usr/libexec/upstart/cloud-init-step", str(step))
        for path in (ROOT / "debian/jobs").glob("cloud-*.conf")
    }
    system = System(tmp_path, more=OTHERS | jobs)
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "udev-finish"))
        system.initctl("emit", "--no-wait", "mounted", "MOUNTPOINT=/", "TYPE=ext4")
        end = f"end {STAGES[-1]}\n"
        wait_for(lambda: log.exists() and log.read_text().endswith(end), 60)
        lines = log.read_text().splitlines()
        told = [line for line in lines if line.startswith(("begin", "end"))]
        assert told == [f"{what} {stage}" for stage in STAGES for what in ("begin", "end")]
        # The file system is held up during the first two.
        between = [lines[lines.index(f"end {stage}") - 1] for stage in STAGES]
        assert ["cloud-init-mounted (/) start/running" in line for line in between] == [True, True, False, False]
        wait_for(lambda: not re.search("^cloud.* start/", system.initctl("list"), re.M))
        assert "Internal error" not in system.kmsg()
    finally:
        system.close()
