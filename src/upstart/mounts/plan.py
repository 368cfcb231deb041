"""From what is wanted and what is there to the plan: which entries there are, of which kind, and what each waits for.

What is always true here:

- The plan depends on nothing but the arguments; it says what the original would do with the same files, except where
  that never ends.
- What an entry waits for is a directed graph without cycles: a cycle is told, and its weakest edge is left out.
- A line is left out only if somebody is told so, or the line itself says so (``noauto``, type ``ignore``).
"""

from __future__ import annotations

from upstart.mounts import kinds
from upstart.mounts.fstab import Line
from upstart.mounts.graph import PARENT, Draft, Edges
from upstart.mounts.options import given, satisfied, seconds, table, words
from upstart.mounts.settings import USUAL, Settings, built_in
from upstart.mounts.values import LOCAL, NOWAIT, REMOTE, SWAP, Entry, Mounted, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: Who mounted it is nobody's business.
PASSED_OVER = "/var/lib/ureadahead/debugfs"
MOUNTED = "mounted"
ESSENTIAL = ("/", "/usr")


class Plan(Value):
    """The entries, each at the place of its number; ``mounted`` has those that are mounted, with what is there.

    ``fresh`` are the numbers of those of these that are to be mounted again, with other options.
    """

    __slots__ = ("entries", "fresh", "mounted", "problems", "settings")

    def __init__(
        self, entries: tuple[Entry, ...], mounted: tuple[tuple[int, Mounted], ...], fresh: tuple[int, ...],
        problems: tuple[str, ...], settings: Settings,
    ) -> None:  # fmt: skip
        self.entries = entries
        self.mounted = mounted
        self.fresh = fresh
        self.problems = problems
        self.settings = settings


def plan(
    lines: Iterable[Line], built_ins: Iterable[Line] = (), kernel: Mapping[str, bool] = {},
    mounts: Iterable[Mounted] = (), crypttab: Mapping[str, str] = {}, settings: Settings | None = None,
    directories: Collection[str] | None = None,
) -> Plan:  # fmt: skip
    """The plan for these lines.

    ``kernel`` are the types that the kernel knows, true for those without a device; ``crypttab`` is what each encrypted
    device is made of; ``directories`` are the mount points of optional entries that exist, ``None`` if that is not
    known.
    """
    wishes = settings or Settings(values=USUAL)
    problems: list[str] = []
    own = list(lines)
    drafts = merged(own, built_in(built_ins, wishes, own))
    drafts += already_there(drafts, mounts)
    drafts = kept(drafts, wishes, problems)
    for number, draft in enumerate(drafts):
        draft.number = number
        draft.decide(kernel)
    edges = Edges(drafts)
    order, cut = edges.settle()
    problems += cut
    essential = needed_by_all(drafts, edges)
    for number in order:
        inherit(drafts[number], drafts, edges, number in essential)
    entries = tuple(
        entry(draft, edges, draft.number in essential, crypttab, wishes, directories, problems) for draft in drafts
    )
    fresh = tuple(draft.number for draft in drafts if draft.row and is_to_change(draft, entries[draft.number], wishes))
    rows = tuple((draft.number, draft.row) for draft in drafts if draft.row)
    return Plan(entries, rows, fresh, tuple(problems), wishes)


def merged(own: Iterable[Line], built_ins: Iterable[Line]) -> list[Draft]:
    """A line takes the place of the built-in one with its mount point; a second line with it is one more."""
    drafts = [Draft(line, own=False) for line in built_ins]
    places = {draft.line.mountpoint: index for index, draft in enumerate(drafts)}
    for line in own:
        place = places.pop(line.mountpoint, -1) if line.type != "swap" else -1
        if place < 0:
            drafts.append(Draft(line))
        else:
            drafts[place] = Draft(line, drafts[place].line)
    return drafts


def already_there(drafts: list[Draft], mounts: Iterable[Mounted]) -> list[Draft]:
    """Give each entry what is mounted in its place; what no entry wants becomes one of its own."""
    rows: dict[str, list[Mounted]] = {}
    for row in mounts:
        if row.mountpoint != PASSED_OVER:
            rows.setdefault(row.mountpoint, []).append(row)
    wanted: dict[str, list[Draft]] = {}
    for draft in drafts:
        if draft.line.mountpoint in rows and not draft.placeholder:
            wanted.setdefault(draft.line.mountpoint, []).append(draft)
    for mountpoint, several in wanted.items():
        stack = rows.pop(mountpoint)
        # The mount on top is the last line's, or, where there are fewer, the one at the bottom is the first line's.
        for draft, row in zip(several, stack[-len(several) :], strict=False):
            draft.adopt(row)
    found = []
    for stack in rows.values():
        top = stack[-1]
        draft = Draft(Line(top.device or "none", top.mountpoint, top.type, top.options, origin=MOUNTED), own=False)
        draft.row = top
        found.append(draft)
    return found


