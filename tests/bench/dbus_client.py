"""A D-Bus client as small as measuring needs, on init's private socket; it speaks Upstart's own interface only.

It is the same for every init that is measured, and it is cheap: a message is made once and sent many times with another
serial, many calls can be under way at once, and what init announces meanwhile is skipped by its length alone. So the
time it takes is the init's. Bodies are given and read with the signature of the D-Bus specification.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

PRIVATE_SOCKET = "\0/com/ubuntu/upstart"
MANAGER = "/com/ubuntu/Upstart"
INTERFACE = "com.ubuntu.Upstart0_6"
METHOD_CALL, METHOD_RETURN, ERROR = 1, 2, 3
#: Header fields that a method call has: path, interface, member, and signature where there is a body.
PATH, INTERFACE_FIELD, MEMBER, REPLY_SERIAL, SIGNATURE = 1, 2, 3, 5, 8
#: Calls under way at once: enough to keep init busy, and their replies fit the socket's buffer.
WINDOW = 128


class CallError(Exception):
    """The init answered with an error; the text is the error's name and message."""


def _pad(data: bytearray, size: int) -> None:
    data.extend(bytes(-len(data) % size))


def _append(data: bytearray, signature: str, value: Any) -> None:
    """Appends one value of a complete type: b, u, s, o, g, v (of a string), or an array of these."""
    kind = signature[0]
    if kind == "b" or kind == "u":
        _pad(data, 4)
        data += struct.pack("<I", value)
    elif kind in "so":
        text = value.encode()
        _pad(data, 4)
        data += struct.pack("<I", len(text)) + text + b"\0"
    elif kind == "g":
        data += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "a":
        _pad(data, 4)
        at = len(data)
        data += bytes(4)
        for element in value:
            _append(data, signature[1:], element)
        struct.pack_into("<I", data, at, len(data) - at - 4)
    else:
        raise ValueError(f"type {signature}")


def complete_types(signature: str) -> list[str]:
    """A signature taken apart into its complete types."""
    types = []
    start = 0
    for at, kind in enumerate(signature):
        depth = signature.count("(", start, at + 1) - signature.count(")", start, at + 1)
        if kind != "a" and depth == 0:
            types.append(signature[start : at + 1])
            start = at + 1
    return types


def make_call(path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]) -> bytearray:
    """A method call; its serial, bytes 8 to 11, is left zero."""
    content = bytearray()
    for kind, value in zip(complete_types(signature), body, strict=True):
        _append(content, kind, value)
    fields = bytearray()
    named = [(PATH, "o", path), (INTERFACE_FIELD, "s", interface), (MEMBER, "s", member)]
    if signature:
        named.append((SIGNATURE, "g", signature))
    for code, kind, text in named:
        _pad(fields, 8)
        fields.append(code)
        _append(fields, "g", kind)
        _append(fields, kind, text)
    message = bytearray(b"l" + bytes([METHOD_CALL, 0, 1])) + struct.pack("<III", len(content), 0, len(fields)) + fields
    _pad(message, 8)
    return message + content


def _read(data: memoryview, at: int, signature: str) -> tuple[Any, int]:
    """The value of one complete type at an offset, and the offset behind it."""
    kind = signature[0]
    if kind in "bui":
        at += -at % 4
        return struct.unpack_from("<i" if kind == "i" else "<I", data, at)[0], at + 4
    if kind in "so":
        at += -at % 4
        end = at + 4 + int(struct.unpack_from("<I", data, at)[0])
        return bytes(data[at + 4 : end]).decode(), end + 1
    if kind == "g":
        end = at + 1 + data[at]
        return bytes(data[at + 1 : end]).decode(), end + 1
    if kind == "v":
        inner, at = _read(data, at, "g")
        return _read(data, at, inner)
    if kind == "(":
        at += -at % 8
        members = []
        for inner in complete_types(signature[1:-1]):
            value, at = _read(data, at, inner)
            members.append(value)
        return tuple(members), at
    if kind == "a":
        at += -at % 4
        end = at + 4 + int(struct.unpack_from("<I", data, at)[0])
        at += 4
        if signature[1] == "(":
            end += -at % 8
            at += -at % 8
        elements = []
        while at < end:
            value, at = _read(data, at, signature[1:])
            elements.append(value)
        return elements, end
    raise ValueError(f"type {signature}")


