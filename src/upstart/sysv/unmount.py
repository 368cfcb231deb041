"""The file systems at the end of a machine: what is unmounted, what is made read-only, in which order.

What is always true here: the last that was mounted goes first; what a root file system may stand on (what is mounted
before it, as an initramfs does for an overlay) is not unmounted, and neither is what the kernel offers without a disk
behind it, nor /usr, from which this runs; all that is left and stands on a disk is made read-only.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from upstart.sysv.hanging import Hanging

TABLE = "/proc/self/mountinfo"
SWAPS = "/proc/swaps"
#: What mount(8) keeps of options that the kernel does not.
UTAB = "/run/mount/utab"
BLOCKS = "/sys/block"
SYSRQ = "/proc/sysrq-trigger"
_CONTAINER = "/run/container_type"

#: Types that come over a network, and the beginnings of devices that do.
REMOTE = (
    "nfs", "nfs4", "smbfs", "smb3", "cifs", "coda", "ncp", "ncpfs", "ceph", "ocfs2", "gfs", "gfs2", "9p", "glusterfs",
    "fuse.glusterfs", "fuse.sshfs", "fuse.ceph", "davfs", "fuse.davfs2", "fuse.curlftpfs", "afs",
)  # fmt: skip
REMOTE_DEVICES = ("/dev/nbd", "/dev/etherd/")
#: Types that have no disk, and whose contents are the kernel's.
KERNEL = (
    "proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "securityfs", "debugfs", "tracefs", "pstore",
    "efivarfs", "bpf", "configfs", "fusectl", "mqueue", "hugetlbfs", "binfmt_misc", "rpc_pipefs", "nfsd", "nsfs",
    "selinuxfs", "ramfs", "rootfs",
)  # fmt: skip
#: A file system in memory below these goes with the machine.
MEMORY = ("/dev", "/run", "/sys", "/proc")
STAY = ("/", "/usr")
_LOOP_CLR_FD = 0x4C01
# mount(2) and umount2(2)
MS_RDONLY, MS_REMOUNT = 1, 32
MNT_FORCE, MNT_DETACH = 1, 2
#: Rounds of unmounting: what is below another goes in the same, what a loop device has held in the next.
ROUNDS = 4


class Mount:
    """A line of the table, proc_pid_mountinfo(5).  Raises ValueError or IndexError where it is none."""

    __slots__ = ("device", "kind", "network", "number", "point", "written")

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        end = fields.index("-")
        self.number = fields[2]
        self.point = _unescape(fields[4])
        self.kind, self.device = fields[end + 1], _unescape(fields[end + 2])
        words = fields[end + 3].split(",")
        #: Whether the file system can be written to; this mount of it may be read-only all the same.
        self.written = "rw" in words
        #: fstab says so by a word that is not the kernel's.
        self.network = False

    @property
    def is_remote(self) -> bool:
        """Whether it is of no use without a network."""
        return self.kind in REMOTE or self.device.startswith(REMOTE_DEVICES) or self.network

    @property
    def has_disk(self) -> bool:
        """Whether there is something to be written behind it."""
        return not self.number.startswith("0:") or self.kind in ("btrfs", "overlay", "aufs", "zfs", "bcachefs")

    @property
    def stays(self) -> bool:
        """Whether it goes with the machine."""
        if self.point in STAY or self.kind in KERNEL:
            return True
        return self.kind == "tmpfs" and any(f"{self.point}/".startswith(f"{place}/") for place in MEMORY)


def _unescape(word: str) -> str:
    first, *others = word.split("\\")
    for each in others:
        digits = each[:3]
        if len(digits) == 3 and all(digit in "01234567" for digit in digits):
            first += chr(int(digits, 8)) + each[3:]
        else:
            first += f"\\{each}"
    return first


def read(path: str = TABLE, utab: str = UTAB) -> list[Mount]:
    """What is mounted, in the order in which it was."""
    table = []
    for line in _lines(path):
        try:
            table.append(Mount(line))
        except (ValueError, IndexError):
            pass  # it is no reason to leave the others mounted
    network = {
        _unescape(word[len("TARGET=") :])
        for line in _lines(utab)
        if "_netdev" in line.partition("OPTS=")[2].partition(" ")[0].split(",")
        for word in line.split(" ")
        if word.startswith("TARGET=")
    }
    for each in table:
        each.network = each.point in network
    return table


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            # Of all that text may break a line at, the kernel escapes this one alone.
            return [os.fsdecode(line) for line in file.read().split(b"\n") if line]
    except OSError:
        return []


def in_container() -> bool:
    """Whether another system has mounted what is here, and will see to it."""
    return os.path.exists(_CONTAINER)


def to_unmount(table: Sequence[Mount], remote: bool | None = None) -> list[Mount]:
    """What is to be unmounted, the last first; what comes over a network, what does not, or both."""
    below = next((place for place, each in enumerate(table) if each.point == "/"), 0)
    return [each for each in reversed(table[below:]) if not each.stays and remote in (each.is_remote, None)]


def to_make_read_only(table: Sequence[Mount]) -> list[Mount]:
    """What is left and may be written to, of each file system one mount: root's first, for it may stand on others."""
    found: dict[str, Mount] = {}
    for each in table:
        if each.written and each.has_disk and each.kind not in KERNEL:
            found.setdefault(each.number, each)
    return sorted(found.values(), key=lambda each: each.point != "/")


