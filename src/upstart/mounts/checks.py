"""The layer of mountall's reducer that checks file systems before they are mounted.

What is always true here:

- A check begins as soon as the device is ready, before there is a place to mount it; but what fstab has to be checked
  first (pass 1) is checked before all that depends on it, for the check itself may be stored there.
- Of the checks of file systems on one disk one at a time has the usual priority.
- A device that several entries want is checked once, and not while it is mounted; it is not mounted meanwhile.
- What a check says is one of: mend it by restarting (bit 2), errors that it would mend if told to (4), errors that it
  cannot mend (8, 16, 128, a signal), cancelled (32, SIGTERM), or nothing that keeps the file system from being mounted.
"""

from __future__ import annotations

from upstart.mounts.core import Core
from upstart.mounts.state import (
    ANNOUNCED,
    BROKEN,
    BUSY,
    CHECKED,
    CHECKING,
    DAMAGED,
    DONE,
    MOUNTING,
    OVER,
    UNCHECKED,
    WAITING,
    State,
)
from upstart.mounts.values import Calm, Check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.mounts.state import Item
    from upstart.mounts.values import Ended, Entry

#: Nothing to check, or nothing that a check could change.
UNCHECKABLE = frozenset(("none", "swap", "btrfs", "zfs", "iso9660", "udf", "squashfs", "erofs", "cramfs", "romfs"))
#: That there is no program to check these is worth telling.
EXPECTED = frozenset(("ext2", "ext3", "ext4", "ext4dev", "jfs", "reiserfs", "xfs"))
REBOOT = 4
TERMINATED = 128 + 15
MISSING = 127