def kept(drafts: list[Draft], wishes: Settings, problems: list[str]) -> list[Draft]:
    """The entries without those that nobody wants mounted now."""
    hidden: dict[str, str] = {}
    for draft in drafts:
        if draft.row:
            path = draft.line.mountpoint
            while path != "/":
                path = path.rpartition("/")[0] or "/"
                hidden.setdefault(path, draft.line.mountpoint)
    found = []
    swaps: dict[str, str] = {}
    for draft in drafts:
        line = draft.line
        if line.type == "swap" and swaps.setdefault(line.device, line.origin) != line.origin:
            problems.append(f"{line.origin}: {line.device} is used as swap already by {swaps[line.device]}")
            continue
        if line.type == "ignore" or (line.type == "swap" and not wishes.swap):
            continue
        if draft.row is None and "noauto" in draft.options and "x-systemd.automount" not in draft.options:
            continue
        if draft.row is None and line.mountpoint in hidden and not draft.placeholder and line.mountpoint != "/":
            below = hidden[line.mountpoint]
            problems.append(f"{line.origin}: {line.mountpoint} is left out: it would hide {below}, which is mounted")
            continue
        found.append(draft)
    return found


def needed_by_all(drafts: list[Draft], edges: Edges) -> set[int]:
    """The numbers of those without which the boot cannot go on; what fstab says of their kinds gives way to that."""
    found: set[int] = set()
    left = [
        draft.number
        for draft in drafts
        if (draft.line.mountpoint in ESSENTIAL or "x-initrd.mount" in draft.options)
        and draft.line.type != "swap"
        and draft.kind != NOWAIT
    ]
    while left:
        number = left.pop()
        if number not in found:
            found.add(number)
            left.extend(edges.hard(number))
    for number in found:
        draft = drafts[number]
        if draft.kind == NOWAIT:
            draft.kind = REMOTE if draft.network else LOCAL
    return found


def inherit(draft: Draft, drafts: list[Draft], edges: Edges, essential: bool) -> None:
    """The most restrictive kind of what an entry waits for is its own, too; what it waits for has been asked before."""
    if draft.row:
        return
    if draft.kind == SWAP:
        if any(drafts[number].kind == NOWAIT for number in edges.of[draft.number]):
            draft.kind = NOWAIT
        return
    for number, strength in list(edges.of[draft.number].items()):
        other = drafts[number]
        if other.kind == SWAP:
            # It may wait for its device, and so for udev, which waits for all that is virtual.
            draft.kind = kinds.stricter(draft.kind, LOCAL)
            continue
        if other.kind == NOWAIT and essential:
            del edges.of[draft.number][number]
            continue
        # What only lies in the root directory can be mounted while the root is read-only.
        if other.line.mountpoint == "/" and strength == PARENT and not draft.placeholder:
            continue
        draft.kind = kinds.stricter(draft.kind, other.kind)


def entry(
    draft: Draft, edges: Edges, essential: bool, crypttab: Mapping[str, str], wishes: Settings,
    directories: Collection[str] | None, problems: list[str],
) -> Entry:  # fmt: skip
    """The entry as all others will see it."""
    line = draft.line
    kind = draft.kind
    retry = ""
    if draft.network:
        retry = "network"
    elif line.type in kinds.VIRTIO_TYPES:
        retry = "virtio"
    if "optional" in draft.private and draft.row is None and not draft.own and edges.lies_in_mounted(draft.number):
        if directories is not None and line.mountpoint not in directories:
            kind, retry = NOWAIT, "directory"
    needs = "" if draft.row else kinds.needed_device(line.device, draft.bind, draft.nodev)
    before = draft.built_in.options if draft.built_in and draft.built_in.type == line.type else ""
    return Entry(
        draft.number, line.device, line.mountpoint, line.type, line.options, line.passno, kind,
        tuple(edges.of[draft.number]), needs, limit(draft, wishes, problems), essential, line.origin, draft.private,
        given(line.options, before), tuple(edges.loose(draft.number)), draft.through, crypttab.get(needs, ""),
        draft.nodev, retry, draft.asked,
    )  # fmt: skip


def limit(draft: Draft, wishes: Settings, problems: list[str]) -> float | None:
    """For how many seconds it may be waited for, by its own words."""
    texts = [draft.private.get("timeout"), draft.options.get("x-systemd.device-timeout")]
    for text in texts:
        if text:
            try:
                return seconds(text)
            except ValueError as error:
                problems.append(f"{draft.line.origin}: {error}; the usual time counts")
    return wishes.device_wait if texts[0] == "" else None


def is_to_change(draft: Draft, planned: Entry, wishes: Settings) -> bool:
    """Whether what is mounted is to be mounted again, with other options."""
    row = draft.row
    if row is None or draft.line.origin == MOUNTED or draft.placeholder or draft.bind:
        return False
    if "noauto" in draft.options:
        return False
    if row.type == "cgroup2" and not draft.own:
        # It is one for all who have mounted it, and whoever did so first has said how: in a container maybe its host.
        return False
    has = row.options
    if "ro" in table(has) and "ro" not in draft.options:
        if draft.own or draft.line.mountpoint == "/":
            return True
        # What nobody has asked to be writable, a container may have read-only for a reason.
        has = ",".join(word for word in words(has) if word != "ro")
    return draft.nodev and not satisfied(planned.given, has, wishes.memory)
