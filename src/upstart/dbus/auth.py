"""The authentication that opens a D-Bus connection, both sides of it, as bytes in and bytes out.

What is always true here: a client is who the kernel says it is (the uid of SO_PEERCRED); EXTERNAL is the only
mechanism, and a claim to be anybody else is rejected.  A line longer than `MAX_LINE`, or more than `MAX_TRIES`
commands, is an `AuthError`, after which the connection is closed.  See "Authentication Protocol" of the D-Bus
Specification.
"""

from __future__ import annotations

MAX_LINE = 1024
MAX_TRIES = 16


class AuthError(Exception):
    """The peer does not follow the protocol."""


def _hex(text: str) -> str:
    return text.encode().hex()


class ServerAuth:
    """Authenticates one client whose uid is known."""

    __slots__ = ("_buffer", "_guid", "_ok", "_started", "_tries", "_uid", "_waiting", "done", "fds")

    def __init__(self, guid: str, uid: int) -> None:
        self._guid = guid
        self._uid = str(uid)
        self._buffer = b""
        self._started = False
        self._ok = False
        self._waiting = False
        self._tries = 0
        #: The client said BEGIN: what follows are messages.
        self.done = False
        #: Descriptors may be passed.
        self.fds = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes; gives (what to send, what follows BEGIN)."""
        if not self._started:
            if not data.startswith(b"\0"):
                raise AuthError("no NUL at the start")
            self._started = True
            data = data[1:]
        self._buffer += data
        out = []
        while not self.done:
            line, end, rest = self._buffer.partition(b"\r\n")
            if not end:
                if len(line) > MAX_LINE:
                    raise AuthError("line too long")
                break
            self._buffer = rest
            self._tries += 1
            if self._tries > MAX_TRIES or len(line) > MAX_LINE:
                raise AuthError("too many commands")
            answer = self._line(line)
            if answer:
                out.append(answer + b"\r\n")
        rest = b""
        if self.done:
            rest, self._buffer = self._buffer, b""
        return b"".join(out), rest

    def _line(self, line: bytes) -> bytes:
        words = line.decode("ascii", "replace").split(" ")
        command = words[0]
        if command == "BEGIN":
            if not self._ok:
                raise AuthError("BEGIN before authentication")
            self.done = True
            return b""
        if command == "AUTH" and not self._ok:
            self._waiting = False
            if words[1:2] != ["EXTERNAL"]:
                return b"REJECTED EXTERNAL"
            if len(words) < 3:
                self._waiting = True
                return b"DATA"
            return self._claim(words[2])
        if command == "DATA" and self._waiting:
            self._waiting = False
            return self._claim(words[1] if len(words) > 1 else "")
        if command == "NEGOTIATE_UNIX_FD" and self._ok:
            self.fds = True
            return b"AGREE_UNIX_FD"
        if command in ("CANCEL", "ERROR"):
            self._ok = self._waiting = False
            return b"REJECTED EXTERNAL"
        return b"ERROR"

    def _claim(self, identity: str) -> bytes:
        if identity and identity.lower() != _hex(self._uid):
            return b"REJECTED EXTERNAL"
        self._ok = True
        return b"OK " + self._guid.encode()


class ClientAuth:
    """Authenticates ourselves to a bus."""

    __slots__ = ("_buffer", "_uid", "done")

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._buffer = b""
        self.done = False

    def start(self) -> bytes:
        """What to send first."""
        return f"\0AUTH EXTERNAL {_hex(str(self._uid))}\r\n".encode()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes; gives (what to send, what follows)."""
        self._buffer += data
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(line) > MAX_LINE:
                raise AuthError("line too long")
            return b"", b""
        if not line.startswith(b"OK "):
            raise AuthError("authentication rejected")
        self._buffer = b""
        self.done = True
        return b"BEGIN\r\n", rest
