"""What an entry of the plan waits for: the edges between entries, and how cycles among them are broken.

What is always true here: an edge leads from an entry to one that has to be mounted before it. The mount points alone
make no cycle. A cycle is broken at the edge that means least, the last of these by line, and told with the edge's
reason.
"""

from __future__ import annotations

from upstart.mounts import kinds
from upstart.mounts.fstab import Line
from upstart.mounts.options import private, table, words
from upstart.mounts.values import LOCAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from upstart.mounts.values import Mounted

# How much an edge means; the reasons for the loose ones, which only say what comes first, are odd.
PREVIOUS = 1
AFTER = 3
OPTION = 4
DEVICE = 6
PARENT = 8
OVERLAID = ("lowerdir", "upperdir", "workdir", "lowerdir+", "datadir+")
#: A device in another file system, although the type has none.
LAYERED = ("ecryptfs", "aufs", "unionfs")
REASONS = {
    PREVIOUS: "is the line before it",
    AFTER: "is named in its options",
    OPTION: "is named in its options",
    DEVICE: "holds its device",
    PARENT: "holds its mount point",
}


class Draft:
    """An entry while it is planned."""

    def __init__(self, line: Line, built_in: Line | None = None, own: bool = True) -> None:
        self.line = line
        #: Whether it is the administrator's.
        self.own = own
        #: A built-in line with the same mount point, whose place this one takes.
        self.built_in = built_in
        #: What is mounted there.
        self.row: Mounted | None = None
        #: The device that fstab has, where another is mounted.
        self.asked = ""
        self.number = 0
        self.kind = LOCAL
        #: The number of the entry that it shows through.
        self.through = -1
        self.nodev = False
        self.options = table(line.options)
        self.private = private(self.options)
        self.bind = kinds.is_bind(line.type, self.options)
        self.network = kinds.is_network(line.device, line.type, self.options)
        self.placeholder = line.device == "none" and line.type == "none" and not self.bind

    def adopt(self, row: Mounted) -> None:
        """This is mounted there: it says better than fstab what it is."""
        line = self.line
        self.row = row
        device = line.device if row.device in ("", "none", "/dev/root") else row.device
        type = line.type if row.type == "rootfs" else row.type
        self.asked = line.device if line.device not in (device, "none", "/dev/root") else ""
        self.line = Line(device, line.mountpoint, type, line.options, line.passno, line.origin)

    def decide(self, kernel: Mapping[str, bool]) -> None:
        """Whether it has a device, and its kind by itself, of which ``kernel`` knows the types."""
        line = self.line
        self.nodev = line.type != "swap" and kinds.has_no_device(line.device, line.type, self.options, kernel)
        self.kind = kinds.own_kind(line.mountpoint, line.type, self.options, self.private, self.network, self.nodev)


