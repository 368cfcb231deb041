"""The process that hosts bridges for their jobs, at a real init: each job is by itself all the same."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import STATES, Bridged, job_of
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import pytestmark

__all__ = ["pytestmark"]

pytest.importorskip("pyudev")

UDEV = job_of("udev")
WANTS = "start on foo-device-added KERNEL=$NAME\nenv NAME=foo1\ntask\nexec true\n"


class Hosts(Bridged):
    names = ("udev",)

    def prepare(self) -> None:
        self.run("sh", "-c", "mkdir -p /run/udev/data; : >/run/udev/control; mount -t sysfs sysfs /sys")
        super().prepare()

    def show(self, *words: str) -> str:
        result = self.run(str(PROGRAMS / "upstart-bridges"), "--status", *words)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        hosts.prepare()
        yield hosts
        assert "Internal error" not in hosts.kmsg()
    finally:
        hosts.close()


def test_its_process_is_there_while_a_job_waits(hosts: Hosts) -> None:
    assert hosts.status("upstart-bridges") == "upstart-bridges stop/waiting\n" and hosts.show() == "No bridges run\n"
    hosts.write("wants", WANTS)
    hosts.host()
    hosts.remove("wants")
    hosts.wait_stopped("udev")
    wait_for(lambda: hosts.status("upstart-bridges") == "upstart-bridges stop/waiting\n")
    assert hosts.run("ls", STATES).stdout.split() == ["hosted", "udev.json"]
    hosts.write("wants", WANTS)
    hosts.host()


def test_it_says_what_is_watched_and_for_whom(hosts: Hosts) -> None:
    hosts.write("wants", WANTS)
    hosts.write("other", "start on foo-device-added KERNEL=foo2 or net-device-added\nexec true\n")
    pid = hosts.host()
    inside = hosts.status("upstart-bridges").split()[-1]
    wait_for(lambda: "other" in hosts.show())
    text = hosts.show().splitlines()
    assert text[0].startswith(f"udev: process {inside}, ")
    assert text[1:] == [
        "    awaits foo-device-added KERNEL=foo1 for wants", "    awaits foo-device-added KERNEL=foo2 for other",
        "    awaits net-device-added for other", "    watches devices of foo", "    watches devices of net",
    ]  # fmt: skip
    ((answer,),) = (json.loads(hosts.show("--json")),)
    (bridge,) = answer["bridges"]
    assert answer["process"] == int(inside) and bridge["name"] == "udev" and bridge["dropped"] == 0
    assert bridge["awaited"][0] == {"event": "foo-device-added", "tests": ["KERNEL=foo1"], "jobs": ["wants"]}
    assert os.stat(f"/proc/{pid}/root{STATES}/{inside}.status").st_mode & 0o777 == 0o600


def test_a_killed_process_comes_back_with_all_that_it_hosts(hosts: Hosts) -> None:
    hosts.write("wants", WANTS)
    pid = hosts.host()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: hosts.host() != pid and "foo-device-added" in hosts.show())
    assert len(hosts.show().splitlines()) == 3
    # One that is told to end, and one that is started by hand where it was stopped, as well.
    for command in ("restart", "stop"):
        pid = hosts.host()
        hosts.initctl(command, "upstart-bridges")
        if command == "stop":
            assert hosts.status(UDEV) == f"{UDEV} start/running\n"
            hosts.initctl("start", "upstart-bridges")
        assert hosts.host() != pid
        wait_for(lambda: "foo-device-added" in hosts.show())


def test_a_bridge_is_stopped_and_started_by_itself(hosts: Hosts) -> None:
    hosts.write("wants", WANTS)
    hosts.host()
    assert hosts.initctl("stop", UDEV) == f"{UDEV} stop/waiting\n"
    assert hosts.show() in ("", "No bridges run\n")
    assert hosts.initctl("start", UDEV) == f"{UDEV} start/running\n"
    hosts.host()
    assert "watches devices of foo" in hosts.show()
    # However quickly that goes.
    for _ in range(5):
        assert hosts.initctl("restart", UDEV) == f"{UDEV} start/running\n"
        assert "watches devices of foo" in hosts.show()


def test_an_override_gives_it_a_process_of_its_own_and_options(hosts: Hosts) -> None:
    hosts.place(UDEV, "env SEPARATE=y\nenv OPTIONS=--always\n", "override")
    hosts.write("wants", WANTS)
    hosts.wait_running("udev")
    alone = f"upstart-bridge-separate ({UDEV})"
    assert hosts.status("upstart-bridges") == "upstart-bridges stop/waiting\n"
    assert hosts.initctl("list").count("upstart-bridge-separate") == 1
    text = hosts.run(str(PROGRAMS / "initctl"), "list").stdout
    (line,) = [line for line in text.splitlines() if line.startswith("upstart-bridge-separate")]
    assert line.startswith(f"{alone} start/running, process ")
    wait_for(lambda: "watches all devices" in hosts.show())
    inside = line.split()[-1]
    hosts.run("kill", "-9", inside)
    wait_for(lambda: f"{alone} start/running, process" in hosts.initctl("list") and inside not in hosts.show()
             and "watches all devices" in hosts.show())  # fmt: skip
    assert hosts.initctl("stop", UDEV) == f"{UDEV} stop/waiting\n"
    wait_for(lambda: hosts.show() == "No bridges run\n")
    # The shared one takes options, too.
    hosts.remove(UDEV, "override")
    hosts.write(UDEV, "env OPTIONS=--always\n", "override")
    hosts.initctl("start", UDEV)
    assert "watches all devices" in hosts.show()
    hosts.write(UDEV, "env OPTIONS=--nonsense\n", "override")
    hosts.initctl("stop", UDEV)
    assert "Job failed to start" in hosts.initctl("start", UDEV)
    hosts.write(UDEV, "manual\n", "override")
    assert hosts.status(UDEV) == f"{UDEV} stop/waiting\n"


def test_where_its_process_cannot_run_the_job_fails_and_waits_for_nothing(hosts: Hosts) -> None:
    hosts.write("upstart-bridges", "exec /nonexistent\n", "override")
    assert "start/running" not in hosts.initctl("start", UDEV)
    hosts.wait_stopped("udev")
    hosts.remove("upstart-bridges")
    assert "Job failed to start" in hosts.initctl("start", UDEV)
    hosts.wait_stopped("udev")


def test_a_process_that_keeps_ending_takes_the_jobs_with_it(hosts: Hosts) -> None:
    hosts.write("wants", WANTS)
    pid = hosts.host()
    for _ in range(11):
        os.kill(pid, signal.SIGKILL)
        found = wait_for(lambda pid=pid: another(hosts, pid))  # type: ignore[misc]
        if found < 0:
            break
        pid = found
    hosts.wait_stopped("udev")
    assert hosts.run("ls", f"{STATES}/hosted").stdout == ""
    hosts.initctl("start", UDEV)
    hosts.host()


def another(hosts: Hosts, pid: int) -> int:
    """The process that has come in another's place, -1 where none does; 0 while that is not known."""
    status = hosts.status("upstart-bridges")
    if "stop/waiting" in status:
        return -1
    new = hosts.pid_of("upstart-bridges") if "start/running" in status else pid
    return new if new != pid and os.path.exists(f"/proc/{new}") else 0


