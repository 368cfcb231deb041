"""An init under test, and a client that speaks D-Bus to it byte by byte.

`SessionInit` runs build/sbin/init --user in a directory of its own; it ends with the test, and with it all that it
started.
"""

from __future__ import annotations

import array
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upstart.base.paths import escape
from upstart.dbus import wire

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "build" / "sbin"
MANAGER = "/com/ubuntu/Upstart"
UPSTART = "com.ubuntu.Upstart0_6"
EXTENSION = UPSTART + ".Extension"
JOB = UPSTART + ".Job"
INSTANCE = UPSTART + ".Instance"
PEER = "org.freedesktop.DBus.Peer"
PROPERTIES = "org.freedesktop.DBus.Properties"
SECONDS = 10.0


def wait_for(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true value of ``what``; fails where there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


def on_terminal(words: list[str], environ: dict[str, str], check: bool = False) -> bytes:
    """What a command shows on a terminal; with ``check`` it has to succeed."""
    main, sub = os.openpty()
    subprocess.run(words, env=environ, stdout=sub, check=check, timeout=20)
    os.close(sub)
    shown = b""
    try:
        while data := os.read(main, 65536):
            shown += data
    except OSError:
        pass  # nobody has the other side any more
    os.close(main)
    return shown


class Gone(Exception):
    """The connection was closed."""


class DBusError(Exception):
    """An error reply."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name.removeprefix(UPSTART + ".Error.")
        self.text = text


class Client:
    """A connection to a private socket."""

    def __init__(self, address: str, authenticate: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        wait_for(lambda: self._connect("\0" + address.removeprefix("unix:abstract=")))
        self.serial = 0
        self.signals: list[wire.Message] = []
        #: The descriptors that came with answers.
        self.fds: list[int] = []
        self._buffer = b""
        if authenticate:
            self.socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
            assert self.socket.recv(100).startswith(b"OK ")
            self.socket.sendall(b"NEGOTIATE_UNIX_FD\r\n")
            assert self.socket.recv(100) == b"AGREE_UNIX_FD\r\n"
            self.socket.sendall(b"BEGIN\r\n")

    def _connect(self, name: str) -> bool:
        try:
            self.socket.connect(name)
        except BlockingIOError:  # the backlog is full
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    def message(self, path: str, interface: str, member: str, signature: str, *values: Any) -> bytes:
        self.serial += 1
        return wire.call(self.serial, "com.ubuntu.Upstart", path, interface, member, signature, *values)

    def send(self, path: str, interface: str, member: str, signature: str = "", *values: Any) -> int:
        self.socket.sendall(self.message(path, interface, member, signature, *values))
        return self.serial

    def send_with_fds(
        self, fds: list[int], member: str, signature: str, *values: Any, interface: str = UPSTART
    ) -> int:
        """A call of the manager's with descriptors."""
        self.serial += 1
        data = wire.call(
            self.serial, "com.ubuntu.Upstart", MANAGER, interface, member, signature, *values, fds=len(fds)
        )
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        self.socket.sendmsg([data], [rights])
        return self.serial

    def read(self) -> wire.Message:
        while True:
            if len(self._buffer) >= 16:
                length = wire.message_length(self._buffer, 0)
                if len(self._buffer) >= length:
                    data, self._buffer = self._buffer[:length], self._buffer[length:]
                    return wire.parse(data)
            try:
                data, fds, _, _ = socket.recv_fds(self.socket, 1 << 20, 16)
            except ConnectionError:
                raise Gone
            self.fds += fds
            if not data:
                raise Gone
            self._buffer += data

    def answer(self, serial: int) -> tuple[Any, ...]:
        """Wait for the answer to a call; signals that come before are kept in ``signals``."""
        while True:
            message = self.read()
            if message.type == wire.SIGNAL:
                self.signals.append(message)
            elif message.header.reply_serial == serial:
                if message.type == wire.ERROR:
                    raise DBusError(message.header.error_name or "", message.args()[0])
                return message.args()

    def call(self, path: str, interface: str, member: str, signature: str = "", *values: Any) -> tuple[Any, ...]:
        return self.answer(self.send(path, interface, member, signature, *values))

    def emit(self, name: str, *env: str, wait: bool = True) -> None:
        self.call(MANAGER, UPSTART, "EmitEvent", "sasb", name, list(env), wait)

    def start(self, job: str, *env: str, wait: bool = True) -> None:
        self.call(f"{MANAGER}/jobs/{escape(job)}", JOB, "Start", "asb", list(env), wait)

    def stop(self, job: str, *env: str, wait: bool = True) -> None:
        self.call(f"{MANAGER}/jobs/{escape(job)}", JOB, "Stop", "asb", list(env), wait)

    def status(self, job: str) -> tuple[str, dict[str, int]]:
        """``GOAL/STATE`` and the processes of the first instance of a job."""
        entry = self.call(MANAGER, EXTENSION, "GetStatus", "sas", job, [])[0][0]
        return f"{entry[2]}/{entry[3]}", dict(entry[4])

    def wait_status(self, job: str, *wanted: str) -> dict[str, int]:
        """Wait until a job is in one of these states; gives its processes."""
        def look() -> list[dict[str, int]]:
            state, pids = self.status(job)
            return [pids] if state in wanted else []

        pids: dict[str, int] = wait_for(look)[0]
        return pids


def lose_state(directory: Path) -> Path:
    """A copy of the programs whose init loses its state at a re-exec: after the trial, before the new program reads
    it."""
    programs = directory / "sbin"
    shutil.copytree(PROGRAMS, programs)
    script = (programs / "init").read_text()
    lose = (
        "import os\n"
        'if "--state-fd" in sys.argv and "UPSTART_RESTART_CHECK" not in os.environ:\n'
        '    os.ftruncate(int(sys.argv[sys.argv.index("--state-fd") + 1]), 0)\n'
    )
    (programs / "init").write_text(script.replace("import sys\n", "import sys\n" + lose, 1))
    return programs


class SessionInit:
    """A session init with the jobs ``jobs`` (name to text)."""

    def __init__(
        self, directory: Path, jobs: dict[str, str], *args: str, program: Path = PROGRAMS / "init", **environ: str
    ) -> None:
        self.directory = directory
        self.conf = directory / "conf"
        self.conf.mkdir(exist_ok=True)
        for name, text in jobs.items():
            self.write(name, text)
        xdg = {f"XDG_{name}": str(directory / name) for name in ("CONFIG_HOME", "CACHE_HOME")}
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "dumb", **xdg, **environ}
        self.environ["XDG_RUNTIME_DIR"] = str(directory)
        self.log = directory / "init.log"
        command = [str(program), "--user", "--confdir", str(self.conf), "--no-startup-event", "--no-dbus"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*command, *args], env=self.environ, stdout=log, stderr=log)
        self.pid = self.process.pid
        self.session_file = directory / "upstart" / "sessions" / f"{self.pid}.session"
        try:
            wait_for(self._is_up)
        except BaseException:
            self.process.kill()
            raise
        self.address = self.session_file.read_text().strip().partition("=")[2]
        self.clients: list[Client] = []

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.text()
        return self.session_file.exists() and self.session_file.read_text().endswith("\n")

    def write(self, name: str, text: str) -> None:
        """Write a job's file as an editor does: whole."""
        path = self.conf / f"{name}.conf"
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)

    def client(self, authenticate: bool = True) -> Client:
        client = Client(self.address, authenticate)
        self.clients.append(client)
        return client

    def initctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, "UPSTART_SESSION": self.address}
        command = [str(PROGRAMS / "initctl"), "--user", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20)

    def restart(self) -> Client:
        """Re-execute, and give a client of what comes after; the clients so far lose their connections."""
        began = self.started_at()
        client = self.client()
        client.call(MANAGER, UPSTART, "Restart")
        try:
            while True:
                client.read()
        except Gone:
            pass
        assert self.started_at() == began, "another process"
        return self.client_at_last()

    def client_at_last(self) -> Client:
        """A client of an init that is coming up."""

        def attempt() -> Client | None:
            try:
                client = self.client()
                client.call(MANAGER, UPSTART, "GetAllJobs")
            except (OSError, AssertionError, Gone):
                return None
            return client

        client: Client = wait_for(attempt)
        return client

    def started_at(self) -> str:
        """When the process was started, in ticks since boot."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[19]

    def job_log(self, job: str) -> str:
        path = self.directory / "CACHE_HOME" / "upstart" / f"{job}.log"
        return path.read_text() if path.exists() else ""

    def text(self) -> str:
        """Init's own log."""
        return self.log.read_text()

    def resident(self) -> int:
        """Resident memory in kB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
