"""D-Bus messages to bytes and back; bytes of a peer can only be a message or a WireError."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.dbus import wire

PLAIN = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
STRINGS = st.text(PLAIN, max_size=40)
PATHS = st.lists(st.from_regex(r"[A-Za-z0-9_]{1,8}", fullmatch=True), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "s": STRINGS,
    "o": PATHS,
    "g": st.sampled_from(["", "s", "a{sv}", "(ii)"]),
    "b": st.booleans(),
    "y": st.integers(0, 255),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
}


def typed(depth: int = 3) -> st.SearchStrategy[tuple[str, Any]]:
    """A signature of one complete type, and a value of it."""
    basic = st.sampled_from(sorted(VALUES)).flatmap(lambda kind: VALUES[kind].map(lambda value: (kind, value)))
    if depth == 0:
        return basic
    inner = typed(depth - 1)

    def array(pair: tuple[str, Any]) -> tuple[str, Any]:
        return "a" + pair[0], [pair[1]] * 3

    def structure(pairs: list[tuple[str, Any]]) -> tuple[str, Any]:
        return "(" + "".join(kind for kind, _ in pairs) + ")", tuple(value for _, value in pairs)

    return st.one_of(basic, inner.map(array), st.lists(inner, min_size=1, max_size=3).map(structure))


@given(st.lists(typed(), max_size=4))
def test_what_is_packed_is_unpacked(pairs: list[tuple[str, Any]]) -> None:
    signature = "".join(kind for kind, _ in pairs)
    values = tuple(value for _, value in pairs)
    assert wire.unpack(signature, wire.pack(signature, *values)) == values


@given(typed(1))
def test_variants_carry_their_type(pair: tuple[str, Any]) -> None:
    assert wire.unpack("v", wire.pack("v", pair)) == (pair[1],)


@given(PATHS, STRINGS, st.lists(STRINGS, max_size=3), st.booleans(), st.integers(1, 2**32 - 1))
def test_a_call_is_parsed_as_it_was_built(path: str, name: str, env: list[str], wait: bool, serial: int) -> None:
    data = wire.call(serial, "a.b", path, "c.d", "Member", "sasb", name, env, wait)
    assert wire.message_length(data, 0) == len(data)
    message = wire.parse(data)
    header = message.header
    assert (message.type, message.serial) == (wire.CALL, serial)
    assert (header.path, header.interface, header.member, header.destination) == (path, "c.d", "Member", "a.b")
    assert message.args() == (name, env, wait)


def test_answers_name_what_they_answer() -> None:
    empty = wire.parse(wire.reply(7, 9, None))
    full = wire.parse(wire.reply(7, 9, ":1.2", "s", wire.pack("s", "x")))
    error = wire.parse(wire.error(7, 9, ":1.2", "a.b.C", "text"))
    assert [each.header.reply_serial for each in (empty, full, error)] == [9, 9, 9]
    assert (full.header.destination, full.args()) == (":1.2", ("x",))
    assert (error.type, error.header.error_name, error.args()) == (wire.ERROR, "a.b.C", ("text",))
    signal = wire.parse(wire.signal_builder("a.b", "Sig", "s")(3, "/x", wire.pack("s", "y")))
    assert (signal.type, signal.header.path, signal.args()) == (wire.SIGNAL, "/x", ("y",))


def test_the_other_byte_order_is_understood() -> None:
    fields = b"\1\1o\0" + struct.pack(">I", 2) + b"/a\0".ljust(8, b"\0")[:4] + b"\0" * 4
    fields = b"\1\1o\0\0\0\0\2/a\0\0\0\0\0\0" + b"\3\1s\0\0\0\0\1M\0\0\0\0\0\0\0" + b"\x08\1g\0\1u\0"
    body = struct.pack(">I", 77)
    data = struct.pack(">4B3I", 0x42, 1, 0, 1, len(body), 5, len(fields)) + fields + b"\0" * (-len(fields) % 8) + body
    assert wire.message_length(data, 0) == len(data)
    message = wire.parse(data)
    assert (message.serial, message.header.path, message.header.member, message.args()) == (5, "/a", "M", (77,))


@given(st.binary(min_size=16, max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for order in (b"l", b"B"):
        try:
            raw = order + data[1:3] + b"\1" + data[4:]
            length = wire.message_length(raw, 0)
            if length <= len(raw):
                wire.parse(raw[:length]).args()
        except wire.WireError:
            pass


@given(st.data())
def test_a_damaged_message_is_a_message_or_an_error(data: st.DataObject) -> None:
    raw = bytearray(
        wire.call(1, "a.b", "/com/ubuntu/Upstart", "c.d", "M", "sasbv", "n", ["A=b"], True, ("a{ss}", {"k": "v"}))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        length = wire.message_length(bytes(raw), 0)
        if length <= len(raw):
            wire.parse(bytes(raw[:length])).args()
    except wire.WireError:
        pass


@given(st.text("abgsiouvhynqxtd(){}x", max_size=12))
def test_signatures_are_split_or_refused(signature: str) -> None:
    try:
        assert "".join(wire.split(signature)) == signature
    except wire.WireError:
        pass


def test_nesting_has_a_limit() -> None:
    with pytest.raises(wire.WireError):
        wire.split("a" * 40 + "s")
    deep = b"\1v\0" * 100 + b"\1y\0\1"
    with pytest.raises(wire.WireError):
        wire.unpack("v", deep)


@pytest.mark.parametrize("path", ["", "x", "/x/", "//", "/a b", "/é", "/a/-"])
def test_object_paths_that_are_none(path: str) -> None:
    assert not wire.valid_path(path)
    with pytest.raises(wire.WireError):
        wire.unpack("o", wire.pack("s", path))


def test_text_that_is_no_utf8_is_made_so() -> None:
    assert wire.unpack("s", wire.pack("s", "a\udcffb\0c")) == ("a?b?c",)


def test_the_table_of_headers_is_bounded() -> None:
    for number in range(3 * wire.HEADER_CACHE):
        wire.parse(wire.call(1, "a.b", f"/p{number}", "c.d", "M"))
    assert len(wire._headers) <= wire.HEADER_CACHE


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_string_of_an_array_has_zeros_around_it_and_none_inside(at: int) -> None:
    body = bytearray(wire.pack("as", ["a", "bcd"]))
    damaged = {0: (9, 1), 1: (11, 1), 2: (17, 0)}[at]  # the NUL of the first, its padding, a letter of the second
    body[damaged[0]] = damaged[1]
    with pytest.raises(wire.WireError):
        wire.unpack("as", bytes(body))


def test_a_header_has_no_long_arrays_and_not_many_fields() -> None:
    start = wire._fields((1, "o", "/"), (3, "s", "C"))
    start += b"\0" * (-len(start) & 7)
    for more in (b"\x64\2ay\0" + b"\0" * 3 + struct.pack("<I", 20_000) + bytes(20_000), b"\x64\1y\0\0\0\0\0" * 70):
        with pytest.raises(wire.WireError):
            wire.parse(wire._build(wire.CALL, 0, 1, start + more, b""))
    assert wire.parse(wire._build(wire.CALL, 0, 1, start + (b"\x64\1y\0\0\0\0\0" * 50)[:-3], b"")).header.member == "C"
