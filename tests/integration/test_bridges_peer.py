"""The original's local, udev and D-Bus bridge beside ours: each works with the other's init, and tells the same.

Runs where the variable PEER names the prefix of a built original (sbin/init, sbin/initctl and the bridges).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_bus import POLICY
from test_daemon_pid1 import System
from test_daemon_pid1 import pytestmark as needs_namespaces
from test_udev_bridge import SENDER

PEER = os.environ.get("PEER", "")
pytestmark = [needs_namespaces, pytest.mark.skipif(not PEER, reason="PEER names no original")]

#: What no two runs have in common, what init gives to every process, and what the original does not tell.
OTHER = ("CLIENT_PID", "SENDER", "PATH", "TERM", "PWD", "OLDPWD", "SHLVL", "_")
MORE = ("SENDER_UNIQUE",)
SAY = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/s'); s.sendall(b'A=x y\\nB=1\\n')"


class Case:
    """A bridge, its options, what a job waits for, and what then happens."""

    def __init__(self, options: str, condition: str, happen: Callable[[System], object], env: str = "") -> None:
        self.options = options
        self.condition = condition
        self.happen = happen
        self.env = env


def tell_of_device(system: System) -> None:
    message = ["add", "/devices/virtual/foo/foo1", "foo", "DEVNAME=/dev/foo1", "N=1", "LINE=a b"]
    command = f'echo "{message!r}" | /usr/bin/python3 -IS {SENDER}'
    assert system.run("sh", "-c", command).returncode == 0


def send_signal(system: System) -> None:
    words = ("--type=signal", "/a/b", "org.example.Iface.Rang", "string:door", "uint32:5", "boolean:true", "double:1.5")
    assert system.run("dbus-send", f"--bus={address(system)}", *words, "objpath:/c").returncode == 0


def address(system: System) -> str:
    return f"unix:path={system.directory}/bus"


CASES = {
    "local": Case("--event said --path /run/s", "said A=*", lambda system: system.run("/usr/bin/python3", "-c", SAY)),
    "udev": Case("", "foo-device-added", tell_of_device),
    "dbus": Case("--system", "dbus SIGNAL=Rang", send_signal, "env DBUS_SYSTEM_BUS_ADDRESS={address}\n"),
}


def told(directory: Path, name: str, init: str, bridge: str, initctl: str) -> list[str]:
    """The variables that the job has from the event, in their order."""
    case = CASES[name]
    directory.mkdir()
    system = System(directory, program=Path(init))
    try:
        wait_for(lambda: system.run(initctl, "version").returncode == 0)
        system.run("sh", "-c", "mkdir -p /run/udev/data; : >/run/udev/control; mount -t sysfs sysfs /sys")
        conf = directory / "conf"
        (directory / "bus.conf").write_text(POLICY.format(address=address(system)))
        (conf / "bus.conf").write_text(f"exec dbus-daemon --config-file={directory}/bus.conf --nofork --nopidfile\n")
        env = case.env.format(address=address(system))
        (conf / "bridge.conf").write_text(f"expect daemon\n{env}exec {bridge} --daemon {case.options}\n")
        (conf / "hear.conf").write_text(f"start on {case.condition}\ntask\nexec sh -c 'env; echo end'\n")
        wait_for(lambda: "stop/waiting" in system.run(initctl, "status", "hear").stdout)
        system.run(initctl, "start", "bus")
        wait_for((directory / "bus").exists)
        started = system.run(initctl, "start", "bridge")
        assert "start/running" in started.stdout, started

        def heard() -> str:
            # The original's is a daemon before it watches.
            case.happen(system)
            before, end, _ = system.job_log("hear").partition("end\n")
            return before if end else ""

        lines: list[str] = wait_for(heard, 15).splitlines()
        return [line for line in lines if not line.startswith("UPSTART_") and line.partition("=")[0] not in OTHER]
    finally:
        system.close()


@pytest.mark.parametrize("name", CASES)
def test_each_tells_the_same_at_either_init(name: str, tmp_path: Path) -> None:
    theirs, ours = f"{PEER}/sbin", str(PROGRAMS)
    bridge = f"upstart-{name}-bridge"
    if not os.path.exists(f"{theirs}/{bridge}"):
        pytest.skip("was not built")
    said = [
        told(tmp_path / f"{number}", name, f"{init}/init", f"{at}/{bridge}", f"{init}/initctl")
        for number, (init, at) in enumerate(((theirs, theirs), (ours, theirs), (theirs, ours), (ours, ours)))
    ]
    more = [line for line in said[-1] if line.partition("=")[0] in MORE]
    assert len(said[0]) > 3 and len(more) == (name == "dbus")
    without = [[line for line in each if line not in more and line.partition("=")[0] not in MORE] for each in said]
    assert without == 4 * [said[0]]
