"""The recovery mode in a booted root: its menu in the place of a boot, a job switched off there, the boot after it.

`make vm-recovery` has what only a machine can show.
"""

from __future__ import annotations

from pathlib import Path

import archive
import pytest
import root
import run
from container import Container, wait_for

HANG = 'description "a job that never ends"\nstart on mounted MOUNTPOINT=/\ntask\nexec sleep 100000\n'


def test_a_job_that_holds_up_the_boot_is_switched_off_and_all_services_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    release = archive.host_release()
    path, packages, files = run.prepare("upstart", release)
    packages = [*packages, *(root.BUILD / "deb" / release).glob("upstart-recovery_*.deb")]
    said = bytearray()

    def answer(question: bytes, text: str) -> None:
        """Types an answer, again if who asks has thrown away what came before it listened."""
        assert wait_for(lambda: question in said, 60), said
        said.clear()
        container.type(f"{text}\n")

    init = ["/usr/bin/env", "container=lxc", "/sbin/init", "recovery"]
    with Container(path, init, packages, files, said.extend) as container:
        # Root's password is empty.
        container.path("/etc/shadow").write_text("root::19000:0:99999:7:::\n")
        container.path("/etc/init/hang.conf").write_text(HANG)
        boot = run.Boot(container, 60)
        container.boot()
        assert wait_for(lambda: b"for maintenance" in said, 60), said
        for _ in range(60):
            container.type("\n")
            if wait_for(lambda: b"Recovery menu" in said, 1):
                break
        running = [line for line in container.run("initctl", "list").stdout.splitlines() if "start/running" in line]
        assert [line.split()[0] for line in running] == ["recovery"], running
        assert container.run("runlevel").stdout == "unknown\n"
        # What was typed too much may have had the menu come again.
        assert wait_for(lambda: said.endswith(b"go back: "), 10), said
        answer(b"go back: ", "disable")
        answer(b"a job that never ends", "hang")
        answer(b"No event starts hang any more", "")
        answer(b"go back: ", "resume")
        assert wait_for(lambda: container.run("runlevel").stdout == "N 2\n", 60), said
        jobs = ("rsyslog", "cron", "networking", "console")
        states = [f"{job} start/running" for job in jobs]

        def run_all() -> bool:
            listed = container.run("initctl", "list").stdout
            return all(state in listed for state in states)

        assert wait_for(run_all, 60), container.run("initctl", "list").stdout
        for job in ("hang", "recovery"):
            assert container.run("status", job).stdout == f"{job} stop/waiting\n"
        assert boot.stop().startswith("PID 1 switched the system off")
