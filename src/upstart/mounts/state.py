"""What the reducer of mountall knows: the entries of the plan, how far each has come, and what has been said of them.

What is always true here: all of it can be written as JSON and read back, and who goes on with that does what the first
would have done. What follows from the rest (who waits for whom, how many are still waited for) is not written down but
found again.
"""

from __future__ import annotations

from upstart.mounts.settings import Settings
from upstart.mounts.values import LOCAL, REMOTE, SWAP, VIRTUAL, Entry, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from upstart.mounts.plan import Plan

VERSION = 1

# How far an entry has come.
#: For what it depends on, its device, its check, or its directory.
WAITING = "waiting"
#: `mounting` is emitted, and init not done with it.
MOUNTING = "mounting"
#: It is being mounted, or swapon runs.
BUSY = "busy"
#: `mounted` is emitted, and init not done with it.
ANNOUNCED = "announced"
DONE = "done"
#: It could not be mounted, and somebody may say what is to become of it, or something may happen.
FAILED = "failed"
#: It could not be mounted, and another try follows by itself.
AGAIN = "again"
#: Left out for good, as if it were not in the plan.
DROPPED = "dropped"
#: Nothing is to be expected of these any more.
OVER = (DONE, DROPPED)

# What has become of its check.
UNCHECKED = "unchecked"
CHECKING = "checking"
CHECKED = "checked"
#: Errors that fsck would mend if it were told to; and others.
DAMAGED = "damaged"
BROKEN = "broken"

COUNTED = (VIRTUAL, LOCAL, REMOTE, SWAP)


class Kept:
    """Something of which only what is not as in a new one is written down; ``USUAL`` is what a new one has."""

    __slots__: tuple[str, ...] = ()
    USUAL: dict[str, Any] = {}

    def __init__(self) -> None:
        for name, value in self.USUAL.items():
            setattr(self, name, value)

    def dump(self) -> dict[str, Any]:
        return {name: value for name, usual in self.USUAL.items() if (value := getattr(self, name)) != usual}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Self:
        """What `dump` has written. ValueError if it is something else."""
        made = cls()
        for name, value in data.items():
            if name not in cls.USUAL:
                raise ValueError(f"{name} is nothing that a {cls.__name__} has")
            setattr(made, name, frozen(value))
        return made


class Item(Kept):
    """What is known of an entry beside the entry itself.

    ``number`` is that of the action under way for it, ``checker`` that of its check. ``attempts`` counts the times that
    `mounting` was emitted. Once its device is ready, ``path`` is what to mount, ``link`` what events call it by, if not
    as fstab does, ``node`` what the kernel does, ``content`` the type of what is on it, and ``disks`` what it lies on.
    ``type`` is what it was mounted as. ``there``: it was mounted before, ``read_only`` and to be written to or not;
    ``change``: it is to be mounted again, with other options. ``by_others``: somebody else has mounted it.

    ``words`` is why the last try failed, ``since`` when that was; ``retry_at`` is when the next one follows, ``delay``
    how long that one waited. ``first`` is when it was tried first. ``more`` are entries that it has turned out to
    depend on, ``link_to`` the one whose mount point its own leads to. ``again``: a try was called for during one.
    ``skipped``: nothing waits for it any more; ``short``: it is there, but not as it should be. ``steps`` are those
    still to do to have others show through. ``fix``: the check is to mend all; ``idle``: it leaves the disk to others.
    """

    USUAL = {
        "phase": WAITING, "check": UNCHECKED, "number": 0, "checker": 0, "attempts": 0, "path": "", "link": "",
        "node": "", "content": "", "type": "", "disks": (), "there": False, "read_only": False, "change": False,
        "by_others": False, "words": "", "since": None, "retry_at": None, "delay": 0.0, "first": None, "more": (),
        "link_to": -1, "again": False, "skipped": False, "short": False, "steps": (), "fix": False, "idle": False,
        "progress": -1, "appeared": False,
    }  # fmt: skip
    __slots__ = tuple(USUAL)

    phase: str
    check: str
    number: int
    checker: int
    attempts: int
    path: str
    link: str
    node: str
    content: str
    type: str
    disks: tuple[str, ...]
    there: bool
    read_only: bool
    change: bool
    by_others: bool
    words: str
    since: float | None
    retry_at: float | None
    delay: float
    first: float | None
    more: tuple[int, ...]
    link_to: int
    again: bool
    skipped: bool
    short: bool
    steps: tuple[tuple[str, str], ...]
    fix: bool
    idle: bool
    progress: int
    appeared: bool


