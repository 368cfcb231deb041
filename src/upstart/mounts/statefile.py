"""What mountall knows, in a file of /run, so that one that is killed is followed by one that goes on.

What is always true here: the file is whole, whenever it is looked at, and only root can read it.  It is of use only to
the boot, and to the init, that it was written under, and for the fstab that it speaks of; any other is as if there were
none.  Where it cannot be written (/run is not there yet), mountall does without.
"""

from __future__ import annotations

import os

from upstart.base import jsontext
from upstart.base.wholefile import write_whole
from upstart.mounts import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.mounts.values import Action

PATH = "/run/upstart/mountall.json"
VERSION = 1
_BOOT = "/proc/sys/kernel/random/boot_id"


def stamp(init: int, started: str, inputs: str) -> list[str]:
    """What a state is bound to: this boot, the init with that pid and time of start, and what was read at the start."""
    try:
        with open(_BOOT) as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return [boot, str(init), started, inputs]


def write(document: dict[str, Any], path: str = PATH) -> bool:
    """Write it in the place of the last; false where that cannot be."""
    text = _text(document)
    try:
        try:
            write_whole(path, (text,))
        except FileNotFoundError:
            os.mkdir(os.path.dirname(path), 0o755)
            write_whole(path, (text,))
    except OSError:
        return False
    return True


_text = jsontext.encoder(",", ":")


def read(path: str = PATH) -> dict[str, Any] | None:
    """What was written, ``None`` where there is nothing that this version understands.  PermissionError is raised."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return None
    try:
        document = jsontext.decoder()(text)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        return None
    return document


def pack_action(action: Action) -> list[Any]:
    """An action as JSON has it."""
    slots: tuple[str, ...] = action.__slots__
    return [type(action).__name__, {name: getattr(action, name) for name in slots}]


def unpack_action(packed: list[Any]) -> Action:
    """What `pack_action` gave.  ValueError, TypeError or AttributeError for anything else."""
    name, fields = packed
    kind = getattr(values, name)
    if not issubclass(kind, values.Action):
        raise ValueError(f"{name} is no action")
    action: Action = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    return action
