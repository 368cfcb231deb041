"""What becomes of the names in directories: when something is there, has changed or has gone, and who is told.

This is pure, as `upstart.bridges.filetree` is, which has the directories.  What is always true here:

- What is known of a file is what has been told of it.
- A file is there when who writes it has closed it, or a second after it came; a socket when it can be connected to.
- One that is made again within a second of its end, or by a rename over it, has been made and has changed.
"""

from __future__ import annotations

from upstart.base.filewords import (
    ATTRIB,
    CLOSE,
    CREATE,
    DELETE,
    EVENT,
    MODIFY,
    MOVED,
    OPEN,
)
from upstart.base.glob import match
from upstart.bridges.filespec import ANY, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    #: A key (what it is about), the name of an event, its variables, and its kind.
    Told = tuple[str, str, dict[str, str], str]
    #: What a file is known by: inode, time of change in ns, bytes.
    Stamp = tuple[int, int, int]
    #: A specification, and how many of its parts have led to a directory; all of them: what is inside it.
    Task = tuple[Spec, int]
    #: Who waits for a name, and whether for what is inside the directory that it is in.
    Finals = dict[tuple[Spec, bool], None]
    #: What is to be done in a directory of a name, and whether in one that a symbolic link leads to as well: any number
    #: of directories is of real ones, for links may lead in circles.
    Steps = dict[Task, bool]

    class Entry(Protocol):
        """What is at a path.  ``kind`` is as find(1) has it: f, d, l, s, p, b or c."""

        kind: str
        stamp: Stamp
        links: int
        #: When it was last changed, as `Disk.now` has it.
        changed: float

    class Disk(Protocol):
        """What there is, by paths; nothing follows a symbolic link that is not ours or root's."""

        def now(self) -> float: ...
        def look(self, directory: str, name: str) -> Entry | None: ...
        def names(self, directory: str) -> list[str] | None: ...
        def identity(self, directory: str) -> tuple[int, int] | None:
            """Of a directory; None where there is none."""

        def connectable(self, directory: str, name: str) -> bool | None:
            """Whether a socket is; None where nobody has it open."""

        def watch(self, directory: str, mask: int) -> bool:
            """Be told of what happens there; False where the kernel has no room."""

        def unwatch(self, directory: str) -> None: ...
        def position(self) -> int:
            """Up to where what the kernel has told, and will tell, is older than now."""


# As of inotify(7).
IN_ATTRIB, IN_CLOSE_WRITE, IN_CLOSE_NOWRITE, IN_OPEN = 0x4, 0x8, 0x10, 0x20
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200
IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT, IN_OVERFLOW, IN_IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
IN_ONLYDIR, IN_ISDIR = 0x1000000, 0x40000000
#: That a directory ends or gets another name; that names come or go in it.
SELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
NAMES = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM
#: What must be watched besides for kinds of events.
MORE = {OPEN: IN_OPEN, CLOSE: IN_CLOSE_NOWRITE, ATTRIB: IN_ATTRIB}

#: Seconds after which a file is there although nobody has closed it, and within which one that is made again has been
#: replaced.
PATIENCE = 1.0
#: Seconds between two looks at a socket that cannot be connected to, at first and at most.
FIRST_LOOK, LAST_LOOK = 0.01, 5.0
#: Removals that are remembered for a moment.
_RECENT = 1024
_GONE: Stamp = (0, 0, 0)
#: The time and size of a directory.
DIR = (-1, -1)


class Node:
    """A directory; ``known`` is what has been told of the names in it, ``stale`` the position before which it has been
    read."""

    __slots__ = ("children", "identity", "known", "mask", "polled", "stale", "tasks")

    def __init__(self, identity: tuple[int, int]) -> None:
        self.identity = identity
        self.tasks: dict[Task, None] = {}
        self.known: dict[str, Stamp] = {}
        self.children: set[str] = set()
        self.mask = 0
        self.stale = 0
        self.polled = False


class Pending:
    """What has come and is not told yet: until ``due``; a socket is looked at again after ``pause``."""

    __slots__ = ("began", "due", "pause", "replaced")

    def __init__(self, due: float, began: float, replaced: bool, pause: float = 0.0) -> None:
        self.due = due
        self.began = began
        self.replaced = replaced
        self.pause = pause


