"""The paths of configuration that do not answer, and the children that they hold.

What is always true here: a child that a path holds is left there, and nobody waits for it; it is heard of again when
it goes on or has ended.
"""

from __future__ import annotations

import time

from upstart.base.priority import INFO, WARN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.daemon.reading import Reader

#: Seconds until a child counts as held by a path, or as one that does nothing at all; until a path is said not to
#: answer to whoever asks.
PATIENCE = 1.5
LONG_PATIENCE = 10.0
SOON = 0.5
#: Paths that hold a child of their own.
MOST_HELD = 8


class Unanswered:
    """Those of one daemon; ``again`` () is called when one answers again, ``log`` (priority, text) is init's own."""

    __slots__ = ("_again", "_held", "_log", "_told_of")

    def __init__(self, again: Callable[[], object], log: Callable[[int, str], object]) -> None:
        self._again = again
        self._log = log
        #: By the path that holds them.
        self._held: dict[str, Reader] = {}
        #: Who was said to be one too many.
        self._told_of: Reader | None = None

    def paths(self) -> list[str]:
        """The paths, which are to be left out."""
        return list(self._held)

    def leave(self, reader: Reader) -> bool:
        """If a path holds this child, leave it there, unless that is one too many; whether it was left."""
        seconds, path = reader.held(time.monotonic())
        if not path:
            if seconds >= LONG_PATIENCE:
                reader.kill()
            return False
        if seconds < PATIENCE:
            return False
        if path in self._held or len(self._held) >= MOST_HELD:
            if self._told_of is not reader:
                self._told_of = reader
                self._log(WARN, f"{path}: Does not answer: changes of configuration wait for it")
            return False
        self._log(WARN, f"{path}: Does not answer: what is there stays as it was until it does")
        self._held[path] = reader
        reader.told = lambda: self._answers(path)
        return True

    def problem(self, reader: Reader | None) -> str:
        """What to tell whoever wants to know whether all has been read, where ``reader`` is at it; "" if it has."""
        paths = self.paths()
        if reader is not None:
            seconds, path = reader.held(time.monotonic())
            if path and seconds >= SOON:
                paths.append(path)
        return f"Not all configuration was read, for this does not answer: {', '.join(paths)}" if paths else ""

    def _answers(self, path: str) -> None:
        """The child that a path held goes on, or has ended."""
        self._held.pop(path).close()
        self._log(INFO, f"{path}: Answers again")
        self._again()

    def end(self) -> None:
        """End the children, as far as they can be ended."""
        for reader in self._held.values():
            reader.kill()
