"""Questions to daemons over the loopback interface of a booted root.

A question is asked from outside, through a socket made in the network namespace of the root; it is answered if what is
expected comes back, and may be asked at any time: a refused connection is no answer.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
LOOPBACK = "127.0.0.1"
SECONDS = 3
#: Answers of a name server: the address of localhost, or whatever it says, without zones and without a network.
LOCALHOST = b"\x7f\0\0\1"
ANY = b"\x09localhost"


def _enter(descriptor: int) -> None:
    if LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def socket_inside(pid: int, kind: socket.SocketKind) -> socket.socket:
    """A socket in the network namespace of process `pid`; only the calling thread goes there, and comes back."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _enter(other)
        finally:
            os.close(other)
        try:
            made = socket.socket(socket.AF_INET, kind)
        finally:
            _enter(own)
    finally:
        os.close(own)
    made.settimeout(SECONDS)
    return made


class Question:
    """A request to a port, and what the answer has to contain; if that is b"", taking the connection is enough."""

    def __init__(self, port: int, request: bytes, expected: bytes, udp: bool = False) -> None:
        self.port, self.request, self.expected, self.udp = port, request, expected, udp

    def answered(self, pid: int) -> bool:
        """Whether the network namespace of process `pid` has an answer."""
        try:
            with socket_inside(pid, socket.SOCK_DGRAM if self.udp else socket.SOCK_STREAM) as connection:
                connection.connect((LOOPBACK, self.port))
                connection.sendall(self.request)
                data = connection.recv(65536) if self.udp else b""
                while self.expected not in data:
                    more = connection.recv(65536)
                    if not more:
                        return False
                    data += more
                return True
        except OSError:
            return False


def http(port: int, expected: bytes, path: str = "/") -> Question:
    """A web server whose answer contains `expected`."""
    return Question(port, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode(), expected)


def name_server(expected: bytes, name: str = "localhost") -> Question:
    """A server of the DNS, asked for the address of a host."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack(">6H", 0x5550, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    return Question(53, question, expected, udp=True)


def snmp() -> Question:
    """An SNMPv2c agent, asked for the system's description (RFC 1213, sysDescr.0)."""

    def element(tag: int, content: bytes) -> bytes:
        return bytes([tag, len(content)]) + content

    zero = element(2, b"\0")
    variable = element(0x30, element(6, bytes([0x2B, 6, 1, 2, 1, 1, 1, 0])) + element(5, b""))
    request = element(0xA0, element(2, b"\7") + zero + zero + element(0x30, variable))
    return Question(161, element(0x30, element(2, b"\1") + element(4, b"public") + request), b"Linux", udp=True)


def postgresql() -> Question:
    """A PostgreSQL server, asked for a session: it wants a password, or lets us in."""
    parameters = b"user\0postgres\0\0"
    return Question(5432, struct.pack(">2I", 8 + len(parameters), 0x30000) + parameters, b"R\0")
