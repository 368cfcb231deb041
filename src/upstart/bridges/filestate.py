"""What the file bridge leaves for the one that is started in its place: a journal of what it knows of files.

The file is lines of JSON: what init it is for, then, in their order, what is awaited, what has become known of a file,
and that init has all that was told up to there.  What is always true here: what is about to be told is written before
init can hear of it, so that a kill at any moment leaves no doubt but about what was under way; of that the next one
tells again whatever may not have been heard, and of what may have been heard that it has gone.  The file is written
anew when it has grown to more than twice what is known.
"""

from __future__ import annotations

import json
import os

from upstart.base.priority import WARN
from upstart.bridges.state import write_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from upstart.bridges.filenews import Stamp
    from upstart.bridges.host import Host

    Known = dict[str, dict[str, Stamp]]

#: Lines beyond twice what is known.
SPARE = 4096


class Saved:
    """What another life has left: what it knew when init had heard all of it, what was awaited then, and what init may
    have been told of since, that was not known."""

    __slots__ = ("known", "unsure", "wanted")

    def __init__(self) -> None:
        self.known: Known = {}
        self.wanted: list[str] = []
        self.unsure: set[tuple[str, str]] = set()


class Journal:
    """The file of one bridge."""

    __slots__ = ("_fd", "_host", "_lines", "_sure")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._fd = -1
        self._lines = 0
        self._sure = True

    @property
    def sure(self) -> bool:
        """Whether the file says that init has heard all that is in it."""
        return self._sure

    def load(self) -> Saved | None:
        """What was left, None where there was nothing for us."""
        try:
            with open(self._host.state_path, encoding="utf-8", errors="surrogateescape") as file:
                epoch = json.loads(file.readline())["epoch"]
                return _read(file) if epoch == self._host.epoch and epoch else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            self._host.log(WARN, f"{self._host.state_path}: {error}")
            return None

    def begin(self, saved: Saved | None) -> None:
        """Go on from what was left."""
        saved = saved or Saved()
        self._write(saved.wanted, saved.known.items(), sum(map(len, saved.known.values())))
        self.note([(path, name, (0, 0, 0)) for path, name in sorted(saved.unsure)])

    def note(self, changes: Iterable[tuple[str, str, Stamp | None]]) -> None:
        """What is about to be told, or may be: files and their stamps, None where they have gone."""
        lines = [f"{json.dumps(change)}\n" for change in changes]
        if lines:
            self._sure = False
            self._append(lines)

    def confirm(self, wanted: Iterable[str], known: Iterable[tuple[str, dict[str, Stamp]]], number: int) -> None:
        """Init has all of it; ``known`` is all that is known, of so many files."""
        if self._fd < 0 or self._lines > 2 * number + SPARE:
            self._write(wanted, known, number)
        else:
            self._append([f"{json.dumps(list(wanted))}\n", "true\n"])
        self._sure = True

    def _append(self, lines: list[str]) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, "".join(lines).encode("utf-8", "surrogateescape"))
            self._lines += len(lines)
        except OSError as error:
            self._fail(error)

    def _write(self, wanted: Iterable[str], known: Iterable[tuple[str, dict[str, Stamp]]], number: int) -> None:
        def lines() -> Iterator[str]:
            yield f"{json.dumps({'epoch': self._host.epoch})}\n{json.dumps(list(wanted))}\n"
            for path, names in known:
                for name, stamp in names.items():
                    yield f"{json.dumps([path, name, stamp])}\n"
            yield "true\n"

        self.close()
        try:
            write_state(self._host.state_path, lines())
            self._fd = os.open(self._host.state_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._lines = number
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._host.log(WARN, f"{self._host.state_path}: {error.strerror}")
        self.close()

    def close(self) -> None:
        """Write no more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _read(lines: Iterable[str]) -> Saved:
    saved = Saved()
    wanted: list[str] = []
    open_changes: list[tuple[str, str, Stamp | None]] = []
    for line in lines:
        if not line.endswith("\n"):
            break  # who wrote it was killed
        each = json.loads(line)
        if each is True:
            for path, name, stamp in open_changes:
                _change(saved.known, path, name, stamp)
            open_changes.clear()
            saved.wanted = wanted
        elif len(each) == 3 and not isinstance(each[2], str):
            path, name, stamp = each
            open_changes.append((path, name, _stamp(stamp)))
        else:
            wanted = [str(text) for text in each]
    saved.unsure = {(path, name) for path, name, stamp in open_changes
                    if stamp is not None and name not in saved.known.get(path, ())}  # fmt: skip
    return saved


def _change(known: Known, path: str, name: str, stamp: Stamp | None) -> None:
    if stamp is not None:
        known.setdefault(path, {})[name] = stamp
    else:
        known.get(path, {}).pop(name, None)


def _stamp(saved: list[int] | None) -> Stamp | None:
    if saved is None:
        return None
    inode, time, size = saved
    return int(inode), int(time), int(size)
