"""Sockets and FIFOs as jobs want them, made in the kernel: for `upstart.bridges.sockets`.

What is always true here: what is given is blocking, as the original's is, close-on-exec, and listens; before it listens
it has its mode and owner.  Nothing is left behind where that fails.
"""

from __future__ import annotations

import _socket
import errno
import os
import stat

from upstart.base.socketwords import FIFO, INET
from upstart.bridges.socketpath import Place, find, is_left_over, owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.base.socketwords import Wanted

_IP_FREEBIND = 15
_KINDS = {"udp": _socket.SOCK_DGRAM, "udp6": _socket.SOCK_DGRAM, "unix-dgram": _socket.SOCK_DGRAM,
          "unix-seqpacket": _socket.SOCK_SEQPACKET}  # fmt: skip
_ANY = {_socket.AF_INET: "0.0.0.0", _socket.AF_INET6: "::"}


def make(wanted: Wanted) -> int:
    """Make what is wanted; gives its descriptor.  Raises OSError."""
    if wanted.proto in INET:
        return _make_inet(wanted)
    if wanted.path.startswith("@"):
        sock = _socket.socket(_socket.AF_UNIX, kind_of(wanted) | _socket.SOCK_CLOEXEC)
        try:
            sock.bind(b"\0" + os.fsencode(wanted.path[1:]))
            return _listening(sock, wanted)
        except BaseException:
            sock.close()
            raise
    place = find(wanted.path, wanted.dirmode)
    try:
        return _make_fifo(wanted, place) if wanted.proto == FIFO else _make_unix(wanted, place)
    finally:
        place.close()


def kind_of(wanted: Wanted) -> int:
    """The kind of socket."""
    return _KINDS.get(wanted.proto, _socket.SOCK_STREAM)


def _make_inet(wanted: Wanted) -> int:
    family = _socket.AF_INET6 if ":" in wanted.shown_address else _socket.AF_INET
    try:
        return _bind_inet(wanted, family)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) or wanted.proto != "tcp" or wanted.address:
            raise
    # Where there is no IPv6, both families are one.
    return _bind_inet(wanted, _socket.AF_INET)


def _bind_inet(wanted: Wanted, family: int) -> int:
    sock = _socket.socket(family, kind_of(wanted) | _socket.SOCK_CLOEXEC)
    try:
        if wanted.listens:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(wanted.proto != "tcp"))
        if wanted.reuseport:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        if wanted.device:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_BINDTODEVICE, wanted.device.encode() + b"\0")
        if wanted.freebind or (wanted.freebind is None and wanted.address):
            sock.setsockopt(_socket.IPPROTO_IP, _IP_FREEBIND, 1)
        address, _, scope = (wanted.address or _ANY[family]).partition("%")
        if scope:
            number = int(scope) if scope.isdigit() else _socket.if_nametoindex(scope)
            sock.bind((address, wanted.port, 0, number))
        else:
            sock.bind((address, wanted.port))
        return _listening(sock, wanted)
    except BaseException:
        sock.close()
        raise


def _listening(sock: _socket.socket, wanted: Wanted) -> int:
    if wanted.listens:
        sock.listen(wanted.backlog)
    return sock.detach()


def _mode(wanted: Wanted) -> int:
    """Its mode: everybody may connect to the system's, nobody else to a session's."""
    if wanted.mode is not None:
        return wanted.mode
    return 0o666 if os.geteuid() == 0 else 0o600


def _make_unix(wanted: Wanted, place: Place) -> int:
    owner, group = owner_of(wanted)
    kind = kind_of(wanted)
    sock = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    bound = False
    try:
        try:
            _bind(sock, place, _mode(wanted))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not is_left_over(place, kind):
                raise
            place.remove()
            _bind(sock, place, _mode(wanted))
        bound = True
        if owner >= 0 or group >= 0:
            place.belong(stat.S_IFSOCK, None, owner, group)
        return _listening(sock, wanted)
    except BaseException:
        sock.close()
        if bound:
            place.remove()
        raise


def _bind(sock: _socket.socket, place: Place, mode: int) -> None:
    mask = os.umask(0o777 & ~mode)
    try:
        sock.bind(place.bound)
    finally:
        os.umask(mask)


def _make_fifo(wanted: Wanted, place: Place) -> int:
    owner, group = owner_of(wanted)
    mask = os.umask(0o777 & ~_mode(wanted))
    try:
        os.mkfifo(place.name, 0o777, dir_fd=place.directory)
    except FileExistsError:
        if place.kind() != stat.S_IFIFO:
            raise
    finally:
        os.umask(mask)
    # For writing as well: that there is nobody who writes is no end, and who writes never waits for a reader.
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(place.name, flags, dir_fd=place.directory)
    try:
        info = os.fstat(fd)
        if not stat.S_ISFIFO(info.st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if info.st_uid not in (0, os.geteuid(), owner):
            raise PermissionError(errno.EPERM, "It is another user's")
        if owner >= 0 or group >= 0:
            os.fchown(fd, owner, group)
        if wanted.mode is not None:
            os.fchmod(fd, wanted.mode)
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def adapt(wanted: Wanted, fd: int) -> bool:
    """Give what was made before what may be given afterwards: backlog, mode, owner; false where it has to be made anew.

    Raises OSError.
    """
    if wanted.listens:
        sock = _socket.socket(fileno=fd)
        try:
            sock.listen(wanted.backlog)
        finally:
            sock.detach()
    if not wanted.path or wanted.path.startswith("@"):
        return True
    kind = stat.S_IFIFO if wanted.proto == FIFO else stat.S_IFSOCK
    try:
        place = find(wanted.path)
    except FileNotFoundError:
        return False
    try:
        if place.kind() != kind:
            return False
        place.belong(kind, _mode(wanted), *owner_of(wanted))
    finally:
        place.close()
    return True


def renew(wanted: Wanted, fd: int) -> None:
    """Undo what a service may have done to a socket: it blocks, and listens."""
    os.set_blocking(fd, True)
    if not wanted.listens:
        return
    sock = _socket.socket(fileno=fd)
    try:
        # What was shut down by one is so for all who have it.
        if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            sock.listen(wanted.backlog)
    except OSError:
        pass
    finally:
        sock.detach()


def remove(wanted: Wanted) -> None:
    """Remove what is left in the file system of a socket, if nobody listens there.  Raises OSError."""
    if not wanted.path or wanted.path.startswith("@") or wanted.proto == FIFO:
        return
    try:
        place = find(wanted.path)
    except FileNotFoundError:
        return
    try:
        if is_left_over(place, kind_of(wanted)):
            place.remove()
    finally:
        place.close()
