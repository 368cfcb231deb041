"""D-Bus messages to bytes and back, after the D-Bus Specification, without any I/O.

What is always true here: bytes from a peer can only give a `Message` or a `WireError`; nothing they contain is
trusted before it is checked.  What we build is always valid.

Clients repeat the same header for every call, so a parsed header is kept in a bounded table: the second ``EmitEvent``
costs a dictionary look-up.  That makes this faster than libdbus behind its Python binding (which has to build a
Python object for every field), and leaves out of PID 1 a library that ends the process over a malformed path.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from upstart.dbus.marshal import (
    LONG,
    Reader,
    UnixFd,
    WireError,
    pack,
    pack_in_steps,
    put,
    split,
    unpack,
    unpack_in_steps,
    valid_path,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

__all__ = [
    "CALL", "COMMON_HEADER", "ERROR", "FIXED", "HEADER_CACHE", "LONG", "LONGEST", "MAX_FIELDS", "MAX_MESSAGE",
    "NO_REPLY", "RETURN", "SIGNAL", "Header", "Message", "UnixFd", "WireError", "call", "error", "message_length",
    "pack", "pack_in_steps", "parse", "reply", "signal_builder", "split", "unpack", "valid_path",
]  # fmt: skip

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1

#: Bytes.  An environment cannot usefully be larger than what execve(2) takes (2 MiB).
MAX_MESSAGE = 4 << 20
#: What the specification allows a message to have.
LONGEST = 1 << 27
HEADER_CACHE = 512
#: The specification knows nine fields of a header, none of them an array: what else comes is parsed up to here.
MAX_FIELDS = 64
MAX_HEADER_ARRAYS = 16 << 10
#: Bytes of a header that is remembered.
COMMON_HEADER = 512
FIXED = 16

_LITTLE = Struct("<4B3I")
_BIG = Struct(">4B3I")
_U32 = Struct("<I")
_RETURN = Struct("<4BIIIBBBBI")


class Header:
    """The constant part of a message's header: everything but serial and lengths."""

    __slots__ = (
        "destination", "error_name", "interface", "member", "path", "reply_serial", "sender", "signature", "unix_fds",
    )  # fmt: skip

    def __init__(self) -> None:
        self.path: str | None = None
        self.interface: str | None = None
        self.member: str | None = None
        self.error_name: str | None = None
        self.reply_serial = 0
        self.destination: str | None = None
        self.sender: str | None = None
        self.signature = ""
        self.unix_fds = 0


class Message:
    """A received message; `args` unpacks the body."""

    __slots__ = ("body", "fds", "flags", "header", "little", "serial", "type")

    def __init__(self, kind: int, flags: int, serial: int, header: Header, body: bytes, little: bool) -> None:
        self.type = kind
        self.flags = flags
        self.serial = serial
        self.header = header
        self.body = body
        self.little = little
        #: Descriptors received with it; whoever takes one replaces it by -1.
        self.fds: list[int] = []

    def args(self) -> tuple[Any, ...]:
        """The arguments; `WireError` if the body is not what the signature says."""
        try:
            return unpack(self.header.signature, self.body, self.little)
        except (StructError, LookupError, UnicodeDecodeError) as error:
            raise WireError(f"malformed body: {error}")

    def args_in_steps(self) -> Generator[None, None, tuple[Any, ...]]:
        """The arguments of a message whose body is `LONG`, with pauses between which others may be served."""
        try:
            return (yield from unpack_in_steps(self.header.signature, self.body, self.little))
        except (StructError, LookupError, UnicodeDecodeError) as error:
            raise WireError(f"malformed body: {error}")


_headers: dict[tuple[bool, int, bytes], Header] = {}


def message_length(data: bytes | bytearray, at: int) -> int:
    """Bytes of the message whose first 16 bytes are at ``data[at:]``; `WireError` if it is none.

    It may be longer than `MAX_MESSAGE`: what to do with such a message is the caller's to decide.
    """
    if data[at] == 0x6C:
        _, kind, _, version, body, serial, fields = _LITTLE.unpack_from(data, at)
    elif data[at] == 0x42:
        _, kind, _, version, body, serial, fields = _BIG.unpack_from(data, at)
    else:
        raise WireError("unknown byte order")
    if version != 1 or not kind or not serial:
        raise WireError("unknown protocol version or type")
    length: int = FIXED + ((fields + 7) & ~7) + body
    if length > LONGEST:
        raise WireError("message too long")
    return length


