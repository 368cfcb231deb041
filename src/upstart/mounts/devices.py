"""Which block devices there are, and which of them can be used: by udev, or by what is in /dev where no udev runs.

What is always true here: nothing is looked for before `Devices.watch`.  Events are listened to before the devices that
are there already are looked at, so that none is missed; where the kernel had to drop some, all are looked at again.  A
device is told again when its names or what is on it have changed, and is told to be gone before it is told anew under
the same name.  udev's own word is law: what its rules call unready (SYSTEMD_READY=0: an array that lacks members, a
file system on several disks, a suspended mapping) is no device.
"""

from __future__ import annotations

import os

from upstart.base.loop import READ
from upstart.mounts.mounting import program
from upstart.mounts.values import Appeared, Device, Gone, Ready, Settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.mounts.processes import Processes
    from upstart.mounts.values import Input

UDEV = "/run/udev"
CONTROL = "/run/udev/control"
QUEUE = "/run/udev/queue"
_DAEMONS = ("/lib/systemd/systemd-udevd", "/usr/lib/systemd/systemd-udevd", "/sbin/udevd")
#: Bytes: room for the events of thousands of disks; what is not used takes no memory.
BUFFER = 128 << 20
#: They come before what is on them, and are nothing until then.
_NEED_CONTENT = ("dm-", "md", "loop", "ram", "zram", "nbd")
_CONTENT = ("ID_FS_USAGE", "ID_FS_TYPE", "ID_FS_UUID", "ID_FS_LABEL")
#: Directories that the kernel makes when a module comes, and the module.
DIRECTORIES = {
    "configfs": "/sys/kernel/config", "binfmt_misc": "/proc/sys/fs/binfmt_misc", "fuse": "/sys/fs/fuse/connections",
    "efivarfs": "/sys/firmware/efi/efivars",
}  # fmt: skip
_BY = ("uuid", "label", "partuuid", "partlabel", "id")
_TAGS = {"uuid": "UUID", "label": "LABEL", "partuuid": "PARTUUID", "partlabel": "PARTLABEL", "id": "ID"}

# inotify(7)
IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, IN_ATTRIB = 0x100, 0x200, 0x40, 0x80, 0x4
_CHANGES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO


def udev_is_expected() -> bool:
    """Whether udev runs here, or will: in a container, where it must not, nobody has to be waited for."""
    return os.path.exists(CONTROL) or (os.access("/sys", os.W_OK) and any(map(os.path.exists, _DAEMONS)))


# What udev knows of a device


def is_ready(name: str, properties: Mapping[str, str]) -> bool:
    """Whether a block device, by the kernel's ``name``, can be used as udev's properties say."""
    if properties.get("SYSTEMD_READY") == "0" or properties.get("DM_SUSPENDED") == "1":
        return False
    if properties.get("DM_UDEV_DISABLE_OTHER_RULES_FLAG") == "1":
        return False
    return not name.startswith(_NEED_CONTENT) or any(properties.get(key) for key in _CONTENT)


def describe(node: str, links: Iterable[str], properties: Mapping[str, str], disks: tuple[str, ...]) -> Device:
    """The device at ``node`` as a value, its names from udev's links and properties."""
    links = sorted(links)
    tags = {
        "UUID": properties.get("ID_FS_UUID_ENC", properties.get("ID_FS_UUID", "")),
        "LABEL": properties.get("ID_FS_LABEL_ENC", properties.get("ID_FS_LABEL", "")),
        "PARTUUID": properties.get("ID_PART_ENTRY_UUID", ""),
        "PARTLABEL": properties.get("ID_PART_ENTRY_NAME", ""),
    }
    names = [node, *links]
    names += [f"{tag}={unescape(value)}" for tag, value in tags.items() if value]
    names += _tags_of_links(links)
    by = [link for kind in ("uuid", "label") for link in links if link.startswith(f"/dev/disk/by-{kind}/")]
    return Device(tuple(dict.fromkeys(names)), by[0] if by else node, properties.get("ID_FS_TYPE", ""), disks)


def _tags_of_links(links: Iterable[str]) -> list[str]:
    found = []
    for link in links:
        directory, _, name = link.rpartition("/")
        kind = directory.removeprefix("/dev/disk/by-")
        if kind != directory and kind in _TAGS:
            found.append(f"{_TAGS[kind]}={unescape(name)}")
    return found


def unescape(text: str) -> str:
    """A value as it was before udev wrote ``\\xNN`` for what is not plain."""
    head, *rest = text.split("\\x")
    data = bytearray(os.fsencode(head))
    for part in rest:
        try:
            data.append(int(part[:2], 16))
            data += os.fsencode(part[2:])
        except ValueError:
            data += b"\\x" + os.fsencode(part)
    return os.fsdecode(bytes(data))


