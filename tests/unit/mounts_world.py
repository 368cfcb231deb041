"""A world for mountall's reducer: it does what the actions say on names and numbers, in any order and with any outcome.

What is always true here: each action that has a number is answered once; before anything else happens it is checked
that what was asked for could be asked for then (`World.inspect`). With ``restarts`` the reducer is written down and
read again before each input, so that whatever it does not keep is found.
"""

from __future__ import annotations

import json

from upstart.mounts.fstab import parse
from upstart.mounts.plan import Plan, plan
from upstart.mounts.reducer import Reducer
from upstart.mounts.settings import USUAL, Settings
from upstart.mounts.values import (
    Action,
    Answered,
    Calm,
    Cancel,
    Check,
    Device,
    Emit,
    End,
    Ended,
    Entry,
    Input,
    Key,
    Mount,
    Mounted,
    Mounts,
    Prompt,
    Ready,
    Settled,
    Swap,
    Tell,
    Tick,
    Wake,
    Watch,
)

KERNEL = {"ext4": False, "tmpfs": True, "proc": True, "sysfs": True, "devtmpfs": True}
ALL = ("virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem", "all-swaps")
ROOT = Mounted("/dev/sda1", "/", "ext4", "rw", "8:1")
READ_ONLY = Mounted("/dev/sda1", "/", "ext4", "ro,relatime,ro", "8:1")


def make(text: str, mounts: tuple[Mounted, ...] = (), settings: Settings | None = None, built_in: str = "") -> Plan:
    lines, problems = parse(text, "/etc/fstab")
    assert problems == []
    return plan(lines, parse(built_in, "/lib/init/fstab")[0], KERNEL, mounts, {}, settings)


