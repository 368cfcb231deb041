"""The FIFO of sysvinit, ``/run/initctl``, on which other programs ask PID 1 for a runlevel.

What is always true here: the FIFO is root's alone and is opened for both reading and writing, so that it never ends;
what does not begin as a request is thrown away.  The policy is not ours: a request for a runlevel runs telinit(8), as
long as that is Upstart's.
"""

from __future__ import annotations

import os

from upstart.base.initctl import (
    BEGINNING,
    POWER_FAIL,
    POWER_FAIL_NOW,
    POWER_OK,
    REQUEST,
    RUNLEVEL,
    SET_ENVIRON,
)
from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop

LEVELS = "0123456SsQqUu"
#: Variables that a request may set: sysvinit takes only names that begin so, and no more than this many.
PREFIX = "INIT_"
MAX_VARIABLES = 16


class InitFifo:
    """Listens on ``path``; ``change`` (level, variables) is called for a runlevel, ``power`` () for a power
    status."""

    __slots__ = ("_change", "_data", "_fd", "_loop", "_path", "_power", "_variables", "_watch")

    def __init__(
        self, loop: Loop, path: str, change: Callable[[str, list[str]], object], power: Callable[[], object]
    ) -> None:
        self._loop = loop
        self._path = path
        self._change = change
        self._power = power
        self._variables: dict[str, str] = {}
        self._data = b""
        self._fd = -1
        self._watch = -1

    def open(self) -> None:
        """Make the FIFO if it is not there, and listen; OSError where that fails.

        Opening it again is harmless: what has been written to it stays there as long as anybody has it open.
        """
        try:
            os.mkfifo(self._path, 0o600)
        except FileExistsError:
            pass
        fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        status = os.fstat(fd)
        if status.st_mode & 0o170000 != 0o010000:
            os.close(fd)
            raise OSError(22, "not a FIFO", self._path)
        if status.st_mode & 0o7777 != 0o600 or status.st_uid != os.getuid():
            os.fchown(fd, os.getuid(), -1)
            os.fchmod(fd, 0o600)
        self.close()
        self._listen(fd)

    def _listen(self, fd: int) -> None:
        self._fd = fd
        self._watch = self._loop.add_fd(fd, READ, self._readable)

    def close(self) -> None:
        """Stop listening; the FIFO stays."""
        if self._fd >= 0:
            self._loop.remove(self._watch)
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _readable(self, _events: int) -> None:
        try:
            self._data += os.read(self._fd, REQUEST.size * 16)
        except BlockingIOError:
            return
        while True:
            # Whatever lies before a magic number was never a request.
            at = self._data.find(BEGINNING)
            self._data = self._data[at:] if at >= 0 else self._data[-len(BEGINNING) + 1 :]
            if at < 0 or len(self._data) < REQUEST.size:
                return
            request, self._data = self._data[: REQUEST.size], self._data[REQUEST.size :]
            _, command, level, _, data = REQUEST.unpack(request)
            if command == RUNLEVEL and 0 < level < 128 and chr(level) in LEVELS:
                self._change(chr(level), [f"{key}={value}" for key, value in self._variables.items()])
            elif command in (POWER_FAIL, POWER_FAIL_NOW, POWER_OK):
                self._power()
            elif command == SET_ENVIRON:
                self._set_variables(data)

    def _set_variables(self, data: bytes) -> None:
        for word in data.split(b"\0"):
            if not word:
                break
            key, equals, value = word.decode("utf-8", "replace").partition("=")
            if not key.startswith(PREFIX):
                continue
            self._variables.pop(key, None)
            if equals and len(self._variables) < MAX_VARIABLES:
                self._variables[key] = value

    # Across a re-exec

    def dump(self) -> dict[str, Any] | None:
        """The descriptor, the variables set so far, and what has been read of a request; None where none is open."""
        if self._fd < 0:
            return None
        return {"fd": self._fd, "variables": self._variables, "data": self._data.decode("latin-1")}

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return [self._fd] if self._fd >= 0 else []

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave."""
        if saved is None:
            return
        self._variables = dict(saved["variables"])
        self._data = saved["data"].encode("latin-1")
        self._listen(saved["fd"])
