"""Drives a session init over D-Bus with a client that is none of ours, and writes down all it answers and announces.

The client is dbus-python's: what its libdbus accepts, others do.  `Session` runs an init (ours, or the one below the
prefix that the variable PEER names) and keeps every message in `Session.heard`, in the order they came.  Processes of
the jobs wait at gates: a script reads one line from a FIFO and evaluates it, so that a test decides when and how each
ends.  Nothing here waits for a time: what is waited for is always a state, and that a gate is being read.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dbus
import dbus.connection
import dbus.lowlevel
from dbus.mainloop.glib import DBusGMainLoop

ROOT = Path(__file__).resolve().parents[2]
PEER = os.environ.get("PEER", "")
UPSTART = "com.ubuntu.Upstart0_6"
JOB = UPSTART + ".Job"
INSTANCE = UPSTART + ".Instance"
PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER = "/com/ubuntu/Upstart"

_glib = ctypes.CDLL("libglib-2.0.so.0")
_glib.g_main_context_iteration.argtypes = [ctypes.c_void_p, ctypes.c_int]


class Heard:
    """A message that came: a signal, or the answer to a call that was given the label ``member``."""

    def __init__(self, path: str, member: str, error: str, args: list[Any]) -> None:
        self.path, self.member, self.error, self.args = path, member, error, args


def job_path(name: str, instance: str | None = None) -> str:
    """The object path, every byte but letters and digits escaped."""
    def escape(text: str) -> str:
        return "".join(chr(b) if chr(b).isalnum() and b < 128 else f"_{b:02x}" for b in text.encode()) or "_"

    return f"{MANAGER}/jobs/{escape(name)}" + ("" if instance is None else "/" + escape(instance))


class Session:
    """A session init with jobs of our own, and one connection to it."""

    def __init__(
        self, directory: Path, jobs: dict[str, str], prefix: str = "", *options: str, **variables: str
    ) -> None:
        if not prefix:
            subprocess.run(
                [sys.executable, str(ROOT / "build-aux" / "programs.py"), "checkout", str(ROOT / "build" / "sbin")],
                check=True,
            )
        program = f"{prefix or ROOT / 'build'}/sbin/init"
        self.directory = directory
        for name, text in jobs.items():
            path = directory / "conf" / f"{name}.conf"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name in ("conf", "gates", "RUNTIME_DIR"):
            (directory / name).mkdir(exist_ok=True)
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "TERM": "dumb"}
        for name in ("CONFIG_HOME", "CACHE_HOME", "RUNTIME_DIR", "CONFIG_DIRS"):
            self.environment[f"XDG_{name}"] = str(directory / name)
        self.environment.update(variables)
        command = [program, "--user", "--confdir", str(directory / "conf"), "--no-startup-event", "--no-dbus", *options]
        with open(directory / "init.log", "wb") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        file = directory / "RUNTIME_DIR" / "upstart" / "sessions" / f"{self.process.pid}.session"
        self.wait(lambda: file.exists() and file.read_text().endswith("\n"))
        self.address = file.read_text().strip().partition("=")[2]
        self.heard: list[Heard] = []
        self.wait(self._connect)
        # Signals come to those who have said who they are.
        self.call("/", "org.freedesktop.DBus.Peer", "Ping")

    def _connect(self) -> bool:
        try:
            self.connection = dbus.connection.Connection(self.address, mainloop=DBusGMainLoop())
        except dbus.DBusException:  # the address is known a moment before anybody listens there
            return False
        self.connection.add_message_filter(self._signal)
        self.connection.set_exit_on_disconnect(False)
        return True

    def _signal(self, connection: Any, message: Any) -> int:
        if message.get_type() == dbus.lowlevel.MESSAGE_TYPE_SIGNAL:
            self.heard.append(Heard(message.get_path(), message.get_member(), "", plain(message.get_args_list())))
        return int(dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED)

    def wait(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Take messages until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, (self.directory / "init.log").read_text()
            assert time.monotonic() < deadline, (self.directory / "init.log").read_text()[-3000:]
            while _glib.g_main_context_iteration(None, 0):
                pass
            time.sleep(0.002)

    def send(self, label: str, path: str, interface: str | None, member: str, signature: str, *args: Any) -> None:
        """Call a method; its answer is kept as ``label``."""
        message = dbus.lowlevel.MethodCallMessage(None, path, interface, member)
        message.append(*args, signature=signature)

        def answered(reply: Any) -> None:
            error = reply.get_error_name() if reply.get_type() == dbus.lowlevel.MESSAGE_TYPE_ERROR else ""
            self.heard.append(Heard(path, label, error, plain(reply.get_args_list())))

        self.connection.send_message_with_reply(message, answered, 600.0)

    def call(self, path: str, interface: str | None, member: str, signature: str = "", *args: Any) -> tuple[str, Any]:
        """Call a method and wait: ("", what it gave) or (name of the error, its text)."""
        label = f"call {member}"
        self.send(label, path, interface, member, signature, *args)
        self.wait(lambda: any(heard.member == label for heard in self.heard))
        at = next(number for number, heard in enumerate(self.heard) if heard.member == label)
        heard = self.heard.pop(at)
        return (heard.error.rpartition(".")[2] if heard.error else ""), heard.args

    def status(self, name: str, instance: str = "") -> tuple[str, str, dict[str, int]]:
        """Goal, state and processes; ("", "", {}) where there is no such instance."""
        error, args = self.call(job_path(name, instance), PROPERTIES, "GetAll", "s", INSTANCE)
        if error:
            return "", "", {}
        return args[0]["goal"], args[0]["state"], dict(args[0]["processes"])

    # Gates

    def gate(self, name: str) -> Path:
        """The FIFO of that name, made where it does not exist."""
        path = self.directory / "gates" / name
        if not path.exists():
            os.mkfifo(path)
        return path

    def is_at_gate(self, pid: int) -> bool:
        """Whether the process waits at a gate: it has opened one as descriptor 3, see `gated`."""
        try:
            return os.readlink(f"/proc/{pid}/fd/3").startswith(str(self.directory / "gates"))
        except OSError:
            return False

    def open_gate(self, name: str, command: str = "exit 0") -> None:
        """Have the process that waits at the gate do this."""
        fd = os.open(self.gate(name), os.O_RDWR | os.O_NONBLOCK)
        os.write(fd, command.encode() + b"\n")
        os.close(fd)

    def gated(self, name: str, before: str = "") -> str:
        """A script stanza that waits at the gate."""
        return f"script\n{before}exec 3<>{self.gate(name)}\nread x <&3\neval \"$x\"\nend script\n"

    def close(self) -> None:
        """End the init, and what is left of its jobs."""
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log(self) -> list[str]:
        """The lines that init has written so far."""
        return (self.directory / "init.log").read_text(errors="replace").splitlines()


def plain(value: Any) -> Any:
    """A value of D-Bus as one of Python's own types."""
    if isinstance(value, bool | dbus.Boolean):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(each) for each in value)
    return [plain(each) for each in value]
