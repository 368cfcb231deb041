"""The words of ``dbus``, ``dbus-name``, ``dbus-activation`` and ``dconf`` events, see dbus-event(7), dconf-event(7).

What is always true here: what is wrong with a word no bus and no dconf could ever tell; patterns and variables are not
looked at, for they may be anything.
"""

from __future__ import annotations

import re

SIGNAL, NAME, ACTIVATION, DCONF = "dbus", "dbus-name", "dbus-activation", "dconf"
DCONF_VARIABLES = ("TYPE", "KEY", "VALUE")
TYPES = ("changed", "reset")
#: Bytes of a name on a bus; arguments that a signature has room for.
_LONGEST_NAME, _ARGUMENTS = 255, 255

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTERFACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+")
_WELL_KNOWN = re.compile(r"[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+")
_UNIQUE = re.compile(r":[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_OBJECT = re.compile(r"/|(/[A-Za-z0-9_]+)+")
_ARGUMENT = re.compile(r"ARG(\d{1,3})(\.\d{1,2})?")
#: A word in the text of a GVariant that is no string: those are in quotes.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = ("true", "false", "nothing", "inf", "nan", "infinity")


def is_key(text: str) -> bool:
    """Whether dconf may have a key of that name."""
    return text.startswith("/") and "//" not in text and not text.endswith("/") and "\0" not in text


def is_well_known(text: str) -> bool:
    """Whether somebody may own that name on a bus, who is not known by a number alone."""
    return len(text) <= _LONGEST_NAME and _WELL_KNOWN.fullmatch(text) is not None


def wrong_key(event: str, key: str) -> str:
    """What is wrong with the name of a variable of this event; empty where nothing is."""
    known = {
        SIGNAL: ("SIGNAL", "BUS", "INTERFACE", "OBJPATH", "SENDER", "DESTINATION", "SENDER_UNIQUE"),
        NAME: ("NAME", "OWNER", "BUS"),
        ACTIVATION: ("SERVICE", "BUS"),
        DCONF: DCONF_VARIABLES,
    }[event]
    argument = _ARGUMENT.fullmatch(key) if event == SIGNAL else None
    if key in known or (argument and int(argument[1]) < _ARGUMENTS):
        return ""
    more = ", ARG0, ARG1 and so on" if event == SIGNAL else ""
    return f"unknown; it is {', '.join(known)}{more}"


def wrong_value(event: str, key: str, value: str) -> str:
    """What is wrong with the value of a variable, in full, that this event is tested for; empty where nothing is."""
    if event == DCONF:
        return _wrong_of_dconf(key, value)
    name = len(value) <= _LONGEST_NAME
    if key == "SIGNAL":
        return "" if name and _MEMBER.fullmatch(value) else "no name of a signal"
    if key == "INTERFACE":
        return "" if name and _INTERFACE.fullmatch(value) else "no name of an interface, as org.example.Name is one"
    if key == "OBJPATH":
        return "" if _OBJECT.fullmatch(value) else "no path of an object, as /org/example/Name is one"
    if key in ("SENDER", "DESTINATION"):
        fits = is_well_known(value) or (name and _UNIQUE.fullmatch(value))
        return "" if fits else "no name on a bus, as org.example.Name or :1.5 is one"
    if key == "SENDER_UNIQUE":
        return "" if name and _UNIQUE.fullmatch(value) else "no unique name, as :1.5 is one"
    if key in ("NAME", "SERVICE"):
        return "" if is_well_known(value) else "no well-known name, as org.example.Name is one"
    if key == "OWNER":
        return "" if value in ("y", "n") else "unknown; it is y or n"
    return ""


def _wrong_of_dconf(key: str, value: str) -> str:
    if key == "TYPE":
        return "" if value in TYPES else f"unknown; it is {' or '.join(TYPES)}"
    if key == "KEY":
        return "" if is_key(value) else "no key, as /org/example/name is one"
    if _WORD.fullmatch(value) and value not in _WORDS:
        return f"a string stands in quotes: VALUE=\"'{value}'\""
    return ""
