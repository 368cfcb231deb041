"""How a program of ours fails that somebody called: what it says, and whether the call itself was wrong."""

from __future__ import annotations


class ClientError(Exception):
    """Something failed; the text is the message without the program's name."""


class UsageError(ClientError):
    """A program was called the wrong way: --help is recommended."""
