"""upstart-local-bridge(8): what programs say to a socket of AF_UNIX, as events.

What is always true here: an event says who has said it, as the kernel knows it; while init takes events slowly, nobody
is read from; nor is who does not read our answers.
"""

from __future__ import annotations

import _socket
import os
from struct import Struct

from upstart.base.credentials import CREDENTIALS, of_peer
from upstart.base.errors import ClientError, UsageError
from upstart.base.loop import HANGUP, ONCE, READ, WRITE
from upstart.base.options import Option
from upstart.base.priority import INFO, WARN
from upstart.base.socketwords import WordError, read
from upstart.bridges.kinds import Bridge
from upstart.bridges.localpairs import LONGEST, OURS, Pairs, Rules
from upstart.bridges.socketmaker import make, remove
from upstart.bridges.socketpath import owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from upstart.base.socketwords import Wanted
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.bridges.localpairs import Said

PROTOS = {"stream": "unix", "seqpacket": "unix-seqpacket", "datagram": "unix-dgram"}
#: Connections at a time, of all and of one user other than ours.
MOST, MOST_OF_USER = 256, 64
_SO_PEERGROUPS = 59
_CHUNK = 16 << 10


class Client:
    """Who speaks: by a connection, or by a datagram, and then ``watch`` is 0."""

    __slots__ = ("answers", "ended", "env", "events", "out", "pairs", "paused", "reach", "sock", "uid", "watch")

    def __init__(
        self, credentials: tuple[int, int, int], source: LocalSource, sock: _socket.socket, reach: Any
    ) -> None:
        pid, self.uid, gid = credentials
        values = ("unix", source.variant, self.uid, gid, pid, source.path)
        self.env = dict(zip(OURS, map(str, values), strict=True))
        self.pairs = Pairs(source.rules, self.uid, source.several)
        self.sock = sock
        #: Where it is to be answered, if not by the connection.
        self.reach = reach
        self.watch = 0
        self.events = READ
        #: The answers that it has yet to get, in their order, of which an empty one is not known; what is known and has
        #: not gone out.
        self.answers: list[list[bytes]] = []
        self.out = b""
        #: It says nothing more; it is not listened to, until there is room.
        self.ended = False
        self.paused = False

    def flush(self) -> None:
        """Have what is known go out, as far as it takes that."""
        while self.answers and self.answers[0]:
            self.out += self.answers.pop(0)[0]
        if not self.watch:
            data, self.out = self.out, b""
            try:
                self.sock.sendto(data, _socket.MSG_NOSIGNAL, self.reach)
            except OSError:
                pass  # who sends datagrams and does not read has no answer
            return
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out, _socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:
            self.ended, self.out = True, b""
            self.answers.clear()


