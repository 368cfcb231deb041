"""A D-Bus connection of a bridge: to an init's own socket, or to a message bus; whoever has it connects it again.

What is always true here: nothing waits.  An answer goes to who has asked, unless the connection goes before; then
there is none.
"""

from __future__ import annotations

import _socket
import os

from upstart.base.credentials import of_peer
from upstart.dbus import wire
from upstart.dbus.address import parse_address
from upstart.dbus.auth import ClientAuth
from upstart.dbus.connection import Connection, Memory
from upstart.dbus.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from upstart.base.loop import Loop

    Then = Callable[[wire.Message], object]


class Peer:
    """Who is at ``address``: a ``bus``, or else an init, which has to be root's or our own user's.

    ``begun`` () is called each time that it can be spoken to, ``heard`` (message) for each signal, and ``lost`` () when
    the connection goes, but not by `close`.
    """

    __slots__ = (
        "_address", "_begun", "_bus", "_calls", "_connection", "_heard", "_loop", "_lost", "_serial", "_turns", "pid",
        "up",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        address: str,
        begun: Callable[[], object],
        heard: Callable[[wire.Message], object],
        lost: Callable[[], object],
        bus: bool = False,
    ) -> None:
        self._loop = loop
        self._address = address
        self._begun = begun
        self._heard = heard
        self._lost = lost
        self._bus = bus
        self._turns = Turns(loop)
        self._connection: Connection | None = None
        self._calls: dict[int, Then] = {}
        self._serial = 0
        #: The pid of the init that is, or was last, connected to.
        self.pid = 0
        #: It can be told something: what is before a connection is authenticated would end it.
        self.up = False

    def connect(self) -> str:
        """Begin to connect; what is wrong if nobody is there, or an empty string."""
        reason = "its address cannot be read" if self._address else "its address is not known"
        for name in parse_address(self._address):
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
            try:
                # At once, or refused: a connection to a socket of this machine does not have to be waited for.
                sock.connect(name)
                uid = -1 if self._bus else self._check(sock)
            except OSError as error:
                reason = error.strerror or "?"
                sock.close()
                continue
            auth = ClientAuth(os.getuid())
            memory = Memory(wire.LONGEST)
            self._connection = Connection(
                self._loop, self._turns, memory, sock, auth, uid, self.pid, self._received, self._closed
            )
            self._connection.authenticated = self._authenticated
            self._connection.send(auth.start())
            return ""
        return reason

    def _check(self, sock: _socket.socket) -> int:
        self.pid, uid, _ = of_peer(sock)
        if uid not in (0, os.getuid()):
            raise OSError(0, "Its server is another user's")
        return uid

    def _authenticated(self) -> None:
        self.up = True
        self._begun()

    def call(
        self, service: str, path: str, interface: str, member: str, then: Then | None, signature: str = "",
        *args: Any, fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """Call a method, and go on; ``then`` gets the answer.  Copies of ``fds`` go with it.

        Raises what `wire.pack` does where the arguments cannot be sent.
        """
        if self._connection is None:
            return
        self._serial = self._serial % 0xFFFFFFFF + 1
        data = wire.call(self._serial, service, path, interface, member, signature, *args, fds=len(fds))
        if then is not None:
            self._calls[self._serial] = then
        self._connection.send(data, fds)

    def _received(self, _connection: Connection, message: wire.Message) -> None:
        if message.type == wire.SIGNAL:
            self._heard(message)
        elif message.type in (wire.RETURN, wire.ERROR):
            then = self._calls.pop(message.header.reply_serial, None)
            if then is not None:
                then(message)

    def _closed(self, _connection: Connection) -> None:
        self._connection = None
        self._calls.clear()
        self.up = False
        self._lost()

    def drop(self) -> None:
        """End the connection, which is lost then."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Send what there is to be sent, as far as it is taken, and end the connection."""
        self._lost = lambda: None
        if self._connection is not None:
            self._connection.flush()
            self.drop()