class Unmounting:
    """Does all that, by calls that may hang; *say* gets a line about what cannot be done."""

    __slots__ = ("_calls", "_hanging", "_say", "_stuck", "_table")

    def __init__(self, hanging: Hanging, say: Callable[[str], object], table: str = TABLE) -> None:
        # Not before somebody ends the machine: it is what takes longest to load.
        from upstart.base import syscalls

        self._calls = syscalls
        self._hanging = hanging
        self._say = say
        self._table = table
        #: What has not come back.
        self._stuck: set[str] = set()

    def remote(self) -> None:
        """Unmount what comes over a network; what does not go is taken out of sight."""
        left = [each for each in to_unmount(read(self._table), True) if self._unmount(each.point, 0) != 0]
        for _ in range(ROUNDS):
            # Not what is on those that hang, for it would hang as well.
            points = [each.point for each in left if each.point not in self._stuck]
            if not points or not self._clear(points):
                break
            left = [each for each in left if self._unmount(each.point, 0) != 0]
        points = [each.point for each in left if each.point not in self._stuck]
        # These go out of sight with what they are on.
        for each in to_make_read_only(self._standing_on(points)[0]):
            self._remount(each.point)
        for each in left:
            self._stuck.discard(each.point)
            # The lookup of what is mounted there must not ask a server.
            self._unmount(each.point, MNT_FORCE | MNT_DETACH)

    def _clear(self, points: Sequence[str]) -> bool:
        """Take away what stands on these; whether something has gone."""
        mounts, loops, places = self._standing_on(points)
        gone = self._swap_off(lambda path: _is_below(path, places) or _loop_of(path) in loops)
        for each in mounts:
            gone |= self._unmount(each.point, 0) == 0
        return self._free_loops(loops) or gone

    def _standing_on(self, points: Sequence[str]) -> tuple[list[Mount], set[str], list[str]]:
        """What is mounted below these or from files there, the last first; loop devices of such files; where all is."""
        mounts = to_unmount(read(self._table))
        files = _loops()
        loops: set[str] = set()
        places = list(points)
        while True:
            loops.update(name for name, path in files.items() if _is_below(path, places))
            more = [
                each.point for each in mounts
                if each.point not in places and (_is_below(each.point, places) or _loop_of(each.device) in loops)
            ]  # fmt: skip
            if not more:
                return [each for each in mounts if each.point in places[len(points) :]], loops, places
            places += more

    def local(self) -> None:
        """Unmount all else, and let go of the loop devices and the swap space that lie in files."""
        memory = [each for each in to_unmount(read(self._table), False) if each.kind == "tmpfs"]
        for each in memory:
            self._unmount(each.point, 0)
        self._swap_off()
        left: list[Mount] = []
        for _ in range(ROUNDS):
            before = len(left)
            mounts = [each for each in to_unmount(read(self._table), False) if each.point not in self._stuck]
            left = [each for each in mounts if self._unmount(each.point, 0) != 0]
            if not left or (not self._free_loops() and len(left) == before):
                break
        for each in left:
            if each.has_disk:
                self._say(f"{each.point} could not be unmounted")

    def read_only(self) -> bool:
        """Have nothing written any more; whether all that is left is read-only."""
        self._hanging.call("data to be written to disk", os.sync)
        for _ in range(2):
            left = to_make_read_only(read(self._table))
            done = [self._remount(each.point) for each in left]
            if all(status == 0 for status in done):
                break
        if not to_make_read_only(read(self._table)):
            return True
        # What is in use by somebody whom no signal ends, or was deleted and is in use, the kernel makes read-only.
        self._hanging.call("file systems to be made read-only", self._force_read_only)
        left = to_make_read_only(read(self._table))
        for each in left:
            self._say(f"{each.point} could not be made read-only")
        return not left

    def _unmount(self, point: str, flags: int) -> int | None:
        if point in self._stuck:
            return None
        status = self._hanging.call(f"{point} to be unmounted", lambda: self._calls.umount(point, flags))
        if status is None:
            self._stuck.add(point)
        # Nothing is mounted there any more: what it lay in has gone.
        return 0 if status in (errno.EINVAL, errno.ENOENT) else status

    def _remount(self, point: str) -> int | None:
        def remount() -> None:
            self._calls.mount(None, point, MS_REMOUNT | MS_RDONLY, None)

        return self._hanging.call(f"{point} to be made read-only", remount)

    def _force_read_only(self) -> None:
        import time

        with open(SYSRQ, "w", encoding="ascii") as file:
            file.write("u")
        # The kernel does it beside.
        while to_make_read_only(read(self._table)):
            time.sleep(0.1)

    def _swap_off(self, is_meant: Callable[[str], bool] = lambda path: True) -> bool:
        """Give up swap space; whether there was some that could be."""
        gone = False
        for line in _lines(SWAPS)[1:]:
            path = _unescape(line.replace("\t", " ").split(" ", 1)[0])
            if not is_meant(path):
                continue
            status = self._give_up_swap(path)
            if status:
                self._say(f"Swap on {path} could not be given up: {os.strerror(status)}")
            gone |= status == 0
        return gone

    def _free_loops(self, names: Iterable[str] | None = None) -> bool:
        """Let go of the files of loop devices, all or some; whether one was freed."""
        freed = False
        for name in sorted(_loops() if names is None else names):
            freed |= self._free(name) == 0
        return freed

    def _give_up_swap(self, path: str) -> int | None:
        return self._hanging.call(f"swap on {path} to be given up", lambda: self._calls.swapoff(path))

    def _free(self, loop: str) -> int | None:
        return self._hanging.call(f"{loop} to be freed", lambda: _free_loop(f"/dev/{loop}"))


def _loops() -> dict[str, str]:
    """The loop devices that have a file, and its path."""
    found = {}
    try:
        for name in os.listdir(BLOCKS):
            path = f"{BLOCKS}/{name}/loop/backing_file"
            if os.path.exists(path):
                with open(path, "rb") as file:
                    found[name] = os.fsdecode(file.read().removesuffix(b"\n"))
    except OSError:
        pass
    return found


def _loop_of(device: str) -> str:
    """The loop device that this is, or a part of; "" if none."""
    name = device.removeprefix("/dev/loop")
    digits = len(name) - len(name.lstrip("0123456789"))
    return f"loop{name[:digits]}" if digits and name != device else ""


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(path.startswith(f"{place}/") for place in places)


def _free_loop(path: str) -> None:
    import fcntl

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _LOOP_CLR_FD)
    finally:
        os.close(fd)
