"""What waits at a socket, without taking it: how much, and which connections.

What is always true here: nothing waits, and nothing is changed.  Where the kernel does not tell, nothing is known.
"""

from __future__ import annotations

import _socket
import fcntl
import os
from struct import error as StructError

from upstart.base.socketwords import FIFO, INET
from upstart.bridges import unixdiag
from upstart.bridges.sockets import Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.base.socketwords import Wanted

_FIONREAD = 0x541B
_SO_MEMINFO = 55
_TCP_INFO = 11
#: States of connections that nobody has taken, and of which the other end may have closed: what was taken and closed
#: here goes on in others.
_OPEN = ("01", "08")
#: Of TCP_INFO, where the number of connections is that wait at a socket that listens.
_UNACKED = 24


def pending(wanted: Wanted, fd: int, closely: bool) -> Pending:
    """What waits at the socket that has been made for this; ``closely``: and which connections these are, for which the
    kernel looks through all that there are in the machine."""
    try:
        if wanted.proto == FIFO:
            return Pending(_readable_bytes(fd))
        if not wanted.listens:
            return Pending(_datagrams(wanted, fd))
        return _tcp(wanted, fd, closely) if wanted.proto in INET else Pending(*unixdiag.waiting(os.fstat(fd).st_ino))
    except (OSError, ValueError, StructError):
        return Pending(0)


def _readable_bytes(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), "little")


def _datagrams(wanted: Wanted, fd: int) -> int:
    if wanted.proto not in INET:
        return _readable_bytes(fd)
    sock = _socket.socket(fileno=fd)
    try:
        return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _SO_MEMINFO, 4), "little")
    finally:
        sock.detach()


def _tcp(wanted: Wanted, fd: int, closely: bool) -> Pending:
    # Of which family it is does not matter for this, and asking would take three more system calls.
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
    try:
        info = sock.getsockopt(_socket.IPPROTO_TCP, _TCP_INFO, 104)
        amount = int.from_bytes(info[_UNACKED : _UNACKED + 4], "little")
    finally:
        sock.detach()
    return Pending(amount, _unaccepted(wanted.port) if closely else None)


def _unaccepted(port: int) -> frozenset[str]:
    """The other ends of connections that nobody has taken yet: those that are no file's."""
    found = set()
    own = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            file = open(table)
        except FileNotFoundError:
            continue
        with file:
            for line in file:
                if own not in line:
                    continue
                words = line.split()
                # Local and remote address, state, ..., inode.
                if words[1].endswith(own) and words[3] in _OPEN and words[9] == "0":
                    found.add(words[2])
    return frozenset(found)


def empty(wanted: Wanted, fd: int) -> int:
    """Take all that waits, and drop it; gives how much that was."""
    dropped = 0
    os.set_blocking(fd, False)
    sock = _socket.socket(fileno=fd) if wanted.proto != FIFO else None
    try:
        while True:
            if sock is None:
                os.read(fd, 65536)
            elif wanted.listens:
                os.close(sock._accept()[0])  # type: ignore[attr-defined]
            else:
                sock.recv(1)
            dropped += 1
    except OSError:
        return dropped
    finally:
        if sock is not None:
            sock.detach()
        os.set_blocking(fd, True)
