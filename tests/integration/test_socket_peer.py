"""The original's socket bridge beside ours: it works with our init, and ours tells what it tells.

Runs where the variable PEER names the prefix of a built original (sbin/init, sbin/upstart-socket-bridge).
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import System, pytestmark

__all__ = ["pytestmark"]

PEER = os.environ.get("PEER", "")
BRIDGE = f"{PEER}/sbin/upstart-socket-bridge"
needs_peer = pytest.mark.skipif(not PEER or not os.path.exists(BRIDGE), reason="PEER names no original")

#: Says what it was given, and then one after the other to whoever connects which process it is.
SERVE = """\
import os, socket
names = ("PROTO", "PORT", "ADDR", "UPSTART_EVENTS", "UPSTART_JOB", "UPSTART_INSTANCE")
print(*(f"{name}={os.environ.get(name)}" for name in names), flush=True)
server = socket.socket(fileno=int(os.environ["UPSTART_FDS"]))
while True:
    with server.accept()[0] as client:
        client.sendall(str(os.getpid()).encode())
"""
ASK = """\
import socket
with socket.create_connection(("127.0.0.1", 8000), 10) as client:
    print(client.recv(100).decode())
"""


class Peer(System):
    def python(self, text: str) -> str:
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "--", "/usr/bin/python3", "-c", text]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    def begin(self, bridge: str, initctl: str) -> None:
        (self.directory / "serve.py").write_text(SERVE)
        serve = f"/usr/bin/python3 -IS {self.directory}/serve.py"
        job = f"start on socket PROTO=inet PORT=8000\nrespawn\nrespawn limit unlimited\nexec {serve}\n"
        (self.directory / "conf" / "web.conf").write_text(job)
        (self.directory / "conf" / "bridge.conf").write_text(f"exec {bridge}\n")
        self.run("ip", "link", "set", "lo", "up")
        wait_for(lambda: "stop/waiting" in self.run(initctl, "status", "web").stdout)
        self.run(initctl, "start", "bridge")
        wait_for(lambda: ":1F40 " in self.run("cat", "/proc/net/tcp").stdout)
        # The original's listens before it watches.
        time.sleep(0.3)


def heard(directory: Path, init: str, bridge: str, initctl: str) -> tuple[str, Peer]:
    """What the first of a job's processes says."""
    directory.mkdir()
    system = Peer(directory, program=Path(init))
    try:
        system.begin(bridge, initctl)
        assert system.python(ASK).isdigit()
        return wait_for(lambda: system.job_log("web").partition("\n")[0]), system
    except BaseException:
        system.close()
        raise


def begins_anew(system: Peer) -> None:
    """The socket is open in each of the job's processes, whoever has made it."""
    for _ in range(3):
        pid = system.python(ASK)
        system.run("kill", "-9", pid)
        wait_for(lambda pid=pid: system.python(ASK) != pid)  # type: ignore[misc]
    pid = system.python(ASK)
    system.initctl("restart", "web")
    assert system.python(ASK) != pid


@needs_peer
def test_all_bridges_tell_the_same_and_the_original_s_works_with_our_init(tmp_path: Path) -> None:
    ours, theirs = f"{PROGRAMS}/init", f"{PEER}/sbin/init"
    said = []
    for number, (init, bridge, initctl) in enumerate((
        (theirs, BRIDGE, f"{PEER}/sbin/initctl"),
        (ours, BRIDGE, f"{PROGRAMS}/initctl"),
        (ours, f"{PROGRAMS}/upstart-socket-bridge", f"{PROGRAMS}/initctl"),
    )):  # fmt: skip
        text, system = heard(tmp_path / str(number), init, bridge, initctl)
        try:
            said.append(text)
            if init == ours:
                begins_anew(system)
        finally:
            system.close()
    assert len(set(said)) == 1, said
