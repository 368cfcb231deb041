"""The system's init as a bridge of a session hears it without a bus: by its own socket, which takes root only.

What is always true here: nothing is heard but the events that were asked for; there is one attempt to connect, and who
has it makes the next.
"""

from __future__ import annotations

from upstart.base.names import EXTENSION, MANAGER, PATH, SERVICE
from upstart.bridges.peer import Peer
from upstart.dbus import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.bridges.host import Host

EMITTED = "EventEmitted"


class SystemInit:
    """The init at ``address``, for the bridge of ``host``; where that is empty there is none.

    ``emitted`` (name, variables) is called for each event, ``connected`` () when it is known which are to be heard of,
    and ``lost`` (whether it was connected) when that is over.
    """

    def __init__(
        self, host: Host, address: str, emitted: Callable[[str, list[str]], object],
        connected: Callable[[], object], lost: Callable[[bool], object],
    ) -> None:  # fmt: skip
        self._emitted = emitted
        self._connected = connected
        self._told_lost = lost
        self._signals: list[str] = []
        # It is a loop in all that a connection needs of one.
        loop: Any = host.loop
        self._peer = Peer(loop, address, self._hear, self._heard, self._lost)
        #: It is there, and tells what was asked for.
        self.up = False

    def connect(self) -> bool:
        """Try to connect; false where nobody is there."""
        return not self._peer.connect()

    def want(self, names: list[str] | None) -> None:
        """Hear of events of these names, of all where they are None."""
        self._signals = [EMITTED] if names is None else [f"{EMITTED} {name}" for name in names]
        if self._peer.up:
            self._hear()

    def _hear(self) -> None:
        self._peer.call(SERVICE, PATH, EXTENSION, "Hear", self._heard_of, "as", self._signals)

    def _heard_of(self, _answer: wire.Message) -> None:
        # One that cannot be told what to tell tells everything.
        if not self.up:
            self.up = True
            self._connected()

    def _heard(self, message: wire.Message) -> None:
        header = message.header
        if header.interface == MANAGER and header.member == EMITTED and header.signature == "sas":
            name, env = message.args()
            self._emitted(name, env)

    def _lost(self) -> None:
        was_up, self.up = self.up, False
        self._told_lost(was_up)

    def close(self) -> None:
        """Hear it no more."""
        self._peer.close()
