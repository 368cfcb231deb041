"""Mounting by the kernel's own call where that is all that mount(8) would do, and its words for what goes wrong.

What is always true here: where mount(8) would do more (a helper, a type to find out, a loop device, a note in
/run/mount/utab) it is run, with the same words.  What may take long (a block device, whose journal is replayed) is
mounted by a child, which nobody waits for; what the kernel has in its memory is mounted at once.  The device is
handed to the kernel under the name that mount(8) would give it, for that is what everybody sees in the table.  Nothing
raises: what went wrong is an exit status of mount(8) and its message.
"""

from __future__ import annotations

import errno
import os
import stat

from upstart.mounts import mountflags
from upstart.mounts.fstab import unescape
from upstart.mounts.mountflags import BIND, MOVE, RDONLY, REC, REMOUNT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from upstart.mounts.mountflags import Words

#: How it is mounted: by a call, by a call in a child, by mount(8).
CALL, CHILD, PROGRAM = range(3)

#: mount(8), EXIT STATUS.
FAILED = 32
#: The exit status of a child whose device could only be mounted to be read; below it are error numbers.
READ_ONLY = 255

PROGRAMS = ("/bin/mount", "/usr/bin/mount")
_HELPERS = ("/sbin", "/usr/sbin")
#: Types that have no device, whether the kernel has loaded them yet or not.
_NODEV = frozenset({
    "autofs", "bdev", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nfsd", "overlay", "proc", "pstore", "ramfs", "rpc_pipefs",
    "securityfs", "selinuxfs", "smackfs", "spufs", "sysfs", "tmpfs", "tracefs",
})  # fmt: skip
#: Types for which the kernel may wait for somebody.
_SLOW = frozenset({"9p", "virtiofs"})
#: Types that take more than a call, and those that mount(8) has to find out.
_NOT_OURS = frozenset({
    "", "none", "auto", "afs", "beegfs", "btrfs", "ceph", "cifs", "coda", "davfs", "fuse", "fuse3", "fuseblk", "gfs",
    "gfs2", "glusterfs", "lustre", "ncp", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "swap", "zfs",
})  # fmt: skip

_TAGS = {
    "UUID": "/dev/disk/by-uuid", "LABEL": "/dev/disk/by-label", "PARTUUID": "/dev/disk/by-partuuid",
    "PARTLABEL": "/dev/disk/by-partlabel", "ID": "/dev/disk/by-id",
}  # fmt: skip
#: What udev leaves as it is in the name of a link besides letters, digits and all that is not ASCII.
_PLAIN = frozenset(b"#+-.:=@_")


