"""The names of devices' events, ``SUBSYSTEM-device-ACTION``, and what their variables can be: see upstart-events(7).

What is always true here: what is wrong with a word udev could never tell.
"""

from __future__ import annotations

#: The events that may be told: of whatever subsystem, added, changed, removed, bind, unbind, move, online and offline.
PATTERN = "*-device-*[de]"
MIDDLE = "-device-"
#: Words of udev whose event has another word.
WORDS = {"add": "added", "change": "changed", "remove": "removed"}
ACTIONS = (*WORDS.values(), "bind", "unbind", "move", "online", "offline")
_NUMBERS = ("MAJOR", "MINOR", "SEQNUM", "IFINDEX", "DISKSEQ")


def parts(name: str) -> tuple[str, str]:
    """The subsystem and the action of an event's name; both empty where it is none of a device."""
    subsystem, middle, action = name.rpartition(MIDDLE)
    return (subsystem, action) if middle and subsystem and action in ACTIONS else ("", "")


def wrong_name(name: str) -> str:
    """What is wrong with the name of an event, if udev's word is in it instead of the event's."""
    subsystem, middle, action = name.rpartition(MIDDLE)
    return f"nothing tells of that; it is {subsystem}{MIDDLE}{WORDS[action]}" if middle and action in WORDS else ""


def wrong_value(name: str, key: str, value: str) -> str:
    """What is wrong with the value of a variable, in full, that this event is tested for; empty where nothing is."""
    subsystem, action = parts(name)
    if key == "ACTION":
        own = next((word for word, told in WORDS.items() if told == action), action)
        return "" if value == own else f"of {name} it is {own}"
    if key == "SUBSYSTEM":
        return "" if value == subsystem else f"of {name} it is {subsystem}"
    if key == "DEVPATH":
        if value.startswith("/sys/"):
            return "it is the path below /sys"
        return "" if value.startswith("/") else "not absolute"
    if key == "DEVNAME":
        return "" if value.startswith("/dev/") else "it is the whole path, below /dev"
    if key in _NUMBERS:
        return "" if value.isascii() and value.isdigit() else "no number"
    return ""
