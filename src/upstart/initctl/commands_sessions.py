"""list-sessions: the session inits that run as this user, from the files they keep in XDG_RUNTIME_DIR."""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError
from upstart.initctl.context import Context, getenv

_PREFIX = b"UPSTART_SESSION="


def list_sessions(context: Context) -> int:
    """list-sessions: a line for each, its pid and its address. Init is not asked."""
    runtime = getenv("XDG_RUNTIME_DIR")
    if runtime is None or not runtime.startswith("/"):
        raise ClientError("Unable to query session directory")
    directory = runtime + "/upstart/sessions"
    for path in (runtime + "/upstart", directory):
        try:
            posix.mkdir(path, 0o700)
        except OSError:
            pass  # it exists, or listing it fails below
    try:
        names = posix.listdir(directory)
    except OSError:
        raise ClientError("unable to determine sessions")
    found: list[dict[str, object]] = []
    for name in names:
        number, dot, extension = name.partition(".")
        if dot + extension != ".session" or not all(digit in "0123456789" for digit in number):
            continue
        path = f"{directory}/{name}"
        pid = int(number or "0")
        if not _alive(pid):
            context.info(f"Ignoring stale session file: {path}")
            continue
        address = _address(path)
        if address and context.settings.json:
            found.append({"pid": pid, "address": address})
        elif address:
            context.message(f"{pid} {address}")
    if context.settings.json:
        context.show_json(found)
    return 0


def _alive(pid: int) -> bool:
    try:
        posix.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    return True


def _address(path: str) -> str:
    """The session's D-Bus address, "" if the file does not tell."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        return ""
    if not content.startswith(_PREFIX):
        return ""
    return content.removesuffix(b"\n")[len(_PREFIX) :].decode("utf-8", "surrogateescape")
