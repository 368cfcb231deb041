"""The lowest layer of mountall's reducer: who waits for whom, what is counted, and how an action is asked for.

What is always true here:

- An entry is counted while its kind is and it is neither done, dropped nor skipped. `counts` says how many of each
  kind are; the five events of all file systems follow from that alone.
- What an entry depends on lets it go once, when that is done or dropped; what only comes before it also when that is
  skipped. `blocked` says how many have not yet.
"""

from __future__ import annotations

from upstart.mounts.kinds import stricter
from upstart.mounts.state import COUNTED, DONE, OVER, State
from upstart.mounts.values import LOCAL, SWAP, Emit, Entry, Tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.mounts.values import Action

#: The events of all file systems, with the kind each is about, and what has to be sent before.
EVENTS = (
    ("virtual-filesystems", "virtual", ()),
    ("local-filesystems", "local", ("virtual-filesystems",)),
    ("remote-filesystems", "remote", ("virtual-filesystems",)),
    ("filesystem", "", ("virtual-filesystems", "local-filesystems", "remote-filesystems")),
    ("all-swaps", "swap", ()),
)


class Core:
    """State, and what follows from it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.entries = state.entries
        self.items = state.items
        self.facts = state.facts
        self.settings = state.settings
        self.now = 0.0
        self.actions: list[Action] = []
        self.counts = dict.fromkeys(COUNTED, 0)
        #: By name of a device, who needs it, to be mounted or to be unlocked.
        self.needed: dict[str, list[int]] = {}
        self.made_of: dict[str, list[int]] = {}
        self.places: dict[str, list[int]] = {}
        self.followers: list[list[int]] = [[] for _ in self.entries]
        self.blocked = [0] * len(self.entries)
        #: Who is waited for by its own fault: its device is missing, its check or mount has failed.
        self.causes: set[int] = set()
        #: The time to wake up at has to be found anew.
        self.stale = True
        for entry in self.entries:
            self.file(entry)

    # What follows from the state

    def file(self, entry: Entry) -> None:
        """Find an entry again by what it needs, where it is, and what it depends on."""
        if entry.needs:
            self.needed.setdefault(entry.needs, []).append(entry.number)
        if entry.holder:
            self.made_of.setdefault(entry.holder, []).append(entry.number)
        if entry.type != "swap":
            self.places.setdefault(entry.mountpoint, []).append(entry.number)
        for other in (*entry.after, *self.items[entry.number].more):
            self.followers[other].append(entry.number)
            if not self.lets_go(other, entry):
                self.blocked[entry.number] += 1
        if self.is_counted(entry.number):
            self.counts[entry.kind] += 1

    def lets_go(self, number: int, entry: Entry) -> bool:
        """Whether an entry need not wait for another any more."""
        item = self.items[number]
        return item.phase in OVER or (item.skipped and number in entry.loose)

    def is_counted(self, number: int) -> bool:
        item = self.items[number]
        return self.entries[number].kind in COUNTED and item.phase not in OVER and not item.skipped

    def title(self, number: int) -> str:
        """What an entry is called in messages, as mountall(8) does."""
        entry = self.entries[number]
        return entry.device if entry.type == "swap" else entry.mountpoint

    # What is done

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def tell(self, text: str, urgent: bool = False) -> None:
        self.do(Tell(text, urgent))

    def take_number(self, what: str, number: int) -> int:
        """The number of an action that is for an entry, or of an event for all (-1)."""
        self.facts.last += 1
        self.facts.under_way[self.facts.last] = (what, number)
        return self.facts.last

    def emit(self, name: str, number: int, key: str, wait: bool = True) -> int:
        """Emit an event about an entry."""
        entry, item = self.entries[number], self.items[number]
        env = (
            f"DEVICE={item.link or entry.device}",
            f"MOUNTPOINT={entry.mountpoint}",
            f"TYPE={item.type or entry.type}",
            f"OPTIONS={entry.options}",
        )
        action = self.take_number(name, number)
        self.do(Emit(action, name, env, key, wait))
        return action

    def emit_all(self) -> None:
        """Emit each event of all file systems whose time has come."""
        for name, kind, before in EVENTS:
            if name in self.facts.sent or any(each not in self.facts.sent for each in before):
                continue
            if kind and self.counts[kind]:
                continue
            self.facts.sent = (*self.facts.sent, name)
            if kind == "virtual":
                self.facts.virtual_at = self.now
                self.stale = True
            self.do(Emit(self.take_number(name, -1), name, (), name, False))

    def moved(self) -> None:
        """Something has happened: what is missing is not told for a while."""
        self.facts.quiet_at = self.now

    def add_cause(self, number: int) -> None:
        """An entry is waited for by its own fault, if it is waited for at all."""
        if number not in self.causes and self.is_counted(number):
            self.causes.add(number)
            self.stale = True

    def finish(self, number: int, phase: str = DONE) -> None:
        """Nothing more is to be done for an entry; who waits for it goes on."""
        if self.is_counted(number):
            self.counts[self.entries[number].kind] -= 1
        item = self.items[number]
        before = {each for each in self.followers[number] if self.lets_go(number, self.entries[each])}
        item.phase = phase
        item.number = 0
        item.words = ""
        self.causes.discard(number)
        self.moved()
        self.release(number, before)

    def skip(self, number: int) -> None:
        """Nothing waits for an entry any more, nor for what depends on it; it may come later."""
        left = [number]
        while left:
            each = left.pop()
            item = self.items[each]
            if item.skipped or item.phase in OVER:
                continue
            if self.is_counted(each):
                self.counts[self.entries[each].kind] -= 1
            before = {other for other in self.followers[each] if self.lets_go(each, self.entries[other])}
            item.skipped = True
            self.causes.discard(each)
            left.extend(other for other in self.followers[each] if each not in self.entries[other].loose)
            self.release(each, before)
        self.stale = True

    def release(self, number: int, before: set[int]) -> None:
        """Let go who need not wait for an entry any more; ``before`` are those who had not to already."""
        for other in sorted(self.followers[number]):
            if other not in before and self.lets_go(number, self.entries[other]):
                self.blocked[other] -= 1
                if not self.blocked[other]:
                    self.advance(other)

    def depend(self, number: int, other: int) -> bool:
        """Have an entry wait for another as well; false if that one waits for it, or it need not wait."""
        if self.lets_go(other, self.entries[number]) or self.reaches(other, number):
            return False
        item = self.items[number]
        if other not in item.more and other not in self.entries[number].after:
            item.more = (*item.more, other)
            self.followers[other].append(number)
            self.blocked[number] += 1
            if self.is_counted(number) and not self.is_counted(other):
                self.skip(number)
            elif not self.items[other].there and self.is_counted(other):
                self.inherit(number, self.entries[other].kind)
        return True

    def inherit(self, number: int, kind: str) -> None:
        """What waits for another waits as long as that; udev, which may bring that, waits for all that is virtual."""
        left = [number]
        kind = LOCAL if kind == SWAP else kind
        while left:
            each = left.pop()
            own = self.entries[each].kind
            if own == SWAP or stricter(own, kind) == own or self.items[each].phase in OVER:
                continue
            if self.is_counted(each):
                self.counts[own] -= 1
                self.counts[kind] += 1
            self.state.set_kind(each, kind)
            left += self.followers[each]

    def reaches(self, start: int, goal: int) -> bool:
        """Whether an entry waits, in the end, for another."""
        seen: set[int] = set()
        left = [start]
        while left:
            number = left.pop()
            if number == goal:
                return True
            if number not in seen:
                seen.add(number)
                left += self.entries[number].after
                left += self.items[number].more
        return False

    # What the layers above do

    def advance(self, number: int) -> None:
        """Do for an entry what can be done."""
        raise NotImplementedError

    def fail(self, number: int, words: str) -> None:
        """It could not be mounted, or its check has found errors that it could not mend: ``words`` say what."""
        raise NotImplementedError
