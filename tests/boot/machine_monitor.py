"""QEMU's monitor (QMP) over a socket pair: keys and buttons from outside, and in which way the machine ended.

What QEMU announces is kept in `events`, in its order; an answer belongs to the command before it, for one is given at a
time.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any


class MonitorError(Exception):
    """QEMU refused a command, or did not answer."""


class Monitor:
    """The monitor of one QEMU; `options` start it, `qemu_end` is the descriptor that QEMU inherits."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(60)
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        self.qemu_end = self._theirs.fileno()
        self.options = ["-chardev", f"socket,id=monitor,fd={self.qemu_end}", "-mon", "chardev=monitor,mode=control"]

    def connect(self) -> None:
        """Greets QEMU, which has been started with the options and the descriptor."""
        self._theirs.close()
        self._receive()
        self.command("qmp_capabilities")

    def _receive(self) -> dict[str, Any]:
        """The next message; MonitorError at the end of QEMU."""
        while b"\n" not in self._unread:
            try:
                data = self._ours.recv(65536)
            except OSError as error:
                raise MonitorError(f"QEMU's monitor: {error}") from error
            if not data:
                raise MonitorError("QEMU has ended")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def command(self, name: str, **arguments: object) -> Any:
        """What QEMU returns for a command."""
        try:
            self._ours.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise MonitorError("QEMU has ended") from error
        while True:
            message = self._receive()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise MonitorError(f"{name}: {message['error']['desc']}")
            elif "return" in message:
                return message["return"]

    def press(self, *keys: str) -> None:
        """Presses keys together, by QEMU's names for them."""
        self.command("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def migrate(self, uri: str) -> None:
        """Stops the machine and sends its state to `uri`."""
        self.command("stop")
        self.command("migrate", uri=uri)
        while True:
            status = self.command("query-migrate")["status"]
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise MonitorError(f"the migration {status}")
            time.sleep(0.1)

    def resume(self) -> None:
        """Has a machine go on that was started to take over another one's state."""
        while self.command("query-status")["status"] == "inmigrate":
            time.sleep(0.1)
        self.command("cont")

    def ending(self) -> str:
        """How the machine ended, once QEMU has: "guest-shutdown", "guest-reset", or "" if it did not by itself."""
        try:
            while True:
                message = self._receive()
                if "event" in message:
                    self.events.append(message)
        except MonitorError:
            pass
        reasons = [str(event["data"]["reason"]) for event in self.events if event["event"] == "SHUTDOWN"]
        return reasons[0] if reasons else ""

    def close(self) -> None:
        for end in (self._ours, self._theirs):
            end.close()
