"""Nothing that a user can type reaches libdbus unchecked, and whatever fails is a DBusError."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client.connection import NEVER, Connection, connect_private

ANY_TEXT = st.text(st.characters())  # surrogates too, which stand for bytes that are not UTF-8


class FakeRaw:
    """Takes messages as libdbus's binding does, and answers with `reply`, or not at all."""

    def __init__(self, reply: Any = None, error: Exception | None = None) -> None:
        self.sent: list[Any] = []
        self.timeouts: list[float] = []
        self.reply = reply
        self.error = error

    def send_message_with_reply(self, message: Any, handler: Any, timeout: float) -> FakeRaw | None:
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        self.timeouts.append(timeout)
        if self.reply is not None:
            handler(self.reply)
        return self

    def block(self) -> None:
        """As a pending call."""

    def send_message(self, message: Any) -> None:
        self.sent.append(message)

    def flush(self) -> None:
        """Everything is written."""


class Reply:
    def __init__(self, signature: str, values: list[Any], error: str | None = None) -> None:
        self.signature, self.values, self.error = signature, values, error

    def get_args_list(self) -> list[Any]:
        return self.values

    def get_signature(self) -> str:
        return self.signature

    def get_error_name(self) -> str | None:
        return self.error


def call(raw: FakeRaw, *args: Any, path: str = names.PATH, signature: str = "", **more: Any) -> Any:
    return Connection(raw).call(path, names.MANAGER, "Method", signature, *args, **more)


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=5))
def test_any_text_arrives_as_it_is_or_is_refused(text: str, texts: list[str]) -> None:
    raw = FakeRaw(Reply("", []))
    try:
        call(raw, text, texts, signature="sas")
    except DBusError as error:
        assert error.name == names.INVALID_ARGS and raw.sent == []
        assert any(letter == "\0" or "\ud800" <= letter <= "\udfff" for word in [text, *texts] for letter in word)
    else:
        assert raw.sent[0].get_args_list() == [text, texts]


@given(st.text(alphabet=st.sampled_from("/abz09_-. \0é\udcff"), max_size=12))
def test_a_path_is_valid_or_refused(path: str) -> None:
    raw = FakeRaw(Reply("", []))
    try:
        call(raw, path=path)
    except DBusError:
        assert raw.sent == []
    else:
        assert raw.sent[0].get_path() == path


@pytest.mark.parametrize(("signature", "value"), [("s", 3), ("as", [1]), ("i", 1 << 40)])
def test_arguments_of_the_wrong_type_are_refused(signature: str, value: Any) -> None:
    with pytest.raises(DBusError):
        call(FakeRaw(Reply("", [])), value, signature=signature)


def test_a_reply_of_another_type_than_wanted_is_refused() -> None:
    assert call(FakeRaw(Reply("s", ["x"])), returns="s") == ("x",)
    assert call(FakeRaw(Reply("s", ["x"]))) == ("x",)
    with pytest.raises(DBusError, match="Invalid arguments received in reply"):
        call(FakeRaw(Reply("i", [3])), returns="s")


@pytest.mark.parametrize(("values", "text"), [(["why", 3], "why"), ([], "Unknown error"), ([3], "Unknown error")])
def test_an_error_reply_is_raised_with_its_name_and_text(values: list[Any], text: str) -> None:
    with pytest.raises(DBusError) as caught:
        call(FakeRaw(Reply("s", values, "a.b.Error")))
    assert (caught.value.name, caught.value.message, str(caught.value)) == ("a.b.Error", text, text)


def test_a_connection_that_breaks_is_an_error() -> None:
    with pytest.raises(DBusError) as caught:
        call(FakeRaw())
    assert caught.value.name == names.DISCONNECTED
    with pytest.raises(DBusError, match="Connection is closed"):
        call(FakeRaw(error=RuntimeError("Connection is closed")))


def test_timeouts_are_the_defaults_or_none_at_all() -> None:
    raw = FakeRaw(Reply("", []))
    call(raw)
    call(raw, timeout=2.5)
    Connection(raw).emit_event("ev", ["A=1"], wait=True)
    assert raw.timeouts == [-1.0, 2.5, NEVER]
    assert int(NEVER * 1000) == 2**31 - 1


def test_a_call_without_reply_says_so_and_starts_no_service() -> None:
    raw = FakeRaw()
    Connection(raw, "com.ubuntu.Upstart").post(names.PATH, names.MANAGER, "NotifyDiskWriteable")
    (message,) = raw.sent
    assert message.get_no_reply() and not message.get_auto_start()
    assert message.get_destination() == "com.ubuntu.Upstart"


def test_signals_are_refused_on_a_private_connection_only() -> None:
    raw = FakeRaw()
    Connection(raw, "com.ubuntu.Upstart").quiet()
    assert raw.sent == []
    Connection(raw).quiet()
    assert [message.get_member() for message in raw.sent] == ["Quiet"]


def test_a_destination_that_is_no_bus_name_is_refused() -> None:
    with pytest.raises(DBusError, match="Invalid bus name 'a b'"):
        Connection(FakeRaw(), "a b").call(names.PATH, names.MANAGER, "Method")


@pytest.mark.parametrize("address", ["", "garbage", "unix:abstract=/nobody", "unix:path=/x\0y", "unix:path=\udcff"])
def test_an_address_that_cannot_be_reached_is_an_error(address: str) -> None:
    with pytest.raises(DBusError):
        connect_private(address)


def test_the_switch_for_libdbus_does_not_show_in_the_environment_of_children() -> None:
    assert "DBUS_FATAL_WARNINGS" not in os.environ
