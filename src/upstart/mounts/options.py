"""The words of a file system's options: what they say to mountall, to mount(8), and of what is mounted.

What is always true here: words are compared whole, and an empty one is none. A comma in double quotes, or behind a
backslash, parts nothing, as libmount has it.
"""

from __future__ import annotations

#: The words that only mountall knows; each may also be written ``x-upstart.WORD``, which mount(8) passes over.
PRIVATE = ("showthrough", "optional", "bootwait", "nobootwait", "timeout")
#: What mount(8) must not see: with ``nofail`` it says of a device that is missing that all went well.
HIDDEN = frozenset((*PRIVATE, "nofail"))
#: Words that change nothing about what is mounted.
SILENT = frozenset((
    "auto", "noauto", "user", "nouser", "users", "group", "owner", "_netdev", "nofail", "defaults", "comment", "loop",
    "offset", "sizelimit", "remount", "bind", "rbind",
))  # fmt: skip
#: What a word takes back; what the kernel does not show is what it does anyway.
OPPOSITES = {
    "rw": "ro", "suid": "nosuid", "dev": "nodev", "exec": "noexec", "async": "sync", "atime": "noatime",
    "diratime": "nodiratime", "noiversion": "iversion", "nomand": "mand", "nolazytime": "lazytime",
    "nosymfollow": "symfollow", "norelatime": "relatime", "nostrictatime": "strictatime",
}  # fmt: skip
#: How proc(5) shows what may be written as a number.
HIDEPID = {"0": "off", "1": "noaccess", "2": "invisible", "4": "ptraceable"}
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
PAGE = 4096


def words(options: str) -> list[str]:
    """The words of a list of options, in order."""
    if '"' not in options and "\\" not in options:
        return [word for word in options.split(",") if word]
    found = [""]
    quoted = False
    before = ""
    for character in options:
        if character == '"':
            quoted = not quoted
        if character == "," and not quoted and before != "\\":
            found.append("")
        else:
            found[-1] += character
        before = character
    return [word for word in found if word]


def table(options: str) -> dict[str, str | None]:
    """Each word of the options with its value, without quotes around that; ``None`` for one that has none."""
    found: dict[str, str | None] = {}
    for word in words(options):
        name, equals, value = word.partition("=")
        if equals:
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found[name] = value
        else:
            found[name] = None
    return found


def private(found: dict[str, str | None]) -> dict[str, str]:
    """The words that only mountall knows, by their short names, with their values."""
    mine: dict[str, str] = {}
    for name, value in found.items():
        short = name[10:] if name.startswith("x-upstart.") else name
        if short in PRIVATE:
            mine[short] = value or ""
    return mine


def given(options: str, before: str = "") -> str:
    """What mount(8) is to have: these options, with others before them as far as these do not say otherwise."""
    named: dict[str, str] = {}
    for word in words(before) + words(options):
        name = word.partition("=")[0]
        if name in HIDDEN or name == "defaults":
            continue
        # The last one counts, and is where it stands last.
        named.pop(name, None)
        named.pop(OPPOSITES.get(name) or REVERSED.get(name, ""), None)
        named[name] = word
    return ",".join(named.values()) or "defaults"


REVERSED = {takes: back for back, takes in OPPOSITES.items()}


def seconds(text: str) -> float:
    """A span of time as systemd.time(7) writes it: ``90``, ``1min 30s``, ``infinity``. `ValueError` if it is none.

    0 is any time, and so is ``infinity``.
    """
    if text.strip() == "infinity":
        return 0.0
    total = 0.0
    rest = text.replace(" ", "")
    if not rest:
        raise ValueError("a number of seconds was expected")
    while rest:
        length = 0
        while length < len(rest) and (rest[length].isdecimal() or rest[length] == ".") and rest[length].isascii():
            length += 1
        number, rest = rest[:length], rest[length:]
        length = 0
        while length < len(rest) and rest[length].isalpha():
            length += 1
        unit, rest = rest[:length], rest[length:]
        if unit not in SPANS:
            raise ValueError(f"“{text}” is no number of seconds")
        total += float(number) * SPANS[unit]
    if total > LONGEST:
        raise ValueError(f"“{text}” is more than {LONGEST:.0f} seconds")
    return total


LONGEST = 2147483647.0
SPANS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 0.001, "msec": 0.001, "us": 1e-6, "m": 60.0,
    "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip


def satisfied(wanted: str, current: str, memory: int = 0) -> bool:
    """Whether what is mounted with the options ``current``, as mountinfo has them, is as ``wanted``.

    ``memory`` is the memory of the machine in bytes, of which sizes may be a part. Where that cannot be known the
    answer is no: to mount it again with the same options does no harm.
    """
    has = set(words(current))
    for word in words(wanted):
        name, equals, value = word.partition("=")
        if word in has or name in SILENT or name.startswith("x-"):
            continue
        if word in OPPOSITES:
            if OPPOSITES[word] in has:
                return False
        elif not equals or not any(same(name, value, other, memory) for other in has):
            return False
    return "ro" not in has or "ro" in words(wanted)


def same(name: str, value: str, shown: str, memory: int) -> bool:
    """Whether a value means what the kernel shows in other words."""
    other, equals, seen = shown.partition("=")
    if other != name or not equals:
        return False
    if name == "mode":
        return octal(value) == octal(seen)
    if name == "size":
        return size(value, memory) == size(seen, memory) != -1
    if name == "hidepid":
        return HIDEPID.get(value, value) == HIDEPID.get(seen, seen)
    return value == seen


def octal(text: str) -> int:
    return int(text, 8) if text.isascii() and text.isdigit() and not set("89") & set(text) else -1


def size(text: str, memory: int) -> int:
    """Bytes, in whole pages as tmpfs(5) takes them; -1 if it is no size."""
    if text.endswith("%"):
        number = text[:-1]
        if not number.isdecimal() or not number.isascii() or not memory:
            return -1
        amount = memory // PAGE * int(number) * PAGE // 100
    else:
        number = text.rstrip("kKmMgGtT")
        unit = text[len(number) :].lower()
        if not number.isdecimal() or not number.isascii() or unit not in UNITS:
            return -1
        amount = int(number) * UNITS[unit]
    return -(-amount // PAGE) * PAGE
