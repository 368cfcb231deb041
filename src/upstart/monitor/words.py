"""Rows as text: a line for a terminal, an object of JSON, and their parts for a window.

What is always true here: a row is one line.  A value that has nothing odd in it stands between quotes as 1.13.2's
monitor has it, KEY='VALUE'; one with a quote, or with a character that a terminal might obey, stands as a shell reads
it back: KEY=$'VALUE'.
"""

from __future__ import annotations

import json
import signal
import time

from upstart.monitor.rows import EVENT, FAILED, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ESCAPES = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e"}


def is_plain(text: str) -> bool:
    """Whether a text can stand as it is: every character prints."""
    return text.isprintable()


def visible(text: str) -> str:
    """A text with what does not print as numbers."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _number(char) for char in text)


def _number(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(value: str) -> str:
    """A value as a shell reads it."""
    if "'" not in value and value.isprintable():
        return f"'{value}'"
    return "$'" + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _number(char)) for char in value) + "'"


def variable(word: str) -> str:
    """A variable of an event, KEY=VALUE, with its value quoted."""
    key, equals, value = word.partition("=")
    return f"{visible(key)}={quoted(value)}" if equals else quoted(key)


def job(row: Row) -> str:
    """The instance that a row is about, as initctl names it."""
    return visible(f"{row.name} ({row.instance})" if row.instance else row.name)


def details(row: Row) -> str:
    """What a row tells beside the name."""
    if row.kind == EVENT:
        return " ".join(map(variable, row.env))
    if row.kind == FAILED:
        return failure(int(row.env[0]))
    return "/".join(row.env)


def failure(status: int) -> str:
    """How it failed, by the number that init has for it."""
    if status < 0:
        return "failed to run"
    if status >> 8:
        number = status >> 8 & 0x7F
        try:
            name = signal.Signals(number).name.removeprefix("SIG")
        except ValueError:
            name = str(number)
        return f"failed, killed by {name} signal"
    return f"failed with status {status}" if status else "failed"


def title(row: Row) -> str:
    """The event, or the instance of a job."""
    return visible(row.name) if row.kind == EVENT else job(row)


def moment(seconds: float) -> str:
    """The time of day, to the microsecond, with its date."""
    whole = int(seconds // 1)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole)) + f".{int((seconds - whole) * 1e6):06d}"


def line(row: Row, separator: str = "\t") -> str:
    """A row for a terminal, without the newline."""
    text = details(row)
    return f"{moment(row.time)}{separator}{title(row)}{' ' + text if text else ''}"


def document(row: Row) -> str:
    """A row as an object of JSON, in one line."""
    found: dict[str, Any] = {"time": instant(row.time), "kind": row.kind}
    if row.kind == EVENT:
        pairs = (word.partition("=") for word in row.env)
        found |= {"event": row.name, "variables": {key: value if equals else None for key, equals, value in pairs}}
    else:
        found |= {"job": row.name, "instance": row.instance}
        if row.kind == FAILED:
            found["status"] = int(row.env[0])
        else:
            found["goal"], found["state"] = row.env
    return json.dumps(found, ensure_ascii=False)


def told(seconds: float, kind: str, reason: str = "") -> str:
    """That init was lost, or is there again, as an object of JSON."""
    found = {"time": instant(seconds), "kind": kind}
    if reason:
        found["reason"] = reason
    return json.dumps(found, ensure_ascii=False)


def instant(seconds: float) -> str:
    """The time as ISO 8601 has it, to the microsecond, with the offset from UTC."""
    whole = int(seconds // 1)
    local = time.localtime(whole)
    offset = time.strftime("%z", local)
    part = int((seconds - whole) * 1e6)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + f".{part:06d}{offset[:3]}:{offset[3:]}"
