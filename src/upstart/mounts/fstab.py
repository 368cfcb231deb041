"""What is written in fstab(5) and crypttab(5), line by line.

What is always true here:

- Fields are parted by blanks and tabs alone, as getmntent(3) parts them: whatever else a mount point may contain, other
  white space and bytes that are no UTF-8 among it, is part of it. Text is what "utf-8" with "surrogateescape" makes
  of bytes.
- A line that is wrong is left out, told with file and line, and changes nothing about any other.
- A mount point is absolute, without empty, ``.`` or ``..`` components and without a slash at its end, so that two
  that are the same path are the same string.
"""

from __future__ import annotations

from upstart.mounts.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Fields of a line before the two numbers: device, mount point, type, options.
WORDS = 4
#: How a device may be named other than by a path; the value may be in quotes.
TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL", "ID")
#: These are links into /run; whoever mounts there would hide what has been made in it.
LINKED = ("/var/run", "/var/lock")


class Line(Value):
    """A line of fstab that can be understood; ``origin`` is ``file:number``, ``passno`` 0 where it is missing."""

    __slots__ = ("device", "mountpoint", "options", "origin", "passno", "type")

    def __init__(
        self, device: str, mountpoint: str, type: str, options: str = "defaults", passno: int = 0, origin: str = ""
    ) -> None:
        self.device = device
        self.mountpoint = mountpoint
        self.type = type
        self.options = options
        self.passno = passno
        self.origin = origin


def written(text: str, name: str) -> Iterator[tuple[list[str], str]]:
    """The fields of each line that has any, and where it stands, as ``name:number``."""
    for number, raw in enumerate(text.split("\n"), 1):
        words = fields(raw)
        if words:
            yield words, f"{name}:{number}"


def parse(text: str, name: str) -> tuple[list[Line], list[str]]:
    """The lines of an fstab, and what is wrong with others, as ``name:number: what``."""
    lines: list[Line] = []
    problems: list[str] = []
    for words, origin in written(text, name):
        try:
            line = understood(words, origin, problems)
        except ValueError as error:
            problems.append(f"{origin}: {error}")
        else:
            if line.mountpoint not in LINKED:
                lines.append(line)
    return lines, problems


def fields(raw: str) -> list[str]:
    """The fields of a line, without those of a comment; a line from another system may end in a carriage return."""
    words = [word for word in raw.rstrip("\r").replace("\t", " ").split(" ") if word]
    if words and words[0][0] == "#":
        return []
    for place in range(WORDS - 1, len(words)):
        if words[place][0] == "#":
            return words[:place]
    return words


def understood(words: list[str], origin: str, problems: list[str]) -> Line:
    """The line that has these fields. `ValueError` says why there is none; ``problems`` gets what does little harm."""
    if len(words) < WORDS - 1:
        raise ValueError("a device, a mount point and a type were expected; the line is left out")
    if "\0" in "".join(words):
        raise ValueError("it contains a null byte; the line is left out")
    device = device_name(unescape(words[0]))
    type = unescape(words[2])
    if type == "swap":
        mountpoint = "none"
    else:
        mountpoint = unescape(words[1])
        if mountpoint[0] != "/":
            raise ValueError(
                f"the mount point “{mountpoint}” does not begin with “/” (a blank in a field is written \\040);"
                " the line is left out"
            )
        mountpoint = canonical(mountpoint)
    options = unescape(words[3]) if len(words) >= WORDS else "defaults"
    passno = 0
    if len(words) >= WORDS + 2:
        if words[5].isascii() and words[5].isdigit():
            passno = int(words[5][:9])
        else:
            problems.append(f"{origin}: the last field, “{words[5]}”, is no number, and taken as 0")
    return Line(device, mountpoint, type, options, passno, origin)


def unescape(word: str) -> str:
    """A field as getmntent(3) reads it: a byte may be written as its octal number, and a backslash twice."""
    if "\\" not in word:
        return word
    data = word.encode("utf-8", "surrogateescape")
    parts = data.split(b"\\")
    done = [parts[0]]
    place = 1
    while place < len(parts):
        part = parts[place]
        digits = part[:3]
        if not part and place + 1 < len(parts):
            done.append(b"\\" + parts[place + 1])
            place += 2
            continue
        if len(digits) == 3 and all(48 <= digit <= 55 for digit in digits) and 0 < int(digits, 8) < 256:
            done.append(bytes((int(digits, 8),)) + part[3:])
        else:
            done.append(b"\\" + part)
        place += 1
    return b"".join(done).decode("utf-8", "surrogateescape")


def unquoted(word: str) -> str:
    """A word without the quotes around it."""
    if len(word) >= 2 and word[0] in "\"'" and word[0] == word[-1]:
        return word[1:-1]
    return word


def device_name(word: str) -> str:
    """A device without quotes around it or its value, and without slashes at its end; ``host:/`` is left alone."""
    key, equals, value = word.partition("=")
    if equals and key in TAGS:
        return f"{key}={unquoted(value)}"
    word = unquoted(word)
    shortest = word.rfind(":/") + 2 if ":/" in word else 1
    while len(word) > shortest and word[-1] == "/":
        word = word[:-1]
    if word.startswith("/") and not word.startswith("//") and "/" in word[1:]:
        return canonical(word)
    return word


def canonical(path: str) -> str:
    """An absolute path without empty, ``.`` and ``..`` components."""
    if "//" not in path and "/." not in path and (path[-1] != "/" or path == "/"):
        return path
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept[-1:] = []
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def parse_crypttab(text: str, name: str) -> tuple[dict[str, str], list[str]]:
    """What each path below /dev/mapper is made of: the device that has to be unlocked, as crypttab names it."""
    sources: dict[str, str] = {}
    problems: list[str] = []
    for words, origin in written(text, name):
        if len(words) < 2:
            problems.append(f"{origin}: a name and a device were expected; the line is left out")
            continue
        sources[f"/dev/mapper/{unescape(words[0])}"] = device_name(unescape(words[1]))
    return sources, problems
