"""What mountall's reducer is told, and what it answers: inputs, actions, and the entries that both speak of.

What is always true here:

- All are plain values, of numbers, strings and tuples of them. An entry is named by its number in the plan, and a
  check, a mount or an event by a number that the action carried, which stays unique for as long as mountall's state
  is kept.
- Every action that has a number is answered by exactly one input with that number, however late: `Emit` by
  `Answered`, `Check`, `Mount` and `Swap` by `Ended`. What is cancelled is answered, too.
- Times are seconds of CLOCK_BOOTTIME, as a float.
- They are strings, numbers, booleans and tuples of them all the way down, so that whatever holds them can be written
  as JSON.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The kinds of entries, of which the first four are counted.
VIRTUAL = "virtual"
LOCAL = "local"
REMOTE = "remote"
SWAP = "swap"
#: Mounted like any other, but nothing waits for it.
NOWAIT = "nowait"


# What `Ended` says of a mount, beside the exit status of a program, which is never negative.
#: The mount point is missing and could not be made.
NO_MOUNTPOINT = -1
#: The kernel does not know the type (ENODEV), and nor does a module.
NO_TYPE = -2
#: The mount point is a symbolic link, to what ``words`` says as an absolute path; nothing was mounted.
LINK = -3


class Value:
    """Equal to another of its class with the same fields; shown with their names."""

    __slots__: tuple[str, ...] = ()

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Value) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


# What is there

class Mounted(Value):
    """A line of mountinfo: device and type as mount(8) shows them, options of the mount and of the file system
    together.

    ``number`` is the file system's device as ``major:minor``, ``root`` the path in it that is mounted.
    """

    __slots__ = ("device", "mountpoint", "number", "options", "root", "type")

    def __init__(
        self, device: str, mountpoint: str, type: str, options: str, number: str = "0:0", root: str = "/"
    ) -> None:
        self.device = device
        self.mountpoint = mountpoint
        self.type = type
        self.options = options
        self.number = number
        self.root = root


class Device(Value):
    """A block device that can be used.

    ``names`` are all that an entry may call it by: paths (``/dev/sda1``, ``/dev/disk/by-uuid/...``) and tags
    (``UUID=...``, ``LABEL=...``, ``PARTUUID=...``, ``PARTLABEL=...``, ``ID=...``), the kernel's path first. ``link``
    is what events call it by, the path by-uuid or by-label where it has one. ``type`` is what is on it (``ext4``,
    ``swap``, ``crypto_LUKS``), or empty. ``disks`` are the whole disks that it lies on, as the kernel names them.
    """

    __slots__ = ("disks", "link", "names", "type")

    def __init__(self, names: tuple[str, ...], link: str = "", type: str = "", disks: tuple[str, ...] = ()) -> None:
        self.names = names
        self.link = link or names[0]
        self.type = type
        self.disks = disks


# Inputs

class Input(Value):
    """Base of all that the reducer can be told."""

    __slots__ = ()


class Mounts(Input):
    """The whole table of mounts, at the start and whenever it has changed."""

    __slots__ = ("table",)

    def __init__(self, table: tuple[Mounted, ...]) -> None:
        self.table = table


class Ready(Input):
    """A device can be used; it may have been before, under other names."""

    __slots__ = ("device",)

    def __init__(self, device: Device) -> None:
        self.device = device


class Gone(Input):
    """The device whose first name is ``path`` cannot be used (any more)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Settled(Input):
    """udev has nothing left to do (``settled``), or has something to do again."""

    __slots__ = ("settled",)

    def __init__(self, settled: bool) -> None:
        self.settled = settled


class Answered(Input):
    """The event of `Emit` ``number`` is finished; ``failed`` if a job failed over it."""

    __slots__ = ("failed", "number")

    def __init__(self, number: int, failed: bool = False) -> None:
        self.number = number
        self.failed = failed


