"""A file that is written whole, in the place of the one before.

What is always true here: whoever opens it finds what was there before or all of what is new; where the writing fails,
as on a full disk, the one before is as it was, and nothing else is left.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def write_whole(path: str, pieces: Iterable[str], mode: int = 0o600) -> None:
    """Write these texts, by default for ourselves alone.  OSError where that fails."""

    def write(fd: int) -> None:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(pieces)

    _replace(path, mode, write)


def write_whole_data(path: str, data: bytes, mode: int) -> None:
    """Write these bytes, with this very mode, and wait for the disk.  OSError where that fails."""

    def write(fd: int) -> None:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)

    _replace(path, mode, write)


def _replace(path: str, mode: int, write: Callable[[int], None]) -> None:
    """Have the descriptor of a new file written, and closed; the file then takes the place of the one before."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        write(fd)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
