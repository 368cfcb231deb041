"""The directories in which something may happen that jobs wait for, and what happens there, as events.

This is pure: what there is comes from a `Disk`, what has happened from who calls, and events go out.  What is always
true here:

- From the root to each place that may matter, every directory that exists is a `Node`, and watched: as soon as one
  comes into being it is watched, and read after that, so that nothing in it is missed.  One that only leads to
  another is watched for its own end alone.
- What was missed (an overflow, a mount, another life) is found by
  comparing what is with that.
- What was told by the kernel before a directory was read may be in what was read: until then, what happens to a name
  is found by comparing as well.
- A file is there when who writes it has closed it, or a second after it came; a socket when it can be connected to.
"""

from __future__ import annotations

from upstart.base.filewords import DELETE
from upstart.bridges.filenews import (
    IN_CLOSE_WRITE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_MOVE_SELF,
    IN_UNMOUNT,
    MORE,
    NAMES,
    SELF,
    News,
    Node,
    close_over,
    join,
    split,
)  # fmt: skip
from upstart.bridges.filespec import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from upstart.bridges.filenews import Disk, Entry, Finals, Stamp, Steps, Task, Told
    from upstart.bridges.filespec import Spec

#: Directories that are watched at most.
MOST = 8192


class Tree(News):
    """All of it.  ``complain`` (text) is told what cannot be watched."""

    def __init__(self, disk: Disk, complain: Callable[[str], object]) -> None:
        super().__init__(disk, complain)
        self._full = False

    # What is wanted

    def want(self, specs: dict[str, Spec], saved: dict[str, dict[str, Stamp]] | None = None,
             old: Iterable[str] = (), unsure: Iterable[tuple[str, str]] = ()) -> Iterator[Told]:  # fmt: skip
        """Tell of these from now on; of those among them that are new, what is there already.

        ``saved`` is what `dump` gave in another life, in which the texts ``old`` were wanted; of what is ``unsure``
        (directory, name) it may have been told since that it is there.
        """
        before = self.specs
        if saved is not None:
            self._old = set(old)
        else:
            self._old = {text for text, spec in specs.items() if text in before and spec.asks <= before[text].asks}
        self._saved = saved or {}
        self.specs = specs
        self._full = False
        for node in self.nodes.values():
            # Those that ask for more than before are as new as others.
            node.tasks = {(specs[spec.text], index): None for spec, index in node.tasks if spec.text in self._old}
        yield from self._enter("/", [(spec, 0) for spec in specs.values()], True)
        if saved is not None:
            yield from self._compare_with(saved)
            for path, name in unsure:
                if (path not in self.nodes or name not in self.nodes[path].known) and (path, name) not in self.pending:
                    yield from self._tell(path, name, self._finals_at(join(path, name), set(specs)), DELETE)
        # From now on whatever comes is news to all.
        self._old, self._saved = set(), {}
        if before:
            self._forget()
            self._prune("/")
        for path, node in self.nodes.items():
            self._set_mask(path, node)

    def _forget(self) -> None:
        """Know nothing of what nobody waits for any more."""
        for node in self.nodes.values():
            for name in [name for name in node.known if not self._route(node, name)[0]]:
                del node.known[name]
        for path, name in list(self.pending):
            if path not in self.nodes or not self._route(self.nodes[path], name)[0]:
                del self.pending[path, name]

    def _prune(self, path: str) -> bool:
        """Leave the directories that nothing is wanted of; whether this one was."""
        node = self.nodes[path]
        for name in list(node.children):
            if self._prune(join(path, name)):
                node.children.discard(name)
        if node.tasks or node.children or path == "/":
            return False
        self._disk.unwatch(path)
        del self.nodes[path]
        return True

    def _compare_with(self, saved: dict[str, dict[str, Stamp]]) -> Iterator[Told]:
        """Tell those that were wanted in another life what has changed since."""
        for path, names in saved.items():
            node = self.nodes.get(path)
            for name, stamp in names.items():
                now = node.known.get(name) if node is not None else None
                if now != stamp and (path, name) not in self.pending:
                    finals = self._finals_at(join(path, name), self._old)
                    yield from self._tell_change(path, name, finals, stamp, now)
        for path, node in self.nodes.items():
            for name, stamp in node.known.items():
                if name not in saved.get(path, ()):
                    finals, _ = self._route(node, name, self._old)
                    yield from self._tell_change(path, name, finals, None, stamp)

    def _finals_at(self, path: str, among: set[str]) -> Finals:
        """Who of these waits for a path, whose directory may be gone."""
        tasks: dict[Task, None] = {}
        for text in among:
            close_over((self.specs[text], 0), tasks)
        parts = path[1:].split("/")
        for part in parts[:-1]:
            node = Node((0, 0))
            node.tasks = tasks
            _, steps = self._route(node, part)
            tasks = {}
            for task in steps:
                close_over(task, tasks)
        node = Node((0, 0))
        node.tasks = tasks
        return self._route(node, parts[-1])[0]

    # Directories

    def _enter(self, path: str, steps: list[Task], at_once: bool) -> Iterator[Told]:
        """A directory matters from now on, for these; what is in it is there ``at_once`` or when it is finished."""
        if not steps:
            return
        node = self.nodes.get(path)
        if node is None:
            identity = self._disk.identity(path)
            if identity is None:
                return
            if len(self.nodes) >= MOST:
                if not self._full:
                    self._full = True
                    self._complain(f"{path}: more than {MOST} directories are not watched")
                return
            node = self.nodes[path] = Node(identity)
            if path != "/":
                parent, name = split(path)
                self.nodes[parent].children.add(name)
        new: dict[Task, None] = {}
        for step in steps:
            close_over(step, new)
        new = {task: None for task in new if task not in node.tasks}
        if not new:
            return
        node.tasks.update(new)
        # Whatever happens while it is read is to be told: in full at first.
        self._watch(path, node, self._full_mask(node))
        yield from self._read(path, node, new, at_once)
        self._set_mask(path, node)

    def _read(self, path: str, node: Node, tasks: dict[Task, None], at_once: bool) -> Iterator[Told]:
        """Look for what these tasks are about; the rest of what they may be about is in nobody's way."""
        names: Iterable[str]
        if all(index < len(spec.parts) and spec.literal[index] for spec, index in tasks):
            names = dict.fromkeys([spec.parts[index] for spec, index in tasks])
        else:
            names = self._disk.names(path) or ()
        view = Node(node.identity)
        view.tasks = tasks
        found = []
        for name in names:
            finals, steps = self._route(view, name)
            if finals or steps:
                entry = self._disk.look(path, name)
                if entry is not None:
                    found.append((name, finals, steps, entry))
        node.stale = self._disk.position()
        for name, finals, steps, entry in found:
            if finals:
                yield from self._meet(path, node, name, finals, entry, at_once)
            yield from self._enter(join(path, name), _through(entry, steps), at_once)

    def _leave(self, path: str) -> Iterator[Told]:
        """A directory is not there any more, nor what was in it."""
        node = self.nodes[path]
        for name in sorted(node.children):
            yield from self._leave(join(path, name))
        for name in list(node.known):
            yield from self._gone(path, node, name, self._route(node, name)[0])
        for key in [key for key in self.pending if key[0] == path]:
            yield from self._gone(path, node, key[1], self._route(node, key[1])[0])
        self._disk.unwatch(path)
        del self.nodes[path]
        parent, name = split(path)
        self.nodes[parent].children.discard(name)

    def _full_mask(self, node: Node) -> int:
        mask = SELF | NAMES
        for spec, index in node.tasks:
            if index >= len(spec.parts) - 1 or spec.parts[index] == ANY:
                mask |= IN_CLOSE_WRITE
                for kind, more in MORE.items():
                    if kind in spec.kinds:
                        mask |= more
        return mask

    def _set_mask(self, path: str, node: Node) -> None:
        """Watch as little as is enough: where it only leads to directories that are there, that these are its own."""
        for spec, index in node.tasks:
            if index >= len(spec.parts) - 1 or not spec.literal[index]:
                break
            if spec.parts[index] not in node.children:
                break
            entry = self._disk.look(path, spec.parts[index])
            if entry is None or entry.kind != "d":
                break
        else:
            self._watch(path, node, SELF)
            return
        self._watch(path, node, self._full_mask(node))

    def _watch(self, path: str, node: Node, mask: int) -> None:
        if mask != node.mask or node.polled:
            node.mask = mask
            node.polled = not self._disk.watch(path, mask)

    # What has happened

    def heard(self, path: str, name: str, mask: int, position: int) -> Iterator[Told]:
        """The kernel tells of a name in a directory, or, without one, of the directory itself."""
        node = self.nodes.get(path)
        if node is None:
            return
        if not name:
            if mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED):
                yield from self.recheck(path)
            return
        finals, steps = self._route(node, name)
        if not finals and not steps:
            return
        closed = mask & IN_CLOSE_WRITE and (path, name) in self.pending
        if position < node.stale and mask & (NAMES | IN_CLOSE_WRITE) and not closed:
            yield from self._compare(path, node, name, finals, False)
        elif finals:
            yield from self._happened(path, node, name, finals, mask)
        if steps and mask & NAMES:
            yield from self._revisit(path, node, name, steps, False)

    def _revisit(self, path: str, node: Node, name: str, steps: Steps, at_once: bool) -> Iterator[Told]:
        """A directory may be another one, be there, or not."""
        below = join(path, name)
        child = self.nodes.get(below)
        if child is not None and self._disk.identity(below) != child.identity:
            yield from self._leave(below)
        # In full, before it is looked for.
        self._set_mask(path, node)
        entry = self._disk.look(path, name)
        if entry is not None:
            yield from self._enter(below, _through(entry, steps), at_once)
        self._set_mask(path, node)

    # What was not heard

    def recheck(self, path: str) -> Iterator[Told]:
        """A directory may be gone, or another one."""
        node = self.nodes.get(path)
        if node is None or self._disk.identity(path) == node.identity:
            return
        if path == "/":
            yield from self.rescan("/")
            return
        parent, name = split(path)
        above = self.nodes[parent]
        yield from self._revisit(parent, above, name, self._route(above, name)[1], False)

    def recheck_all(self) -> Iterator[Told]:
        """Something was mounted, or is not any more."""
        for path in sorted(self.nodes):
            yield from self.recheck(path)

    def rescan_all(self) -> Iterator[Told]:
        """What has happened was not told."""
        yield from self.recheck_all()
        for path in sorted(self.nodes):
            yield from self.rescan(path)

    def rescan(self, path: str) -> Iterator[Told]:
        """Compare what is in a directory with what is known of it."""
        node = self.nodes.get(path)
        if node is None:
            return
        there = self._disk.names(path)
        node.stale = self._disk.position()
        names = dict.fromkeys(there if there is not None else ())
        for name in [name for name in (*node.known, *node.children) if name not in names]:
            names[name] = None
        for name in names:
            finals, steps = self._route(node, name)
            if finals:
                yield from self._compare(path, node, name, finals, False)
            if steps:
                yield from self._revisit(path, node, name, steps, False)

    def poll(self) -> Iterator[Told]:
        """Look at the directories that the kernel does not watch."""
        for path in [path for path, node in self.nodes.items() if node.polled]:
            node = self.nodes.get(path)
            if node is not None:
                self._set_mask(path, node)
                yield from self.recheck(path)
                yield from self.rescan(path)

    def _compare(self, path: str, node: Node, name: str, finals: Finals, at_once: bool) -> Iterator[Told]:
        entry = self._disk.look(path, name)
        known = node.known.get(name)
        if known is None and entry is not None:
            yield from self._meet(path, node, name, finals, entry, at_once)
        elif entry is None:
            yield from self._gone(path, node, name, finals)
        elif known is not None and known != entry.stamp:
            node.known[name] = entry.stamp
            yield from self._tell_change(path, name, finals, known, entry.stamp)

    # What outlives us

    def dump(self) -> Iterator[tuple[str, dict[str, Stamp]]]:
        """What is known, by directories."""
        for path, node in self.nodes.items():
            if node.known:
                yield path, node.known


def _through(entry: Entry, steps: Steps) -> list[Task]:
    """What is to be done in the directory that this is, or leads to."""
    if entry.kind == "d":
        return list(steps)
    return [task for task, links in steps.items() if links] if entry.kind == "l" else []
