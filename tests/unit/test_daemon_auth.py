"""The authentication of a D-Bus connection, fed in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.dbus.auth import MAX_LINE, MAX_TRIES, AuthError, ClientAuth, ServerAuth

ROOT = "30"


def converse(data: bytes, uid: int = 0, sizes: list[int] | None = None) -> tuple[bytes, bytes, ServerAuth]:
    auth = ServerAuth("g" * 32, uid)
    out = rest = b""
    sizes = sizes or [len(data)]
    while data:
        size = sizes.pop(0) if sizes else len(data)
        piece, data = data[:size], data[size:]
        if auth.done:
            rest += piece
            continue
        answer, left = auth.feed(piece)
        out += answer
        rest += left
    return out, rest, auth


@given(st.lists(st.integers(1, 7), max_size=30))
def test_what_libdbus_says(sizes: list[int]) -> None:
    data = f"\0AUTH EXTERNAL {ROOT}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nmessages".encode()
    out, rest, auth = converse(data, sizes=sizes)
    assert out == b"OK " + b"g" * 32 + b"\r\nAGREE_UNIX_FD\r\n"
    assert (rest, auth.done, auth.fds) == (b"messages", True, True)


def test_what_busctl_says() -> None:
    out, rest, auth = converse(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\nx")
    assert out == b"DATA\r\nOK " + b"g" * 32 + b"\r\nAGREE_UNIX_FD\r\n"
    assert (rest, auth.done) == (b"x", True)


def test_what_glib_says() -> None:
    out, _, auth = converse(f"\0AUTH\r\nAUTH EXTERNAL {ROOT}\r\nBEGIN\r\n".encode())
    assert out == b"REJECTED EXTERNAL\r\nOK " + b"g" * 32 + b"\r\n"
    assert auth.done


@pytest.mark.parametrize(
    "line", ["AUTH EXTERNAL 31", "AUTH EXTERNAL zz", "AUTH ANONYMOUS 30", "AUTH DBUS_COOKIE_SHA1 30", "AUTH", "CANCEL"]
)
def test_nobody_is_somebody_else(line: str) -> None:
    out, _, auth = converse(f"\0{line}\r\n".encode())
    assert out == b"REJECTED EXTERNAL\r\n"
    with pytest.raises(AuthError):
        auth.feed(b"BEGIN\r\n")


@pytest.mark.parametrize(
    "data",
    [b"AUTH EXTERNAL 30\r\n", b"\0BEGIN\r\n", b"\0" + b"x" * (MAX_LINE + 1), b"\0" + b"AUTH\r\n" * (MAX_TRIES + 1)],
)
def test_what_ends_the_connection(data: bytes) -> None:
    with pytest.raises(AuthError):
        converse(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_or_an_error(data: bytes) -> None:
    try:
        _, _, auth = converse(b"\0" + data)
        assert not auth.done
    except AuthError:
        pass


def test_the_client_side() -> None:
    auth = ClientAuth(1000)
    assert auth.start() == b"\0AUTH EXTERNAL 31303030\r\n"
    assert auth.feed(b"OK 12") == (b"", b"")
    assert auth.feed(b"34\r\nrest") == (b"BEGIN\r\n", b"rest")
    assert auth.done
    with pytest.raises(AuthError):
        ClientAuth(0).feed(b"REJECTED EXTERNAL\r\n")
    with pytest.raises(AuthError):
        ClientAuth(0).feed(b"x" * 5000)
