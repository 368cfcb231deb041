"""What the kernel's command line and the files below /etc/default say about file systems, and what that makes of the
built-in entries.

What is always true here: no file is run. A file of settings is lines KEY=VALUE, with quotes as in a shell and
comments; a value that only a shell could tell (``$``, a backquote) is told, and what is usual counts instead. The
meaning of each is that of rcS(5) and tmpfs-config(5).
"""

from __future__ import annotations

from upstart.mounts.fstab import Line
from upstart.mounts.options import given, table
from upstart.mounts.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: /etc/default/rcS, /etc/default/tmpfs and /etc/default/devpts, where they say nothing.
USUAL = {
    "RAMTMP": "no", "RAMSHM": "yes", "RAMLOCK": "yes", "FSCKFIX": "no", "NOSWAP": "no", "TMPFS_SIZE": "20%VM",
    "RUN_SIZE": "10%", "LOCK_SIZE": "5242880", "SHM_SIZE": "", "TMP_SIZE": "", "TMPFS_MODE": "755", "RUN_MODE": "755",
    "LOCK_MODE": "1777", "SHM_MODE": "1777", "TMP_MODE": "1777", "TTYGRP": "5", "TTYMODE": "620",
    "ONFAIL": "shell",
}  # fmt: skip
#: For how many seconds a device is waited for where the word ``timeout`` says nothing more (--dev-wait-time).
DEVICE_WAIT = 30.0


class Settings(Value):
    """What is to be done beside what fstab says.

    ``check`` is ``auto`` (what fstab wants), ``force`` or ``skip``; ``repair`` is ``preen``, ``yes`` or ``no``;
    ``checked`` are the mount points that an initramfs has checked. ``skip``: what is essential and cannot be had is
    left out, and no shell is asked for. ``swap``: swap is used. ``device_wait`` is in seconds, ``memory`` in bytes, 0
    if it is not known. ``values`` are the files' own words.
    """

    __slots__ = ("check", "checked", "device_wait", "memory", "repair", "skip", "swap", "values")

    def __init__(
        self, check: str = "auto", repair: str = "preen", checked: tuple[str, ...] = (), skip: bool = False,
        swap: bool = True, device_wait: float = DEVICE_WAIT, memory: int = 0, values: Mapping[str, str] = {},
    ) -> None:  # fmt: skip
        self.check = check
        self.repair = repair
        self.checked = checked
        self.skip = skip
        self.swap = swap
        self.device_wait = device_wait
        self.memory = memory
        self.values = tuple(values.items())


def parse_values(text: str, name: str) -> tuple[dict[str, str], list[str]]:
    """The settings of a file, and what is wrong with others, as ``name:number: what``."""
    values: dict[str, str] = {}
    problems: list[str] = []
    number = 0
    for raw in text.split("\n"):
        number += 1
        line = raw.strip()
        if line.startswith("export "):
            line = line[7:].lstrip()
        key, equals, rest = line.partition("=")
        if not line or line[0] == "#":
            continue
        if not equals or not key.isascii() or not key.replace("_", "a").isalnum():
            problems.append(f"{name}:{number}: KEY=VALUE was expected; the line is left out")
            continue
        try:
            values[key] = word(rest)
        except ValueError as error:
            problems.append(f"{name}:{number}: {error}; the line is left out")
    return values, problems


def word(text: str) -> str:
    """The word that a shell makes of the text behind the equals sign. `ValueError` if that takes a shell."""
    value = ""
    quote = ""
    place = 0
    while place < len(text):
        character = text[place]
        place += 1
        if quote == "'":
            if character == "'":
                quote = ""
            else:
                value += character
        elif character in "$`":
            raise ValueError("a value that only a shell can tell is not understood")
        elif character == "\\" and place < len(text) and (not quote or text[place] in '"\\$`'):
            value += text[place]
            place += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif not quote and character in " \t;#&|<>()":
            if character in " \t;" and text[place:].lstrip(" \t;")[:1] in ("", "#"):
                break
            if character != "#":
                raise ValueError("more than one word behind the equals sign is not understood")
            value += character
        else:
            value += character
    if quote:
        raise ValueError(f"the quote {quote} is never closed")
    return value