def disks_of(name: str, sys: str = "/sys/class/block") -> tuple[str, ...]:
    """The whole disks that a block device lies on: itself, or that of its partition, or those of its slaves."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    left = [name]
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        path = os.path.realpath(f"{sys}/{each}")
        if os.path.exists(f"{path}/partition"):
            left.append(os.path.basename(os.path.dirname(path)))
            continue
        try:
            slaves = os.listdir(f"{path}/slaves")
        except OSError:
            slaves = []
        left += slaves
        if not slaves:
            found[each] = None
    return tuple(sorted(found))


class Known:
    """What was told of devices, so that each change is told once; ``feed`` gets it."""

    __slots__ = ("_devices", "_feed")

    def __init__(self, feed: Callable[[Input], object]) -> None:
        self._devices: dict[str, Device] = {}
        self._feed = feed

    def ready(self, device: Device) -> None:
        if self._devices.get(device.names[0]) != device:
            self._devices[device.names[0]] = device
            self._feed(Ready(device))

    def gone(self, path: str) -> None:
        if self._devices.pop(path, None) is not None:
            self._feed(Gone(path))

    def only(self, paths: Iterable[str]) -> None:
        """There are no others than these."""
        for path in set(self._devices) - set(paths):
            self.gone(path)


class Inotify:
    """Directories whose changes call ``changed``; one that is not there is told by the next one up that is."""

    __slots__ = ("_changed", "_fd", "_loop", "_watch")

    def __init__(self, loop: Loop, changed: Callable[[], object]) -> None:
        from upstart.base.syscalls import inotify_init

        self._loop = loop
        self._changed = changed
        self._fd = inotify_init()
        self._watch = loop.add_fd(self._fd, READ, self._readable)

    def add(self, path: str, mask: int = _CHANGES) -> bool:
        from upstart.base.syscalls import inotify_add_watch

        try:
            inotify_add_watch(self._fd, path, mask)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._loop.remove(self._watch)
        os.close(self._fd)

    def _readable(self, _events: int) -> None:
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            pass
        self._changed()


class Devices:
    """The devices of this system; ``feed`` gets `Ready`, `Gone`, `Settled` and `Appeared` from `watch` on."""

    __slots__ = ("_feed", "_loop", "_processes", "_source")

    def __init__(self, loop: Loop, processes: Processes, feed: Callable[[Input], object]) -> None:
        self._loop = loop
        self._processes = processes
        self._feed = feed
        self._source: Udev | Plain | None = None

    def watch(self) -> None:
        """Begin; asked for again it does nothing."""
        if self._source is not None:
            return
        if udev_is_expected():
            try:
                self._source = Udev(self._loop, self._feed)
                return
            except (ImportError, OSError):
                pass  # without the library, /dev still shows what there is
        self._source = Plain(self._loop, self._processes, self._feed)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


class Udev:
    """Devices as udev tells of them.  Raises ImportError without pyudev, OSError without netlink."""

    __slots__ = ("_context", "_feed", "_inotify", "_known", "_loop", "_monitor", "_settled", "_virtio", "_watch")

    def __init__(self, loop: Loop, feed: Callable[[Input], object]) -> None:
        import pyudev

        self._feed = feed
        self._loop = loop
        self._known = Known(feed)
        self._virtio: set[str] = set()
        self._context: Any = pyudev.Context()
        self._monitor: Any = pyudev.Monitor.from_netlink(self._context)
        for subsystem in ("block", "virtio", "module"):
            self._monitor.filter_by(subsystem)
        try:
            self._monitor.set_receive_buffer_size(BUFFER)
        except OSError:
            pass  # not for us in a namespace: more is to be looked at again
        self._monitor.start()
        self._watch = loop.add_fd(self._monitor.fileno(), READ, self._readable)
        self._settled: bool | None = None
        self._inotify = Inotify(loop, self._look_at_queue)
        self._enumerate()
        self._look_at_queue()

    def close(self) -> None:
        self._loop.remove(self._watch)
        self._inotify.close()

    def _enumerate(self) -> None:
        seen = []
        for device in self._context.list_devices(subsystem="block"):
            # What udev has not been told of yet will come as an event.
            if device.is_initialized and device.device_node:
                seen.append(device.device_node)
                self._look_at(device)
        self._known.only(seen)

    def _readable(self, _events: int) -> None:
        while True:
            try:
                device = self._monitor.poll(0)
            except OSError:
                # ENOBUFS: some are lost, and nobody knows which.
                self._enumerate()
                return
            if device is None:
                return
            self._heard(device)

    def _heard(self, device: Any) -> None:
        if device.subsystem == "block":
            if device.device_node is None:
                return
            if device.action == "remove":
                self._known.gone(device.device_node)
            else:
                self._look_at(device)
        elif device.subsystem == "virtio":
            if device.action in ("add", "bind", "change"):
                self._feed(Appeared(device.sys_path))
        elif device.action == "add":
            path = DIRECTORIES.get(device.sys_name)
            if path and os.path.isdir(path):
                self._feed(Appeared(path))

    def _look_at(self, device: Any) -> None:
        node = str(device.device_node)
        properties = {str(name): str(value) for name, value in device.properties.items()}
        if is_ready(device.sys_name, properties):
            links = [str(link) for link in device.device_links]
            self._known.ready(describe(node, links, properties, disks_of(device.sys_name)))
        else:
            self._known.gone(node)

    def _look_at_queue(self) -> None:
        """udev works while there is a file of that name; before it runs there is no telling."""
        if not self._inotify.add(UDEV):
            self._inotify.add("/run", IN_CREATE | IN_MOVED_TO)
        settled = os.path.exists(CONTROL) and not os.path.exists(QUEUE)
        if settled != self._settled:
            self._settled = settled
            self._feed(Settled(settled))


class Plain:
    """Devices as /dev has them: those of a container, which its host has made, or makes later."""

    __slots__ = ("_again", "_feed", "_inotify", "_known", "_loop", "_processes", "_running", "_tags")

    def __init__(self, loop: Loop, processes: Processes, feed: Callable[[Input], object]) -> None:
        self._loop = loop
        self._processes = processes
        self._feed = feed
        self._known = Known(feed)
        #: By path of a device what blkid(8) says of it.
        self._tags: dict[str, dict[str, str]] = {}
        self._running = self._again = False
        self._inotify = Inotify(loop, self._changed)
        self._changed()
        feed(Settled(True))

    def close(self) -> None:
        self._inotify.close()

    def _changed(self) -> None:
        for path in ("/dev", "/dev/disk", "/dev/mapper", *(f"/dev/disk/by-{kind}" for kind in _BY)):
            self._inotify.add(path)
        self._look()
        self._ask()

    def _look(self) -> None:
        links: dict[str, list[str]] = {}
        for directory in ("/dev/mapper", *(f"/dev/disk/by-{kind}" for kind in _BY)):
            for name in _names(directory):
                links.setdefault(os.path.realpath(f"{directory}/{name}"), []).append(f"{directory}/{name}")
        nodes = {f"/dev/{name}" for name in _names("/dev")} | set(links)
        found = []
        for node in sorted(nodes):
            if not _is_block(node):
                continue
            name = os.path.basename(node)
            properties = self._tags.get(node, {})
            if is_ready(name, properties):
                found.append(node)
                self._known.ready(describe(node, links.get(node, ()), properties, disks_of(name)))
        self._known.only(found)

    def _ask(self) -> None:
        """Have blkid(8) look at all devices; one after the other, for each takes a while."""
        path = program("blkid")
        if not path or self._running:
            self._again = bool(path)
            return
        try:
            self._processes.start([path, "-o", "export"], self._answered)
            self._running = True
        except OSError:
            pass

    def _answered(self, _status: int, words: str) -> None:
        self._running = False
        self._tags = read_blkid(words)
        self._look()
        if self._again:
            self._again = False
            self._ask()


def read_blkid(words: str) -> dict[str, dict[str, str]]:
    """What ``blkid -o export`` says, as udev's properties, by path."""
    keys = {"UUID": "ID_FS_UUID", "LABEL": "ID_FS_LABEL_ENC", "TYPE": "ID_FS_TYPE", "PARTUUID": "ID_PART_ENTRY_UUID",
            "PARTLABEL": "ID_PART_ENTRY_NAME"}  # fmt: skip
    found: dict[str, dict[str, str]] = {}
    for block in words.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        name = values.get("DEVNAME")
        if name:
            # Before a character that a shell would take for its own stands a backslash.
            found[name] = {key: _unquoted(values[tag]) for tag, key in keys.items() if values.get(tag)}
    return found


def _unquoted(value: str) -> str:
    plain = []
    escaped = False
    for character in value:
        escaped = character == "\\" and not escaped
        if not escaped:
            plain.append(character)
    return "".join(plain)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_block(path: str) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_mode >> 12 == 6
    except OSError:
        return False
