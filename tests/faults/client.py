"""A client of an init under trial, and what may be said of an init.

What is always true here: a client never waits for long, and knows which of its calls are not answered yet.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from upstart.base.paths import escape  # noqa: E402
from upstart.dbus import wire  # noqa: E402

MANAGER = "/com/ubuntu/Upstart"
UPSTART = "com.ubuntu.Upstart0_6"
EXTENSION = UPSTART + ".Extension"
JOB = UPSTART + ".Job"
PROPERTIES = "org.freedesktop.DBus.Properties"


class Dead(Exception):
    """It ended, or began anew without its state."""


class Deaf(Exception):
    """It does not answer, or not in time."""


class Untrue(Exception):
    """What it says is not so, or it did not do what was asked for."""


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    """The first true value of ``what``, or its last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.02)


class Client:
    """A connection that never waits for long; ``pending`` are the calls not answered yet, by serial, ``events`` the
    names of those that it was told of."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(2)
        self.pending: dict[int, str] = {}
        self.events: list[str] = []
        self._serial = 0
        self._data = b""
        self._ready = False
        user = str(os.getuid()).encode().hex().encode()
        try:
            self.sock.connect(address)
            self.sock.sendall(b"\0AUTH EXTERNAL " + user + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
        except OSError:
            self.sock.close()
            raise

    def send(self, path: str, interface: str, member: str, signature: str = "", *values: Any) -> int:
        self._serial += 1
        message = wire.call(self._serial, "com.ubuntu.Upstart", path, interface, member, signature, *values)
        self.sock.sendall(message)
        self.pending[self._serial] = f"{member} {path} {values}"
        return self._serial

    def job(self, member: str, job: str, env: list[str], wait: bool) -> int:
        return self.send(f"{MANAGER}/jobs/{escape(job)}", JOB, member, "asb", env, wait)

    def emit(self, name: str, env: list[str], wait: bool) -> int:
        return self.send(MANAGER, UPSTART, "EmitEvent", "sasb", name, env, wait)

    def read(self, seconds: float) -> wire.Message | None:
        """The next message, None where none comes in time; EOFError or OSError when init has hung up."""
        deadline = time.monotonic() + seconds
        while True:
            if not self._ready and self._data.count(b"\r\n") >= 2:
                self._data = self._data.split(b"\r\n", 2)[2]
                self._ready = True
            if self._ready and len(self._data) >= wire.FIXED:
                length = wire.message_length(self._data, 0)
                if len(self._data) >= length:
                    message = wire.parse(self._data[:length])
                    self._data = self._data[length:]
                    if message.header.member == "EventEmitted":
                        self.events.append(message.args()[0])
                    if message.header.reply_serial:
                        self.pending.pop(message.header.reply_serial, None)
                    return message
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                return None
            if not data:
                raise EOFError
            self._data += data

    def answer(self, serial: int, seconds: float) -> tuple[Any, ...]:
        """The arguments of an answer, the name of an error in front; Deaf where there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.read(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise Deaf(f"no answer within {seconds:g} s: {self.pending.get(serial)}")
            if message.header.reply_serial == serial:
                error = (message.header.error_name or "?",) if message.type == wire.ERROR else ()
                return (*error, *message.args())

    def close(self) -> None:
        self.sock.close()