class Edges:
    """All edges of a plan: ``of[number]`` has the numbers of what an entry waits for, each with what the edge means."""

    def __init__(self, drafts: list[Draft]) -> None:
        self.drafts = drafts
        self.of: list[dict[int, int]] = [{} for _ in drafts]
        self.places: dict[str, list[int]] = {}
        for draft in drafts:
            if draft.line.type != "swap":
                self.places.setdefault(draft.line.mountpoint, []).append(draft.number)
        for draft in drafts:
            if draft.row is None:
                self.collect(draft)

    def hard(self, number: int) -> Iterator[int]:
        """What has to succeed before it."""
        return (other for other, strength in self.of[number].items() if not strength & 1)

    def loose(self, number: int) -> Iterator[int]:
        return (other for other, strength in self.of[number].items() if strength & 1)

    def lies_in_mounted(self, number: int) -> bool:
        """Whether the file system that its mount point is in is there."""
        parent = self.holder(self.drafts[number].line.mountpoint, number)
        return parent is not None and self.drafts[parent].row is not None

    def add(self, number: int, other: int | None, strength: int) -> None:
        if other is not None and other != number and strength > self.of[number].get(other, 0):
            self.of[number][other] = strength

    def holder(self, path: str, number: int) -> int | None:
        """The entry whose file system a path lies in, seen from another entry."""
        while True:
            stack = self.places.get(path)
            if stack:
                if number not in stack:
                    return stack[-1]
                place = stack.index(number)
                if place:
                    return stack[place - 1]
            if path == "/":
                return None
            path = path.rpartition("/")[0] or "/"

    def collect(self, draft: Draft) -> None:
        """The edges of one entry."""
        number, line = draft.number, draft.line
        if line.type != "swap":
            self.collect_parent(draft)
        device = line.device
        if device.startswith("/") and not draft.network and (draft.bind or not device.startswith("/dev/")):
            if not draft.nodev or line.type in LAYERED:
                self.add(number, self.holder(device, number), DEVICE)
        for path, strength in named_paths(line):
            self.add(number, self.holder(path, number), strength)
        for path, strength in named_mounts(line):
            stack = self.places.get(path)
            self.add(number, stack[-1] if stack else None, strength)
        if number and draft.nodev and not draft.network and line.type not in kinds.NOT_MADE_UP:
            before = self.drafts[number - 1].line
            if device not in ("none", line.type) and before.device != "none":
                self.add(number, number - 1, PREVIOUS)

    def collect_parent(self, draft: Draft) -> None:
        parent = self.holder(draft.line.mountpoint, draft.number)
        if parent is None:
            return
        above = self.drafts[parent]
        is_root = above.line.mountpoint == "/"
        same = above.line.mountpoint == draft.line.mountpoint
        if "showthrough" in draft.private and not is_root and not same and above.row is None:
            draft.through = parent
            if draft.nodev:
                self.add(parent, draft.number, AFTER)
        elif is_root and draft.nodev and not draft.placeholder and draft.line.mountpoint != "/":
            pass
        else:
            self.add(draft.number, parent, PARENT)

    def settle(self) -> tuple[list[int], list[str]]:
        """All numbers, each behind what it waits for, once cycles are broken; and what that took."""
        left = [len(edges) for edges in self.of]
        waiting: list[list[int]] = [[] for _ in self.of]
        for number, edges in enumerate(self.of):
            for other in edges:
                waiting[other].append(number)
        order = [number for number, count in enumerate(left) if not count]
        problems: list[str] = []
        done = 0
        first = 0
        while len(order) < len(left):
            while done < len(order):
                for number in waiting[order[done]]:
                    left[number] -= 1
                    if not left[number]:
                        order.append(number)
                done += 1
            if len(order) == len(left):
                break
            while not left[first]:
                first += 1
            number, other = self.weakest(first, left)
            problems.append(self.told(number, other))
            del self.of[number][other]
            waiting[other].remove(number)
            left[number] -= 1
            if not left[number]:
                order.append(number)
        return order, problems

    def weakest(self, start: int, left: list[int]) -> tuple[int, int]:
        """Of a cycle that an entry waits for, the edge that means least."""
        path = [start]
        places = {start: 0}
        while True:
            following = next(other for other in self.of[path[-1]] if left[other])
            if following in places:
                break
            places[following] = len(path)
            path.append(following)
        cycle = path[places[following] :]
        edges = list(zip(cycle, cycle[1:] + cycle[:1], strict=True))
        return min(edges, key=lambda edge: (self.of[edge[0]][edge[1]], -edge[0]))

    def told(self, number: int, other: int) -> str:
        line, before = self.drafts[number].line, self.drafts[other].line
        reason = REASONS[self.of[number][other]]
        return (
            f"{line.origin}: {title(line)} does not wait for {title(before)} ({before.origin}), which {reason}, but"
            f" itself waits for {title(line)}"
        )


def title(line: Line) -> str:
    """What an entry is called: by its mount point, or by its device if it has none."""
    return line.device if line.type == "swap" else line.mountpoint


def named_paths(line: Line) -> Iterator[tuple[str, int]]:
    """The paths in other file systems that the options name."""
    for word in words(line.options):
        name, equals, value = word.partition("=")
        if not equals:
            continue
        if line.type in ("overlay", "overlayfs") and name in OVERLAID:
            for path in value.strip('"').replace("\\:", "\0").split(":"):
                if path.startswith("/"):
                    yield path.replace("\0", ":"), OPTION
        elif name == "x-systemd.requires-mounts-for" and value.startswith("/"):
            yield value, OPTION


def named_mounts(line: Line) -> Iterator[tuple[str, int]]:
    """The mount points of other entries that the options name."""
    for word in words(line.options):
        name, equals, value = word.partition("=")
        if equals and name in ("x-systemd.requires", "x-systemd.after"):
            path = value if value.startswith("/") else unit_path(value)
            if path:
                yield path, OPTION if name == "x-systemd.requires" else AFTER


def unit_path(unit: str) -> str:
    """The mount point that a unit of systemd stands for, or nothing."""
    if not unit.endswith(".mount"):
        return ""
    name = unit[: -len(".mount")]
    if name == "-":
        return "/"
    parts = name.replace("-", "/").split("\\x")
    path = parts[0]
    for part in parts[1:]:
        try:
            path += chr(int(part[:2], 16)) + part[2:]
        except ValueError:
            return ""
    return "/" + path