class Checks(Core):
    """Checks, from whether there is to be one to what it found."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        #: For an entry, who has to be checked before it; and the other way round.
        self.guards: list[frozenset[int]] = []
        self.guarded: dict[int, list[int]] = {}
        #: The entries whose check runs; of these those that leave the disk to others, and those that show progress.
        self.running: set[int] = {number for number, item in enumerate(self.items) if item.check == CHECKING}
        self.idle: set[int] = {number for number in self.running if self.items[number].idle}
        self.moving: set[int] = {number for number in self.running if self.items[number].progress >= 0}
        self.find_guards()

    def find_guards(self) -> None:
        nobody: frozenset[int] = frozenset()
        found: dict[int, frozenset[int]] = {}
        for entry in self.entries:
            stack = [entry.number]
            while stack:
                number = stack[-1]
                after = self.entries[number].after
                missing = [other for other in after if other not in found]
                if missing:
                    stack += missing
                    continue
                stack.pop()
                if number in found:
                    continue
                sets = {found[other] for other in after}
                sets |= {frozenset((other,)) for other in after if self.is_first(self.entries[other])}
                found[number] = frozenset().union(*sets) if len(sets) > 1 else next(iter(sets), nobody)
        self.guards = [found[entry.number] for entry in self.entries]
        for number, guards in enumerate(self.guards):
            for guard in guards:
                self.guarded.setdefault(guard, []).append(number)

    def is_first(self, entry: Entry) -> bool:
        return entry.passno == 1 and self.wants_check(entry)

    def wants_check(self, entry: Entry) -> bool:
        """Whether a file system is to be checked, if it is not mounted in a way that forbids it."""
        if self.settings.check == "skip" or entry.mountpoint in self.settings.checked:
            return False
        if entry.passno == 0 and not (self.settings.check == "force" and entry.mountpoint == "/"):
            return False
        item = self.items[entry.number]
        if item.there and not item.read_only:
            return False
        if entry.nodev or entry.type in UNCHECKABLE or (entry.retry == "network" and not entry.needs):
            return False
        if "bind" in entry.options.split(",") or "rbind" in entry.options.split(","):
            return False
        return entry.origin != "mounted" and (item.there or bool(entry.needs) or entry.device.startswith("/"))

    def check(self, number: int) -> bool:
        """Whether an entry has been checked, or need not be; if not, its check begins if it can."""
        item, entry = self.items[number], self.entries[number]
        beside = self.beside(number)
        if any(self.items[other].check == CHECKING for other in beside):
            return False
        if item.check == CHECKED or not self.wants_check(entry):
            return True
        if item.check == UNCHECKED and not item.fix and any(self.is_in_order(self.items[other]) for other in beside):
            item.check = CHECKED
            return True
        if item.check != UNCHECKED or self.facts.ending is not None:
            return False
        # A file that holds a file system has to be there, too.
        if not (item.there or item.path or (not entry.needs and not self.blocked[number])):
            return False
        if any(self.may_be_checked(guard) for guard in self.guards[number]):
            return False
        self.start(number)
        return False

    def beside(self, number: int) -> list[int]:
        """The other entries that are on the same device."""
        node = self.items[number].node
        return [other for other, item in enumerate(self.items) if item.node == node and other != number] if node else []

    def is_in_order(self, item: Item) -> bool:
        """Whether what an entry is on has been checked for it, or is mounted, or is about to be."""
        return item.check == CHECKED or item.phase in (MOUNTING, BUSY, ANNOUNCED, DONE)

    def may_be_checked(self, number: int) -> bool:
        """Whether a check is still to come, or runs, that others have to wait for."""
        item = self.items[number]
        return item.check in (UNCHECKED, CHECKING) and item.phase not in OVER and not item.skipped

    def start(self, number: int) -> None:
        item, entry = self.items[number], self.entries[number]
        item.check = CHECKING
        item.progress = -1
        item.idle = self.shares_disk(number)
        item.checker = self.take_number("check", number)
        self.running.add(number)
        if item.idle:
            self.idle.add(number)
        self.moved()
        type = entry.type if "," not in entry.type else "auto"
        if type == "auto":
            type = item.content or "auto"
        repair = "yes" if item.fix else self.settings.repair
        force = self.settings.check == "force"
        self.do(Check(item.checker, item.path or entry.device, type, repair, force, item.idle))

    def shares_disk(self, number: int) -> bool:
        """Whether another check is busy with the same disk."""
        disks = set(self.items[number].disks)
        if not disks:
            return False
        return any(
            other != number and other not in self.idle and not disks.isdisjoint(self.items[other].disks)
            for other in self.running
        )

    def check_ended(self, number: int, ended: Ended) -> None:
        item = self.items[number]
        status = ended.status
        item.checker = 0
        item.progress = -1
        item.idle = False
        for group in (self.running, self.idle, self.moving):
            group.discard(number)
        self.moved()
        self.stale = True
        for other in sorted(self.idle):
            if not self.shares_disk(other):
                self.items[other].idle = False
                self.idle.discard(other)
                self.do(Calm(self.items[other].checker))
        name = self.title(number)
        item.check = CHECKED
        if status == MISSING:
            type = self.entries[number].type
            if type in EXPECTED:
                self.tell(f"{name} is not checked: there is no fsck.{type}", True)
        elif status >= 128 and status != TERMINATED:
            item.check = BROKEN
        elif status == TERMINATED or (status & 32 and not status & (2 | 4 | 8 | 16)):
            self.tell(f"The check of {name} was cancelled")
        elif status & 2:
            self.tell(f"{name} was repaired; the system has to be restarted", True)
            self.facts.ending = REBOOT
            return
        elif status & (8 | 16) or (status & 4 and (item.fix or self.settings.repair == "yes")):
            item.check = BROKEN
        elif status & 4:
            item.check = DAMAGED
        elif status & 1:
            self.tell(f"Errors on {name} were corrected")
        if item.check != CHECKED:
            self.fail(number, ended.words)
        elif item.phase == WAITING:
            self.advance(number)
        for other in (*self.guarded.get(number, ()), *self.beside(number)):
            if self.items[other].phase == WAITING:
                self.advance(other)
