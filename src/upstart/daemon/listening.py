"""The private address of init: the socket that listens on it, and the file by which clients find that of a session.

What is always true here: nothing is read from a client. The socket is there before anything is started, so that who
connects early waits until init has loaded what answers.  The address may be another's, which anybody can make it while
no init listens.  A session init then has one that nobody can know before, and that its file and UPSTART_SESSION tell;
the system's is where everybody looks for it, so that is tried again until it is ours.
"""

from __future__ import annotations

import _socket
import errno
import os

from upstart.base.names import ADDRESS
from upstart.base.priority import ERROR, MESSAGE, WARN
from upstart.daemon import sessionfile
from upstart.dbus.address import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.daemon.basis import Basis
    from upstart.daemon.options import Options

BACKLOG = 128
#: Seconds until the next try; they double until they are the last.
FIRST_PAUSE, LAST_PAUSE = 0.1, 3.2


class Listening:
    """The private address of one init; ``socket`` is None where nothing listens (yet).

    ``opened`` () is called when a later try has succeeded.
    """

    __slots__ = ("_engine", "_environ", "_log", "_loop", "_options", "_pause", "_session_file", "opened", "socket")

    def __init__(self, basis: Basis) -> None:
        self._options = basis.options
        self._environ = basis.environ
        self._engine = basis.engine
        self._loop = basis.loop
        self._log = basis.log
        self._pause = 0.0
        self._session_file: str | None = None
        self.opened: Callable[[], object] = lambda: None
        self.socket: _socket.socket | None = None

    @property
    def address(self) -> str:
        """Where we listen, or are to."""
        if self.socket is None or not self._options.user:
            return address_of(self._options)
        return "unix:abstract=" + os.fsdecode(self.socket.getsockname()[1:])

    def open(self) -> None:
        """Listen, on the socket that the program before us listened on if there is one."""
        # On a session bus there is no private socket; the session file names one all the same, as the original's does.
        if self.socket is None and not self._options.session_bus:
            self._listen()
        self._tell()

    def _tell(self) -> None:
        """Have jobs and clients know where we are."""
        if self._options.user:
            address = self.address
            self._engine.set_process_environ("UPSTART_SESSION", address)
            self._session_file = sessionfile.create(self._environ, address, lambda text: self._log(ERROR, text))

    def _listen(self) -> None:
        try:
            self.socket = self._take()
        except OSError as error:
            if not self._pause:
                self._log(WARN, f"Unable to listen for private connections: {error.strerror}")
            self._pause = min(self._pause * 2, LAST_PAUSE) or FIRST_PAUSE
            self._loop.call_later(self._pause, self._listen_at_last)

    def _take(self) -> _socket.socket:
        address = address_of(self._options)
        try:
            return listen(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not self._options.user:
                raise
        self._log(WARN, "Private connections: the address is another's, so that this session has a longer one")
        return listen(f"{address}/{os.urandom(8).hex()}")

    def _listen_at_last(self) -> None:
        self._listen()
        if self.socket is not None:
            self._log(MESSAGE, "Listening for private connections at last")
            self._tell()
            self.opened()

    def close(self) -> None:
        """Be found no more; the socket is for whoever serves it to close."""
        sessionfile.remove(self._session_file)

    # Across a re-exec

    def dump(self) -> int:
        """The descriptor, for the next program; -1 without one."""
        return self.socket.fileno() if self.socket is not None else -1

    def descriptors(self) -> list[int]:
        """Those that the next program needs."""
        return [self.socket.fileno()] if self.socket is not None else []

    def restore(self, fd: int) -> None:
        """Take over what `dump` gave."""
        if fd >= 0:
            self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)


def address_of(options: Options) -> str:
    """Where an init with these options listens."""
    return sessionfile.address() if options.user else ADDRESS


def find(address: str) -> int:
    """Which of our descriptors is the socket that an init with this address listens on, -1 without one.

    So it is known again where no state says which it is.
    """
    names = [os.fsencode(name) for name in parse_address(address)]
    for fd in open_descriptors():
        try:
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        except OSError:
            continue
        try:
            if sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                found = os.fsencode(sock.getsockname())
                if any(found == name or found.startswith(name + b"/") for name in names):
                    return fd
        except OSError:
            pass
        finally:
            sock.detach()
    return -1


def open_descriptors() -> list[int]:
    """Our descriptors, without the standard ones."""
    try:
        return [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    except OSError:
        return []


def hand_over() -> None:
    """Have the program that we are about to execute without a state get the socket: once nobody listens on its
    address, that is anybody's."""
    fd = find(f"{ADDRESS};{sessionfile.address()}")
    if fd >= 0:
        os.set_inheritable(fd, True)


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
