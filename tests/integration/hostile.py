"""A session init for tests that mean it ill, and a client that says exactly the bytes it wants to.

The client builds messages with the daemon's own functions where they are valid, and by hand where they must not be.
`Session` measures what init uses; every wait is for a condition and has an end.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from upstart.dbus import wire

ROOT = Path(__file__).resolve().parents[2]
SBIN = ROOT / "build" / "sbin"
MANAGER = "/com/ubuntu/Upstart"
UPSTART = "com.ubuntu.Upstart0_6"
EXTENSION = "com.ubuntu.Upstart0_6.Extension"
PROPERTIES = "org.freedesktop.DBus.Properties"


def make_programs() -> None:
    """Have the programs of this checkout in build/sbin."""
    subprocess.run([sys.executable, str(ROOT / "build-aux" / "programs.py"), "checkout", str(SBIN)], check=True)


def wait_for(condition: Callable[[], bool], what: str = "condition", seconds: float = 20) -> None:
    """Wait until ``condition`` is true; fails, naming ``what``, if it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


class Session:
    """A session init with the jobs of ``jobs``; ``options`` go to its command line, ``keywords`` to Popen.

    ``program`` is another init than that of this checkout.
    """

    def __init__(
        self,
        directory: Path,
        jobs: Mapping[str, str],
        *options: str,
        program: Path | None = None,
        **keywords: Any,
    ) -> None:
        make_programs()
        self.directory = directory
        self.conf = directory / "conf"
        self.conf.mkdir(parents=True)
        for name, text in jobs.items():
            (self.conf / f"{name}.conf").write_text(text)
        self.environment = {
            "PATH": f"{SBIN}:/usr/bin:/bin",
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "XDG_CACHE_HOME": str(directory / "cache"),
        }
        self.logs = directory / "cache" / "upstart"
        self.messages = directory / "messages"
        command = [str(program or SBIN / "upstart"), "--user", "--confdir", str(self.conf), "--no-startup-event"]
        with self.messages.open("wb") as output:
            keywords = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **keywords}
            self.process = subprocess.Popen([*command, *options], env=self.environment, **keywords)
        file = directory / "upstart" / "sessions" / f"{self.process.pid}.session"
        wait_for(lambda: self.alive() and file.exists() and file.read_text().endswith("\n"), "session file", 60)
        self.address = file.read_text().strip().partition("=")[2]
        self.environment["UPSTART_SESSION"] = self.address

    def alive(self) -> bool:
        assert self.process.poll() is None, self.said()
        return True

    def said(self) -> str:
        """What init has written to its log."""
        return self.messages.read_text(errors="replace")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run initctl."""
        command = [str(SBIN / "initctl"), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)

    def status(self, *words: str) -> str:
        return self.run("status", *words).stdout.strip()

    def resident(self, key: str = "VmRSS") -> int:
        """Memory in kB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise AssertionError(key)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect("\0" + self.address.partition("abstract=")[2])
        return sock

    def client(self, quiet: bool = False) -> Client:
        return Client(self.connect(), quiet)

    def end(self) -> None:
        """End it; it must do so by itself."""
        self.process.terminate()
        try:
            assert self.process.wait(30) == 0, self.said()
        finally:
            self.process.kill()
            self.process.wait()


class Client:
    """An authenticated connection; a ``quiet`` one gets no signals."""

    def __init__(self, sock: socket.socket, quiet: bool = False) -> None:
        self.sock = sock
        self._serial = 0
        self._position = 0
        first = self.message(MANAGER, EXTENSION, "Quiet") if quiet else b""
        user = str(os.getuid()).encode().hex().encode()
        sock.sendall(b"\0AUTH EXTERNAL " + user + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n" + first)
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += sock.recv(4096)
        self._buffer = answer.split(b"\r\n", 2)[2]

    def message(self, path: str, interface: str, member: str, signature: str = "", *values: Any) -> bytes:
        """A method call with the next serial."""
        self._serial += 1
        return wire.call(self._serial, "", path, interface, member, signature, *values)

    def receive(self) -> wire.Message:
        """The next message; EOFError when init has hung up."""
        while True:
            at = self._position
            if len(self._buffer) - at >= wire.FIXED:
                length = wire.message_length(self._buffer, at)
                if len(self._buffer) - at >= length:
                    self._position += length
                    return wire.parse(self._buffer[at : at + length])
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError
            self._buffer = self._buffer[at:] + data
            self._position = 0

    def answer(self, serial: int) -> tuple[Any, ...]:
        """The arguments of the answer to a call, the name of an error in front."""
        while True:
            message = self.receive()
            if message.header.reply_serial == serial:
                error = (message.header.error_name,) if message.type == wire.ERROR else ()
                return (*error, *message.args())

    def call(self, path: str, interface: str, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
        self.sock.sendall(self.message(path, interface, member, signature, *values))
        return self.answer(self._serial)

    def version(self) -> str:
        """Init's version: something to ask for to see that it answers."""
        found: str = self.call(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")[0]
        return found

    def delay(self) -> float:
        """Seconds until init has answered."""
        began = time.monotonic()
        self.version()
        return time.monotonic() - began

    def close(self) -> None:
        self.sock.close()