def test_several_have_one_process_or_one_each_by_hand(hosts: Hosts) -> None:
    hosts.write("wants", WANTS)
    hosts.initctl("stop", UDEV)
    program = str(PROGRAMS / "upstart-bridges")
    assert hosts.run(program, "nothing").stderr == "upstart-bridges: Unknown bridge: nothing\n"
    for words in (["udev"], ["--separate", "udev"]):
        assert hosts.run(program, "--daemon", *words).returncode == 0
        line = hosts.show().partition("\n")[0]
        assert line.startswith("udev: process ")
        inside = line.split()[2].rstrip(",")
        hosts.run("kill", inside)
        wait_for(lambda: hosts.show() == "No bridges run\n")
    hosts.initctl("start", UDEV)
    result = hosts.run(program)
    assert (result.returncode, result.stderr) == (1, "upstart-bridges: Another process runs the bridges already\n")


def test_one_that_nobody_waits_for_does_not_stay(hosts: Hosts) -> None:
    hosts.initctl("start", UDEV)
    hosts.wait_stopped("udev")
    wait_for(lambda: hosts.status("upstart-bridges") == "upstart-bridges stop/waiting\n")
    hosts.write(UDEV, "env OPTIONS=--always\n", "override")
    hosts.initctl("start", UDEV)
    hosts.host()
    assert "watches all devices" in hosts.show()
