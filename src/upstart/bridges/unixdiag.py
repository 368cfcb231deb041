"""What the kernel says of sockets of AF_UNIX, by sock_diag(7): without touching any of them.

What is always true here: where the kernel cannot be asked, OSError says so.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST_FLAG, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
#: What is to be shown, and the attributes that show it.
SHOW_VFS, SHOW_ICONS, SHOW_RQLEN = 0x2, 0x8, 0x10
VFS, ICONS, RQLEN = 1, 3, 4
_ANY = 0xFFFFFFFF
#: The kernel answers at once.
SECONDS = 1.0

_REQUEST = Struct("=LHHLLBBHLLLLL")
_HEADER = Struct("=LHHLL")
_ATTRIBUTE = Struct("=HH")
_PAIR = Struct("=LL")
_MESSAGE = 16
_BUFFER = 1 << 20


def ask(inode: int, show: int) -> Iterator[dict[int, bytes]]:
    """The attributes of the socket with that inode number, or, for 0, of each.  Raises OSError."""
    flags = _REQUEST_FLAG | (0 if inode else _DUMP)
    request = _REQUEST.pack(
        _REQUEST.size, _SOCK_DIAG_BY_FAMILY, flags, 1, 0, _socket.AF_UNIX, 0, 0, _ANY, inode, show, _ANY, _ANY
    )
    netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    try:
        netlink.settimeout(SECONDS)
        netlink.send(request)
        while True:
            data = netlink.recv(_BUFFER)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    number = -int.from_bytes(data[at + 16 : at + 20], "little", signed=True)
                    raise OSError(number, os.strerror(number))
                yield _attributes(data[at + _HEADER.size + _MESSAGE : at + length])
                at += (length + 3) & ~3
            if inode:
                return
    finally:
        netlink.close()


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return found


def waiting(inode: int) -> tuple[int, frozenset[str] | None]:
    """How much waits at a socket: connections, each by a name, or bytes."""
    for attributes in ask(inode, SHOW_ICONS | SHOW_RQLEN):
        amount = int.from_bytes(attributes.get(RQLEN, b"")[:4], "little")
        which = attributes.get(ICONS)
        if which is None:
            return amount, frozenset() if not amount else None
        return amount, frozenset(which[at : at + 4].hex() for at in range(0, len(which), 4))
    return 0, frozenset()


def is_bound(info: os.stat_result) -> bool:
    """Whether a socket of this network namespace has that file; it may be one of another."""
    mine = info.st_ino & _ANY, os.major(info.st_dev) << 20 | os.minor(info.st_dev)
    try:
        for attributes in ask(0, SHOW_VFS):
            if VFS in attributes and _PAIR.unpack_from(attributes[VFS]) == mine:
                return True
    except OSError:
        pass
    return False
