"""Values to the bytes of D-Bus and back: the types of the D-Bus Specification, without messages around them.

What is always true here: bytes from a peer can only give values or a `WireError`, however deep or long they claim to
be.  What is packed is always valid: strings are made UTF-8 without NUL, and object paths are those of our objects.
A value costs time by its items, of which 4 MB may hold half a million: what is longer than `LONG` is taken in steps
(`unpack_in_steps`), between which others are served.
"""

from __future__ import annotations

from itertools import islice
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any

#: Bytes.  What we build may be longer than what we accept.
MAX_ARRAY = 64 << 20
#: Levels, as the specification has them: of a value; of arrays, and of structures, in a signature.
MAX_DEPTH = 64
MAX_NESTED = 32
#: Signatures whose parts are remembered.
SIGNATURES = 512
#: Bytes of a body that is unpacked at once, whatever it holds: some ten milliseconds.
LONG = 16 << 10
#: Strings between two steps: a millisecond or so.
STEP = 1024
#: Elements of an array between two steps.
PACKED = 64
#: All that an object path is made of.
_PATH_BYTES = b"/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

_U32 = Struct("<I")


class WireError(Exception):
    """The bytes are not D-Bus; the connection they came from is of no further use."""


class UnixFd(int):
    """An index into the descriptors that travelled with the message."""


def valid_path(path: str) -> bool:
    """Whether ``path`` is an object path: "/", or elements of [A-Za-z0-9_]."""
    if path == "/":
        return True
    if not path.startswith("/") or path.endswith("/") or "//" in path or not path.isascii():
        return False
    return not path.encode().translate(None, _PATH_BYTES)


class Reader:
    """Takes values off a body or a header; ``most`` is how many bytes all its arrays may have together."""

    __slots__ = ("at", "data", "little", "most", "u32")

    def __init__(self, data: bytes, little: bool, most: int = MAX_ARRAY) -> None:
        self.data = data
        self.at = 0
        self.most = most
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
        end = self._array_end(element, depth)
        length = end - self.at
        if element in _NUMBERS:
            size, code = _NUMBERS[element]
            if length % size:
                raise WireError("array of a wrong length")
            numbers = Struct(f"{'<' if self.little else '>'}{length // size}{code}").unpack_from(self.data, self.at)
            self.at = end
            return list(numbers)
        values: list[Any] = []
        if element == "s":
            self._strings(end, values, length)
        while self.at < end:
            values.append(self.single(element, depth))
        if self.at != end:
            raise WireError("array of a wrong length")
        return values

    def _array_end(self, element: str, depth: int) -> int:
        """Where the array ends whose length comes next; its first element is what comes after this."""
        length = self.uint()
        self.align(8 if element[0] in "({xtd" else 1)
        self.most -= length
        if self.at + length > len(self.data) or depth > MAX_DEPTH or self.most < 0:
            raise WireError("array beyond its message")
        return self.at + length

    def _strings(self, end: int, values: list[str], count: int) -> None:
        """Append the strings of an array that ends at ``end``, ``count`` of them at most."""
        data, at = self.data, self.at
        unpack_from = self.u32.unpack_from
        for _ in range(count):
            if at >= end:
                break
            start = (at + 7) & ~3
            if at & 3 and any(data[at : start - 4]):
                raise WireError("padding that is not zero")
            at = start + unpack_from(data, start - 4)[0]
            raw = data[start:at]
            if data[at] or 0 in raw:
                raise WireError("string with or without its NUL")
            values.append(raw.decode())
            at += 1
        self.at = at

    def strings_in_steps(self) -> Generator[None, None, list[str]]:
        """An array of strings, `STEP` of them between two steps."""
        end = self._array_end("s", 0)
        values: list[str] = []
        while self.at < end:
            self._strings(end, values, STEP)
            yield
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
        if len(_splits) >= SIGNATURES:
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


def unpack_in_steps(signature: str, body: bytes, little: bool = True) -> Generator[None, None, tuple[Any, ...]]:
    """The values of a long body, with a pause wherever others may be served.

    A variant that ends it and holds anything but a string is not looked into, and given as None.
    """
    reader = Reader(body, little)
    values: list[Any] = []
    for each in split(signature):
        if each == "as":
            values.append((yield from reader.strings_in_steps()))
        elif each == "v":
            inner = reader.signature()
            if inner == "s":
                values.append(reader.single(inner, 0))
            else:
                values.append(None)
                reader.at = len(body)
        elif each in "sogbhynqiuxtd":
            values.append(reader.single(each, 0))
        else:
            raise WireError("a long value of a type that nobody asked for")
        yield
    if reader.at != len(body):
        raise WireError("body longer than its signature")
    return tuple(values)


def text(value: str) -> bytes:
    """A string as D-Bus wants it; bytes of a file name that are no UTF-8 become question marks."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "replace")
    return raw.replace(b"\0", b"?") if b"\0" in raw else raw


#: What ends a string in an array by its length: the NUL, and what aligns the next one.  The last has no padding.
_ENDS = (b"\0\0\0\0", b"\0\0\0", b"\0\0", b"\0")


def _put_string(out: bytearray, value: str) -> None:
    raw = text(value)
    out += b"\0" * (-len(out) & 3) + _U32.pack(len(raw)) + raw + b"\0"


def _put_strings(out: bytearray, values: Iterable[str]) -> None:
    out += b"\0" * (-len(out) & 3)
    pack_length = _U32.pack
    raw = b"..."
    for value in values:
        try:
            raw = value.encode()
            if b"\0" in raw:
                raw = text(value)
        except UnicodeEncodeError:
            raw = text(value)
        out += pack_length(len(raw))
        out += raw
        out += _ENDS[len(raw) & 3]
    del out[len(out) - 3 + (len(raw) & 3) :]


def _put_elements(out: bytearray, element: str, values: Iterable[Any]) -> None:
    if element == "s" or element == "o":
        _put_strings(out, values)
    elif element[0] in "({":
        parts = split(element[1:-1])
        for each in values:
            out += b"\0" * (-len(out) & 7)
            for part, item in zip(parts, each, strict=True):
                put(out, part, item)
    else:
        for each in values:
            put(out, element, each)


def put(out: bytearray, signature: str, value: Any) -> None:
    """Append one value of a complete type, aligned from the start of ``out``."""
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
        _put_elements(out, element, value.items() if element[0] == "{" else value)
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
        put(out, "g", inner)
        put(out, inner, item)
    elif kind == "(":
        out += b"\0" * (-len(out) & 7)
        for part, item in zip(split(signature[1:-1]), value, strict=True):
            put(out, part, item)
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
        put(out, each, value)
    return bytes(out)


def pack_in_steps(element: str, values: Iterable[Any]) -> Generator[None, None, bytes]:
    """A body of one array, whose elements are asked for as they are packed, with a pause after every few of them."""
    out = bytearray(8 if element[0] in "({xtd" else 4)
    start = len(out)
    rest = iter(values)
    while some := tuple(islice(rest, PACKED)):
        _put_elements(out, element, some)
        yield
    if len(out) - start > MAX_ARRAY:
        raise WireError("array too long")
    _U32.pack_into(out, 0, len(out) - start)
    return bytes(out)
