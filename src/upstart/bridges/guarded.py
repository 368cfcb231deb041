"""The loop as a source has it: what it does there ends with it, and its faults are its own.

What is always true here: nothing that was asked for is called after `close`; an exception of a callback goes to
``fault``, so that of several sources in one process the others go on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop


class Guarded:
    """The part of ``loop`` that a source uses; ``fault`` (error) gets what its callbacks raise."""

    __slots__ = ("_fault", "_loop", "_open", "_watches")

    def __init__(self, loop: Loop, fault: Callable[[Exception], object]) -> None:
        self._loop = loop
        self._fault = fault
        self._open = True
        self._watches: set[int] = set()

    def add_fd(self, fd: int, events: int, callback: Callable[[int], object]) -> int:
        """As the loop's."""
        watch = self._loop.add_fd(fd, events, lambda ready: self.call(lambda: callback(ready)))
        self._watches.add(watch)
        return watch

    def modify(self, watch: int, events: int) -> None:
        """As the loop's."""
        self._loop.modify(watch, events)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> int:
        """As the loop's."""

        def due() -> None:
            self._watches.discard(timer)
            self.call(callback)

        timer = self._loop.call_later(seconds, due)
        self._watches.add(timer)
        return timer

    def call_soon(self, callback: Callable[[], object]) -> None:
        """As the loop's."""
        self._loop.call_soon(lambda: self.call(callback))

    def send_soon(self, callback: Callable[[], object]) -> None:
        """As the loop's."""
        self._loop.send_soon(lambda: self.call(callback))

    def remove(self, ident: int) -> None:
        """As the loop's."""
        self._watches.discard(ident)
        self._loop.remove(ident)

    def call(self, callback: Callable[[], object]) -> None:
        """Call back, unless that has come to its end."""
        if not self._open:
            return
        try:
            callback()
        except Exception as error:
            self._fault(error)

    def close(self) -> None:
        """Forget all that was asked for."""
        self._open = False
        for ident in self._watches:
            self._loop.remove(ident)
        self._watches.clear()
