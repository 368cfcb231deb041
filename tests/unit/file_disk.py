"""A disk in memory, with an inotify as inotify(7) says it is, for the file bridge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from upstart.bridges import filenews as of
from upstart.bridges.filetree import Tree

if TYPE_CHECKING:
    from upstart.bridges.filenews import Told

RECORD = 32


class Inode:
    """``data`` is what a regular file was last written; ``names`` the content of a directory."""

    count = 0

    def __init__(self, kind: str, now: float) -> None:
        Inode.count += 1
        self.number = Inode.count
        self.kind = kind
        self.names: dict[str, Inode] = {}
        self.version = 0
        self.links = 1
        self.changed = now
        self.target = ""
        self.listens = True
        self.stamp = (self.number, 0, 0) if kind != "d" else (self.number, *of.DIR)

    def touch(self, now: float) -> None:
        self.version += 1
        self.changed = now
        self.stamp = (self.number, self.version, 0)


class MemoryDisk:
    """``room`` is how many directories can be watched; ``limit`` how many events wait before they are lost."""

    def __init__(self, room: int = 1000, limit: int = 1000) -> None:
        self.clock = 100.0
        self.root = Inode("d", self.clock)
        self.mounts: dict[int, Inode] = {}
        self.watched: dict[int, dict[str, int]] = {}
        self.queue: list[tuple[int, str, int]] = []
        self.taken = 0
        self.room = room
        self.limit = limit
        self.foreign: set[str] = set()

    # As the bridge sees it

    def now(self) -> float:
        return self.clock

    def find(self, path: str, links: int = 5) -> Inode | None:
        """The directory at a path."""
        here = self.mounts.get(self.root.number, self.root)
        at = ""
        for name in path.split("/"):
            if not name:
                continue
            at += "/" + name
            found = here.names.get(name)
            if found is not None and found.kind == "l":
                found = self.find(found.target, links - 1) if links and at not in self.foreign else None
            if found is None or found.kind != "d":
                return None
            here = self.mounts.get(found.number, found)
        return here

    def look(self, directory: str, name: str) -> Inode | None:
        found = self.find(directory)
        entry = found.names.get(name) if found is not None else None
        return self.mounts.get(entry.number, entry) if entry is not None else None

    def names(self, directory: str) -> list[str] | None:
        found = self.find(directory)
        return list(found.names) if found is not None else None

    def identity(self, directory: str) -> tuple[int, int] | None:
        found = self.find(directory)
        return (0, found.number) if found is not None else None

    def connectable(self, directory: str, name: str) -> bool | None:
        entry = self.look(directory, name)
        return entry.listens if entry is not None else None

    def watch(self, directory: str, mask: int) -> bool:
        found = self.find(directory)
        if found is None:
            return True
        if found.number not in self.watched and len(self.watched) >= self.room:
            return False
        for number, paths in list(self.watched.items()):
            if number != found.number and directory in paths:
                self.unwatch(directory)
        self.watched.setdefault(found.number, {})[directory] = mask
        return True

    def unwatch(self, directory: str) -> None:
        for number, paths in list(self.watched.items()):
            paths.pop(directory, None)
            if not paths:
                del self.watched[number]

    def position(self) -> int:
        return self.taken + len(self.queue) * RECORD

    # What happens

    def _note(self, inode: Inode, name: str, bits: int) -> None:
        paths = self.watched.get(inode.number)
        mask = 0
        for each in (paths or {}).values():
            mask |= each
        if mask & bits:
            if len(self.queue) >= self.limit:
                if self.queue[-1][2] != of.IN_OVERFLOW:
                    self.queue.append((0, "", of.IN_OVERFLOW))
                return
            self.queue.append((inode.number, name, bits))

    def _place(self, path: str) -> tuple[Inode, str]:
        directory, _, name = path.rpartition("/")
        found = self.find(directory)
        assert found is not None, path
        return found, name

    def make(self, path: str, kind: str = "f", target: str = "") -> Inode:
        directory, name = self._place(path)
        assert name not in directory.names
        inode = directory.names[name] = Inode(kind, self.clock)
        inode.target = target
        self._note(directory, name, of.IN_CREATE | (of.IN_ISDIR if kind == "d" else 0))
        return inode

    def close(self, path: str) -> None:
        """Somebody has written a file, and closes it."""
        directory, name = self._place(path)
        directory.names[name].touch(self.clock)
        self._note(directory, name, of.IN_CLOSE_WRITE)

    def write(self, path: str) -> None:
        if self._place(path)[0].names.get(path.rpartition("/")[2]) is None:
            self.make(path)
        self.close(path)

    def remove(self, path: str) -> None:
        directory, name = self._place(path)
        self._end(directory.names.pop(name))
        self._note(directory, name, of.IN_DELETE)

    def _end(self, inode: Inode) -> None:
        if inode.kind == "d":
            for name in list(inode.names):
                child = inode.names.pop(name)
                self._end(child)
                self._note(inode, name, of.IN_DELETE)
            self._note(inode, "", of.IN_DELETE_SELF)

    def move(self, old: str, new: str) -> None:
        source, name = self._place(old)
        target, other = self._place(new)
        inode = source.names.pop(name)
        over = target.names.get(other)
        if over is not None:
            self._end(over)
        target.names[other] = inode
        more = of.IN_ISDIR if inode.kind == "d" else 0
        self._note(source, name, of.IN_MOVED_FROM | more)
        self._note(target, other, of.IN_MOVED_TO | more)
        if inode.kind == "d":
            self._note(inode, "", of.IN_MOVE_SELF)

    def mount(self, path: str) -> None:
        directory, name = self._place(path)
        self.mounts[directory.names[name].number] = Inode("d", self.clock)

    def umount(self, path: str) -> None:
        directory, name = self._place(path)
        del self.mounts[directory.names[name].number]

    # Events

    def events(self) -> Iterator[tuple[str, str, int, int]]:
        queue, self.queue = self.queue, []
        at = self.taken
        self.taken += len(queue) * RECORD
        for position, (number, name, mask) in enumerate(queue):
            if mask == of.IN_OVERFLOW:
                yield "", "", mask, at + position * RECORD
            for path in list(self.watched.get(number, ())):
                yield path, name, mask, at + position * RECORD


def deal(disk: MemoryDisk, tree: Tree) -> Iterator[Told]:
    """What the bridge tells of what has happened up to now."""
    while disk.queue:
        for path, name, mask, position in disk.events():
            if mask == of.IN_OVERFLOW:
                yield from tree.rescan_all()
            else:
                yield from tree.heard(path, name, mask, position)