def parse(data: bytes) -> Message:
    """One whole message (of `message_length` bytes)."""
    little = data[0] == 0x6C
    _, kind, flags, _, length, serial, fields = (_LITTLE if little else _BIG).unpack_from(data)
    raw = data[FIXED : FIXED + fields]
    key = (little, kind, raw)
    header = _headers.get(key) if fields <= COMMON_HEADER else None
    if header is None:
        header = _parse_header(raw, little, kind)
        if not header.reply_serial and len(raw) <= COMMON_HEADER:
            if len(_headers) >= HEADER_CACHE:
                _headers.clear()
            _headers[key] = header
    return Message(kind, flags, serial, header, data[len(data) - length :] if length else b"", little)


_FIELDS = {
    1: ("path", "o"), 2: ("interface", "s"), 3: ("member", "s"), 4: ("error_name", "s"), 5: ("reply_serial", "u"),
    6: ("destination", "s"), 7: ("sender", "s"), 8: ("signature", "g"), 9: ("unix_fds", "u"),
}  # fmt: skip
_NEEDED = {
    CALL: ("path", "member"),
    RETURN: ("reply_serial",),
    ERROR: ("error_name", "reply_serial"),
    SIGNAL: ("path", "interface", "member"),
}


def _parse_header(raw: bytes, little: bool, kind: int) -> Header:
    header = Header()
    reader = Reader(raw, little, MAX_HEADER_ARRAYS)
    fields = 0
    try:
        while reader.at < len(raw):
            reader.align(8)
            fields += 1
            if fields > MAX_FIELDS:
                raise WireError("too many header fields")
            code = raw[reader.at]
            reader.at += 1
            signature = reader.signature()
            if len(split(signature)) != 1:
                raise WireError("header field without a type")
            value = reader.single(signature, 0)
            name, wanted = _FIELDS.get(code, ("", signature))
            if signature != wanted or not code:
                raise WireError("header field of a wrong type")
            if name:
                setattr(header, name, value)
    except (StructError, LookupError, UnicodeDecodeError) as error:
        raise WireError(f"malformed header: {error}")
    for name in _NEEDED.get(kind, ()):
        if not getattr(header, name):
            raise WireError(f"a message without {name}")
    return header


def _build(kind: int, flags: int, serial: int, fields: bytes, body: bytes) -> bytes:
    header = _LITTLE.pack(0x6C, kind, flags, 1, len(body), serial, len(fields))
    return b"".join((header, fields, b"\0" * (-len(fields) & 7), body))


def _fields(*fields: tuple[int, str, Any]) -> bytes:
    out = bytearray()
    for code, signature, value in fields:
        if value:
            out += b"\0" * (-len(out) & 7)
            out.append(code)
            put(out, "g", signature)
            put(out, signature, value)
    return bytes(out)


def call(
    serial: int,
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    *values: Any,
    fds: int = 0,
) -> bytes:
    """A method call, with which so many descriptors go."""
    fields = _fields(
        (1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination), (8, "g", signature), (9, "u", fds)
    )
    return _build(CALL, 0, serial, fields, pack(signature, *values))


def reply(
    serial: int, to: int, destination: str | None, signature: str = "", body: bytes = b"", fds: int = 0
) -> bytes:
    """The answer to the call with serial ``to``; ``destination`` is its sender on a bus.  With it go so many
    descriptors."""
    if not body and not destination:
        return _RETURN.pack(0x6C, RETURN, NO_REPLY, 1, 0, serial, 8, 5, 1, 0x75, 0, to)
    fields = _fields((5, "u", to), (6, "s", destination), (8, "g", signature), (9, "u", fds))
    return _build(RETURN, NO_REPLY, serial, fields, body)


def error(serial: int, to: int, destination: str | None, name: str, message: str) -> bytes:
    """An error as the answer to the call with serial ``to``."""
    fields = _fields((4, "s", name), (5, "u", to), (6, "s", destination), (8, "g", "s"))
    return _build(ERROR, NO_REPLY, serial, fields, pack("s", message))


def signal_builder(interface: str, member: str, signature: str) -> Callable[[int, str, bytes], bytes]:
    """A function (serial, path, body) that builds a signal: the fields that never change are packed once.

    Those of a path are kept for the next signal, which is often from the same object.
    """
    tail = (
        _fields((2, "s", interface), (3, "s", member), (8, "g", signature))
        if signature
        else _fields((2, "s", interface), (3, "s", member))
    )
    last = ""
    fields = b""
    ending = b""

    def build(serial: int, path: str, body: bytes) -> bytes:
        nonlocal last, fields, ending
        if path != last:
            raw = path.encode()
            head = b"\1\1o\0" + _U32.pack(len(raw)) + raw + b"\0"
            fields = head + b"\0" * (-len(head) & 7) + tail
            ending = b"\0" * (-len(fields) & 7)
            last = path
        return _LITTLE.pack(0x6C, SIGNAL, NO_REPLY, 1, len(body), serial, len(fields)) + fields + ending + body

    return build
