"""How a program of ours fails that somebody called: what it says, and whether the call itself, or D-Bus, was why."""

from __future__ import annotations


class ClientError(Exception):
    """Something failed; the text is the message without the program's name, ``status`` what the program exits with."""

    status = 1

    def with_status(self, status: int) -> ClientError:
        """The same error, where scripts can tell it by the exit status."""
        self.status = status
        return self


class Reason(ClientError):
    """Why something failed that has been told already: it stands on a line of its own."""


class UsageError(ClientError):
    """A program was called the wrong way: --help is recommended."""


class DBusError(ClientError):
    """An error of D-Bus: `name` is its D-Bus name, `message` the text for people (it may end in a newline)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
