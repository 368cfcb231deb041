"""The layer of mountall's reducer that takes an entry from where it waits to where it is announced.

What is always true here:

- An entry goes one way: it waits for what it depends on, its device and its check; `mounting` is emitted, and only when
  init is done with that it is mounted; `mounted` is emitted, and only when init is done with that it is done, counts
  as such, and lets go who depends on it, whatever the table of mounts says meanwhile.
- What is mounted already is not mounted over: it is announced, or first mounted again with other options.
- Each entry has one action under way at most, beside its check.
"""

from __future__ import annotations

from upstart.mounts.checks import Checks
from upstart.mounts.options import table as words_of
from upstart.mounts.state import ANNOUNCED, BUSY, DONE, DROPPED, MOUNTING, WAITING
from upstart.mounts.values import LINK, NO_MOUNTPOINT, NO_TYPE, Ended, Entry, Mount, Swap, Watch

#: What may fail, or take its time, again and again, for reasons elsewhere.
REPEATED = ("network", "virtio")
#: How the origins of built-in entries begin.
BUILT_IN = "/lib/init/fstab:"
RESIZED = "%VM"


class Flow(Checks):
    """Mounting, from the first look to the last answer."""

    def begin(self) -> None:
        """The first look: what is mounted is announced at once, then all else is tried."""
        self.facts.started = self.now
        self.moved()
        for problem in self.state.problems:
            self.tell(problem, True)
        for number, item in enumerate(self.items):
            if item.there and not item.change and not self.wants_check(self.entries[number]):
                self.announce(number)
        for number in range(len(self.entries)):
            self.advance(number)
        if any(self.is_watched_for(entry) for entry in self.entries):
            self.facts.watching = True
            self.do(Watch())

    def is_watched_for(self, entry: Entry) -> bool:
        there = self.items[entry.number].there
        return not there and (entry.needs != "" or entry.retry == "virtio")

    def advance(self, number: int) -> None:
        item, entry = self.items[number], self.entries[number]
        if item.phase != WAITING or self.facts.ending is not None or self.facts.started is None:
            return
        if item.link_to >= 0:
            if not self.blocked[number]:
                self.announce(number)
            return
        if entry.needs and not item.path and not item.there:
            self.add_cause(number)
            return
        self.causes.discard(number)
        if entry.retry == "directory" and not item.appeared:
            return
        if not self.check(number) or self.blocked[number]:
            return
        if item.there and not item.change:
            self.announce(number)
            return
        item.phase = MOUNTING
        item.attempts += 1
        item.again = False
        if item.first is None:
            item.first = self.now
        if entry.retry in REPEATED:
            self.add_cause(number)
        key = f"mounting {self.key(number)} {self.facts.started:.3f} {item.attempts}"
        item.number = self.emit("mounting", number, key)

    def key(self, number: int) -> str:
        """What an entry is called by for as long as the system runs, whatever else fstab comes to say."""
        entry = self.entries[number]
        if entry.type == "swap":
            return f"swap {entry.device}"
        place = self.places[entry.mountpoint].index(number)
        return f"{entry.mountpoint} {place}" if place else entry.mountpoint

    def mount(self, number: int) -> None:
        """Init is done with `mounting`, whatever came of it."""
        item, entry = self.items[number], self.entries[number]
        item.number = 0
        if self.facts.ending is not None:
            item.phase = WAITING
        elif item.by_others or (entry.nodev and entry.device == entry.type == "none"):
            self.announce(number)
        elif entry.type == "swap":
            item.phase = BUSY
            item.number = self.take_number("swap", number)
            self.do(Swap(item.number, self.source(number), entry.given))
        else:
            item.phase = BUSY
            shown = self.shown_through(number)
            if shown and not item.there:
                self.prepare_steps(number, shown)
            else:
                options = f"remount,{entry.given}" if item.change else entry.given
                self.ask_mount(number, self.source(number), entry.mountpoint, entry.type, options)

    def source(self, number: int) -> str:
        """What mount(8) is to be given as the device."""
        entry = self.entries[number]
        if entry.nodev and entry.device == "none":
            return entry.type
        return self.items[number].path or entry.device

    def ask_mount(self, number: int, source: str, target: str, type: str, options: str, what: str = "mount") -> None:
        item = self.items[number]
        item.number = self.take_number(what, number)
        beside = self.entries[number].retry == "network"
        self.do(Mount(item.number, source, target, type, options, beside))

    def shown_through(self, number: int) -> list[int]:
        """The mounted entries that are to be seen in an entry that is mounted over them."""
        return [
            entry.number
            for entry in self.entries
            if entry.through == number and self.items[entry.number].phase in (ANNOUNCED, DONE)
        ]

    def prepare_steps(self, number: int, shown: list[int]) -> None:
        """Mount it elsewhere, have the others seen in it, and only then move it over them."""
        entry = self.entries[number]
        aside = aside_of(entry.mountpoint)
        points = [self.entries[other].mountpoint for other in shown]
        steps = [(point, aside + point[len(entry.mountpoint) :]) for point in points]
        self.items[number].steps = (*steps, (aside, entry.mountpoint))
        self.ask_mount(number, self.source(number), aside, entry.type, entry.given)

    def take_step(self, number: int) -> None:
        item, entry = self.items[number], self.entries[number]
        source, target = item.steps[0]
        item.steps = item.steps[1:]
        what = "bind" if target != entry.mountpoint else "move"
        self.ask_mount(number, source, target, "none", what, what)

    def mount_ended(self, what: str, number: int, ended: Ended) -> None:
        """A mount is over, or, if it is not to be had by one, the first or a later step of it."""
        item = self.items[number]
        item.number = 0
        self.moved()
        if ended.place:
            self.facts.places = (*self.facts.places, ended.place)
        if ended.status and what == "bind":
            self.tell(f"What is below {self.title(number)} does not show through: {ended.words}", True)
        elif ended.status:
            item.steps = ()
            if what == "mount" and self.is_to_be_written(number):
                # An option that the kernel does not know is no reason to be without what the boot stands on.
                item.words = ended.words
                entry = self.entries[number]
                self.ask_mount(number, self.source(number), entry.mountpoint, entry.type, WRITABLE, "plain")
            else:
                self.mount_failed(number, ended)
            return
        elif what == "mount" and ended.type:
            item.type = ended.type
        elif what == "plain":
            item.short = True
            self.tell(f"{self.title(number)} can be written, but has not its options: {item.words}", True)
        if item.steps:
            self.take_step(number)
        else:
            self.announce(number)

    def is_to_be_written(self, number: int) -> bool:
        """Whether the boot needs it, and it is there, but cannot be written yet as it should."""
        item, entry = self.items[number], self.entries[number]
        return entry.essential and item.change and item.read_only and "ro" not in words_of(entry.options)

    def mount_failed(self, number: int, ended: Ended) -> None:
        item, entry = self.items[number], self.entries[number]
        item.phase = WAITING
        item.words = ended.words or f"mount gave status {ended.status}"
        if ended.status == LINK and self.follow_link(number, ended.words):
            return
        name = self.title(number)
        is_built_in = entry.origin.startswith(BUILT_IN)
        if "optional" in dict(entry.settings) and (is_built_in or ended.status in (NO_MOUNTPOINT, NO_TYPE)):
            if not is_built_in and ended.status == NO_MOUNTPOINT:
                self.announce(number)
                return
            if ended.status not in (NO_MOUNTPOINT, NO_TYPE):
                self.tell(f"{name} is not mounted: {item.words}")
            self.finish(number, DROPPED)
        elif item.change and (not item.read_only or "ro" in words_of(entry.options) or is_built_in):
            self.tell(f"{name} keeps its options: {item.words}")
            self.announce(number)
        elif ended.status == NO_MOUNTPOINT and self.wait_for_root(number):
            self.causes.discard(number)
        else:
            self.fail(number, item.words)

    def follow_link(self, number: int, target: str) -> bool:
        """The mount point leads somewhere else: to another entry, with which it is mounted, or to where it is to be."""
        item, entry = self.items[number], self.entries[number]
        stack = self.places.get(target)
        if stack and number not in stack:
            item.link_to = stack[-1]
            if not self.depend(number, stack[-1]) and self.items[stack[-1]].phase != DONE:
                item.link_to = -1
                item.words = f"its mount point is a link to {target}, which cannot be mounted before it"
                return False
            self.causes.discard(number)
            self.advance(number)
        else:
            item.phase = BUSY
            self.facts.places = (*self.facts.places, target)
            self.ask_mount(number, self.source(number), target, entry.type, entry.given)
        return True

    def wait_for_root(self, number: int) -> bool:
        """A mount point that cannot be made while the root is read-only can be when it is not."""
        root = self.places.get("/")
        return root is not None and self.items[root[-1]].there and self.depend(number, root[-1])

    def swap_ended(self, number: int, ended: Ended) -> None:
        item = self.items[number]
        item.number = 0
        self.moved()
        if ended.status:
            item.phase = WAITING
            self.tell(f"{self.title(number)} is not used as swap: {ended.words or f'status {ended.status}'}", True)
        else:
            item.type = "swap"
        self.announce(number)

    def announce(self, number: int) -> None:
        """It is mounted, or as good as that."""
        item = self.items[number]
        if item.skipped and item.phase == BUSY:
            self.tell(f"{self.title(number)} is mounted now", True)
        item.phase = ANNOUNCED
        item.steps = ()
        self.causes.discard(number)
        item.number = self.emit("mounted", number, f"mounted {self.key(number)}")

    def answered(self, what: str, number: int) -> None:
        """Init is done with an event."""
        if number < 0:
            return
        self.moved()
        if what == "mounting":
            self.mount(number)
        elif what == "mounted":
            self.finish(number)


#: The options with which what is read-only becomes writable, and stays as it is otherwise.
WRITABLE = "remount,rw"


def aside_of(mountpoint: str) -> str:
    """Where a file system is mounted before others are shown through it."""
    return "/dev/" + mountpoint.replace("/", ".")
