"""D-Bus messages to bytes and back, after the D-Bus Specification, without any I/O.

What is always true here: bytes from a peer can only give a `Message` or a `WireError`; nothing they contain is
trusted before it is checked, and no message is longer than `MAX_MESSAGE`.  What we build is always valid: strings are
made UTF-8 without NUL, and object paths come from `upstart.daemon.paths`.

Clients repeat the same header for every call, so a parsed header is kept in a bounded table: the second ``EmitEvent``
costs a dictionary look-up.  That makes this faster than libdbus behind its Python binding (which has to build a
Python object for every field), and leaves out of PID 1 a library that ends the process over a malformed path.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1

#: Bytes.  An environment cannot usefully be larger than what execve(2) takes (2 MiB).
MAX_MESSAGE = 4 << 20
#: What the specification allows a message to have.
LONGEST = 1 << 27
#: What we build may be longer than what we accept: GetState of thousands of jobs.
MAX_ARRAY = 64 << 20
#: Levels, as the specification has them: of a value; of arrays, and of structures, in a signature.
MAX_DEPTH = 64
MAX_NESTED = 32
HEADER_CACHE = 512
#: Bytes of a header that is remembered.
COMMON_HEADER = 512
FIXED = 16

_LITTLE = Struct("<4B3I")
_BIG = Struct(">4B3I")
_U32 = Struct("<I")
_RETURN = Struct("<4BIIIBBBBI")


class WireError(Exception):
    """The bytes are not D-Bus; the connection they came from is of no further use."""


class UnixFd(int):
    """An index into the descriptors that travelled with the message."""


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
    header = _headers.get(key)
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
    reader = Reader(raw, little)
    try:
        while reader.at < len(raw):
            reader.align(8)
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


def valid_path(path: str) -> bool:
    """Whether ``path`` is an object path: "/", or elements of [A-Za-z0-9_]."""
    if path == "/":
        return True
    if not path.isascii() or not path.startswith("/"):
        return False
    return all(element.replace("_", "a").isalnum() for element in path[1:].split("/"))


class Reader:
    """Takes values off a body or a header."""

    __slots__ = ("at", "data", "little", "u32")

    def __init__(self, data: bytes, little: bool) -> None:
        self.data = data
        self.at = 0
        self.little = little
        self.u32 = _U32 if little else Struct(">I")

    def align(self, size: int) -> None:
        at = -(-self.at // size) * size
        if at > len(self.data) or any(self.data[self.at : at]):
            raise WireError("padding that is not zero")
        self.at = at

    def uint(self) -> int:
        self.align(4)
        value: int = self.u32.unpack_from(self.data, self.at)[0]
        self.at += 4
        return value

    def string(self, length: int) -> str:
        end = self.at + length
        raw = self.data[self.at : end]
        if self.data[end] or 0 in raw:
            raise WireError("string with or without its NUL")
        self.at = end + 1
        return raw.decode()

    def signature(self) -> str:
        self.at += 1
        return self.string(self.data[self.at - 1])

    def single(self, signature: str, depth: int) -> Any:
        """One value of a complete type."""
        kind = signature[0]
        if kind == "s":
            return self.string(self.uint())
        if kind == "o":
            path = self.string(self.uint())
            if not valid_path(path):
                raise WireError("malformed object path")
            return path
        if kind == "a":
            return self.array(signature[1:], depth + 1)
        if kind == "(" or kind == "{":
            self.align(8)
            return tuple(self.single(each, depth + 1) for each in split(signature[1:-1]))
        if kind == "b":
            value = self.uint()
            if value > 1:
                raise WireError("boolean that is neither 0 nor 1")
            return bool(value)
        if kind == "h":
            return UnixFd(self.uint())
        if kind == "g":
            return self.signature()
        if kind == "v":
            inner = self.signature()
            if len(split(inner)) != 1 or depth > MAX_DEPTH:
                raise WireError("malformed variant")
            return self.single(inner, depth + 1)
        size, code = _NUMBERS[kind]
        self.align(size)
        number = Struct(("<" if self.little else ">") + code).unpack_from(self.data, self.at)[0]
        self.at += size
        return number

    def array(self, element: str, depth: int) -> list[Any]:
        length = self.uint()
        self.align(8 if element[0] in "({xtd" else 1)
        end = self.at + length
        if end > len(self.data) or depth > MAX_DEPTH:
            raise WireError("array beyond its message")
        if element in _NUMBERS:
            size, code = _NUMBERS[element]
            if length % size:
                raise WireError("array of a wrong length")
            numbers = Struct(f"{'<' if self.little else '>'}{length // size}{code}").unpack_from(self.data, self.at)
            self.at = end
            return list(numbers)
        values = []
        while self.at < end:
            values.append(self.single(element, depth))
        if self.at != end:
            raise WireError("array of a wrong length")
        return values


#: Size in bytes and struct(3) code.
_NUMBERS = {
    "y": (1, "B"), "n": (2, "h"), "q": (2, "H"), "i": (4, "i"), "u": (4, "I"),
    "x": (8, "q"), "t": (8, "Q"), "d": (8, "d"),
}  # fmt: skip
_splits: dict[str, tuple[str, ...]] = {}


def split(signature: str) -> tuple[str, ...]:
    """The complete types of a signature; `WireError` if it is none."""
    known = _splits.get(signature)
    if known is None:
        parts = []
        at = 0
        while at < len(signature):
            end = _complete(signature, at, 0, 0)
            parts.append(signature[at:end])
            at = end
        known = tuple(parts)
        if len(_splits) >= HEADER_CACHE:
            _splits.clear()
        _splits[signature] = known
    return known


def _complete(signature: str, at: int, arrays: int, structures: int) -> int:
    kind = signature[at : at + 1]
    if arrays > MAX_NESTED or structures > MAX_NESTED:
        raise WireError("signature too deep")
    if kind == "a":
        return _complete(signature, at + 1, arrays + 1, structures)
    if kind == "(" or kind == "{":
        at += 1
        start = at
        close = ")" if kind == "(" else "}"
        while signature[at : at + 1] != close:
            at = _complete(signature, at, arrays, structures + 1)
        if at == start:
            raise WireError("empty structure")
        return at + 1
    if not kind or kind not in "sobhgviyunqxtd":
        raise WireError("malformed signature")
    return at + 1


def unpack(signature: str, body: bytes, little: bool = True) -> tuple[Any, ...]:
    """The values of a body."""
    reader = Reader(body, little)
    values = tuple([reader.single(each, 0) for each in split(signature)])
    if reader.at != len(body):
        raise WireError("body longer than its signature")
    return values


def text(value: str) -> bytes:
    """A string as D-Bus wants it; bytes of a file name that are no UTF-8 become question marks."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "replace")
    return raw.replace(b"\0", b"?") if b"\0" in raw else raw


