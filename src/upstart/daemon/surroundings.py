"""What process 1 finds itself in: a container or none, and the loopback interface.

What is always true here: nothing that fails stops the boot, and what cannot be done is somebody else's to do, a
container's manager's most of all.  A container is known by what its manager has put into init's environment, or by what
the kernel shows of it.
"""

from __future__ import annotations

import _socket
import fcntl
import os
from struct import Struct

from upstart.base.closing import close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where other programs find the type of the container.
CONTAINER_TYPE = "/run/container_type"

# netdevice(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
#: struct ifreq: a name and, in its union, flags.
_IFREQ = Struct("=16sH22x")


def container_type(environ: Mapping[str, str]) -> str:
    """What kind of container this is, empty where it is none: ``container`` of init's environment ``environ``, else
    lxc-libvirt or openvz."""
    name = environ.get("container", "")
    if name:
        # Whatever bytes the manager has put there, it is text for everybody from now on.
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if environ.get("LIBVIRT_LXC_UUID"):
        return "lxc-libvirt"
    return "openvz" if os.path.isdir("/proc/vz") and not os.path.isdir("/proc/bc") else ""


def record_container_type(name: str) -> None:
    """Leave it in `CONTAINER_TYPE`, which a machine has not; no error where that cannot be written."""
    try:
        if not name:
            os.unlink(CONTAINER_TYPE)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(CONTAINER_TYPE, flags, 0o644)
        try:
            os.write(fd, name.encode() + b"\n")
        finally:
            close(fd)
    except OSError:
        pass


def bring_up(interface: str) -> bool:
    """Bring up a network interface that is down; whether it is up, for where we may not it may be so already.

    The kernel gives the loopback its addresses then.
    """
    try:
        # A socket of any kind will do.
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            name = interface.encode()
            _, flags = _IFREQ.unpack(fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, _IFREQ.pack(name, 0)))
            if not flags & _IFF_UP:
                fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(name, flags | _IFF_UP))
        finally:
            sock.close()
    except OSError:
        return False
    return True
