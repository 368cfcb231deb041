"""What can be told from the text of a shell script, or of a command, without running it.

What is always true here: who asks is told only what holds however the rest of the script is meant.  A quote that does
not end, a here-document, or a command that brings in variables from elsewhere makes nothing be told.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Programs that go on in the foreground for ever if one of these options is given, or, with none, whatever is given;
#: and options with which they go into the background after all.
_STAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "agetty": ((), ()),
    "atd": (("-f",), ()),
    "cron": (("-f",), ()),
    "dbus-daemon": (("--nofork",), ("--fork",)),
    "getty": ((), ()),
    "hostapd": ((), ("-B",)),
    "java": ((), ()),
    "memcached": ((), ("-d",)),
    "mingetty": ((), ()),
    "rsyslogd": (("-n",), ()),
    "sleep": ((), ()),
    "sshd": (("-D",), ()),
    "systemd-udevd": ((), ("-d", "--daemon")),
    "tail": ((), ()),
    "udevd": ((), ("-d", "--daemon")),
    "wpa_supplicant": ((), ("-B",)),
}
#: Of these, what ends by itself.
_ENDS = frozenset(("agetty", "getty", "java", "mingetty", "sleep", "tail"))
_WORD = re.compile(r"'[^']*'|\"[^\"\\$`]*\"|[^\s'\"\\$`|&;<>()]+|(\S)")
_QUOTED = re.compile(r"\\.|'[^']*'|\"((?:[^\"\\]|\\.)*)\"|(?<![^\s;&|(){}])#[^\n]*", re.S)
_REFERENCE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)([^}]?))")
#: What may bring in any variable, or text in which the rules of quoting are others.
_OPAQUE = re.compile(
    r"(?<![^\s;&|(){])(?:\.|source|eval|set\s+-a|set\s+-o\s+allexport)\s|<<|\bset-env\b|`|\$\(|\bbash\b|\bawk\b"
)
_TEST = re.compile(r"(?<![^\s;&|(){!])(?:\[|test|case|if|elif|while|until)\s|\[\[")
_FOR_EVER = re.compile(
    r"(?m)^\s*while\s+(?:true|:|\[\s+1\s+\])\s*(?:;|\n)\s*do\s+(?:sleep\s+[\w.]+|:|true)\s*(?:;|\n)\s*done\s*;?\s*\Z"
)


def words(command: str) -> list[str]:
    """The words of a command without anything that a shell would do; none where there is such a thing."""
    found = []
    for match in _WORD.finditer(command):
        if match[1] is not None:
            return []
        word = match[0]
        found.append(word[1:-1] if word[0] in "'\"" else word)
    return found


def last_command(script: str) -> str:
    """The command that takes the shell's place at the end of a script; empty where none surely does."""
    if "<<" in script:
        return ""
    lines = [line.strip() for line in script.replace("\\\n", " ").split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or not lines[-1].startswith("exec "):
        return ""
    # Within an `if` or a function another line may be the last one.
    return lines[-1].removeprefix("exec ").strip()


def stays(command: str) -> str:
    """The program of a command, with the option that says so, if it surely stays in the foreground; else empty."""
    given = words(re.sub(r"\s(?:\d?>>?\s*\S+|\d?>&\d|2>&1)", "", command))
    while given and (given[0] in ("exec", "env", "/usr/bin/env", "nice") or re.fullmatch(r"\w+=.*", given[0])):
        given = given[1:]
    if not given:
        return ""
    program = given[0].rpartition("/")[2]
    if program == "nginx":
        return "nginx with daemon off" if re.search(r"daemon\s+off\s*;", command) else ""
    if program not in _STAYS or given[0].startswith("-"):
        return ""
    options, other = _STAYS[program]
    if any(option in given[1:] for option in other) or (not options and _has_short(given[1:], other)):
        return ""
    if not options:
        return program
    said = [option for option in options if option in given[1:]]
    return f"{program} {said[0]}" if said else ""


def _has_short(given: list[str], options: tuple[str, ...]) -> bool:
    """Whether one of the one-letter ``options`` is given among others, as in ``-dB``."""
    letters = {option[1] for option in options if len(option) == 2}
    return any(word[:1] == "-" and word[1:2] != "-" and letters & set(word[1:]) for word in given)


def never_ends(command: str, script: bool) -> str:
    """What in a process surely goes on for ever; empty where nothing is known to."""
    if script:
        if "<<" not in command and _FOR_EVER.search(command):
            return "its loop"
        command = last_command(command)
    given = words(command)
    if given[:1] == ["exec"]:
        given = given[1:]
    if not given:
        return ""
    program = given[0].rpartition("/")[2]
    if program == "sleep" and given[1:] in (["infinity"], ["inf"]):
        return " ".join(given)
    if program == "tail" and any(re.fullmatch(r"-\w*[fF]|--follow(=.*)?", word) for word in given[1:]):
        return "" if any(word.startswith("--pid") for word in given) else "tail -f"
    staying = stays(command)
    return "" if program in _ENDS else staying


def is_opaque(text: str) -> bool:
    """Whether a script may have variables from anywhere."""
    return _OPAQUE.search(text) is not None


def references(text: str) -> Iterator[str]:
    """The variables of which a shell takes the value in a script, where that is not asked about or has a default."""
    text = text.replace("\\\n", "  ")

    def bare(match: re.Match[str]) -> str:
        return match[1] if match[1] is not None else "\n" if match[0].startswith("\\\n") else " "

    for line in _QUOTED.sub(bare, text).split("\n"):
        if _TEST.search(line):
            continue
        for match in _REFERENCE.finditer(line):
            if match[1] is not None:
                yield match[1]
            elif match[3] == "":
                yield match[2]


def mentions(text: str, name: str) -> bool:
    """Whether a name stands anywhere but as a reference, so that something may be setting it."""
    return re.search(rf"(?<![\w$])(?<!\$\{{){re.escape(name)}(?!\w)", text) is not None