def _put_string(out: bytearray, value: str) -> None:
    raw = text(value)
    out += b"\0" * (-len(out) & 3) + _U32.pack(len(raw)) + raw + b"\0"


def _put(out: bytearray, signature: str, value: Any) -> None:
    kind = signature[0]
    if kind in "so":
        _put_string(out, value)
    elif kind == "a":
        element = signature[1:]
        out += b"\0" * (-len(out) & 3) + b"\0\0\0\0"
        mark = len(out)
        if element[0] in "({xtd":
            out += b"\0" * (-len(out) & 7)
        start = len(out)
        if element == "s" or element == "o":
            for each in value:
                _put_string(out, each)
        elif element[0] in "({":
            parts = split(element[1:-1])
            for each in value.items() if element[0] == "{" else value:
                out += b"\0" * (-len(out) & 7)
                for part, item in zip(parts, each, strict=True):
                    _put(out, part, item)
        else:
            for each in value:
                _put(out, element, each)
        if len(out) - start > MAX_ARRAY:
            raise WireError("array too long")
        _U32.pack_into(out, mark - 4, len(out) - start)
    elif kind == "b" or kind == "h":
        out += b"\0" * (-len(out) & 3) + _U32.pack(value)
    elif kind == "g":
        raw = value.encode()
        out += bytes((len(raw),)) + raw + b"\0"
    elif kind == "v":
        inner, item = value
        _put(out, "g", inner)
        _put(out, inner, item)
    elif kind == "(":
        out += b"\0" * (-len(out) & 7)
        for part, item in zip(split(signature[1:-1]), value, strict=True):
            _put(out, part, item)
    else:
        size, code = _NUMBERS[kind]
        out += b"\0" * (-len(out) & (size - 1)) + Struct("<" + code).pack(value)


def pack(signature: str, *values: Any) -> bytes:
    """A body; a variant is given as (signature, value)."""
    if signature == "s" or signature == "o":  # most of what is announced
        raw = text(values[0])
        return _U32.pack(len(raw)) + raw + b"\0"
    out = bytearray()
    for each, value in zip(split(signature), values, strict=True):
        _put(out, each, value)
    return bytes(out)


def _build(kind: int, flags: int, serial: int, fields: bytes, body: bytes) -> bytes:
    header = _LITTLE.pack(0x6C, kind, flags, 1, len(body), serial, len(fields))
    return b"".join((header, fields, b"\0" * (-len(fields) & 7), body))


def _fields(*fields: tuple[int, str, Any]) -> bytes:
    out = bytearray()
    for code, signature, value in fields:
        if value:
            out += b"\0" * (-len(out) & 7)
            out.append(code)
            _put(out, "g", signature)
            _put(out, signature, value)
    return bytes(out)


def call(
    serial: int, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any
) -> bytes:
    """A method call."""
    fields = _fields((1, "o", path), (2, "s", interface), (3, "s", member), (6, "s", destination), (8, "g", signature))
    return _build(CALL, 0, serial, fields, pack(signature, *values))


def reply(serial: int, to: int, destination: str | None, signature: str = "", body: bytes = b"") -> bytes:
    """The answer to the call with serial ``to``; ``destination`` is its sender on a bus."""
    if not body and not destination:
        return _RETURN.pack(0x6C, RETURN, NO_REPLY, 1, 0, serial, 8, 5, 1, 0x75, 0, to)
    fields = _fields((5, "u", to), (6, "s", destination), (8, "g", signature))
    return _build(RETURN, NO_REPLY, serial, fields, body)


def error(serial: int, to: int, destination: str | None, name: str, message: str) -> bytes:
    """An error as the answer to the call with serial ``to``."""
    fields = _fields((4, "s", name), (5, "u", to), (6, "s", destination), (8, "g", "s"))
    return _build(ERROR, NO_REPLY, serial, fields, pack("s", message))


def signal_builder(interface: str, member: str, signature: str) -> Callable[[int, str, bytes], bytes]:
    """A function (serial, path, body) that builds a signal: the fields that never change are packed once."""
    tail = (
        _fields((2, "s", interface), (3, "s", member), (8, "g", signature))
        if signature
        else _fields((2, "s", interface), (3, "s", member))
    )

    def build(serial: int, path: str, body: bytes) -> bytes:
        raw = path.encode()
        head = b"\1\1o\0" + _U32.pack(len(raw)) + raw + b"\0"
        return _build(SIGNAL, NO_REPLY, serial, head + b"\0" * (-len(head) & 7) + tail, body)

    return build
