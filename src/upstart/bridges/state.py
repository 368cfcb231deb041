"""What a bridge leaves for the one that is started in its place: a file of JSON, of use in one life of init.

What is always true here: the file is whole, and ours alone; one that cannot be read or is of another life is as if
there were none, and one that cannot be written does no more harm than that.
"""

from __future__ import annotations

import json
import os

from upstart.base.priority import WARN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from upstart.bridges.host import Host

    T = TypeVar("T")


class State:
    """The file of one bridge."""

    __slots__ = ("_host", "_written")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._written = ""

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
        """Leave this, unless it is what was left last."""
        text = json.dumps({"epoch": self._host.epoch, **what})
        if text != self._written:
            self._written = text
            self.write((text,))

    def write(self, pieces: Iterable[str]) -> None:
        """Leave a text that comes in pieces."""
        try:
            write_state(self._host.state_path, pieces)
        except OSError as error:
            self._host.log(WARN, f"{self._host.state_path}: {error.strerror}")


def write_state(path: str, pieces: Iterable[str]) -> None:
    """Write a file whole, for ourselves alone; OSError where that fails."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(pieces)
        os.rename(new, path)
    except OSError:
        os.unlink(new)
        raise
