"""The table of mounts, read from the kernel as often as it says that there is something new.

What is always true here: the file stays open, so that no change between two readings goes unseen, even where /proc is
mounted over or gone.  Text is bytes of the kernel's, with what is no UTF-8 as surrogates; its octal escapes are
undone.  A line that is none of mountinfo's (proc(5)) is left out.  A line is taken apart once, however often it is
read.
"""

from __future__ import annotations

import os
import select

from upstart.mounts.fstab import unescape
from upstart.mounts.values import Mounted

PATH = "/proc/self/mountinfo"
#: What epoll(7) is to report: the table has changed.
CHANGED = select.EPOLLPRI

#: Devices that are no names of one.
_ROOTS = ("/dev/root", "rootfs")


class Table:
    """An open mountinfo; ``fd`` is for epoll(7), with `CHANGED`.  Raises OSError where it cannot be opened."""

    __slots__ = ("_known", "fd")

    def __init__(self, path: str = PATH) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._known: dict[bytes, Mounted | None] = {}

    def close(self) -> None:
        os.close(self.fd)

    def read(self) -> tuple[Mounted, ...]:
        """The table as it is now, in the kernel's order; empty where it cannot be read."""
        known = self._known
        self._known = {}
        for line in self._lines():
            self._known[line] = known[line] if line in known else parse(line)
        return tuple(entry for entry in self._known.values() if entry is not None)

    def _lines(self) -> list[bytes]:
        try:
            os.lseek(self.fd, 0, os.SEEK_SET)
            pieces = []
            while piece := os.read(self.fd, 1 << 16):
                pieces.append(piece)
        except OSError:
            return []
        return b"".join(pieces).split(b"\n")


def parse(line: bytes) -> Mounted | None:
    """The mount that a line of mountinfo tells of."""
    before, dash, after = os.fsdecode(line).partition(" - ")
    fields, rest = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(rest) < 3:
        return None
    number, root, mountpoint, own = fields[2:6]
    type, source, options = rest[:3]
    device = unescape(source)
    if device in _ROOTS:
        device = device_name(number) or device
    return Mounted(device, unescape(mountpoint), unescape(type), _together(unescape(own), unescape(options)), number,
                   unescape(root))  # fmt: skip


def _together(own: str, options: str) -> str:
    """The options of the mount, then those of the file system that are not among them; ``ro`` if either is."""
    words = own.split(",")
    found = options.split(",")
    if "ro" in found:
        words = ["ro" if word == "rw" else word for word in words]
    words += [word for word in found if word not in ("rw", "ro") and word not in words]
    return ",".join(word for word in words if word)


def device_name(number: str, sys: str = "/sys/dev/block") -> str:
    """The path of the block device ``MAJOR:MINOR``, empty where the kernel knows of none."""
    try:
        with open(f"{sys}/{number}/uevent", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                name, equals, value = line.rstrip("\n").partition("=")
                if equals and name == "DEVNAME":
                    return "/dev/" + value
    except OSError:
        pass
    return ""
