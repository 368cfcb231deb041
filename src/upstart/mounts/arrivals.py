"""The layer of mountall's reducer that takes in what comes from outside: devices, the network, what others mount.

What is always true here: the first device with a name that an entry asks for is that entry's, until it goes. What is
to be tried again is so after a while, each time a longer one, and at once when something comes up that makes it
worthwhile.
"""

from __future__ import annotations

from upstart.mounts.flow import Flow, aside_of
from upstart.mounts.state import AGAIN, ANNOUNCED, BUSY, CHECKED, DONE, DROPPED, FAILED, MOUNTING, WAITING, Item, State
from upstart.mounts.values import NOWAIT, Device, Entry, Mounted

#: The first and the longest time between two tries, in seconds.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
#: Where it stands that something was mounted before.
BEFORE = "mounted"
LINKS = {
    "UUID": "/dev/disk/by-uuid/", "LABEL": "/dev/disk/by-label/", "PARTUUID": "/dev/disk/by-partuuid/",
    "PARTLABEL": "/dev/disk/by-partlabel/", "ID": "/dev/disk/by-id/",
}  # fmt: skip


class Arrivals(Flow):
    """What others do, and what follows from it."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        through = {entry.through for entry in self.entries} - {-1}
        #: Where file systems are only for a moment, while others are made to show through them.
        self.asides = [aside_of(self.entries[number].mountpoint) for number in sorted(through)]

    # Devices

    def ready(self, device: Device) -> None:
        """A device can be used."""
        for name in device.names:
            if name in self.made_of and name not in self.facts.names:
                self.facts.names = (*self.facts.names, name)
                for number in self.made_of[name]:
                    self.items[number].since = self.now
                    self.stale = True
            for number in self.needed.get(name, ()):
                self.has_device(number, device)
        for number in self.places.get("/", ()):
            entry = self.entries[number]
            if entry.asked in device.names and entry.device not in device.names:
                self.tell(f"{entry.origin}: the root file system is on {entry.device}, and not on {entry.asked}", True)

    def has_device(self, number: int, device: Device) -> None:
        item, entry = self.items[number], self.entries[number]
        node = device.names[0]
        if item.node and item.node != node:
            if item.phase not in (DONE, DROPPED):
                self.tell(f"{entry.origin}: {entry.needs} is both {item.node} and {node}; the first counts", True)
            return
        item.node = node
        item.path = usable_name(entry.device, device)
        item.link = event_name(entry.device, device)
        item.disks = device.disks
        item.content = device.type
        if item.phase == WAITING:
            item.since = None
            self.advance(number)
        elif item.phase == FAILED and item.check == CHECKED and not self.is_counted(number):
            self.try_later(number)

    def gone(self, path: str) -> None:
        """A device is there no more."""
        for number, item in enumerate(self.items):
            if item.node == path and item.phase in (WAITING, FAILED, AGAIN) and not item.checker:
                item.node = item.path = item.link = ""
                if item.phase == WAITING:
                    self.advance(number)

    def try_later(self, number: int) -> None:
        """It is to be tried again after a while, each time a longer one."""
        item = self.items[number]
        item.phase = AGAIN
        item.delay = min(2 * item.delay, LONGEST_DELAY) or FIRST_DELAY
        item.retry_at = self.now if item.again else self.now + item.delay
        self.stale = True

    def try_now(self, number: int) -> None:
        item = self.items[number]
        item.retry_at = None
        item.phase = WAITING
        self.advance(number)

    def try_all(self, retry: str) -> None:
        """Something has come up that makes another try worthwhile."""
        for entry in self.entries:
            item = self.items[entry.number]
            if entry.retry != retry:
                continue
            if item.phase == AGAIN:
                item.delay = 0.0
                self.try_now(entry.number)
            elif item.phase in (MOUNTING, BUSY):
                item.again = True
                item.delay = 0.0

    def appeared(self, path: str) -> None:
        """Something has come up at a path that is no block device."""
        for number in self.places.get(path, ()):
            self.items[number].appeared = True
            self.advance(number)
        self.try_all("virtio")

    # The table of mounts

    def look_again(self) -> None:
        """A mount is over: what has waited for that may be somebody else's."""
        unseen, self.facts.unseen = self.facts.unseen, ()
        for device, mountpoint, type, options in unseen:
            if mountpoint not in self.places:
                self.stranger(Mounted(device, mountpoint, type, options))

    def look(self, table: tuple[Mounted, ...]) -> None:
        """See what others have mounted; what we have is known by its own end."""
        self.facts.unseen = ()
        stacks: dict[str, list[Mounted]] = {}
        for row in table:
            stacks.setdefault(row.mountpoint, []).append(row)
        for mountpoint, stack in stacks.items():
            numbers = self.places.get(mountpoint)
            if numbers is None:
                self.stranger(stack[-1])
                continue
            there = sum(self.is_there(self.items[number]) for number in numbers)
            for number in numbers:
                item = self.items[number]
                if item.phase in (MOUNTING, WAITING, FAILED, AGAIN) and not item.by_others:
                    if not item.there and there < len(stack):
                        there += 1
                        self.is_mounted(number, stack[-1])
                    elif item.change and item.read_only and "ro" not in stack[-1].options.split(","):
                        self.is_mounted(number, stack[-1])

    def is_there(self, item: Item) -> bool:
        return item.there or item.by_others or item.phase in (BUSY, ANNOUNCED, DONE)

    def is_mounted(self, number: int, row: Mounted) -> None:
        """Somebody else has mounted it, or made it writable."""
        item = self.items[number]
        item.by_others = True
        item.type = row.type
        if row.device not in ("", "none"):
            item.link = row.device
        if item.phase != MOUNTING:
            self.announce(number)

    def may_be(self, row: Mounted, entry: Entry) -> bool:
        """Whether a mount at another place may be that of an entry; a server may take long to answer."""
        return entry.retry != "network" or row.type.startswith(entry.type)

    def stranger(self, row: Mounted) -> None:
        """Something is mounted where no entry wants it: by others, or by us under another name."""
        if row.mountpoint in self.facts.places or any(is_in(row.mountpoint, aside) for aside in self.asides):
            return
        for number, item in enumerate(self.items):
            if item.phase == BUSY and self.may_be(row, self.entries[number]):
                self.facts.unseen = (*self.facts.unseen, (row.device, row.mountpoint, row.type, row.options))
                return
        number = len(self.entries)
        entry = Entry(number, row.device or "none", row.mountpoint, row.type, row.options, kind=NOWAIT, origin=BEFORE)
        item = Item()
        item.there = True
        self.entries.append(entry)
        self.items.append(item)
        self.followers.append([])
        self.blocked.append(0)
        self.guards.append(frozenset())
        self.file(entry)
        self.announce(number)


def is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def usable_name(asked: str, device: Device) -> str:
    """By which name to mount a device: the one that fstab has if it is a path, or that which mount(8) would show."""
    if asked.startswith("/dev/"):
        return asked
    return next((name for name in device.names if name.startswith("/dev/mapper/")), device.names[0])


def event_name(asked: str, device: Device) -> str:
    """By which name events call a device: by the one that fstab has, if it is a path, or by the link for its tag."""
    if asked.startswith("/dev/"):
        return ""
    start = LINKS.get(asked.partition("=")[0], "")
    return next((name for name in device.names if start and name.startswith(start)), device.link)
