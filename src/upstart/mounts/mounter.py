"""Doing what `Mount` and `Swap` ask for, and telling what came of it.

What is always true here: each is answered once, by ``ended``.  What is mounted at once is answered before `mount`
returns; for all else a process is started, which `mount` and `swap` give.  An action that an earlier mountall was asked
for, which was killed over it, mounts nothing over what it has mounted then: `counts` says how many mounts there were.
"""

from __future__ import annotations

import errno
import os

from upstart.mounts import mounting, values
from upstart.mounts.checking import summary
from upstart.mounts.mountflags import BIND, REMOUNT
from upstart.mounts.mounting import CALL, PROGRAM, READ_ONLY, Request
from upstart.mounts.processes import NOT_FOUND
from upstart.mounts.values import Ended, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from upstart.mounts.processes import Process, Processes
    from upstart.mounts.values import Action, Mounted, Swap

    Answer = Callable[[Ended], object]

#: mount(8): it is mounted, but no note could be made of that.
_NO_NOTE = 16
_FILESYSTEMS = "/proc/filesystems"
_UNKNOWN_TYPE = "unknown filesystem type"


def available(directory: str) -> int:
    """The KiB that an ordinary user can write there, 0 where no inode is left; OSError.  May wait for a server."""
    room = os.statvfs(directory)
    # A file system that makes inodes as they are needed has no number of them.
    full = room.f_files and not room.f_favail
    return 0 if full else room.f_bavail * room.f_frsize // 1024


