"""The socket bridge of a system, by its shipped jobs: from when on it listens, and that it shares its process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_system import Bridged, shipped, switches
from daemon_init import PROGRAMS, wait_for
from test_daemon_pid1 import pytestmark
from test_socket_bridge import SERVE

__all__ = ["pytestmark"]

JOB = "upstart-socket-bridge"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin"
SERVER = (
    "start on socket PROTO=tcp PORT=80 or socket PROTO=unix PATH=/run/server/socket OWNER=nobody MODE=0660\n"
    f"respawn\nsetuid nobody\nexec /usr/bin/python3 -IS /run/serve.py serve {PATH}\n"
)
ASK = "import socket; s = socket.create_connection(('127.0.0.1', 80), 10); print(s.recv(100).decode())"


class Server(Bridged):
    names = ("socket",)

    def prepare(self) -> None:
        self.place("server", SERVER)
        super().prepare()
        # Where everybody gets to it.
        (self.directory / "serve.py").write_text(SERVE)
        self.inside("cp", f"{self.directory}/serve.py", "/run/serve.py")

    def ask(self) -> str:
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "--", "/usr/bin/python3", "-c", ASK]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def listens(self) -> bool:
        return bool(re.search(":0050 [0-9A-F:]+ 0A ", self.run("cat", "/proc/net/tcp6").stdout))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.prepare()
        yield server
        assert "Internal error" not in server.kmsg()
    finally:
        server.close()


def test_it_listens_from_the_local_file_systems_on(server: Server) -> None:
    server.place("boot-again", "start on again\ntask\nexec true\n")
    server.place("upstart-socket-wait", shipped("upstart-socket-wait", server.directory).replace("startup", "again"))
    server.wait_running()
    assert server.listens()
    server.initctl("stop", JOB)
    assert server.listens(), "init has it"
    # As at a boot.
    server.reload()
    server.initctl("emit", "again")
    assert "upstart-socket-wait start/running" in server.status("upstart-socket-wait")
    server.initctl("start", "--no-wait", JOB)
    assert server.status(JOB) == f"{JOB} start/starting\n"
    server.initctl("emit", "--no-wait", "local-filesystems")
    server.wait_running()
    assert "stop/waiting" in server.status("upstart-socket-wait")
    server.initctl("stop", JOB)
    server.initctl("start", JOB)
    server.wait_running()


def test_it_sleeps_while_nobody_connects(server: Server) -> None:
    pid = server.host()
    time.sleep(0.5)
    before = switches(pid)
    time.sleep(3)
    assert switches(pid) == before
    state = server.run(str(PROGRAMS / "upstart-bridges"), "--status").stdout
    assert "watches tcp :: 80 for server: watched\n" in state
    assert "watches unix /run/server/socket for server: watched\n" in state
    assert re.match(r"socket: process \d+, 0 events\n", state)
    assert server.ask()
    state = server.run(str(PROGRAMS / "upstart-bridges"), "--status").stdout
    assert "watches tcp :: 80 for server: handed over\n" in state
    assert re.match(r"socket: process \d+, 1 events, the last ", state)


def test_a_service_without_rights_has_its_port_whoever_is_killed(server: Server) -> None:
    server.wait_running()
    assert server.ask().startswith("server ")
    info = server.run("stat", "-c", "%U %a", "/run/server/socket").stdout
    assert info == "nobody 660\n"
    for _ in range(3):
        os.kill(server.host(), signal.SIGKILL)
        server.initctl("stop", "server")
        server.restart_init()
        assert server.ask().startswith("server ")
    text = server.run("/bin/sh", "-c", "ls -l /proc/$0/fd", server.status("server").split()[-1]).stdout
    assert "3 -> socket:" in text and "4 -> socket:" in text
    server.remove("server")
    server.initctl("stop", "server")
    server.wait_stopped("socket")
    wait_for(lambda: not server.listens())
    assert server.run("ls", "/run/server").stdout == ""
