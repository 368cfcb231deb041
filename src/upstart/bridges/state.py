"""What a bridge leaves for the one that is started in its place: a file of JSON, of use in one life of init.

What is always true here: the file is whole, and ours alone; one that cannot be read or is of another life is as if
there were none, and one that cannot be written does no more harm than that.  What init may or may not have heard of
since is in a file beside it, which is written before init can hear of that: who is killed in between leaves no more
than a doubt.
"""

from __future__ import annotations

import json
import os

from upstart.base.priority import WARN
from upstart.base.wholefile import write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from upstart.bridges.host import Host

    T = TypeVar("T")


class State:
    """The file of one bridge."""

    __slots__ = ("_doubts", "_fd", "_host", "_written")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._written = ""
        #: The file of doubts, while there are any, and what is in it.
        self._fd = -1
        self._doubts: set[tuple[str, ...]] = set()

    def load(self, take: Callable[[dict[str, Any]], T]) -> T | None:
        """What ``take`` makes of what the last one has saved; None where there is nothing, or it is something else:
        then it raises ValueError, TypeError or KeyError."""
        try:
            with open(self._host.state_path, encoding="utf-8", errors="surrogateescape") as file:
                saved = json.load(file)
            if saved["epoch"] == self._host.epoch and saved["epoch"]:
                return take(saved)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self._host.log(WARN, f"{self._host.state_path}: {error}")
        return None

    def save(self, **what: Any) -> None:
        """Leave this, which init has heard of, unless it is what was left last; there is no doubt any more."""
        text = json.dumps({"epoch": self._host.epoch, **what})
        try:
            if text != self._written:
                write_state(self._host.state_path, (text,))
                self._written = text
            if self._fd >= 0:
                self.close()
                self._doubts.clear()
                os.unlink(self._doubts_path)
        except OSError as error:
            self._host.log(WARN, f"{self._host.state_path}: {error.strerror}")

    # What is under way

    @property
    def _doubts_path(self) -> str:
        return f"{self._host.state_path}.doubt"

    def doubt(self, *what: str) -> None:
        """Before something is told: from now on, until the next `save`, init may have heard of it."""
        if what in self._doubts:
            return
        self._doubts.add(what)
        try:
            if self._fd < 0:
                self._fd = self._begin_doubts()
            os.write(self._fd, f"{json.dumps(what)}\n".encode("utf-8", "surrogateescape"))
        except OSError as error:
            self._host.log(WARN, f"{self._doubts_path}: {error.strerror}")

    def _begin_doubts(self) -> int:
        os.makedirs(os.path.dirname(self._doubts_path), mode=0o755, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self._doubts_path, flags, 0o600)
        # Those of another life are none of ours; what our forerunner has left stays until all of it was told again.
        if self._epoch_of_doubts() != self._host.epoch:
            os.ftruncate(fd, 0)
            os.write(fd, f"{json.dumps(self._host.epoch)}\n".encode())
        else:
            # Its last line may have been cut off.
            os.write(fd, b"\n")
        return fd

    def _epoch_of_doubts(self) -> str:
        try:
            with open(self._doubts_path, encoding="utf-8", errors="surrogateescape") as file:
                return str(json.loads(file.readline()))
        except (OSError, ValueError):
            return ""

    def doubts(self) -> list[tuple[str, ...]]:
        """What the one that was killed has left in doubt; it is so until the next `save`."""
        epoch = self._epoch_of_doubts()
        if not epoch or epoch != self._host.epoch:
            return []
        found: list[tuple[str, ...]] = []
        try:
            with open(self._doubts_path, encoding="utf-8", errors="surrogateescape") as file:
                file.readline()
                found = [what for what in map(_doubt_of, file) if what]
            self._fd = self._begin_doubts()
        except (OSError, ValueError, TypeError) as error:
            self._host.log(WARN, f"{self._doubts_path}: {error}")
        self._doubts.update(found)
        return found

    def close(self) -> None:
        """Write no more; what is left in doubt stays so."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _doubt_of(line: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(line)))
    except (ValueError, TypeError):
        return ()


def write_state(path: str, pieces: Iterable[str]) -> None:
    """Write a file whole, for ourselves alone; OSError where that fails."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    write_whole(path, pieces)