class Mounter:
    """Mounts for one mountall; ``table`` gives what is mounted now.

    ``counts`` is how many mounts there were at each mount point, with those that were made since.
    """

    __slots__ = ("_before", "_nodev", "_processes", "_table", "counts")

    def __init__(self, processes: Processes, table: Callable[[], Iterable[Mounted]]) -> None:
        self._processes = processes
        self._table = table
        self._nodev: set[str] | None = None
        self.counts: dict[str, int] = {}
        #: For the actions of an earlier mountall, by number: how many mounts there were before each.
        self._before: dict[int, int] = {}

    def recover(self, actions: Iterable[Action], counts: dict[str, int]) -> None:
        """These were asked for, and may have been done, when there was so much at each place; `count` follows."""
        for action in actions:
            if isinstance(action, Mount) and "remount" not in action.options.split(","):
                place = os.path.realpath(action.mountpoint)
                self._before[action.number] = counts.get(place, 0)
                # Another one at that place was asked for after this one.
                counts[place] = counts.get(place, 0) + 1

    def count(self) -> None:
        """Take what is mounted now for what was there before."""
        self.counts = {}
        for entry in self._table():
            self.counts[entry.mountpoint] = self.counts.get(entry.mountpoint, 0) + 1

    # Mounts

    def mount(self, action: Mount, ended: Answer) -> Process | None:
        """Mount; the process that does it, if one is needed."""
        words = action.options.split(",")
        change = "remount" in words
        target = action.mountpoint
        if not change:
            if os.path.islink(target):
                ended(Ended(action.number, values.LINK, os.path.realpath(target)))
                return None
            source = action.device if "bind" in words or "rbind" in words else ""
            if not mounting.make_mountpoint(target, source):
                text = f"mount: {target}: mount point does not exist."
                ended(Ended(action.number, values.NO_MOUNTPOINT, text))
                return None
        place = os.path.realpath(target)
        if "move" in words:
            ended(self._move(action, place))
            return None
        options = mounting.in_bytes(action.options, mounting.memory_and_swap)
        request = Request(action.device, target, action.type, options, self._types())
        if not change and self._is_done(action.number, place, request):
            ended(self._success(action, place, request))
            return None
        if request.way == CALL and not action.beside:
            ended(self._called(action, place, request, request.perform()))
            return None
        try:
            if request.way != PROGRAM:
                # Here, and not in every child.
                import upstart.base.syscalls  # noqa: F401

                return self._processes.fork(
                    request.perform, lambda status, words: ended(self._called(action, place, request, status))
                )
            program = mounting.program("mount")
            return self._processes.start(
                [program or "/bin/mount", *request.command()[1:]],
                lambda status, words: ended(self._finished(action, place, request, status, words)),
            )
        except OSError as error:
            ended(Ended(action.number, NOT_FOUND, f"mount: {error.strerror}"))
            return None

    def _types(self) -> set[str]:
        """The types without a device that the kernel has loaded."""
        if self._nodev is None:
            try:
                with open(_FILESYSTEMS) as file:
                    self._nodev = {line.split("\t")[1].strip() for line in file if line.startswith("nodev\t")}
            except OSError:
                return set()
        return self._nodev

    def _move(self, action: Mount, place: str) -> Ended:
        try:
            mounting.move(action.device, action.mountpoint)
        except OSError as error:
            # It may have been moved by one that was killed.
            if action.number not in self._before or os.path.exists(action.device):
                text = f"mount: {action.mountpoint}: moving {action.device} failed: {error.strerror}."
                return Ended(action.number, mounting.FAILED, text)
        self._note(action.number, place)
        return Ended(action.number, 0, "", action.type, place if place != action.mountpoint else "")

    def _called(self, action: Mount, place: str, request: Request, number: int) -> Ended:
        """What the kernel's call came to."""
        if number in (0, READ_ONLY):
            return self._success(action, place, request, request.message(number))
        status = values.NO_TYPE if number == errno.ENODEV else mounting.FAILED
        return Ended(action.number, status, request.message(number))

    def _finished(self, action: Mount, place: str, request: Request, status: int, words: str) -> Ended:
        """What mount(8) came to."""
        words = summary(words.replace("       dmesg(1) may have more information after failed mount system call.", ""))
        if status in (0, _NO_NOTE):
            return self._success(action, place, request, words)
        return Ended(action.number, values.NO_TYPE if _UNKNOWN_TYPE in words else status, words)

    def _success(self, action: Mount, place: str, request: Request, words: str = "") -> Ended:
        type = action.type
        if type in ("", "auto", "none") or "," in type:
            for entry in self._table():
                if entry.mountpoint == place:
                    type = entry.type
        if not request.words.flags & REMOUNT:
            self._note(action.number, place)
        return Ended(action.number, 0, words, type, place if place != action.mountpoint else "")

    def _note(self, number: int, place: str) -> None:
        """One more is there; of an earlier mountall's it may have been counted already."""
        if number in self._before:
            self.counts[place] = sum(entry.mountpoint == place for entry in self._table())
        else:
            self.counts[place] = self.counts.get(place, 0) + 1

    def _is_done(self, number: int, place: str, request: Request) -> bool:
        """Whether an earlier mountall has done it: one more is at ``place`` than before, and is what was asked for."""
        if number not in self._before:
            return False
        there = [entry for entry in self._table() if entry.mountpoint == place]
        if len(there) <= self._before[number]:
            return False
        type = there[-1].type
        return type == request.type or request.way == PROGRAM or bool(request.words.flags & BIND)

    # Swap

    def swap(self, action: Swap, ended: Answer) -> Process | None:
        """Use a swap space, unless it is in use; the process that does it."""
        device = mounting.find(action.device)
        if os.path.realpath(device) in {os.path.realpath(path) for path in mounting.swaps()}:
            ended(Ended(action.number, 0))
            return None
        path = mounting.program("swapon")
        if not path:
            ended(Ended(action.number, NOT_FOUND, "swapon: command not found"))
            return None
        options = swap_options(action.options)
        words = [path, *(["-o", options] if options else []), device]
        try:
            return self._processes.start(
                words, lambda status, output: ended(Ended(action.number, status, summary(output)))
            )
        except OSError as error:
            ended(Ended(action.number, NOT_FOUND, f"{path}: {error.strerror}"))
            return None


def swap_options(options: str) -> str:
    """The words of a line of fstab that swapon(8) understands."""
    return ",".join(
        word for word in options.split(",") if word == "discard" or word.startswith(("pri=", "discard="))
    )