class World:
    """A reducer, and all that it has asked for."""

    def __init__(self, made: Plan, table: tuple[Mounted, ...] = (), restarts: bool = True) -> None:
        self.reducer = Reducer(made)
        self.restarts = restarts
        self.plan = made
        self.table = list(table)
        self.now = 100.0
        #: Actions without an answer, by number.
        self.open: dict[int, Action] = {}
        self.actions: list[Action] = []
        self.events: list[Emit] = []
        self.told: list[str] = []
        self.prompt = Prompt()
        self.wake: float | None = None
        self.status: int | None = None
        self.watching = False
        #: The numbers of entries whose `mounting` init has been done with.
        self.allowed: set[int] = set()
        #: And those whose `mounted` it has been.
        self.replied: set[int] = set()

    def late(self) -> World:
        """The world of a late reducer that goes on where this one has ended."""
        other = World(self.plan, tuple(self.table), self.restarts)
        other.reducer = Reducer.load(json.loads(json.dumps(self.reducer.dump())), late=True)
        other.replied = set(self.replied)
        other.now = self.now
        return other.begin()

    # Telling

    def begin(self) -> World:
        """The first table, and the answers to what is announced of it."""
        self.tell(Mounts(tuple(self.table)))
        for action in list(self.open.values()):
            if isinstance(action, Emit) and action.name == "mounted":
                self.answer(action)
        return self

    def tell(self, input: Input) -> list[Action]:
        if self.restarts and self.actions:
            causes = self.reducer.causes
            self.reducer = Reducer.load(json.loads(json.dumps(self.reducer.dump())))
            if self.reducer.facts.ending is None:
                other = [self.reducer.items[number].dump() for number in self.reducer.causes ^ causes]
                assert not other, f"{other}"
        actions = self.reducer.step(self.now, input)
        for action in actions:
            self.inspect(action)
            self.take(action)
        return actions

    def take(self, action: Action) -> None:
        assert self.status is None, f"{action} after the end"
        self.actions.append(action)
        if isinstance(action, (Emit, Check, Mount, Swap)):
            assert action.number not in self.open
            self.open[action.number] = action
        if isinstance(action, Emit):
            self.events.append(action)
        elif isinstance(action, Tell):
            self.told.append(action.text)
        elif isinstance(action, Prompt):
            self.prompt = action
            if action.text:
                self.told.append(action.text)
        elif isinstance(action, Wake):
            self.wake = action.when
        elif isinstance(action, Watch):
            self.watching = True
        elif isinstance(action, End):
            self.status = action.status

    def inspect(self, action: Action) -> None:
        """What no order of answers may lead to."""
        entries = self.reducer.entries
        if isinstance(action, Emit):
            names = [event.name for event in self.events]
            if action.name in ALL:
                assert action.name not in names and not action.wait and not action.env
                if action.name in ("local-filesystems", "remote-filesystems"):
                    assert "virtual-filesystems" in names
                if action.name == "filesystem":
                    assert set(ALL[:3]) <= set(names)
            if action.name == "mounted":
                assert action.key not in [event.key for event in self.events], f"{action.key} is announced twice"
            if action.name == "mounting":
                entry = self.entry_of(action)
                self.allowed.discard(entry.number)
                for number in entry.after:
                    assert number in entry.loose or self.is_done(entries[number]), f"{entry} before {entries[number]}"
        elif isinstance(action, (Mount, Swap)):
            # Nothing is mounted whose `mounting` init is not done with.
            entry = entries[self.reducer.facts.under_way[action.number][1]]
            assert entry.number in self.allowed, f"{entry} is mounted before its mounting is done"
        elif isinstance(action, (Calm, Cancel)):
            assert action.number in self.open

    def entry_of(self, action: Emit) -> Entry:
        number = self.reducer.facts.under_way[action.number][1]
        return self.reducer.entries[number]

    def is_done(self, entry: Entry) -> bool:
        return entry.number in self.replied or self.reducer.items[entry.number].phase == "dropped"

    # Answering

    def answer(self, action: Action, status: int = 0, words: str = "", type: str = "") -> list[Action]:
        number: int = action.number  # type: ignore[attr-defined]
        del self.open[number]
        if isinstance(action, Emit):
            if action.name == "mounting":
                self.allowed.add(self.entry_of(action).number)
            if action.name == "mounted":
                self.replied.add(self.entry_of(action).number)
            return self.tell(Answered(number))
        if isinstance(action, Mount) and status == 0:
            if action.options == "move":
                self.table = [
                    Mounted(row.device, action.mountpoint + row.mountpoint[len(action.device) :], row.type, row.options)
                    if row.mountpoint.startswith(action.device)
                    else row
                    for row in self.table
                ]
            elif "remount" not in action.options.split(","):
                self.table.append(Mounted(action.device, action.mountpoint, type or action.type, "rw"))
        return self.tell(Ended(number, status, words or ("it failed" if status else ""), type))

    def asked(self, kind: type[Action], what: str = "") -> Action:
        """The one action of this kind that has no answer, about this."""
        found = [action for action in self.open.values() if isinstance(action, kind) and what in repr(action)]
        assert len(found) == 1, f"{kind.__name__} {what}: {found} of {list(self.open.values())}"
        return found[0]

    def is_asked(self, kind: type[Action], what: str = "") -> bool:
        return any(isinstance(action, kind) and what in repr(action) for action in self.open.values())

    def run(self, **status: int) -> World:
        """Answer all that is open, in order, until nothing is; the status of each kind is 0 if not given."""
        while self.open and self.status is None:
            action = next(iter(self.open.values()))
            self.answer(action, status.get(type(action).__name__.lower(), 0))
        return self

    def device(self, *names: str, disks: tuple[str, ...] = (), type: str = "ext4") -> list[Action]:
        return self.tell(Ready(Device(names, "", type, disks)))

    def press(self, key: str) -> list[Action]:
        return self.tell(Key(key))

    def settled(self) -> list[Action]:
        return self.tell(Settled(True))

    def wait(self, seconds: float) -> World:
        """Let time go by, waking up whenever that was asked for."""
        end = self.now + seconds
        ticks = 0
        while self.wake is not None and self.wake <= end and self.status is None:
            ticks += 1
            assert ticks < 10_000, "it wakes up for nothing"
            self.now = max(self.now, self.wake)
            self.wake = None
            self.tell(Tick())
        self.now = end
        return self

    # What has come of it

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def sent(self) -> set[str]:
        return {event.name for event in self.events} & set(ALL)

    def places(self, name: str) -> list[str]:
        """The mount points (devices for swap) that an event was emitted for."""
        found = []
        for event in self.events:
            if event.name == name:
                values = dict(each.split("=", 1) for each in event.env)
                found.append(values["MOUNTPOINT"] if values["TYPE"] != "swap" else values["DEVICE"])
        return found

    def is_announced(self, entry: Entry) -> bool:
        return f"mounted {self.reducer.key(entry.number)}" in [event.key for event in self.events]


def world(text: str, *table: Mounted, built_in: str = "", **settings: object) -> World:
    rows = table or (ROOT,)
    wishes = Settings(values=USUAL, **settings)  # type: ignore[arg-type]
    return World(make(text, rows, wishes, built_in), rows)


def env(event: Emit) -> dict[str, str]:
    return dict(each.split("=", 1) for each in event.env)
