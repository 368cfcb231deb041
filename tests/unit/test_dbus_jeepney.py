"""Our wire format against another implementation's, jeepney's: what each builds the other reads, to the same values.

jeepney has no limits and checks next to nothing, so that this says what valid messages are; what is refused is for
test_daemon_wire.py to say.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jeepney import low_level
from test_daemon_wire import PATHS, STRINGS, VALUES

from upstart.dbus import marshal, wire

Fields = low_level.HeaderFields

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
DOTTED = st.lists(NAMES, min_size=2, max_size=4).map(".".join)
SERIALS = st.integers(1, 2**32 - 1)
#: Descriptors that never are any: their numbers stand for their place in the message.
FDS = [1000, 1001, 1002]


def typed(depth: int = 3) -> st.SearchStrategy[tuple[str, Any]]:
    """A complete type, and a value of it as both packers take it."""
    kinds = {**VALUES, "h": st.integers(0, len(FDS) - 1).map(lambda index: FDS[index])}
    basic = st.sampled_from(sorted(kinds)).flatmap(lambda kind: kinds[kind].map(lambda value: (kind, value)))
    if depth == 0:
        return basic
    inner = typed(depth - 1)
    return st.one_of(
        basic,
        st.tuples(inner, st.integers(0, 3)).map(lambda pair: ("a" + pair[0][0], [pair[0][1]] * pair[1])),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda pairs: ("(" + "".join([kind for kind, _ in pairs]) + ")", tuple([value for _, value in pairs]))
        ),
        st.tuples(st.dictionaries(STRINGS, st.just(0), max_size=3), inner).map(
            lambda pair: ("a{s" + pair[1][0] + "}", dict.fromkeys(pair[0], pair[1][1]))
        ),
        inner.map(lambda pair: ("v", pair)),
    )


def ours_to_pack(signature: str, value: Any) -> Any:
    """A value as our packer takes it: descriptors are indices there."""
    return convert(signature, value, FDS.index, packed=True)


def as_ours(signature: str, value: Any) -> Any:
    """A value that jeepney has read, as we read it: variants without their signatures, dictionaries as pairs."""
    return convert(signature, value, FDS.index, packed=False)


def convert(signature: str, value: Any, index: Any, packed: bool) -> Any:
    kind = signature[0]
    if kind == "h":
        return index(value)
    if kind == "v":
        inner = convert(value[0], value[1], index, packed)
        return (value[0], inner) if packed else inner
    if kind == "(":
        parts = wire.split(signature[1:-1])
        return tuple([convert(part, each, index, packed) for part, each in zip(parts, value, strict=True)])
    if kind == "a" and signature[1] == "{":
        key, item = wire.split(signature[2:-1])
        pairs = [(convert(key, k, index, packed), convert(item, v, index, packed)) for k, v in value.items()]
        return dict(pairs) if packed else pairs
    if kind == "a":
        return [convert(signature[1:], each, index, packed) for each in value]
    return value


BODIES = st.lists(typed(), max_size=4).map(
    lambda pairs: ("".join([kind for kind, _ in pairs]), tuple([value for _, value in pairs]))
)
#: The header fields of each type of message, in the order in which we put them.
HEADERS: dict[int, st.SearchStrategy[dict[int, Any]]] = {
    wire.CALL: st.fixed_dictionaries({1: PATHS, 2: DOTTED, 3: NAMES, 6: DOTTED}),
    wire.RETURN: st.fixed_dictionaries({5: SERIALS, 6: DOTTED}),
    wire.ERROR: st.fixed_dictionaries({4: DOTTED, 5: SERIALS, 6: DOTTED}),
    wire.SIGNAL: st.fixed_dictionaries({1: PATHS, 2: DOTTED, 3: NAMES}),
}


KINDS = st.sampled_from(sorted(HEADERS)).flatmap(lambda kind: st.tuples(st.just(kind), HEADERS[kind]))
NAMES_OF_FIELDS = {
    1: ("path", "o"), 2: ("interface", "s"), 3: ("member", "s"), 4: ("error_name", "s"), 5: ("reply_serial", "u"),
    6: ("destination", "s"),
}  # fmt: skip


class Places:
    """Takes descriptors as jeepney hands them over, and has each at its place in `FDS`."""

    last = -1

    def append(self, fd: int) -> None:
        self.last = FDS.index(fd)

    def __len__(self) -> int:
        return self.last + 1

    def __bool__(self) -> bool:
        return False


def theirs(
    kind: int, flags: int, serial: int, fields: dict[int, Any], body: tuple[str, tuple[Any, ...]], little: bool = True
) -> bytes:
    """A message that jeepney has built; with a signature it says that it has `FDS` with it."""
    signature, values = body
    known = {Fields(code): value for code, value in fields.items()}
    if signature:
        known.update({Fields.signature: signature, Fields.unix_fds: len(FDS)})
    endianness = low_level.Endianness.little if little else low_level.Endianness.big
    header = low_level.Header(endianness, kind, flags, 1, 0, serial, known)
    made: bytes = low_level.Message(header, values).serialise(fds=Places())
    return made


def ours(kind: int, flags: int, serial: int, fields: dict[int, Any], body: tuple[str, tuple[Any, ...]]) -> bytes:
    """The same message, built by us."""
    signature, values = body
    known = [(code, NAMES_OF_FIELDS[code][1], value) for code, value in fields.items()]
    if signature:
        known += [(8, "g", signature), (9, "u", len(FDS))]
    return wire._build(kind, flags, serial, wire._fields(*known), packed(signature, values))


def packed(signature: str, values: tuple[Any, ...]) -> bytes:
    parts = wire.split(signature)
    return wire.pack(signature, *[ours_to_pack(part, value) for part, value in zip(parts, values, strict=True)])


@given(KINDS, st.integers(0, 3), SERIALS, BODIES)
def test_the_same_message_is_built_of_the_same_bytes(
    kind: tuple[int, dict[int, Any]], flags: int, serial: int, body: tuple[str, tuple[Any, ...]]
) -> None:
    assert ours(kind[0], flags, serial, kind[1], body) == theirs(kind[0], flags, serial, kind[1], body)


@given(KINDS, st.integers(0, 3), SERIALS, BODIES, st.booleans())
def test_we_read_what_jeepney_has_written_in_either_byte_order(
    kind: tuple[int, dict[int, Any]], flags: int, serial: int, body: tuple[str, tuple[Any, ...]], little: bool
) -> None:
    data = theirs(kind[0], flags, serial, kind[1], body, little)
    assert wire.message_length(data, 0) == len(data)
    message = wire.parse(data)
    assert (message.type, message.flags, message.serial) == (kind[0], flags, serial)
    for code, value in kind[1].items():
        assert getattr(message.header, NAMES_OF_FIELDS[code][0]) == value
    signature, values = body
    assert message.header.signature == signature
    assert message.header.unix_fds == (len(FDS) if signature else 0)
    wanted = tuple([as_ours(part, value) for part, value in zip(wire.split(signature), values, strict=True)])
    assert message.args() == wanted


@given(st.lists(st.tuples(KINDS, SERIALS, BODIES), min_size=1, max_size=4), st.data())
def test_jeepney_reads_what_we_have_written_in_odd_pieces(messages: list[Any], data: st.DataObject) -> None:
    stream = b"".join([ours(kind[0], 0, serial, kind[1], body) for kind, serial, body in messages])
    parser = low_level.Parser()
    read = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        parser.add_data(stream[:size], [])
        stream = stream[size:]
        parser.fds = list(FDS)
        while (message := parser.get_next_message()) is not None:
            read.append(message)
            parser.fds = list(FDS)
    assert len(read) == len(messages)
    for message, (kind, serial, (signature, values)) in zip(read, messages, strict=True):
        assert (message.header.message_type.value, message.header.serial) == (kind[0], serial)
        assert {int(code): value for code, value in message.header.fields.items() if code < 7} == kind[1]
        for part, value, found in zip(wire.split(signature), values, message.body, strict=True):
            assert as_ours(part, found) == as_ours(part, value)


@given(HEADERS[wire.CALL], SERIALS, STRINGS, st.lists(STRINGS, max_size=5))
def test_what_our_builders_make_is_what_jeepney_makes_of_it(
    fields: dict[int, Any], serial: int, word: str, words: list[str]
) -> None:
    path, interface, member, destination = fields.values()

    def made(kind: int, flags: int, fields: dict[int, Any], signature: str, *values: Any) -> bytes:
        known = {Fields(code): value for code, value in fields.items()}
        if signature:
            known[Fields.signature] = signature
        header = low_level.Header(low_level.Endianness.little, kind, flags, 1, 0, serial, known)
        built: bytes = low_level.Message(header, values).serialise()
        return built

    assert wire.call(serial, destination, path, interface, member, "sas", word, words) == made(
        wire.CALL, 0, fields, "sas", word, words
    )
    assert wire.reply(serial, 7, destination, "as", wire.pack("as", words)) == made(
        wire.RETURN, wire.NO_REPLY, {5: 7, 6: destination}, "as", words
    )
    assert wire.reply(serial, 7, None) == made(wire.RETURN, wire.NO_REPLY, {5: 7}, "")
    assert wire.error(serial, 7, destination, interface, word) == made(
        wire.ERROR, wire.NO_REPLY, {4: interface, 5: 7, 6: destination}, "s", word
    )
    assert wire.signal_builder(interface, member, "s")(serial, path, wire.pack("s", word)) == made(
        wire.SIGNAL, wire.NO_REPLY, {1: path, 2: interface, 3: member}, "s", word
    )


@given(st.lists(STRINGS, max_size=40), st.lists(st.tuples(STRINGS, st.integers(-9, 9)), max_size=40))
def test_what_is_packed_and_unpacked_in_steps_is_the_same(words: list[str], pairs: list[tuple[str, int]]) -> None:
    body = wire.pack("ssas", "a", "bc", words)
    assert finished(marshal.unpack_in_steps("ssas", body)) == ("a", "bc", words)
    assert finished(wire.pack_in_steps("s", words)) == wire.pack("as", words)
    assert finished(wire.pack_in_steps("(si)", pairs)) == wire.pack("a(si)", pairs)


def finished(work: Generator[None, None, Any]) -> Any:
    """What a work gives in the end."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value
