"""upstart-file-bridge(8): files as events, by pyinotify, for `upstart.bridges.filetree`.

What is always true here: what has happened is dealt with in its order, one after the other; where init takes events too
slowly, what the kernel has to tell stays with the kernel, and what that has no room for is found by comparing.  What
init is told is written down before that, so that the next one knows.
"""

from __future__ import annotations

import os

from upstart.base.filewords import EVENT
from upstart.base.loop import READ
from upstart.base.priority import WARN
from upstart.bridges.filedisk import RealDisk
from upstart.bridges.filenews import IN_OVERFLOW
from upstart.bridges.filespec import read
from upstart.bridges.filestate import Journal
from upstart.bridges.filetree import Tree
from upstart.bridges.kinds import Bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from upstart.bridges.filenews import Told
    from upstart.bridges.filespec import Spec
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves

#: Seconds between two looks at what is not watched, and between a mount and looking.
POLL = 5.0
SETTLE = 0.05
#: Events told in one turn.
BATCH = 64
MOUNTS = "/proc/self/mountinfo"
_EPOLLPRI = 2


class FileSource:
    """The source of one bridge; ``home`` is where relative paths begin, for that of a session."""

    patterns: tuple[str, ...] = (EVENT,)

    def __init__(self, host: Host, home: str) -> None:
        self._host = host
        self._home = home
        self._complaints: set[str] = set()
        self._disk = RealDisk(self._complain)
        self._tree = Tree(self._disk, self._complain)
        self._work: list[Callable[[], Iterator[Told]]] = []
        self._current: Iterator[Told] | None = None
        self._going = False
        self._watch = -1
        self._timer = 0
        self._timer_due = 0.0
        self._mounts = -1
        self._looks = False
        self._polls = False
        self._began = False
        self._journal = Journal(host)
        self._confirmed: list[str] | None = None

    # What is wanted

    def want(self, leaves: Leaves) -> None:
        """Watch for these files."""
        if leaves is None:
            self._complain("this init does not say what jobs wait for: nothing is watched")
            leaves = []
        specs = read(leaves, self._home, self._complain)
        if not self._began:
            self._begin()
            saved = self._journal.load()
            self._journal.begin(saved)
            ready = self._host.postpone()

            def first() -> Iterator[Told]:
                if saved is not None:
                    old = [text for text in saved.wanted if text in specs]
                    yield from self._tree.want(specs, saved.known, old, sorted(saved.unsure))
                else:
                    yield from self._tree.want(specs)
                ready()

            self._push(first)
            return
        if not _same_specs(specs, self._tree.specs):
            self._push(lambda: self._tree.want(specs))

    def _begin(self) -> None:
        self._began = True
        if self._disk.fd >= 0:
            self._watch = self._host.loop.add_fd(self._disk.fd, READ, self._readable)
        try:
            self._mounts = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
            self._host.loop.add_fd(self._mounts, _EPOLLPRI, self._mounted)
        except OSError as error:
            self._complain(f"{MOUNTS}: {error.strerror}")

    def watched(self) -> list[str]:
        """The directories."""
        return [f"{path}{' (looked at every 5 seconds)' if node.polled else ''}"
                for path, node in sorted(self._tree.nodes.items())]  # fmt: skip

    def close(self) -> None:
        """Watch nothing any more."""
        self._disk.close()
        self._journal.close()
        if self._mounts >= 0:
            os.close(self._mounts)
            self._mounts = -1

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            if len(self._complaints) >= 1024:
                self._complaints.clear()
            self._complaints.add(text)
            self._host.log(WARN, text)

    # What happens

    def _readable(self, _events: int) -> None:
        self._push(self._heard)

    def _heard(self) -> Iterator[Told]:
        for path, name, mask, position in self._disk.events():
            if mask & IN_OVERFLOW:
                yield from self._tree.rescan_all()
            else:
                yield from self._tree.heard(path, name, mask, position)

    def _mounted(self, _events: int) -> None:
        # The kernel tells again only what comes after this.
        os.lseek(self._mounts, 0, os.SEEK_SET)
        while os.read(self._mounts, 1 << 16):
            pass
        if not self._looks:
            self._looks = True
            self._host.loop.call_later(SETTLE, self._look)

    def _look(self) -> None:
        self._looks = False
        self._push(self._tree.recheck_all)

    def _poll(self) -> None:
        self._polls = False
        self._push(self._tree.poll)

    # One after the other

    def _push(self, work: Callable[[], Iterator[Told]]) -> None:
        """Do this after all else."""
        self._work.append(work)
        if self._watch >= 0:
            # What else the kernel has to tell has its turn when this is done.
            self._host.loop.modify(self._watch, 0)
        if not self._going:
            self._going = True
            self._host.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._going = False
        self._go_on()

    def _go_on(self) -> None:
        """Tell what there is to tell, as long as init takes it."""
        more = self._tell_some()
        touched, nodes = self._tree.touched, self._tree.nodes
        if touched:
            # Before init can hear of it.
            self._journal.note([(path, name, nodes[path].known.get(name) if path in nodes else None)
                                for path, name in touched])  # fmt: skip
            touched.clear()
        if more and not self._going:
            self._going = True
            self._host.loop.call_soon(self._turn)
        elif self._current is None and not self._work:
            self._rest()

    def _tell_some(self) -> bool:
        """Tell some of it; whether there is more that can be told now."""
        for _ in range(BATCH):
            if self._host.congested:
                self._host.when_room(self._turn)
                return False
            if self._current is None:
                if not self._work:
                    return False
                self._current = self._work.pop(0)()
            try:
                key, name, env, kind = next(self._current)
            except StopIteration:
                self._current = None
            else:
                self._host.emit(key, name, env, kind)
        return True

    def _rest(self) -> None:
        """All is done: be woken up when there is something else."""
        if self._watch >= 0:
            self._host.loop.modify(self._watch, READ)
        pending = self._tree.pending
        due = min([each.due for each in pending.values()]) if pending else 0.0
        if due != self._timer_due:
            if self._timer:
                self._host.loop.remove(self._timer)
                self._timer = 0
            self._timer_due = due
            if due:
                self._timer = self._host.loop.call_later(max(0.0, due - self._disk.now()), self._due)
        if not self._polls and any([node.polled for node in self._tree.nodes.values()]):
            self._polls = True
            self._host.loop.call_later(POLL, self._poll)
        if self._host.idle:
            self.told()

    def _due(self) -> None:
        self._timer, self._timer_due = 0, 0.0
        self._push(self._tree.due)

    # What outlives us

    def told(self) -> None:
        """Write down that init has all of it, if there is nothing under way."""
        tree = self._tree
        if self._current is not None or self._work or not self._began:
            return
        wanted = list(tree.specs)
        if wanted != self._confirmed or not self._journal.sure:
            self._confirmed = wanted
            self._journal.confirm(wanted, tree.dump(), sum([len(node.known) for node in tree.nodes.values()]))


def _same_specs(new: dict[str, Spec], old: dict[str, Spec]) -> bool:
    return {text: spec.asks for text, spec in new.items()} == {text: spec.asks for text, spec in old.items()}


def _make(host: Host, settings: Any) -> FileSource:
    home = ""
    if settings.user:
        home = os.environ.get("HOME", "")
        if not home.startswith("/"):
            import pwd

            home = pwd.getpwuid(os.getuid()).pw_dir
    return FileSource(host, home)


BRIDGE = Bridge("Bridge file events into Upstart.", _make)