class Request:
    """A mount that is asked for, and how it will be done."""

    __slots__ = ("device", "mountpoint", "options", "type", "way", "words")

    def __init__(self, device: str, mountpoint: str, type: str, options: str, nodev: Collection[str] = ()) -> None:
        self.mountpoint = mountpoint
        self.type = type
        self.options = options
        self.words: Words = mountflags.read(options, user_number, group_number)
        self.device, self.way = _choose(device, type, self.words, nodev)

    def perform(self) -> int:
        """Call the kernel; 0, the number of an error, or `READ_ONLY`."""
        try:
            return self._perform()
        except OSError as error:
            return error.errno or errno.EIO

    def _perform(self) -> int:
        from upstart.base.syscalls import mount

        words = self.words
        flags = words.flags
        result = 0
        if flags & (BIND | MOVE) and not flags & REMOUNT:
            mount(None, self.mountpoint, flags & (BIND | MOVE | REC), None, self.device)
            if words.after_bind:
                mount(None, self.mountpoint, BIND | REMOUNT | words.after_bind, None, self.device)
        elif not words.propagation or flags & REMOUNT or self.type != "none":
            type = None if flags & REMOUNT else self.type
            try:
                mount(type, self.mountpoint, flags, words.data, self.device)
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES) or flags & (RDONLY | REMOUNT) or words.writable:
                    raise
                mount(type, self.mountpoint, flags | RDONLY, words.data, self.device)
                result = READ_ONLY
        for change in words.propagation:
            mount(None, self.mountpoint, change, None)
        return result

    def message(self, number: int) -> str:
        """mount(8)'s message for what `perform` gave, an empty string for success."""
        if number == 0:
            return ""
        if number == READ_ONLY:
            return f"mount: {self.mountpoint}: WARNING: source write-protected, mounted read-only."
        return f"mount: {self.mountpoint}: {self._reason(number)}."

    def _reason(self, number: int) -> str:
        flags = self.words.flags
        device = self.device
        place = _kind(self.mountpoint)
        if number == errno.ENOENT:
            if not os.path.lexists(self.mountpoint):
                return "mount point does not exist"
            if not place:
                return "mount point is a symbolic link to nowhere"
            if device.startswith("/") and not os.path.exists(device):
                return f"special device {device} does not exist"
        elif number == errno.ENOTDIR and not stat.S_ISDIR(place):
            return "mount point is not a directory"
        elif number == errno.EINVAL:
            if flags & REMOUNT:
                return "mount point not mounted or bad option"
            if self.words.propagation:
                return "not mount point or bad option"
            return f"wrong fs type, bad option, bad superblock on {device}, missing codepage or helper program, or other error"  # noqa: E501
        elif number == errno.EBUSY:
            return "mount point is busy" if flags & REMOUNT else f"{device} already mounted or mount point busy"
        elif number in (errno.EROFS, errno.EACCES):
            if flags & RDONLY:
                return f"cannot mount {device} read-only"
            if flags & REMOUNT:
                return f"cannot remount {device} read-write, is write-protected"
            if self.words.writable:
                return f"{device} is write-protected but explicit read-write mode requested"
            return f"cannot mount {device}: {os.strerror(number)}"
        elif number in _REASONS:
            return _REASONS[number].format(device=device, type=self.type)
        return f"mount(2) system call failed: {os.strerror(number)}"

    def command(self) -> list[str]:
        """The words of a mount(8) that does the same."""
        words = ["mount"]
        if self.type and self.type != "none":
            words += ["-t", self.type]
        if self.options:
            words += ["-o", self.options]
        return [*words, self.device, self.mountpoint]


_REASONS = {
    errno.EPERM: "permission denied",
    errno.EMFILE: "mount table full",
    errno.EIO: "can't read superblock on {device}",
    errno.ENODEV: "unknown filesystem type '{type}'",
    errno.ENOTBLK: "{device} is not a block device",
    errno.ENXIO: "{device} is not a valid block device",
    errno.ENOMEDIUM: "no medium found on {device}",
    errno.EBADMSG: "cannot mount; probably corrupted filesystem on {device}",
    errno.EUCLEAN: "cannot mount; probably corrupted filesystem on {device}",
}


def _choose(device: str, type: str, words: Words, nodev: Collection[str]) -> tuple[str, int]:
    """The name of the device for whoever mounts it, and who that is."""
    flags = words.flags
    if words.program or has_helper(type):
        return device, PROGRAM
    if flags & (BIND | MOVE):
        return device, CALL
    if type == "none" and words.propagation:
        return device, CALL
    if flags & REMOUNT:
        return device, PROGRAM if type in _NOT_OURS and type not in ("", "none", "auto", "btrfs") else CALL
    if type in _NOT_OURS or "," in type or type.startswith("fuse."):
        return device, PROGRAM
    if type in _SLOW:
        return device, CHILD
    if type in _NODEV or type in nodev:
        return device, CALL
    path = find(device)
    if not path.startswith("/"):
        # A tag that no link says where to find, or a name only the file system understands.
        return device, PROGRAM if "=" in device else CHILD
    kind = _kind(path)
    if stat.S_ISREG(kind):
        return device, PROGRAM
    return (canonical(path), CHILD) if kind else (path, CALL)


def has_helper(type: str) -> bool:
    """Whether mount(8) would leave this type to a program of its own."""
    return bool(type) and type.isprintable() and "/" not in type and any(
        os.access(f"{place}/mount.{type}", os.X_OK) for place in _HELPERS
    )