class Ended(Input):
    """What `Check`, `Mount` or `Swap` ``number`` asked for is over.

    ``status`` is the program's exit status, 0 for success, 128 and its number for a signal; a call of the kernel that
    failed is 32 (mount(8): the mount failed), or 127 if a program is not there; `NO_MOUNTPOINT`, `NO_TYPE` and `LINK`
    say of a mount what no program says. ``words`` is what it said, in one or few lines. ``type`` is what a mount turned
    out to be, if it succeeded, and ``place`` where mountinfo has it, if that is not the mount point that was asked
    for, because a part of that is a symbolic link.
    """

    __slots__ = ("number", "place", "status", "type", "words")

    def __init__(self, number: int, status: int, words: str = "", type: str = "", place: str = "") -> None:
        self.number = number
        self.status = status
        self.words = words
        self.type = type
        self.place = place


class Progress(Input):
    """`Check` ``number`` has come to ``percent`` (0 to 100)."""

    __slots__ = ("number", "percent")

    def __init__(self, number: int, percent: int) -> None:
        self.number = number
        self.percent = percent


class Network(Input):
    """A network interface came up: what is remote is worth another try (SIGUSR1)."""

    __slots__ = ()


class Appeared(Input):
    """Something that is no block device, by which a mount that failed may succeed: a directory of the kernel's, a
    virtio device.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


class Key(Input):
    """Somebody at the console pressed one of the keys that `Prompt` offers."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


class Tick(Input):
    """The time that the last `Wake` asked for has come."""

    __slots__ = ()


# Actions

class Action(Value):
    """Base of all that the reducer asks for, in the order in which it is to be done."""

    __slots__ = ()


class Emit(Action):
    """Emit an event, by ``key`` only once in this boot whoever is asked again.

    It is `Answered` when init is done with it, or, if it is not to ``wait``, once init has it. ``env`` is in the order
    in which the event has it.
    """

    __slots__ = ("env", "key", "name", "number", "wait")

    def __init__(
        self, number: int, name: str, env: tuple[str, ...] = (), key: str = "", wait: bool = True
    ) -> None:
        self.number = number
        self.name = name
        self.env = env
        self.key = key or name
        self.wait = wait


class Check(Action):
    """Check the file system on a device: ``fsck.TYPE``, or fsck(8) for ``auto``; `Progress` and `Ended` follow.

    ``repair`` is ``preen`` (what is safe), ``yes`` (everything) or ``no``; ``idle`` asks for the lowest I/O priority.
    """

    __slots__ = ("device", "force", "idle", "number", "repair", "type")

    def __init__(self, number: int, device: str, type: str, repair: str = "preen", force: bool = False,
                 idle: bool = False) -> None:  # fmt: skip
        self.number = number
        self.device = device
        self.type = type
        self.repair = repair
        self.force = force
        self.idle = idle


class Calm(Action):
    """Give the running `Check` ``number`` its usual I/O priority."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Mount(Action):
    """Mount; `Ended` follows. ``options`` are those for mount(8), private words cut out; ``remount`` and ``bind`` may
    be among them. ``move`` alone moves what is mounted at the path ``device``, and removes the directory it was at.

    A ``size=N%VM`` is N per cent of memory and swap together, as they are at that moment. The mount point is made where
    it is missing, its last component alone, if the file system that it lies in can be written. ``beside``: it may take
    long, and nothing else waits for it.
    """

    __slots__ = ("beside", "device", "mountpoint", "number", "options", "type")

    def __init__(
        self, number: int, device: str, mountpoint: str, type: str, options: str, beside: bool = False
    ) -> None:
        self.number = number
        self.device = device
        self.mountpoint = mountpoint
        self.type = type
        self.options = options
        self.beside = beside


class Swap(Action):
    """Use a swap device or file, with the ``options`` of its line; `Ended` follows."""

    __slots__ = ("device", "number", "options")

    def __init__(self, number: int, device: str, options: str) -> None:
        self.number = number
        self.device = device
        self.options = options


class Cancel(Action):
    """End the process of `Check`, `Mount` or `Swap` ``number`` by TERM; its `Ended` still follows."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Watch(Action):
    """From now on devices are waited for: tell of all that are there, then of each that comes and goes."""

    __slots__ = ()


