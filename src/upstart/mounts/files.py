"""The one module of the planner that looks at the machine: it reads what `plan` is made of, and changes nothing.

What is always true here: a file that is missing says nothing, and one that cannot be read is told; neither is an error.
"""

from __future__ import annotations

import os

from upstart.mounts import fstab
from upstart.mounts.kinds import DIRECTORY_FIRST
from upstart.mounts.plan import Plan, plan
from upstart.mounts.settings import CHECKED, DEVICE_WAIT, parse_values, settings
from upstart.mounts.tablewatch import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.mounts.values import Mounted

BUILT_IN = "/lib/init/fstab"
DEFAULTS = ("/etc/default/rcS", "/etc/default/tmpfs", "/etc/default/devpts", "/etc/default/mountall")
FLAGS = ("/forcefsck", "/fastboot", *CHECKED)


class Reader:
    """Files below a root directory; ``problems`` are those that could not be read, and what else was wrong."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self.problems: list[str] = []

    def text(self, path: str) -> str:
        """The text of a file, whatever its bytes; none if there is no such file."""
        try:
            with open(self.root + path, "rb") as file:
                return file.read().decode("utf-8", "surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror}")
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing if there is no such one."""
        try:
            return os.listdir(self.root + directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.problems.append(f"{directory}: {error.strerror}")
            return []

    def lines(self, path: str) -> list[fstab.Line]:
        lines, problems = fstab.parse(self.text(path), path)
        self.problems += problems
        return lines

    def fragments(self, directory: str = "/etc/fstab.d") -> list[str]:
        """The paths of the further fstabs, in the order of their names."""
        names = sorted(self.names(directory))
        return [f"{directory}/{name}" for name in names if name.endswith(".fstab") and name[0] != "."]

    def values(self) -> dict[str, str]:
        """All settings, of which those of the last file count."""
        found: dict[str, str] = {}
        for path in DEFAULTS:
            values, problems = parse_values(self.text(path), path)
            found.update(values)
            self.problems += problems
        return found


def kernel_types(text: str) -> dict[str, bool]:
    """The types of /proc/filesystems, true for those that have no device."""
    types = {}
    for line in text.split("\n"):
        flag, tab, name = line.partition("\t")
        if tab:
            types[name] = flag == "nodev"
    return types


def memory(text: str) -> int:
    """The bytes of memory that /proc/meminfo tells of, 0 if it does not."""
    for line in text.split("\n"):
        words = line.split()
        if len(words) > 1 and words[0] == "MemTotal:" and words[1].isdecimal():
            return int(words[1]) * 1024
    return 0


def mounted_now() -> tuple[Mounted, ...]:
    """The table of mounts; empty where /proc is not there."""
    try:
        table = Table()
    except OSError:
        return ()
    try:
        return table.read()
    finally:
        table.close()


def gather(
    root: str = "/", fstabs: Iterable[str] | None = None, force: bool = False, fix: bool = False,
    device_wait: float = DEVICE_WAIT, mounts: tuple[Mounted, ...] | None = None, skip: bool = False,
) -> Plan:  # fmt: skip
    """The plan for this machine, or for what lies below another root, where nothing is mounted yet.

    ``fstabs`` are paths below the root to read in place of /etc/fstab and those in /etc/fstab.d; ``force`` and ``fix``
    are about checks, ``device_wait`` is in seconds. ``mounts`` is the table of mounts, if it has been read already.
    With ``skip`` the boot goes on without what is essential, whatever the settings say.
    """
    reader = Reader(root)
    machine = Reader()
    here = not reader.root
    if mounts is None:
        mounts = mounted_now() if here else ()
    lines: list[fstab.Line] = []
    for path in ["/etc/fstab", *reader.fragments()] if fstabs is None else fstabs:
        lines += reader.lines(path)
    crypttab, problems = fstab.parse_crypttab(reader.text("/etc/crypttab"), "/etc/crypttab")
    built_ins = reader.lines(BUILT_IN)
    wishes, more = settings(
        machine.text("/proc/cmdline") if here else "",
        {**reader.values(), **({"ONFAIL": "continue"} if skip else {})},
        [path for path in FLAGS if reader.exists(path)],
        memory(machine.text("/proc/meminfo")),
        force,
        fix,
        device_wait,
    )
    types = kernel_types(machine.text("/proc/filesystems"))
    made = plan(
        lines,
        built_ins,
        types,
        mounts,
        crypttab,
        wishes,
        {
            line.mountpoint for line in built_ins
            if (line.type in types or line.type not in DIRECTORY_FIRST) and os.path.isdir(reader.root + line.mountpoint)
        },
    )  # fmt: skip
    told = (*reader.problems, *machine.problems, *problems, *more, *made.problems)
    return Plan(made.entries, made.mounted, made.fresh, told, made.settings)
