"""The end of a system in a PID namespace, as those who run containers ask for it and see it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System, pytestmark

__all__ = ["pytestmark"]

RTMIN = 34
#: As containers of Docker and Podman are run.
WITHOUT_REBOOT = ("setpriv", "--bounding-set", "-sys_boot")


def booted(directory: Path, by: tuple[str, ...] = ()) -> System:
    system = System(directory, by=by)
    try:
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        # The history of the system is the host's in this namespace.
        assert system.run("mount", "-t", "tmpfs", "tmpfs", "/var/log").returncode == 0
    except BaseException:
        system.close()
        raise
    return system


def test_term_from_outside_ends_the_system_and_any_other_re_executes_init(tmp_path: Path) -> None:
    system = booted(tmp_path)
    try:
        system.run("kill", "-TERM", "1")
        wait_for(lambda: "Stateful re-exec completed" in system.kmsg())
        wait_for(lambda: "start/running" in system.initctl("status", "service"))
        assert system.job_log("rc") == ""
        os.kill(system.pid, signal.SIGTERM)
        wait_for(lambda: system.job_log("rc") == "0 N POWEROFF\n")
        assert system.kmsg().count("Stateful re-exec completed") == 1
        assert "Asked by who runs this container to end the system" in system.kmsg()
    finally:
        system.close()


@pytest.mark.parametrize(("number", "end"), [(3, "0 N HALT"), (4, "0 N POWEROFF"), (5, "6 N ")])
def test_signals_for_the_end_enter_a_runlevel(tmp_path: Path, number: int, end: str) -> None:
    system = booted(tmp_path)
    try:
        system.run("kill", f"-{RTMIN + number}", "1")
        wait_for(lambda: system.job_log("rc") == end + "\n")
    finally:
        system.close()


@pytest.mark.parametrize(
    ("command", "status", "ended_by"),
    [
        (("kill", f"-{RTMIN + 13}", "1"), 0, signal.SIGINT),
        (("kill", f"-{RTMIN + 14}", "1"), 0, signal.SIGINT),
        (("kill", f"-{RTMIN + 15}", "1"), 133, signal.SIGHUP),
        ((str(PROGRAMS / "halt"), "-f"), 0, signal.SIGINT),
        ((str(PROGRAMS / "poweroff"), "-f"), 0, signal.SIGINT),
        ((str(PROGRAMS / "reboot"), "-f"), 133, signal.SIGHUP),
    ],
)
def test_how_process_1_ends(tmp_path: Path, command: tuple[str, ...], status: int, ended_by: signal.Signals) -> None:
    for name, by, expected in (("without", WITHOUT_REBOOT, status), ("with", (), -ended_by)):
        directory = tmp_path / name
        directory.mkdir()
        system = booted(directory, by)
        try:
            system.run(*by, *command)
            assert system.process.wait(20) == expected
        finally:
            system.close()
