"""The System V commands while PID 1 is not Upstart: in namespaces whose first process is no init at all.

Nothing here can reach the machine: /run, in which the commands look for the init that there is, and /usr/bin/systemctl
are the namespaces' own, as is the name of Upstart's socket.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_init import PROGRAMS, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making namespaces needs root")

#: Signals 32 and 33 are the C library's own: no program can change what it inherits of them. As bits of proc(5).
LIBRARY_SIGNALS = 3 << 31

#: Becomes PID 1 of the namespaces. What systemctl is asked for is a line of a file.
ENTER = r"""
test $$ = 1
mount -t tmpfs tmpfs "$W"
mkdir "$W/upper" "$W/work"
cat >"$W/upper/systemctl" <<'EOF'
#!/bin/sh
echo "$@" $(sed -n 's/^Sig\(Blk\|Ign\)://p' /proc/self/status) >/run/asked
EOF
chmod 755 "$W/upper/systemctl"
mount -t overlay -o "lowerdir=/usr/bin,upperdir=$W/upper,workdir=$W/work" overlay /usr/bin
mount -t tmpfs tmpfs /run
: >/run/utmp
: >/run/ready
exec sleep 1000
"""


class Machine:
    """The namespaces; ``root`` is their root directory as seen from here."""

    def __init__(self, directory: Path) -> None:
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--net", "--mount", "--ipc", "--uts", "--mount-proc"]
        self.process = subprocess.Popen(
            [*unshare, "/bin/sh", "-ec", ENTER],
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "W": str(directory)},
        )
        self.pid = wait_for(self._find)
        self.root = Path(f"/proc/{self.pid}/root")
        wait_for((self.root / "run" / "ready").exists)

    def _find(self) -> int:
        assert self.process.poll() is None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def run(self, name: str, *words: str) -> tuple[int, str]:
        """Run one of our programs inside; its exit status and standard error."""
        assert os.readlink(f"/proc/{self.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
        # Whoever runs the tests may have us ignore signals, as a shell has its background commands.
        defaults = ["env", "--default-signal"]
        enter = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "-i", "-u", "--"]
        done = subprocess.run(
            [*defaults, *enter, str(PROGRAMS / name), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stderr

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


def test_systemd_is_asked_by_way_of_systemctl(machine: Machine) -> None:
    (machine.root / "run" / "systemd" / "system").mkdir(parents=True)
    for words, asked in (
        (["shutdown", "-r", "now"], "reboot"),
        (["shutdown", "-P", "now"], "poweroff"),
        (["shutdown", "-H", "now"], "halt"),
        (["telinit", "2"], "--no-block isolate multi-user.target"),
        (["telinit", "u"], "daemon-reexec"),
    ):
        assert machine.run(*words) == (0, "")
        *words_of_systemctl, blocked, ignored = (machine.root / "run" / "asked").read_text().split()
        assert words_of_systemctl == ["--no-wall", *asked.split()]
        assert int(blocked, 16) == 0 and int(ignored, 16) & ~LIBRARY_SIGNALS == 0


def test_any_other_init_is_asked_by_way_of_its_fifo(machine: Machine) -> None:
    path = machine.root / "run" / "initctl"
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        assert machine.run("shutdown", "-P", "now") == (0, "")
        assert machine.run("telinit", "3") == (0, "")
        requests = list(struct.iter_unpack("=4i368s", os.read(fifo, 4096)))
    finally:
        os.close(fifo)
    assert [(number, level, data.rstrip(b"\0")) for _, number, level, _, data in requests] == [
        (6, 0, b"INIT_HALT=POWEROFF"),
        (1, ord("0"), b""),
        (1, ord("3"), b""),
    ]
    assert {magic for magic, *_ in requests} == {0x03091969}


def test_where_nobody_listens_that_is_told_at_once(machine: Machine) -> None:
    os.mkfifo(machine.root / "run" / "initctl")
    began = time.monotonic()
    assert machine.run("shutdown", "-h", "now") == (1, "shutdown: Unable to shutdown system\n")
    status, text = machine.run("telinit", "2")
    assert status == 1 and "Failed to connect to socket /com/ubuntu/upstart" in text
    assert time.monotonic() - began < 20
