"""D-Bus addresses: which sockets a list of them names."""

from __future__ import annotations

import os


def parse_address(address: str) -> list[bytes | str]:
    """The socket addresses of a D-Bus address list, in order; transports that PID 1 has no use for are left out.

    Abstract names come as bytes that begin with NUL, as bind(2) of Python takes them.
    """
    found: list[bytes | str] = []
    for entry in address.split(";"):
        transport, _, rest = entry.partition(":")
        values = dict(part.partition("=")[::2] for part in rest.split(",") if part)
        name = values.get("path") or values.get("abstract")
        path = _unescape(name) if name is not None and transport == "unix" else None
        if path is not None:
            found.append(path if "path" in values else b"\0" + os.fsencode(path))
    return found


def _unescape(value: str) -> str | None:
    """Undo the escaping of a value of an address; None where it is none, or no name."""
    head, *parts = value.split("%")
    raw = os.fsencode(head)
    try:
        for part in parts:
            raw += bytes.fromhex(part[:2]) + os.fsencode(part[2:])
    except ValueError:
        return None
    return None if b"\0" in raw else os.fsdecode(raw)
