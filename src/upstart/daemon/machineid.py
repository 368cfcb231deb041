"""The machine's id for those who ask init for it, as any peer on D-Bus is asked: read by a child, and remembered.

What is always true here: init opens neither file, for /var may be a server's; and nobody waits longer than `PATIENCE`
seconds for one that does not answer.  A machine may get its id late: that it has none is not remembered.
"""

from __future__ import annotations

import os
import time

from upstart.base.closing import close
from upstart.base.loop import READ
from upstart.process import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop

FILES = ("/var/lib/dbus/machine-id", "/etc/machine-id")
#: Seconds.
PATIENCE = 0.5
#: Bytes; an id has 32.
_LONGEST = 256


class MachineId:
    """The id of this machine, in ``text`` once it was read."""

    __slots__ = ("_began", "_loop", "_pipe", "_timer", "_waiters", "_watch", "text")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.text = ""
        #: Our end of a child's pipe, while there is one, and since when.
        self._pipe = self._watch = self._timer = -1
        self._began = 0.0
        self._waiters: list[Callable[[], object]] = []

    def to_be_read(self) -> bool:
        """Whether it is not known and may soon be: `when_read` then tells.  Raises OSError if there is no way to it."""
        if self.text:
            return False
        if self._pipe < 0:
            self._start()
        return time.monotonic() < self._began + PATIENCE

    def when_read(self, go_on: Callable[[], object]) -> None:
        """Call ``go_on`` when it was read, cannot be, or does not come."""
        self._waiters.append(go_on)
        if self._timer < 0:
            self._timer = self._loop.call_later(max(0.0, self._began + PATIENCE - time.monotonic()), self._release)

    def _start(self) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            self._watch = self._loop.add_fd(reader, READ, self._told)
            self._pipe = reader
            self._began = time.monotonic()
            helper.start("upstart-reader", (writer,), lambda: os.write(writer, read()))
        except BaseException:
            self._loop.remove(self._watch)
            self._pipe = -1
            close(reader)
            raise
        finally:
            close(writer)

    def _told(self, _events: int) -> None:
        pipe, self._pipe = self._pipe, -1
        self._loop.remove(self._watch)
        self.text = os.read(pipe, _LONGEST).decode("ascii", "replace").strip()
        close(pipe)
        self._release()

    def _release(self) -> None:
        self._loop.remove(self._timer)
        self._timer = -1
        while self._waiters:
            self._waiters.pop(0)()


def read() -> bytes:
    """In the child: what the first file says that there is, nothing where there is none."""
    for path in FILES:
        try:
            with open(path, "rb") as file:
                return file.read(_LONGEST)
        except OSError:
            continue
    return b""
