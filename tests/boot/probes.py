"""One request over loopback for each daemon of the root: a daemon is up when it answers, not when it has a pid.

Run inside the network namespace of a boot (`probes.py SECONDS`), before init starts, since cron can only answer by
itself: it runs an entry at its start that connects to this program. Prints a line `NAME MONOTONIC-SECONDS` at the first
answer of each, and exits 0 once all have answered, 1 after SECONDS, naming those that did not.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"


class Listener:
    """A port of ours that a daemon must write its own name to."""

    def __init__(self, kind: socket.SocketKind, port: int, expected: bytes) -> None:
        self.expected = expected
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("", port))  # loopback itself is not up yet
        if kind == socket.SOCK_STREAM:
            self.socket.listen()

    def answered(self) -> bool:
        """Whether the expected text has come in; asks without waiting."""
        if not select.select([self.socket], [], [], 0)[0]:
            return False
        if self.socket.type == socket.SOCK_DGRAM:
            return self.expected in self.socket.recv(4096)
        connection, _ = self.socket.accept()
        with connection:
            connection.settimeout(1)
            return self.expected in connection.recv(4096)


def exchange(port: int, request: bytes, expected: bytes) -> bool:
    """Whether a TCP server sends `expected` back on `request`."""
    with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        connection.sendall(request)
        return expected in connection.recv(4096)


def name_server() -> bool:
    """Whether the name server on port 53 knows the address of answer.test."""
    question = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\6answer\4test\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(0.2)
        connection.connect((LOOPBACK, 53))
        connection.send(question)
        return bytes([192, 0, 2, 7]) in connection.recv(512)


def syslog(listener: Listener) -> Callable[[], bool]:
    """A message sent to the logging daemon comes back, forwarded by its rule for the tag "echo"."""

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.connect((LOOPBACK, 514))
            connection.send(b"<13>Jan  1 00:00:00 test echo: answer")
        return listener.answered()

    return ask


def probes() -> dict[str, Callable[[], bool]]:
    """Name of each daemon to the question it has to answer; a question may raise OSError, which means not yet."""
    startup = struct.pack(">2I", 8 + len(b"user\0postgres\0\0"), 0x30000) + b"user\0postgres\0\0"
    cron = Listener(socket.SOCK_STREAM, 5001, b"cron")
    log = Listener(socket.SOCK_DGRAM, 5002, b"answer")
    return {
        "cron": cron.answered,
        "ssh": lambda: exchange(22, b"", b"SSH-2.0-"),
        "rsyslog": syslog(log),
        "nginx": lambda: exchange(80, b"HEAD / HTTP/1.0\r\n\r\n", b"Server: nginx"),
        "redis-server": lambda: exchange(6379, b"PING\r\n", b"+PONG"),
        "postgresql": lambda: exchange(5432, startup, b"R\0"),
        "memcached": lambda: exchange(11211, b"version\r\n", b"VERSION"),
        "dnsmasq": name_server,
        "lighttpd": lambda: exchange(8081, b"HEAD / HTTP/1.0\r\n\r\n", b"Server: lighttpd"),
    }


def main(argv: list[str]) -> int:
    waiting = probes()
    print("listening", flush=True)
    end = time.monotonic() + float(argv[1])
    while waiting and time.monotonic() < end:
        for name, ask in list(waiting.items()):
            try:
                answered = ask()
            except OSError:
                answered = False
            if answered:
                print(name, time.monotonic(), flush=True)
                del waiting[name]
        time.sleep(0.02)
    for name in waiting:
        print(name, "none", flush=True)
    return 1 if waiting else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
