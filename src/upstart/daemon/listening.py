"""The private address of init: the socket that listens on it, and the file by which clients find that of a session.

What is always true here: nothing is read from a client. The socket is there before anything is started, so that who
connects early waits until init has loaded what answers.
"""

from __future__ import annotations

import _socket
import os

from upstart.base.priority import ERROR, WARN
from upstart.daemon import sessionfile
from upstart.dbus.address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.daemon import Daemon

SYSTEM_ADDRESS = "unix:abstract=/com/ubuntu/upstart"
BACKLOG = 128


class Listening:
    """The private address of one daemon; ``socket`` is None where nothing listens."""

    __slots__ = ("_session_file", "socket")

    def __init__(self) -> None:
        self.socket: _socket.socket | None = None
        self._session_file: str | None = None

    def open(self, daemon: Daemon) -> None:
        """Listen, on the socket that the program before us listened on if there is one."""
        options = daemon.options
        address = sessionfile.address() if options.user else SYSTEM_ADDRESS
        if options.user:
            daemon.engine.set_process_environ("UPSTART_SESSION", address)
        # On a session bus there is no private socket; the session file names one all the same, as the original's does.
        if self.socket is None and not options.session_bus:
            try:
                self.socket = listen(address)
            except OSError as error:
                daemon.log(WARN, f"Unable to listen for private connections: {error.strerror}")
        if options.user:
            self._session_file = sessionfile.create(daemon.environ, address, lambda text: daemon.log(ERROR, text))

    def close(self) -> None:
        """Be found no more; the socket is for whoever serves it to close."""
        sessionfile.remove(self._session_file)

    def dump(self) -> int:
        """The descriptor, for the next program; -1 without one."""
        return self.socket.fileno() if self.socket is not None else -1

    def keep_open(self, kept: bool) -> None:
        """Have the socket cross an exec, or not (again)."""
        if self.socket is not None:
            os.set_inheritable(self.socket.fileno(), kept)

    def restore(self, fd: int) -> None:
        """Take over what `dump` gave."""
        if fd >= 0:
            os.set_inheritable(fd, False)
            self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)


def listen(address: str) -> _socket.socket:
    """A non-blocking socket that listens on a D-Bus address; OSError where that fails."""
    names = parse_address(address)
    if not names:
        raise OSError(22, f"not an address to listen on: {address}")
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        sock.bind(names[0])
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
