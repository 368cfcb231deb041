"""The private server: who connects, who may, and what all of them are told.

What is always true here: a connection is looked at once, when it arrives; nobody but root and our own user gets any
further, so that others cannot fill our descriptors.  There are never more than `MAX_CLIENTS` connections, nor one
that is still not authenticated after `AUTH_SECONDS`.  A signal is built once and shared by all who listen.  All
connections together hold no more than `MAX_HELD` bytes: who holds most gives way, those who have not said who they are
and users other than root first.
"""

from __future__ import annotations

import _socket
import os

from upstart.base.credentials import of_peer
from upstart.base.loop import READ
from upstart.dbus import wire
from upstart.dbus.auth import ServerAuth
from upstart.dbus.connection import Connection, Memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from upstart.base.loop import Loop
    from upstart.dbus.connection import Work
    from upstart.dbus.turns import Turns

#: Clients may wait long for an answer, hundreds of them at a boot.
MAX_CLIENTS = 2048
#: Bytes that all clients together may leave unread, or unfinished.
MAX_HELD = 32 << 20
#: Who holds less than its share is not asked to give way.
SHARE = MAX_HELD // MAX_CLIENTS
AUTH_SECONDS = 30.0
#: Connections taken in one turn.
ACCEPTS = 32


class PrivateServer:
    """Accepts clients on a listening socket and keeps them in ``clients``.

    ``on_message`` (connection, message) is called for each message, ``connected`` (connection) for each client that
    may speak, ``on_change`` () when a client came or went.
    """

    __slots__ = (
        "_guid", "_loop", "_on_message", "_paused", "_sock", "_turns", "_uid", "_watch", "clients", "connected",
        "memory", "on_change",
    )  # fmt: skip

    def __init__(
        self, loop: Loop, turns: Turns, sock: _socket.socket, on_message: Callable[[Connection, wire.Message], Work]
    ) -> None:
        self._loop = loop
        self._turns = turns
        self._sock = sock
        self.memory = Memory(MAX_HELD)
        self.memory.relieve = self._relieve
        self._on_message = on_message
        self._guid = os.urandom(16).hex()
        self._uid = os.getuid()
        self._paused = False
        #: In the order in which they came.
        self.clients: dict[Connection, None] = {}
        self.connected: Callable[[Connection], object] = lambda connection: None
        self.on_change: Callable[[], object] = lambda: None
        self._watch = loop.add_fd(sock.fileno(), READ, self._accept)

    def close(self) -> None:
        """Stop listening, and disconnect everybody."""
        self._loop.remove(self._watch)
        self._sock.close()
        for client in list(self.clients):
            client.flush()
            client.close()

    def _accept(self, _events: int) -> None:
        for count in range(ACCEPTS):
            if len(self.clients) >= MAX_CLIENTS:
                if count:  # nobody makes room for somebody who may not be there
                    return
                if not self._make_room():
                    self._pause()
                    return
            try:
                fd, _ = self._sock._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor left: what waits is taken when one is free
                self._pause()
                return
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            try:
                pid, uid, _gid = of_peer(sock)
            except OSError:
                sock.close()
                continue
            if uid not in (0, self._uid):
                sock.close()
                continue
            auth = ServerAuth(self._guid, uid)
            client = Connection(
                self._loop, self._turns, self.memory, sock, auth, uid, pid, self._on_message, self._closed
            )
            self.clients[client] = None
            self._limit_authentication(client)
            self.connected(client)
            self.on_change()

    def _make_room(self) -> bool:
        """Close a connection that never said who it is; false if there is none."""
        for client in self.clients:
            if client.auth is not None:
                client.close()
                return True
        return False

    def _limit_authentication(self, client: Connection) -> None:
        def expire() -> None:
            if client.auth is not None:
                client.close()

        timer = self._loop.call_later(AUTH_SECONDS, expire)
        client.authenticated = lambda: self._loop.remove(timer)

    def _pause(self) -> None:
        if not self._paused:
            self._loop.call_later(1.0, self._resume)
            self._paused = True
            self._loop.modify(self._watch, 0)

    def _resume(self) -> None:
        self._paused = False
        if self._sock.fileno() >= 0:
            try:
                self._loop.modify(self._watch, READ)
            except OSError:
                self._pause()
                raise

    def _closed(self, client: Connection) -> None:
        self.clients.pop(client, None)
        self.on_change()

    def listening(self, others: Container[str] = ()) -> bool:
        """Whether any client wants all signals, or one that is not among these."""
        return any(
            client.hears is None or any(name not in others for name in client.hears) for client in self.clients
        )

    def wants(self, *names: str) -> bool:
        """Whether any client wants a signal that goes by these names."""
        return any(client.hears is None or not client.hears.isdisjoint(names) for client in self.clients)

    def broadcast(self, data: bytes, *names: str) -> None:
        """Send a signal to every client that wants one that goes by one of these names."""
        for client in list(self.clients):
            if (client.hears is None or not client.hears.isdisjoint(names)) and client.auth is None:
                client.send(data)

    def _relieve(self) -> None:
        """Hang up on those who hold most, until what is left is not too much."""
        while self.memory.held > self.memory.limit:
            worst = max(
                (client for client in self.clients if client.held > SHARE),
                key=lambda client: (client.auth is not None, client.uid != 0, client.held),
                default=None,
            )
            if worst is None:
                return
            worst.close()