class Tell(Action):
    """Show a message on the console, and log it; ``urgent`` also where the boot is quiet."""

    __slots__ = ("text", "urgent")

    def __init__(self, text: str, urgent: bool = False) -> None:
        self.text = text
        self.urgent = urgent


class Prompt(Action):
    """Show what is waited for, and the keys that there are for it, as letters; it replaces the last, and without text
    takes it away. It is for the log, too.

    ``events`` are the names of the events that wait for it, by which the jobs can be found that do.
    """

    __slots__ = ("events", "keys", "text")

    def __init__(self, text: str = "", keys: str = "", events: tuple[str, ...] = ()) -> None:
        self.text = text
        self.keys = keys
        self.events = events


class Wake(Action):
    """Tell `Tick` at ``when``, in the place of what was asked for before; never if ``None``."""

    __slots__ = ("when",)

    def __init__(self, when: float | None) -> None:
        self.when = when


class End(Action):
    """mountall is done, with an exit status of its own."""

    __slots__ = ("status",)

    def __init__(self, status: int) -> None:
        self.status = status


# The plan

class Entry(Value):
    """One file system or swap space that is wanted.

    ``device``, ``mountpoint``, ``type`` and ``options`` are what events carry: fstab's words, or mountinfo's of what is
    mounted already (the mount point of swap is ``none``). ``number`` is its place in the plan, ``passno`` fstab's
    last field, ``origin`` where it stands (``/etc/fstab:7``, ``/lib/init/fstab:3``, or ``mounted``). ``given`` is what
    mount(8) is given: the options with the built-in ones before them, private words cut out.

    ``after`` are the numbers of the entries that must be mounted, and announced, before it; without those that are in
    ``loose``, too, it is mounted if they fail. ``through`` is the entry that it shows through, or -1. ``needs`` is the
    name of a device that must be ready, or empty; ``holder`` is the device that has to be unlocked to make that one.
    ``nodev``: there is none. ``retry`` is what makes another try worthwhile once one has failed: ``network``,
    ``virtio``, ``directory`` (its mount point has to appear, which is not even tried before), or nothing.

    ``asked`` is what fstab calls the device of what is mounted from another, or by another name. ``limit`` is for how
    many seconds it may keep events waiting, ``None`` for the usual time, 0 for any time.
    ``essential``: without it the boot cannot go on. ``settings`` are its other private words, with their values.
    """

    __slots__ = (
        "after", "asked", "device", "essential", "given", "holder", "kind", "limit", "loose", "mountpoint", "needs",
        "nodev", "number", "options", "origin", "passno", "retry", "settings", "through", "type",
    )  # fmt: skip

    def __init__(
        self, number: int, device: str, mountpoint: str, type: str, options: str, passno: int = 0, kind: str = LOCAL,
        after: tuple[int, ...] = (), needs: str = "", limit: float | None = None, essential: bool = False,
        origin: str = "", settings: Mapping[str, str] = {}, given: str = "", loose: tuple[int, ...] = (),
        through: int = -1, holder: str = "", nodev: bool = False, retry: str = "", asked: str = "",
    ) -> None:  # fmt: skip
        self.number = number
        self.device = device
        self.mountpoint = mountpoint
        self.type = type
        self.options = options
        self.passno = passno
        self.kind = kind
        self.after = after
        self.needs = needs
        self.limit = limit
        self.essential = essential
        self.origin = origin
        self.settings = tuple(settings.items())
        self.given = given or options
        self.loose = loose
        self.through = through
        self.holder = holder
        self.nodev = nodev
        self.retry = retry
        self.asked = asked
