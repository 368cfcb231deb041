"""Who is at the other end of a local socket, as the kernel says it: struct ucred, unix(7)."""

from __future__ import annotations

import _socket
from struct import Struct

#: pid, uid and gid, as SO_PEERCRED and SCM_CREDENTIALS have them.
CREDENTIALS = Struct("@iII")


def of_peer(sock: _socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the process that has connected, or that listens.  Raises OSError."""
    pid, uid, gid = CREDENTIALS.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, uid, gid