def settings(
    command_line: str, values: Mapping[str, str], flags: Iterable[str] = (), memory: int = 0, force: bool = False,
    fix: bool = False, device_wait: float = DEVICE_WAIT,
) -> tuple[Settings, list[str]]:  # fmt: skip
    """What the kernel's command line and the settings of all files say together, and what of it is wrong.

    ``flags`` are those of /forcefsck, /fastboot, /run/initramfs/fsck-root and /run/initramfs/fsck-usr that exist;
    ``force``, ``fix`` and ``device_wait`` are mountall's own options.
    """
    problems: list[str] = []
    merged = {**USUAL, **values}
    there = set(flags)
    check = "auto"
    repair = "preen"
    skip = merged["ONFAIL"] == "continue"
    if merged["ONFAIL"] not in ("continue", "shell"):
        problems.append(f"ONFAIL is shell or continue, and not “{merged['ONFAIL']}”")
    swap = merged["NOSWAP"] != "yes"
    if "/fastboot" in there:
        check = "skip"
    if "/forcefsck" in there:
        check = "force"
    if merged["FSCKFIX"] == "yes" or fix:
        repair = "yes"
    for each in kernel_words(command_line):
        name, _, value = each.partition("=")
        if each == "fastboot":
            check = "skip"
        elif each.lower() in ("forcefsck", "force-fsck"):
            check = "force"
        elif name == "fsck.mode" and value in ("auto", "force", "skip"):
            check = value
        elif name == "fsck.repair" and value in ("preen", "yes", "no"):
            repair = value
        elif name in ("fsck.mode", "fsck.repair"):
            problems.append(f"the kernel's word “{each}” is none that is known")
        elif each == "noswap":
            swap = False
        elif each == "mountall.skip=all":
            skip = True
        elif name == "mountall.skip":
            problems.append(f"the kernel's word “{each}” is none that is known: mountall.skip=all is")
    if force:
        check = "force"
    checked = tuple(path for flag, path in CHECKED.items() if flag in there)
    return Settings(check, repair, checked, skip, swap, device_wait, memory, merged), problems


CHECKED = {"/run/initramfs/fsck-root": "/", "/run/initramfs/fsck-usr": "/usr"}


def kernel_words(command_line: str) -> list[str]:
    """The words of the kernel's command line, without those that are meant for the arguments of init."""
    found: list[str] = []
    for each in command_line.split():
        if each == "--":
            break
        found.append(each)
    return found


def built_in(lines: Iterable[Line], wishes: Settings, fstab: Iterable[Line]) -> list[Line]:
    """The built-in entries as the settings have them; ``fstab`` says which of them are somewhere else instead."""
    values = dict(wishes.values)
    own: dict[str, Line] = {}
    for line in fstab:
        own.setdefault(line.mountpoint, line)
    in_memory = {path for path, line in own.items() if line.type == "tmpfs"}
    done = []
    for line in lines:
        where = line.mountpoint
        options = line.options
        if where == "/run":
            noexec = values["RAMSHM"] == "yes" or "/run/shm" in in_memory
            options = in_ram(options, values, "RUN", "noexec" if noexec else "exec")
        elif where == "/run/lock":
            if values["RAMLOCK"] != "yes" and where not in in_memory:
                continue
            options = in_ram(options, values, "LOCK")
        elif where == "/dev/shm":
            # Shared memory is where fstab has it, and a link at the other place.
            if "/run/shm" in own or (values["RAMSHM"] != "yes" and where not in in_memory):
                continue
            options = in_ram(options, values, "SHM")
        elif where == "/dev/pts":
            options = given(f"gid={values['TTYGRP']},mode={values['TTYMODE']}", options)
        elif where == "/tmp" and line.type == "none" and (values["RAMTMP"] == "yes" or is_read_only(own.get("/"))):
            line = Line("tmpfs", where, "tmpfs", origin=line.origin)
            options = in_ram("nodev,nosuid", values, "TMP")
        done.append(Line(line.device, where, line.type, options, line.passno, line.origin))
    return done


def in_ram(options: str, values: Mapping[str, str], which: str, more: str = "") -> str:
    """The options of a file system in memory, with the size and mode that the settings have for it."""
    size = values[f"{which}_SIZE"] or values["TMPFS_SIZE"]
    mode = values[f"{which}_MODE"] or values["TMPFS_MODE"]
    return given(",".join(part for part in (more, f"size={size}" if size else "", f"mode={mode}") if part), options)


def is_read_only(line: Line | None) -> bool:
    return line is not None and "ro" in table(line.options)
