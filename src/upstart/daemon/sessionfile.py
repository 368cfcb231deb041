"""The file by which clients find a session init: ``$XDG_RUNTIME_DIR/upstart/sessions/PID.session``.

It holds the one line ``UPSTART_SESSION=ADDRESS``, whole whenever it is there.  It is there from the start of an init,
which may not answer yet, to its end; the file of one that was killed stays, and names an address where nobody listens.
"""

from __future__ import annotations

import os

from upstart.base import xdg
from upstart.base.closing import close
from upstart.base.names import SESSION_ADDRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def address() -> str:
    """The address that this process's private socket has unless it is another's."""
    return f"{SESSION_ADDRESS}{os.getuid()}/{os.getpid()}"


def create(environ: Mapping[str, str], where: str, complain: Callable[[str], object]) -> str | None:
    """Write the file for the address ``where``; gives its path, None where there is none."""
    directory = xdg.session_dir(environ)
    if directory is None:
        return None
    path = f"{directory}/{os.getpid()}.session"
    new = path + ".new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError:
        complain(f"unable to create session file: {path}")
        return None
    text = f"UPSTART_SESSION={where}\n".encode()
    try:
        written = os.write(fd, text)
    except OSError:
        written = 0
    close(fd)
    try:
        if written == len(text):
            os.rename(new, path)
            return path
    except OSError:
        pass
    complain(f"unable to write session file: {path}")
    remove(new)
    return None


def remove(path: str | None) -> None:
    """Take the file away; there may be none."""
    if path is not None:
        try:
            os.unlink(path)
        except OSError:
            pass