class Client:
    """One connection. Constructing it connects and authenticates, or raises OSError."""

    def __init__(self, seconds: float = 300) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(seconds)
        self._serial = 0
        self._data = bytearray()
        try:
            self._socket.connect(PRIVATE_SOCKET)
            self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
            if not self._socket.recv(512).startswith(b"OK "):
                raise ConnectionRefusedError("not authenticated")
            self._socket.sendall(b"BEGIN\r\n")
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def call(self, path: str, interface: str, member: str, signature: str = "", *body: Any) -> list[Any]:
        """Makes a call and waits for its answer; the values of the reply, CallError if it is an error."""
        message = make_call(path, interface, member, signature, body)
        self._send(message)
        while True:
            kind, serial, start, reply = self._receive()
            if kind in (METHOD_RETURN, ERROR):
                fields = self._fields(reply)
                if fields.get(REPLY_SERIAL) == serial:
                    values = self._body(reply, start, fields.get(SIGNATURE, ""))
                    if kind == ERROR:
                        raise CallError(f"{fields.get(4)}: {values}")
                    return values

    def get(self, path: str, interface: str, name: str) -> Any:
        """A property."""
        return self.call(path, "org.freedesktop.DBus.Properties", "Get", "ss", interface, name)[0]

    def emit(self, name: str) -> None:
        """Emits an event and waits for its end."""
        self.call(MANAGER, INTERFACE, "EmitEvent", "sasb", name, [], True)

    def emit_many(self, name: str, count: int) -> None:
        """Emits an event so many times without waiting for the end of any, and takes all the replies."""
        message = make_call(MANAGER, INTERFACE, "EmitEvent", "sasb", (name, [], False))
        sent = answered = 0
        while answered < count:
            batch = bytearray()
            while sent < count and sent - answered < WINDOW:
                self._serial += 1
                struct.pack_into("<I", message, 8, self._serial)
                batch += message
                sent += 1
            if batch:
                self._socket.sendall(batch)
            kinds = [self._receive()[0]]
            while len(self._data) >= 16 and self._length() <= len(self._data):
                kinds.append(self._receive()[0])
            if ERROR in kinds:
                raise CallError("an event was refused")
            answered += kinds.count(METHOD_RETURN)

    def _send(self, message: bytearray) -> None:
        self._serial += 1
        struct.pack_into("<I", message, 8, self._serial)
        self._socket.sendall(message)

    def _length(self) -> int:
        """Bytes of the message whose first 16 bytes have come in."""
        body, _, fields = struct.unpack_from("<III", self._data, 4)
        return int(16 + fields + -fields % 8 + body)

    def _receive(self) -> tuple[int, int, int, bytearray]:
        """The next message: its type, the serial we last sent, where its body starts, and all its bytes."""
        while len(self._data) < 16 or self._length() > len(self._data):
            data = self._socket.recv(262144)
            if not data:
                raise ConnectionResetError("init closed the connection")
            self._data += data
        length = self._length()
        message = self._data[:length]
        del self._data[:length]
        return message[1], self._serial, length - int(struct.unpack_from("<I", message, 4)[0]), message

    @staticmethod
    def _fields(message: bytearray) -> dict[int, Any]:
        """Header field codes and their values."""
        data = memoryview(message)
        at, end = 16, 16 + int(struct.unpack_from("<I", message, 12)[0])
        fields = {}
        while at < end:
            at += -at % 8
            fields[data[at]], at = _read(data, at + 1, "v")
        return fields

    @staticmethod
    def _body(message: bytearray, start: int, signature: str) -> list[Any]:
        data = memoryview(message)[start:]
        values = []
        at = 0
        for kind in complete_types(signature):
            value, at = _read(data, at, kind)
            values.append(value)
        return values