class Facts(Kept):
    """What is known beside that: times, what has been said, and what is under way.

    ``started`` is when the first table of mounts was told, ``virtual_at`` when `virtual-filesystems` was emitted,
    ``settled_at`` since when udev has had nothing to do, ``quiet_at`` when something last moved, ``told_at`` when what
    is missing was last told. ``sent`` are the events of all file systems that were emitted, ``under_way`` has what
    each number of an action was for. ``names`` are those that were told of devices that somebody needs.

    ``prompt`` is what was last shown, ``showing`` what kind of message that is, and ``about`` the entries that its keys
    are for. ``places`` are where mounts are
    that were made by another name, ``unseen`` what may be such a mount, until that is over: device, mount point, type
    and options. ``ending`` is the exit status that all else has to give way to.
    """

    USUAL = {
        "started": None, "virtual_at": None, "settled_at": None, "quiet_at": 0.0, "told_at": None, "wake": None,
        "last": 0, "sent": (), "under_way": {}, "names": (), "prompt": ("", "", ()), "about": (), "showing": "",
        "places": (), "unseen": (),
        "watching": False, "ending": None, "ended": False, "late": False, "resized": False,
    }  # fmt: skip
    __slots__ = tuple(USUAL)

    started: float | None
    virtual_at: float | None
    settled_at: float | None
    quiet_at: float
    told_at: float | None
    wake: float | None
    last: int
    sent: tuple[str, ...]
    under_way: dict[int, tuple[str, int]]
    names: tuple[str, ...]
    prompt: tuple[str, str, tuple[str, ...]]
    about: tuple[int, ...]
    showing: str
    places: tuple[str, ...]
    unseen: tuple[tuple[str, str, str, str], ...]
    watching: bool
    ending: int | None
    ended: bool
    late: bool
    resized: bool

    def __init__(self) -> None:
        super().__init__()
        self.under_way = {}


class State:
    """All that there is to know."""

    def __init__(self, entries: list[Entry], settings: Settings) -> None:
        self.entries = entries
        self.settings = settings
        self.items = [Item() for _ in entries]
        self.facts = Facts()
        #: What is told at the start.
        self.problems: tuple[str, ...] = ()
        self._written: list[dict[str, Any]] = []

    def set_kind(self, number: int, kind: str) -> None:
        """An entry turns out to be of another kind than was planned."""
        self.entries[number] = Entry(**{**pairs(fields(self.entries[number], EMPTY_ENTRY)), "kind": kind})
        del self._written[number:]

    def begin_late(self, sent: tuple[str, ...]) -> None:
        """From now on nothing is waited for, only looked for; ``sent`` are all events that are not to come again."""
        facts = self.facts
        facts.late, facts.ended, facts.ending = True, False, None
        facts.wake = facts.told_at = None
        facts.prompt, facts.about, facts.showing = ("", "", ()), (), ""
        facts.watching = False
        facts.sent = sent
        facts.under_way.clear()
        for item in self.items:
            item.node = item.path = item.link = ""
            item.number = item.checker = 0
            if item.check == CHECKING:
                item.check = UNCHECKED
            if item.phase in (MOUNTING, BUSY, ANNOUNCED):
                item.by_others = item.phase == ANNOUNCED
                item.phase = WAITING
            item.skipped = item.skipped or item.phase not in OVER

    def dump(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        for entry in self.entries[len(self._written) :]:
            self._written.append(fields(entry, EMPTY_ENTRY))
        return {
            "version": VERSION,
            "entries": self._written,
            "items": [item.dump() for item in self.items],
            "facts": self.facts.dump(),
            "settings": fields(self.settings, Settings()),
        }


def begin(plan: Plan) -> State:
    """The state before anything has happened."""
    state = State(list(plan.entries), plan.settings)
    state.problems = plan.problems
    for number, row in plan.mounted:
        item = state.items[number]
        item.there = True
        item.read_only = "ro" in row.options.split(",")
    for number in plan.fresh:
        state.items[number].change = True
    return state


def load(data: dict[str, Any]) -> State:
    """What `State.dump` has written. ValueError, KeyError, TypeError or AttributeError for anything else."""
    if data["version"] != VERSION:
        raise ValueError(f"the state is of version {data['version']}, and not {VERSION}")
    entries = [Entry(**pairs(each)) for each in data["entries"]]
    state = State(entries, Settings(**pairs(data["settings"])))
    state.items = [Item.load(each) for each in data["items"]]
    if len(state.items) != len(entries):
        raise ValueError("there are not as many items as entries")
    state.facts = Facts.load(data["facts"])
    state.facts.under_way = {int(number): (what, int(entry)) for number, (what, entry) in state.facts.under_way.items()}
    return state


def fields(value: Value, usual: Value) -> dict[str, Any]:
    """The fields of a value that are not as usual."""
    return {name: each for name in value.__slots__ if (each := getattr(value, name)) != getattr(usual, name)}


def pairs(data: dict[str, Any]) -> dict[str, Any]:
    """The arguments that make a value anew; where it takes a mapping, it has kept pairs."""
    return {name: dict(value) if name in ("settings", "values") else frozen(value) for name, value in data.items()}


def frozen(value: Any) -> Any:
    """A value as it was before it went through JSON, which knows no tuples."""
    return tuple(frozen(each) for each in value) if isinstance(value, list) else value


EMPTY_ENTRY = Entry(-1, "", "", "", "")
EMPTY_ENTRY.given = ""
