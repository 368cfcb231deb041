"""upstart-file-bridge(8): files as events, by pyinotify, for `upstart.bridges.filetree`.

What is always true here: what has happened is dealt with in its order, one after the other; where init takes events too
slowly, what the kernel has to tell stays with the kernel, and what that has no room for is found by comparing.  What
init has been told is written down as soon as it has all of it, but only once in a while where that is much.
"""

from __future__ import annotations

import json
import os
import time

from upstart.base.loop import READ
from upstart.base.priority import WARN
from upstart.bridges.filedisk import RealDisk
from upstart.bridges.filenews import IN_OVERFLOW
from upstart.bridges.filespec import EVENT, read
from upstart.bridges.filetree import Tree
from upstart.bridges.kinds import Bridge
from upstart.bridges.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from upstart.bridges.filenews import Stamp, Told
    from upstart.bridges.filespec import Spec
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves

#: Seconds between two looks at what is not watched; between a mount and looking; at least between two writings of the
#: state, for each file in it.
POLL = 5.0
SETTLE = 0.05
WRITE = 0.0005
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
        self._state = State(host)
        self._written = 0
        self._writes_at = 0.0
        self._writing = False

    # What is wanted

    def want(self, leaves: Leaves) -> None:
        """Watch for these files."""
        if leaves is None:
            self._complain("this init does not say what jobs wait for: nothing is watched")
            leaves = []
        specs = read(leaves, self._home, self._complain)
        if not self._began:
            self._begin()
            saved, old = self._state.load(_known) or (None, [])
            ready = self._host.postpone()

            def first() -> Iterator[Told]:
                yield from self._tree.want(specs, saved, [text for text in old if text in specs])
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
        for _ in range(BATCH):
            if self._host.congested:
                self._host.when_room(self._turn)
                return
            if self._current is None:
                if not self._work:
                    self._rest()
                    return
                self._current = self._work.pop(0)()
            try:
                key, name, env, kind = next(self._current)
            except StopIteration:
                self._current = None
            else:
                self._host.emit(key, name, env, kind)
        if not self._going:
            self._going = True
            self._host.loop.call_soon(self._turn)

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
        """Write down what init knows of, if that has changed, and nothing is under way."""
        if self._written == self._tree.changes or self._current is not None or self._work or self._writing:
            return
        wait = self._writes_at - time.monotonic()
        if wait > 0:
            self._writing = True
            self._host.loop.call_later(wait, self._write_later)
        else:
            self._write()

    def _write_later(self) -> None:
        self._writing = False
        if self._host.idle:
            self.told()

    def _write(self) -> None:
        self._written = self._tree.changes
        number = 0

        def pieces() -> Iterator[str]:
            nonlocal number
            head = json.dumps({"epoch": self._host.epoch, "wanted": list(self._tree.specs)})
            yield head[:-1] + ', "files": ['
            for path, names in self._tree.dump():
                # Not all at once: it may be much.
                yield f"{',' if number else ''}\n[{json.dumps(path)}, ["
                for position, (name, stamp) in enumerate(names.items()):
                    yield f"{',' if position else ''}\n{json.dumps([name, stamp])}"
                    number += 1
                yield "]]"
            yield "]}\n"

        self._state.write(pieces())
        self._writes_at = time.monotonic() + WRITE * number


def _known(saved: dict[str, Any]) -> tuple[dict[str, dict[str, Stamp]] | None, list[str]]:
    """What was known in another life, and of what."""
    known = {path: {name: _stamp(stamp) for name, stamp in names} for path, names in saved["files"]}
    return known, [str(text) for text in saved["wanted"]]


def _stamp(saved: list[int]) -> Stamp:
    inode, time, size = saved
    return int(inode), int(time), int(size)


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
