"""Errors of D-Bus, as the client library raises them."""

from __future__ import annotations

from upstart.base.errors import ClientError


class DBusError(ClientError):
    """An error of D-Bus: `name` is its D-Bus name, `message` the text for people (it may end in a newline)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
