"""The udev bridge at a real init: what udev tells arrives, killed or restarted in the middle, and only where wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import STATES, Bridged, resident, switches
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import pytestmark

__all__ = ["pytestmark"]

pytest.importorskip("pyudev")

SENDER = Path(__file__).with_name("udev_sender.py")
STATE = f"{STATES}/udev.json"
BRIDGE = "upstart-udev-bridge"
#: Writes down what it was started by, and with what.
HEAR = "start on foo-device-added or foo-device-changed or foo-device-removed\n" + (
    "instance $KERNEL$ACTION$SEQNUM$N\ntask\nconsole none\nexec sh -c 'env >>$W/heard/$UPSTART_EVENTS-$KERNEL-$N'\n"
)


class Udev(Bridged):
    """A system in which udev seems to run, and whose devices are made up."""

    names = ("udev",)

    def prepare(self) -> None:
        super().prepare()
        # No rules of udev tell of anything here.
        self.write(BRIDGE, "start on awaited EVENT=*-device-*[de]\n", "override")
        self.run("sh", "-c", "mkdir -p /run/udev/data; : >/run/udev/control; mount -t sysfs sysfs /sys")
        (self.directory / "heard").mkdir()

    def tell(self, *messages: list[str | bytes]) -> None:
        text = "".join(f"{message!r}\n" for message in messages)
        self.inside("/usr/bin/python3", "-IS", str(SENDER), text=text.encode())

    def heard(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "heard").iterdir())


@pytest.fixture
def udev(tmp_path: Path) -> Iterator[Udev]:
    udev = Udev(tmp_path)
    try:
        udev.prepare()
        yield udev
        assert "Internal error" not in udev.kmsg()
    finally:
        udev.close()


def device(number: int, action: str = "add", *properties: str | bytes) -> list[str | bytes]:
    return [action, f"/devices/virtual/foo/foo{number}", "foo", f"N={number}", *properties]


def test_it_runs_while_a_job_waits_for_a_device_and_tells_what_udev_says(udev: Udev) -> None:
    assert udev.status(BRIDGE) == f"{BRIDGE} stop/waiting\n"
    udev.write("other", "start on net-device-up IFACE=eth0\nexec true\n")
    assert udev.status(BRIDGE) == f"{BRIDGE} stop/waiting\n"
    udev.write("hear", HEAR)
    udev.host()
    odd: list[str | bytes] = [b"ODD=\xff\xc3\xa4", "LINE=a\x01b", "DEVNAME=/dev/foo1", "MAJOR=1"]
    udev.tell(device(1, "add", *odd), ["add", "/devices/bar0", "bar"], device(1, "add"), device(1, "change"))
    udev.tell(device(1, "remove"))
    wait_for(lambda: udev.heard() == [f"foo-device-{word}-foo1-1" for word in ("added", "changed", "removed")])
    lines = (udev.directory / "heard" / "foo-device-added-foo1-1").read_text().splitlines()
    assert {"KERNEL=foo1", "DEVPATH=/devices/virtual/foo/foo1", "DEVNAME=/dev/foo1", "SUBSYSTEM=foo", "ACTION=add",
            "ODD=\\xffä", "LINE=a\\x01b", "MAJOR=1", "SEQNUM=1"} <= set(lines)  # fmt: skip
    assert udev.count("bar-device-added") == 0 and udev.count("foo-device-added") == 1
    (udev.directory / "conf" / "hear.conf").unlink()
    udev.initctl("reload-configuration")
    wait_for(lambda: udev.status(BRIDGE) == f"{BRIDGE} stop/waiting\n")


def test_devices_that_are_there_are_told_of_and_not_again_after_it_was_killed(udev: Udev) -> None:
    udev.run("sh", "-c", "ip link add dum0 type bridge; for i in $(cat /sys/class/net/*/ifindex); do"
             " printf 'I:%s\\nE:ID_TEST=1\\n' 77 >/run/udev/data/n$i; done")  # fmt: skip
    udev.write("net", "start on net-device-added INTERFACE=dum0 ID_TEST=1\ntask\nexec echo here\n")
    pid = udev.host()
    wait_for(lambda: udev.job_log("net") == "here\n")
    wait_for(lambda: "dum0" in udev.run("cat", STATE).stdout)
    told = udev.count("net-device-added")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "respawning" in udev.kmsg())
    assert udev.host() != pid
    more = "ip link add dum1 type bridge; printf 'I:78\\n' >/run/udev/data/n$(cat /sys/class/net/dum1/ifindex)"
    udev.run("sh", "-c", more)
    pid = udev.host()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: udev.count("net-device-added") == told + 1)
    udev.write("gone", "start on net-device-removed INTERFACE=dum0\ntask\nexec echo gone\n")
    udev.write("gone2", "start on net-device-removed KERNEL=dum0\ntask\nexec echo gone\n")
    wait_for(lambda: udev.initctl("stop", BRIDGE) == f"{BRIDGE} stop/waiting\n")
    udev.run("ip", "link", "del", "dum0")
    udev.initctl("start", BRIDGE)
    wait_for(lambda: udev.job_log("gone2") == "gone\n")
    assert udev.job_log("net") == "here\n"


def test_nothing_is_lost_by_re_execs_of_init(udev: Udev) -> None:
    udev.write("hear", "start on foo-device-added N=none\nexec true\n")
    pid = udev.host()
    sent = 0
    for _ in range(3):
        udev.tell(*(device(number) for number in range(sent, sent + 300)))
        count = udev.kmsg().count("Stateful re-exec completed")
        assert udev.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        udev.tell(*(device(number) for number in range(sent + 300, sent + 600)))
        sent += 600
        wait_for(lambda count=count: udev.kmsg().count("Stateful re-exec completed") > count)  # type: ignore[misc]
    wait_for(lambda: udev.count("foo-device-added") >= sent, 30)
    # What was under way when init went may have arrived.
    assert udev.count("foo-device-added") <= sent + 3 * 256
    assert udev.host() == pid


def test_a_flood_leaves_init_answering_and_it_small(udev: Udev) -> None:
    udev.write("hear", "start on foo-device-added N=none or foo-device-changed N=none\nexec true\n")
    pid = udev.host()
    udev.tell(*(device(number) for number in range(3000)))
    udev.tell(*(device(number % 50, "change") for number in range(3000)), device(9999))
    began = time.monotonic()
    assert udev.initctl("version").startswith("init (")
    assert time.monotonic() - began < 2
    wait_for(lambda: udev.count("foo-device-added") == 3001, 30)
    assert resident(pid) < 30000


def test_it_sleeps_while_nothing_happens(udev: Udev) -> None:
    udev.write("hear", HEAR)
    pid = udev.host()
    time.sleep(0.5)
    before = switches(pid)
    # Init has much to tell, and nothing that concerns it.
    for _ in range(5):
        udev.initctl("emit", "unheard")
        udev.tell(["add", "/devices/bar0", "bar"])
    time.sleep(1)
    assert switches(pid) == before
    assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16]) == 10


def test_without_an_init_it_fails_and_says_so() -> None:
    bridge = str(PROGRAMS / "upstart-udev-bridge")
    command = ["unshare", "-n", bridge]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "upstart-udev-bridge: Could not connect to Upstart: Connection refused\n"
    assert subprocess.run([*command, "--daemon"], timeout=20).returncode == 1
    environ = {key: value for key, value in os.environ.items() if key != "UPSTART_SESSION"}
    result = subprocess.run([bridge, "--user"], capture_output=True, text=True, timeout=20, env=environ)
    assert result.returncode == 1 and "UPSTART_SESSION isn't set in the environment" in result.stderr
