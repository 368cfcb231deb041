"""What holds of mountall's plan and reducer for any fstab, whatever comes in whichever order.

What must hold at each single step is checked by `World.inspect`; here is how fstabs and worlds are made up, and what
must have come of it in the end. `MOUNTS_EXAMPLES` asks for another number of examples than makes for a short run.
"""

from __future__ import annotations

import os
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mounts_world import ALL, World, make

from upstart.mounts.plan import Plan
from upstart.mounts.settings import USUAL, Settings
from upstart.mounts.values import (
    LINK,
    NO_MOUNTPOINT,
    NO_TYPE,
    NOWAIT,
    SWAP,
    Action,
    Appeared,
    Check,
    Device,
    Emit,
    Entry,
    Gone,
    Mount,
    Mounted,
    Mounts,
    Network,
    Progress,
    Ready,
    Settled,
    Swap,
)

POINTS = ["/a", "/a/b", "/a/b/c", "/b", "/usr", "/usr/l", "/var", "/n", "/n/m", "/b/x"]
WORDS = [
    "nofail", "nobootwait", "bootwait", "timeout=5", "timeout", "optional", "showthrough", "ro", "x-upstart.timeout=90",
    "x-systemd.requires-mounts-for=/b/x/y", "x-systemd.requires=/a", "x-systemd.after=n.mount", "_netdev", "size=9%VM",
    "noauto", "x-initrd.mount", "",
]  # fmt: skip
ROWS = {
    "rw": (Mounted("/dev/r", "/", "ext4", "rw", "8:1"),),
    "ro": (Mounted("/dev/r", "/", "ext4", "ro", "8:1"),),
    "more": (
        Mounted("/dev/r", "/", "ext4", "ro", "8:1"), Mounted("x", "/x", "tmpfs", "rw"),
        Mounted("y", "/b", "tmpfs", "ro"), Mounted("sysfs", "/sys", "sysfs", "rw"),
    ),
}  # fmt: skip
BUILT_IN = """\
/dev/root / rootfs defaults 0 1
none /sys sysfs nosuid
none /sys/c configfs optional
none /b tmpfs mode=755
none /tmp none
"""
EXAMPLES = int(os.environ.get("MOUNTS_EXAMPLES", "60"))
few = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="MOUNTS_EXAMPLES" not in os.environ,
    phases=[Phase.explicit, Phase.generate] if os.environ.get("MOUNTS_SHRINK") == "no" else list(Phase),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line of an fstab; not one that says that it is waited for without end."""
    point = draw(st.sampled_from(POINTS))
    what = draw(st.integers(0, 11))
    option = ",".join(draw(st.lists(st.sampled_from(WORDS), max_size=3)))
    passno = draw(st.integers(0, 3))
    path = draw(st.sampled_from(POINTS)) + draw(st.sampled_from(["", "/f", "/b"]))
    letter = draw(st.sampled_from("stuv"))
    if what <= 2:
        return f"/dev/{letter} {point} ext4 {option or 'rw'} 0 {passno}"
    if what == 3:
        return f"UUID={letter} {point} auto {option or 'rw'} 0 {passno}"
    if what == 4:
        return f"none {point} tmpfs {option or 'rw'}"
    if what == 5:
        return f"odd {point} tmpfs {option or 'rw'}"
    if what == 6:
        return f"h:/{letter} {point} nfs {option or 'rw'} 0 {passno}"
    if what == 7:
        return f"{path} {point} none bind,{option}"
    if what == 8:
        return f"o {point} overlay lowerdir={path}:{point}x,{option}"
    if what == 9:
        return f"{path} {point} ext4 loop,{option} 0 {passno}"
    if what == 10:
        return f"{draw(st.sampled_from([path, '/dev/' + letter, 'LABEL=' + letter]))} none swap {option or 'sw'}"
    return f"tag {point} virtiofs {option or 'rw'}"


ROOT_LINES = st.sampled_from(["", "/dev/r / ext4 rw 0 1", "UUID=r / ext4 ro 0 1", "/dev/r / ext4 noatime 0 0"])


class Case:
    """A machine: what its fstab says, what is mounted, and what is to be done beside that."""

    def __init__(self, text: str, rows: str, check: str, skip: bool, built_in: str) -> None:
        self.shown = f"Case({text!r}, {rows!r}, {check!r}, {skip}, {built_in!r})"
        self.rows = ROWS[rows]
        self.plan = make(text, self.rows, Settings(check, skip=skip, values=USUAL), built_in)

    def __repr__(self) -> str:
        return self.shown

    def world(self, restarts: bool = False) -> World:
        return World(self.plan, self.rows, restarts)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    text = "\n".join([draw(ROOT_LINES), *draw(st.lists(lines(), max_size=9))])
    check = draw(st.sampled_from(["auto", "auto", "force", "skip"]))
    built_in = draw(st.sampled_from(["", BUILT_IN]))
    return Case(text, draw(st.sampled_from(sorted(ROWS))), check, draw(st.booleans()), built_in)


chances = st.randoms(use_true_random=False)


def devices(made: Plan) -> list[Device]:
    """A device for all that is needed."""
    found: list[Device] = []
    for name in sorted({entry.needs for entry in made.entries if entry.needs}):
        path = name if name.startswith("/dev/") else f"/dev/{name.lower().replace('=', '-')}"
        found.append(Device((path, f"/dev/disk/{path[5:]}", name), disks=("8:0",) if len(found) % 2 else ()))
    return found


def statuses(action: Action, chance: Random, faults: float) -> tuple[int, str]:
    """How an action comes to its end, and with which words."""
    if chance.random() >= faults:
        return 0, ""
    if isinstance(action, Check):
        return chance.choice([1, 2, 4, 8, 32, 33, 127, 137, 143]), "it has errors"
    if isinstance(action, Mount):
        status = chance.choice([32, 32, 1, NO_MOUNTPOINT, NO_TYPE, LINK])
        return status, chance.choice(POINTS) if status == LINK else "it failed"
    return 255, "it failed"


def step(world: World, chance: Random, faults: float, left: list[Device]) -> bool:
    """Have something happen that may happen now; false if nothing can but by time."""
    can = ["answer"] * 6 * bool(world.open) + ["device"] * 3 * bool(left)
    if not can:
        return False
    can += ["table", "network", "settled", "appeared", "key", "gone", "progress", "time"] if faults else []
    what = chance.choice(can)
    if what == "answer":
        action = chance.choice(list(world.open.values()))
        world.answer(action, *statuses(action, chance, faults))
    elif what == "device":
        world.tell(Ready(left.pop(chance.randrange(len(left)))))
    elif what == "table":
        world.tell(Mounts(tuple(world.table)))
    elif what == "network":
        world.tell(Network())
    elif what == "settled":
        world.tell(Settled(chance.random() < 0.5))
    elif what == "appeared":
        world.tell(Appeared(chance.choice(["/sys/c", "/sys/devices/virtio1"])))
    elif what == "gone":
        world.tell(Gone(f"/dev/{chance.choice('stuv')}"))
    elif what == "progress":
        checks = [action.number for action in world.open.values() if isinstance(action, Check)]
        if checks:
            world.tell(Progress(chance.choice(checks), chance.randrange(100)))
    elif what == "key" and chance.random() < faults:
        world.press(chance.choice("sfic"))
    elif what == "time":
        world.wait(chance.choice([0, 1, 4, 40]))
    return True


def settle(world: World, chance: Random, faults: float, left: list[Device]) -> None:
    """Let all happen that can, and then time go by, until the end or an hour."""
    steps = 0
    end = world.now + 3600
    while world.status is None and world.now < end:
        steps += 1
        assert steps < 20_000, "it does not come to an end"
        if not step(world, chance, faults, left):
            if world.wake is None:
                break
            world.wait(max(0.0, world.wake - world.now))


@few
@given(cases(), chances)
def test_with_every_device_and_every_mount_all_events_come_and_it_ends_well(
    case: Case, chance: Random
) -> None:
    made = case.plan
    world = case.world().begin()
    settle(world, chance, 0, devices(made))
    assert world.sent() == set(ALL)
    assert world.status == 0
    assert all(world.is_announced(entry) for entry in made.entries if entry.kind != NOWAIT)


@few
@given(cases(), chances, st.floats(0, 0.9), st.integers(0, 255))
def test_whatever_is_missing_or_fails_all_events_come_or_a_shell_is_asked_for(
    case: Case, chance: Random, faults: float, mask: int
) -> None:
    made = case.plan
    world = case.world(chance.random() < 0.2).begin()
    left = [device for index, device in enumerate(devices(made)) if mask >> index & 1]
    settle(world, chance, faults, left)
    assert world.status is not None
    if world.status in (0, 5):
        assert world.sent() == set(ALL)
    elif world.status in (2, 3):
        assert not made.settings.skip and any(entry.essential for entry in made.entries)
    else:
        assert world.status == 4 and any(isinstance(action, Check) for action in world.actions)


@few
@given(cases(), chances)
def test_what_nothing_waits_for_and_swap_never_hold_filesystem(
    case: Case, chance: Random
) -> None:
    made = case.plan
    world = case.world().begin()
    needed = needed_by_counted(made)
    left = [
        device
        for device in devices(made)
        if any(entry.needs in device.names for entry in made.entries if entry.number in needed)
    ]
    for _ in range(1000):
        answers = [action for action in world.open.values() if is_about(world, action, needed)]
        if left and (not answers or chance.random() < 0.5):
            world.tell(Ready(left.pop()))
        elif answers:
            world.answer(chance.choice(answers))
        else:
            break
    assert "filesystem" in world.names()
    assert all(name in world.names() for name in ALL[:3])


def needed_by_counted(made: Plan) -> set[int]:
    """The numbers of the entries that `filesystem` has to wait for."""
    needed: set[int] = set()
    todo = [entry.number for entry in made.entries if entry.kind not in (NOWAIT, SWAP)]
    while todo:
        number = todo.pop()
        if number not in needed:
            needed.add(number)
            todo += made.entries[number].after
    # A line before that is swap, or that nothing waits for, gives its kind to who waits for it.
    assert not [number for number in needed if made.entries[number].kind == NOWAIT]
    return needed


def is_about(world: World, action: Action, numbers: set[int]) -> bool:
    number: int = action.number  # type: ignore[attr-defined]
    entry = world.reducer.facts.under_way[number][1]
    return entry < 0 or entry in numbers


@few
@given(cases(), st.integers(0, 1 << 30), st.floats(0, 0.5))
def test_who_is_started_again_does_what_the_first_would_have_done(
    case: Case, seed: int, faults: float
) -> None:
    made = case.plan
    worlds = []
    for restarts in (False, True):
        world = case.world(restarts).begin()
        settle(world, Random(seed), faults, devices(made))
        worlds.append(world)
    first, again = worlds
    assert first.status == again.status
    assert first.actions == again.actions


@few
@given(cases(), chances, st.integers(1, 255))
def test_disks_that_come_too_late_are_mounted_all_the_same(
    case: Case, chance: Random, mask: int
) -> None:
    """By mountall itself, or by a late one that goes on where it has ended."""
    made = case.plan
    world = case.world().begin()
    late = [device for index, device in enumerate(devices(made)) if mask >> index & 1]
    settle(world, chance, 0, [device for device in devices(made) if device not in late])
    if world.status not in (0, 5):
        return
    other = world.late()
    settle(other, chance, 0, devices(made))
    assert other.status == 0
    for entry in made.entries:
        if entry.retry != "directory":
            assert world.is_announced(entry) != other.is_announced(entry)


def shape(made: Plan) -> object:
    """A plan without its numbers and origins."""

    def name(entry: Entry) -> str:
        return f"{entry.device} {entry.mountpoint}"

    return sorted(
        (
            name(entry), entry.kind, entry.type, entry.given, entry.needs, entry.limit or 0, entry.essential,
            sorted(name(made.entries[number]) for number in entry.after), entry.retry, entry.passno,
        )
        for entry in made.entries
    )  # fmt: skip


@few
@given(st.lists(lines(), max_size=9), chances)
def test_the_order_of_lines_that_do_not_speak_of_each_other_means_nothing(text: list[str], chance: Random) -> None:
    # The second line of a mount point comes second, and an odd device makes the line before count.
    first: dict[str, str] = {}
    for line in text:
        words = line.split()
        if words[0] not in ("odd", "o", "tag"):
            first.setdefault(words[0] if words[1] == "none" else words[1], line)
    ordered = list(first.values())
    made = make("\n".join(ordered))
    if made.problems:
        # What is dropped from a cycle is the last edge of those that mean least.
        return
    shuffled = list(ordered)
    chance.shuffle(shuffled)
    spaced = [each for line in shuffled for each in ("", f"  {line}  ", "# /dev/q /q ext4")]
    assert shape(make("\n".join(spaced))) == shape(made)


@few
@given(cases())
def test_no_entry_waits_in_the_end_for_itself(case: Case) -> None:
    made = case.plan
    done: set[int] = set()
    left = list(made.entries)
    while left:
        free = [entry for entry in left if set(entry.after) <= done]
        assert free
        done |= {entry.number for entry in free}
        left = [entry for entry in left if entry.number not in done]


def test_the_actions_that_are_answered_are_all_that_have_a_number() -> None:
    assert {Emit, Check, Mount, Swap} == {kind for kind in Action.__subclasses__() if "number" in kind.__slots__} - {
        kind for kind in Action.__subclasses__() if kind.__name__ in ("Calm", "Cancel")
    }