def _kind(path: str) -> int:
    """The mode of a file, 0 for one that is not there."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def find(device: str) -> str:
    """The path of a device that is named by a tag (``UUID=...``), by udev's links; any other name as it is."""
    tag, equals, value = device.partition("=")
    if not equals or tag not in _TAGS:
        return device
    value = value.strip('"')
    if tag in ("UUID", "PARTUUID"):
        value = value.lower() if os.path.lexists(f"{_TAGS[tag]}/{value.lower()}") else value
    path = f"{_TAGS[tag]}/{link_name(value)}"
    return path if os.path.exists(path) else device


def link_name(value: str) -> str:
    """The name that udev gives to a link for this label: all but plain characters become ``\\xNN``."""
    plain = []
    for character in value:
        data = os.fsencode(character)
        if len(data) > 1 or character.isalnum() or data[0] in _PLAIN:
            plain.append(character)
        else:
            plain.append("".join(f"\\x{byte:02x}" for byte in data))
    return "".join(plain)


def canonical(path: str) -> str:
    """The name that mount(8) has for a device: no link, but for those of the device mapper, whose own names it uses."""
    real = os.path.realpath(path)
    if real.startswith("/dev/dm-"):
        try:
            with open(f"/sys/block/{real[5:]}/dm/name", encoding="utf-8", errors="surrogateescape") as file:
                mapped = "/dev/mapper/" + file.read().rstrip("\n")
        except OSError:
            return real
        return mapped if os.path.exists(mapped) else real
    return real


def user_number(name: str) -> int | None:
    """The number of a user of /etc/passwd; no other place is asked, for that may be the network."""
    return _number("/etc/passwd", name)


def group_number(name: str) -> int | None:
    """The number of a group of /etc/group."""
    return _number("/etc/group", name)


def _number(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(":")
                if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
                    return int(fields[2])
    except OSError:
        pass
    return None


def make_mountpoint(path: str, source: str = "") -> bool:
    """Make the last component of a mount point where it is missing; whether there is one.

    Where ``source``, which is to be bound to it, is no directory, it is a file.
    """
    if os.path.lexists(path):
        return True
    try:
        if source and _kind(source) and not os.path.isdir(source):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(path, 0o755)
    except OSError:
        return os.path.lexists(path)
    return True


def in_bytes(options: str, memory: Callable[[], int]) -> str:
    """Options with a ``size`` that is per cent of memory and swap together (``20%VM``) in bytes.

    ``memory`` gives those bytes, and 0 where it cannot.
    """
    if "%VM" not in options:
        return options
    words = options.split(",")
    for index, word in enumerate(words):
        if word.startswith("size=") and word.endswith("%VM") and word[5:-3].isdigit():
            total = memory()
            words[index] = f"size={total * int(word[5:-3]) // 100}" if total else f"size={word[5:-3]}%"
    return ",".join(words)


def memory_and_swap() -> int:
    """Bytes of memory and of swap space that is in use, 0 without a /proc to see that in."""
    total = 0
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("MemTotal", "SwapTotal"):
                    total += int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return total


def move(source: str, mountpoint: str) -> None:
    """Move what is mounted at ``source``, whose directory is removed afterwards.  Raises OSError."""
    from upstart.base.syscalls import mount

    mount(None, mountpoint, MOVE, None, source)
    try:
        os.rmdir(source)
    except OSError:
        pass


def swaps() -> set[str]:
    """The swap devices and files that are in use, by their paths."""
    try:
        with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")[1:]
    except OSError:
        return set()
    # Blanks in a path are escaped as in mountinfo.
    return {unescape(line.split()[0]) for line in lines if line.strip()}


def program(name: str, places: Callable[[str], bool] = lambda path: os.access(path, os.X_OK)) -> str:
    """Where a program is that packages keep in one of the places of the system's own; empty if nowhere."""
    for directory in ("/sbin", "/usr/sbin", "/bin", "/usr/bin"):
        if places(f"{directory}/{name}"):
            return f"{directory}/{name}"
    return ""
