"""The FIFO of sysvinit, ``/run/initctl``, on which other programs ask PID 1 for a runlevel.

What is always true here: what does not begin as a request is thrown away.  The policy is not ours: a request for a
runlevel runs telinit(8), as long as that is Upstart's.
"""

from __future__ import annotations

from upstart.base.initctl import (
    BEGINNING,
    POWER_FAIL,
    POWER_FAIL_NOW,
    POWER_OK,
    REQUEST,
    RUNLEVEL,
    SET_ENVIRON,
)
from upstart.daemon.fifo import Fifo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop

LEVELS = "0123456SsQqUu"
#: Variables that a request may set: sysvinit takes only names that begin so, and no more than this many.
PREFIX = "INIT_"
MAX_VARIABLES = 16


class InitFifo(Fifo):
    """Listens on ``path``; ``change`` (level, variables) is called for a runlevel, ``power`` () for a power
    status."""

    __slots__ = ("_change", "_data", "_power", "_variables")

    def __init__(
        self, loop: Loop, path: str, change: Callable[[str, list[str]], object], power: Callable[[], object]
    ) -> None:
        super().__init__(loop, path)
        self._change = change
        self._power = power
        self._variables: dict[str, str] = {}
        self._data = b""

    def received(self, data: bytes) -> None:
        """Carry out the requests that have come whole."""
        self._data += data
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

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave."""
        if saved is None:
            return
        self._variables = dict(saved["variables"])
        self._data = saved["data"].encode("latin-1")
        self._listen(saved["fd"])
