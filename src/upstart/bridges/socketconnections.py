"""Connections that the socket bridge accepts for jobs that say so (ACCEPT=y), and hands on to init.

What is always true here: a connection that was accepted is ours until init has said that it has it, across whatever
connections to init there are; it goes by a name that no other has.
"""

from __future__ import annotations

import _socket
import os

from upstart.base.priority import INFO, WARN
from upstart.base.socketwords import EVENT, INET
from upstart.bridges.sockets import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.socketwords import Wanted
    from upstart.bridges.host import Host
    from upstart.bridges.sockets import Sockets
    from upstart.dbus.wire import Message

#: Connections accepted in one turn.
BATCH = 32


class Connections:
    """Those of one bridge; ``changed`` () is called when another may be accepted."""

    def __init__(self, host: Host, sockets: Sockets, changed: Callable[[], object]) -> None:
        self._host = host
        self._sockets = sockets
        self._changed = changed
        #: Those that init has yet to say it has: descriptor, and what is asked of it.
        self._offered: dict[str, tuple[int, list[str], list[str]]] = {}
        self._number = 0
        host.hear("ConnectionClosed", self._closed)

    def known(self, names: list[str]) -> None:
        """Init, which has been away, has these: offer it what it has not."""
        self._sockets.connections(names)
        for name, (fd, env, tested) in list(self._offered.items()):
            if name in names:
                self._given(name)
            else:
                self._offer(name, fd, env, tested)

    def accept(self, key: str, listening: int) -> None:
        """Accept what waits at a socket, as far as it is wanted."""
        for _ in range(BATCH):
            wanted = self._sockets.accepts(key)
            if wanted is None:
                return
            sock = _socket.socket(fileno=listening)
            try:
                fd, address = sock._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            finally:
                sock.detach()
            source, remote = _source_of(wanted, fd, address)
            if not self._sockets.admits(wanted, source):
                self._host.log(INFO, f"{key}: Closing a connection from {source}, which has {wanted.maxpersource}")
                os.close(fd)
                continue
            self._number += 1
            number = f"{os.getpid()}-{self._number}"
            name = name_of(number, key, source)
            self._sockets.connected(name, key, source)
            env = {**wanted.env, **remote, "CONNECTION": number}
            self._offer(name, fd, words_of(env), words_of(wanted.tested))

    def _offer(self, name: str, fd: int, env: list[str], tested: list[str]) -> None:
        self._offered[name] = fd, env, tested

        def answered(_message: Message, problem: str) -> None:
            if problem:
                self._host.log(WARN, f"Unable to hand on a connection: {problem}")
                self._sockets.closed(name)
            self._given(name)
            self._changed()

        self._host.call("EmitConnection", answered, "sasassh", EVENT, env, tested, name, 0, fds=[fd])

    def _given(self, name: str) -> None:
        offered = self._offered.pop(name, None)
        if offered is not None:
            os.close(offered[0])

    def _closed(self, name: str) -> None:
        self._sockets.closed(name)
        self._changed()

    def close(self) -> None:
        """Close those that init has not."""
        for name in list(self._offered):
            self._given(name)


def words_of(env: dict[str, str]) -> list[str]:
    """Variables as an event has them."""
    return [f"{key}={value}" for key, value in env.items()]


def _source_of(wanted: Wanted, fd: int, address: Any) -> tuple[str, dict[str, str]]:
    """Whence a connection is, and the variables that tell of it."""
    if wanted.proto in INET:
        host = address[0].removeprefix("::ffff:") if "." in address[0] else address[0]
        return host, {"REMOTE_ADDR": host, "REMOTE_PORT": str(address[1])}
    sock = _socket.socket(fileno=fd)
    try:
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    finally:
        sock.detach()
    uid = str(int.from_bytes(credentials[4:8], "little"))
    return f"uid {uid}", {"REMOTE_UID": uid}