class LocalSource:
    """The source of one bridge.  Raises ClientError where the socket cannot be made."""

    def __init__(self, host: Host, settings: Any) -> None:
        self._host = host
        self._event = settings.event
        self._reply = settings.reply
        self.patterns: tuple[str, ...] = (self._event,)
        self.path = settings.path
        self.variant = "abstract" if self.path.startswith("@") else "named"
        self.several = settings.several
        self._wanted = wanted_of(settings)
        self._count = 0
        self._clients: dict[int, Client] = {}
        self._pausing = False
        try:
            group = owner_of(self._wanted)[1]
            self.rules = Rules(os.geteuid(), settings.any_user, group, settings.allow)
            self._socket = _socket.socket(fileno=make(self._wanted))
        except OSError as error:
            raise ClientError(f"Failed to create socket unix:{self.path}: {error.strerror or error}") from None
        self._socket.setblocking(False)
        heard = self._accept if self._wanted.listens else self._receive
        if not self._wanted.listens:
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._watch = host.loop.add_fd(self._socket.fileno(), READ, lambda events: heard())

    def want(self, leaves: Leaves) -> None:
        """What is said here is told whoever waits: programs ask for that."""

    def told(self) -> None:
        """Nothing is kept: who has spoken to a bridge that is no more finds the connection closed."""

    def watched(self) -> list[str]:
        """The socket, and how many are connected."""
        return [f"unix:{self.path}, {len(self._clients)} connected"]

    def close(self) -> None:
        """Close the connections and the socket, and remove that."""
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        self._socket.close()
        try:
            remove(self._wanted)
        except OSError as error:
            self._host.log(WARN, f"{self.path}: {error.strerror}")

    # Connections

    def _accept(self) -> None:
        try:
            # The class, which wraps this, would cost more to load than all else.
            fd, _ = self._socket._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock = _socket.socket(fileno=fd)
        sock.setblocking(False)
        ids = of_peer(sock)
        client = Client(ids, self, sock, None)
        theirs = sum(other.uid == client.uid for other in self._clients.values())
        if not self._admits(ids, lambda: _groups(sock)):
            sock.close()
        elif len(self._clients) >= MOST or (theirs >= MOST_OF_USER and client.uid != os.geteuid()):
            self._host.log(INFO, f"Too many connections: refusing one of uid {client.uid}")
            sock.close()
        else:
            client.watch = self._host.loop.add_fd(fd, READ, lambda events: self._ready(client, events))
            self._clients[client.watch] = client

    def _admits(self, ids: tuple[int, int, int], groups: Callable[[], Iterable[int]]) -> bool:
        pid, uid, gid = ids
        if self.rules.admits(uid, (gid,)) or self.rules.admits(uid, groups()):
            return True
        self._host.log(INFO, f"Ignoring request from uid {uid} (gid {gid}, pid {pid})")
        return False

    def _ready(self, client: Client, events: int) -> None:
        if client.paused:
            return  # it has gone: what it has said is read when there is room
        if client.ended and events & HANGUP:
            client.out = b""
            client.answers.clear()
        client.flush()
        if not client.ended and events & (READ | HANGUP):
            self._read(client)
        self._settle(client)

    def _read(self, client: Client) -> None:
        packets = self._wanted.proto != "unix"
        try:
            # More than there may be: what is longer shows.
            data = client.sock.recv(LONGEST + 2 if packets else _CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            client.ended = True
            self._tell(client, client.pairs.end())
            return
        self._tell(client, client.pairs.packet(data) if packets else client.pairs.feed(data))
        client.ended = client.ended or client.pairs.too_long
        if self._host.congested:
            client.paused = True
            self._pause()

    def _settle(self, client: Client) -> None:
        """Wait for what there is to wait for of a client; close the connection of one that says nothing more and has
        its answers."""
        if client.watch not in self._clients:
            return
        if client.ended and not client.answers and not client.out:
            del self._clients[client.watch]
            self._host.loop.remove(client.watch)
            client.sock.close()
            return
        # Of one that has gone we are told once while we can do nothing about it.
        events = WRITE if client.out else 0
        if client.paused:
            events = ONCE
        elif not client.ended and len(client.out) < _CHUNK:
            events |= READ
        if events != client.events or client.paused:
            client.events = events
            self._host.loop.modify(client.watch, events)

    def _receive(self) -> None:
        """A datagram has come."""
        size = _socket.CMSG_SPACE(CREDENTIALS.size)
        try:
            data, ancillary, _, sender = self._socket.recvmsg(LONGEST + 2, size)
        except BlockingIOError:
            return
        for level, kind, value in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_CREDENTIALS):
                ids = CREDENTIALS.unpack(value)
                if self._admits(ids, tuple):
                    client = Client(ids, self, self._socket, sender)
                    self._tell(client, client.pairs.packet(data))
        if self._host.congested:
            self._host.loop.modify(self._watch, 0)
            self._pause()

    def _pause(self) -> None:
        """Go on with who is paused when init has taken most of what waits."""
        if not self._pausing:
            self._pausing = True
            self._host.when_room(self._resume)

    def _resume(self) -> None:
        self._pausing = False
        self._host.loop.modify(self._watch, READ)
        for client in list(self._clients.values()):
            if client.paused:
                client.paused = False
                self._settle(client)

    # Events

    def _tell(self, client: Client, said: Iterable[Said]) -> None:
        for env, problem in said:
            answer = self._answer_to(client) if self._reply and (client.watch or client.reach) else None
            if problem:
                self._host.log(INFO, f"Ignoring what uid {client.uid} says: {problem}")
                if answer is not None:
                    answer(problem)
            else:
                # Each is an event of its own: none stands for another.
                self._count += 1
                self._host.emit(str(self._count), self._event, client.env | env, then=answer)

    def _answer_to(self, client: Client) -> Callable[[str], object]:
        """What takes the answer to what a client says next; it gets them in this order."""
        place: list[bytes] = []
        client.answers.append(place)

        def answered(problem: str) -> None:
            place.append(f"error: {problem}\n".encode("utf-8", "backslashreplace") if problem else b"ok\n")
            if not client.watch or client.watch in self._clients:
                client.flush()
                self._settle(client)

        return answered


def _groups(sock: _socket.socket) -> list[int]:
    """The groups of who has connected; none of one with more than 256."""
    try:
        data = sock.getsockopt(_socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:
        return []
    return [group for (group,) in Struct("@I").iter_unpack(data)]


def wanted_of(settings: Any) -> Wanted:
    """The socket that options ask for.  Raises UsageError."""
    if not settings.event:
        raise UsageError("Must specify event name")
    if not settings.path:
        raise UsageError("Must specify socket path")
    if settings.type not in PROTOS:
        raise UsageError(f"--type={settings.type}: not one of {', '.join(PROTOS)}")
    mode = settings.mode or ("0666" if settings.any_user else "0660" if settings.group else "0600")
    words = [f"PROTO={PROTOS[settings.type]}", f"SOCKET_PATH={settings.path}", f"MODE={mode}"]
    if settings.path.startswith("@"):
        words.pop()
    elif settings.group:
        words.append(f"GROUP={settings.group}")
    try:
        wanted = read(words, lambda service, protocol: 0)
    except WordError as error:
        raise UsageError(f"Invalid path, mode or group: {error}") from None
    wanted.group = settings.group
    return wanted


BRIDGE = Bridge(
    "Local socket Upstart Bridge",
    LocalSource,
    (
        (Option("", "event", "event", argument="EVENT"), "specify name of event to emit on receipt of name=value pair"),
        (Option("", "path", "path", argument="PATH"), "specify path for local/abstract socket to use"),
        (Option("", "any-user", "any_user"), "allow any user to connect"),
        (Option("", "group", "group", argument="GROUP"), "allow members of this group to connect"),
        (Option("", "mode", "mode", argument="MODE"), "specify mode of the socket, in octal digits"),
        (Option("", "type", "type", argument="TYPE"), "specify kind of socket: stream, seqpacket or datagram"),
        (Option("", "several", "several"), "take all pairs up to a blank line for one event"),
        (Option("", "allow", "allow", argument="PATTERN"), "let clients set such variables only; may be repeated"),
        (Option("", "reply", "reply"), "answer each event, by ok or by what is wrong"),
    ),
    {"event": "", "path": "", "any_user": False, "group": "", "mode": "", "type": "stream", "several": False,
     "reply": False, "allow": []},
    check=wanted_of,
)  # fmt: skip