class News:
    """What is known, and what waits for its time; ``complain`` (text) is told what cannot be watched."""

    def __init__(self, disk: Disk, complain: Callable[[str], object]) -> None:
        self._disk = disk
        self._complain = complain
        self.nodes: dict[str, Node] = {}
        self.specs: dict[str, Spec] = {}
        self.pending: dict[tuple[str, str], Pending] = {}
        #: Of which what is known may have changed since somebody looked last.
        self.touched: dict[tuple[str, str], None] = {}
        self._recent: dict[tuple[str, str], float] = {}
        #: Those for which what is there already is no news, and what was there when they heard of it.
        self._old: set[str] = set()
        self._saved: dict[str, dict[str, Stamp]] = {}

    def _route(self, node: Node, name: str, among: set[str] | None = None) -> tuple[Finals, Steps]:
        """Who waits for this name, and what is to be done in a directory of this name."""
        finals: Finals = {}
        steps: Steps = {}
        for spec, index in node.tasks:
            if among is not None and spec.text not in among:
                continue
            parts = spec.parts
            if index == len(parts):
                finals[spec, True] = None
                continue
            part = parts[index]
            if part == ANY:
                steps[spec, index] = False
            elif part != name and (spec.literal[index] or not match(part, name)):
                continue
            elif index + 1 < len(parts):
                steps[spec, index + 1] = True
                continue
            if index + 1 == len(parts):
                finals[spec, False] = None
                if spec.directory:
                    steps[spec, index + 1] = True
        return finals, steps

    def _meet(self, path: str, node: Node, name: str, finals: Finals, entry: Entry, at_once: bool) -> Iterator[Told]:
        """Something is there that these have not heard of."""
        if (path, name) in self.pending:
            return
        known = node.known.get(name)
        if known is None and self._saved.get(path, {}).get(name) == entry.stamp:
            # Not even a socket is looked at: it was told of.
            known = node.known[name] = entry.stamp
        news: Finals = {final: None for final in finals if final[0].text not in self._old}
        if known is not None:
            # For others it is no news.
            yield from self._tell(path, name, {final: None for final in news if not final[1]}, CREATE)
        elif entry.kind == "s" or not (at_once or self._finished(entry)):
            self._wait(path, name, entry, self._was_there((path, name)))
        elif at_once:
            node.known[name] = entry.stamp
            # What is inside a directory when a job comes has not happened to it.
            yield from self._tell(path, name, {final: None for final in news if not final[1]}, CREATE)
        else:
            yield from self._settle(path, node, name, news, entry, self._was_there((path, name)))

    def _happened(self, path: str, node: Node, name: str, finals: Finals, mask: int) -> Iterator[Told]:
        if mask & (IN_MOVED_FROM | IN_MOVED_TO):
            yield from self._tell(path, name, finals, MOVED)
        if mask & (IN_CREATE | IN_MOVED_TO):
            yield from self._came(path, node, name, finals, bool(mask & IN_MOVED_TO))
        elif mask & (IN_DELETE | IN_MOVED_FROM):
            yield from self._gone(path, node, name, finals)
        elif mask & IN_CLOSE_WRITE:
            yield from self._closed(path, node, name, finals)
        elif mask & IN_ATTRIB:
            yield from self._tell(path, name, finals, ATTRIB)
        if not mask & IN_ISDIR:
            if mask & IN_OPEN:
                yield from self._tell(path, name, finals, OPEN)
            if mask & (IN_CLOSE_WRITE | IN_CLOSE_NOWRITE):
                yield from self._tell(path, name, finals, CLOSE)

    def _came(self, path: str, node: Node, name: str, finals: Finals, moved: bool) -> Iterator[Told]:
        entry = self._disk.look(path, name)
        now = self._disk.now()
        key = (path, name)
        replaced = node.known.pop(name, None) is not None or self._was_there(key)
        self.pending.pop(key, None)
        if entry is not None and entry.kind == "s":
            self._wait(path, name, entry, replaced)
        elif moved or (entry is not None and (entry.kind != "f" or entry.links > 1)):
            yield from self._settle(path, node, name, finals, entry, replaced)
        else:
            self.pending[key] = Pending(now + PATIENCE, now, replaced)

    def _was_there(self, key: tuple[str, str]) -> bool:
        """Whether something of this name has gone just now."""
        return self._disk.now() - self._recent.pop(key, -PATIENCE) < PATIENCE

    def _closed(self, path: str, node: Node, name: str, finals: Finals) -> Iterator[Told]:
        pending = self.pending.pop((path, name), None)
        entry = self._disk.look(path, name)
        if pending is not None:
            yield from self._settle(path, node, name, finals, entry, pending.replaced)
        elif name in node.known:
            node.known[name] = entry.stamp if entry is not None else _GONE
            yield from self._tell(path, name, finals, MODIFY)
        elif entry is not None:
            yield from self._settle(path, node, name, finals, entry, False)

    def _gone(self, path: str, node: Node, name: str, finals: Finals) -> Iterator[Told]:
        pending = self.pending.pop((path, name), None)
        if pending is not None:
            if pending.pause:
                return  # a socket that nobody could connect to
            yield from self._settle(path, node, name, finals, None, pending.replaced)
        if node.known.pop(name, None) is None:
            return
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent[path, name] = self._disk.now()
        yield from self._tell(path, name, finals, DELETE)

    def _settle(self, path: str, node: Node, name: str, finals: Finals, entry: Entry | None,
                replaced: bool) -> Iterator[Told]:  # fmt: skip
        """What has come is there."""
        node.known[name] = entry.stamp if entry is not None else _GONE
        yield from self._tell(path, name, finals, CREATE)
        if replaced and node.known[name][1:] != DIR:
            yield from self._tell(path, name, {final: None for final in finals if not final[1]}, MODIFY)

    def _finished(self, entry: Entry) -> bool:
        return entry.kind != "f" or entry.links > 1 or self._disk.now() - entry.changed >= PATIENCE

    def _wait(self, path: str, name: str, entry: Entry, replaced: bool) -> None:
        now = self._disk.now()
        if entry.kind == "s":
            self.pending[path, name] = Pending(now + FIRST_LOOK, now, replaced, FIRST_LOOK)
        else:
            self.pending[path, name] = Pending(max(now, entry.changed) + PATIENCE, now, replaced)

    def due(self) -> Iterator[Told]:
        """What has waited for its time."""
        now = self._disk.now()
        for key, pending in [each for each in self.pending.items() if each[1].due <= now]:
            path, name = key
            node = self.nodes.get(path)
            entry = self._disk.look(path, name)
            if self.pending.get(key) is not pending:
                continue
            if node is None or (entry is None and pending.pause):
                del self.pending[key]
                continue
            if entry is not None and entry.kind == "s":
                if not self._look_at_socket(key, pending, now):
                    continue
            self.pending.pop(key, None)
            yield from self._settle(path, node, name, self._route(node, name)[0], entry, pending.replaced)

    def _look_at_socket(self, key: tuple[str, str], pending: Pending, now: float) -> bool:
        """Whether it can be connected to; if not it is looked at again while somebody has it."""
        there = self._disk.connectable(*key)
        if there:
            return True
        if there is None and now - pending.began > PATIENCE:
            del self.pending[key]
        else:
            pending.pause = min(2 * pending.pause or FIRST_LOOK, LAST_LOOK)
            pending.due = now + pending.pause
        return False

    def _tell_change(self, path: str, name: str, finals: Finals, old: Stamp | None,
                     new: Stamp | None) -> Iterator[Told]:  # fmt: skip
        if new is None:
            yield from self._tell(path, name, finals, DELETE)
            return
        if old is None or old[0] != new[0]:
            yield from self._tell(path, name, finals, CREATE)
            finals = {final: None for final in finals if not final[1]}
        if old is not None and new[1:] != DIR:
            yield from self._tell(path, name, finals, MODIFY)

    def _tell(self, path: str, name: str, finals: Finals, kind: str) -> Iterator[Told]:
        whole = join(path, name)
        self.touched[path, name] = None
        for spec, inside in finals:
            # Whatever happens in a directory has changed it.
            said = MODIFY if inside and kind in (CREATE, DELETE) else kind
            env = spec.event(said, whole, inside or spec.pattern)
            if env is not None:
                yield f"{env['FILE']}\0{env.get('MATCH', '')}", EVENT, env, said


def close_over(task: Task, into: dict[Task, None]) -> None:
    """A task, and, where its next part may be no directory at all, the one after it."""
    spec, index = task
    into[task] = None
    while index < len(spec.parts) - 1 and spec.parts[index] == ANY:
        index += 1
        into[spec, index] = None


def join(path: str, name: str) -> str:
    return f"{path}/{name}" if path != "/" else f"/{name}"


def split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent or "/", name
