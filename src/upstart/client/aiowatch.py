"""An init on asyncio's loop: its signals as they come, and a connection that comes back by itself.

What is always true here:

- Between `Connected` and `Lost` every signal that init sends is told, in its order; what happens between `Lost` and
  the next `Connected` is not, so whoever keeps a picture of init draws it anew at `Connected`.
- A re-exec of init, a restart of the bus, or an init that is not there yet is nothing to handle: another attempt
  follows by itself, after `FIRST_RETRY` to `LONGEST_RETRY` seconds, or as soon as init has its name on the bus.
- On a bus, a signal counts only from who owns init's name.
- What is not taken is kept, up to `MOST` things; then the connection is given up, which is told as any other loss.
"""

from __future__ import annotations

import asyncio

from jeepney import HeaderFields

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client.aioinit import Init
from upstart.client.aiolink import Link, open_link
from upstart.client.signals import match_rules, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

    from upstart.client.signals import Signal

#: Seconds.
FIRST_RETRY = 0.05
LONGEST_RETRY = 5.0
#: Things told and not taken.
MOST = 100_000


class Connected:
    """``init`` can be spoken to."""

    __slots__ = ("init",)

    def __init__(self, init: Init) -> None:
        self.init = init

    def __repr__(self) -> str:
        return "Connected()"


class Lost:
    """Init can be spoken to no longer, for a ``reason``."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __repr__(self) -> str:
        return f"Lost({self.reason!r})"


class Watcher:
    """Keeps in touch with the init of a private ``address`` (PID 1's by default), or of a ``bus``.

    ``signals``, where there are any, are the names of those that are wanted.  Use::

        async with Watcher() as watcher:
            async for told in watcher:
                print(told)

    It never ends by itself; ``init`` is the one to speak to, or ``None``.
    """

    __slots__ = (
        "_address", "_bus", "_init", "_link", "_owner", "_retry", "_signals", "_task", "_told", "_wake", "init"
    )  # fmt: skip

    def __init__(
        self, address: str | None = None, bus: str | None = None, signals: Sequence[str] = ()
    ) -> None:
        self._address = address
        self._bus = bus
        self._signals = list(signals)
        self._told: asyncio.Queue[Signal | Connected | Lost] = asyncio.Queue()
        self._link: Link | None = None
        self._owner = ""
        self._retry = FIRST_RETRY
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self.init: Init | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        self._drop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signal | Connected | Lost:
        return await self._told.get()

    async def _run(self) -> None:
        """Connect, and connect again."""
        while True:
            self._wake.clear()
            reason = ""
            try:
                self._link = await open_link(self._address, self._bus, self._message)
                self._link.when_lost(self._ended)
                await self._begin(self._link)
                await self._wake.wait()
            except DBusError as error:
                reason = error.message
            self._drop()
            self._gone(reason)
            await asyncio.sleep(self._retry)
            self._retry = min(self._retry * 2, LONGEST_RETRY)

    async def _begin(self, link: Link) -> None:
        """Have the wanted signals sent, and say that init is there if it is.  Raises DBusError."""
        if self._bus is not None:
            await self._begin_on_bus(link)
            return
        # Init tells nothing to who has not been let in: an answer says that we are.
        await link.call(names.PATH, names.PEER, "Ping")
        if self._signals:
            try:
                await link.call(names.PATH, names.EXTENSION, "Hear", "as", self._signals)
            except DBusError as error:
                # An original init sends them all.
                if error.name not in names.NO_EXTENSION:
                    raise
        self._reached(link)

    async def _begin_on_bus(self, link: Link) -> None:
        for rule in match_rules(self._signals):
            await link.bus_call("AddMatch", "s", rule)
        try:
            (owner,) = await link.bus_call("GetNameOwner", "s", names.SERVICE, returns="s")
        except DBusError as error:
            if error.name != names.NAME_HAS_NO_OWNER:
                raise
            return
        if not self._owner:
            self._owner = owner
            self._reached(link)

    def _reached(self, link: Link) -> None:
        self._retry = FIRST_RETRY
        self.init = Init(link)
        self._tell(Connected(self.init))

    def _gone(self, reason: str) -> None:
        if self.init is not None:
            self.init = None
            self._tell(Lost(reason))

    def _ended(self, reason: str) -> None:
        """The connection has ended by itself."""
        self._gone(reason)
        self._wake.set()

    def _drop(self) -> None:
        link, self._link, self._owner = self._link, None, ""
        if link is not None:
            link.close()

    def _tell(self, what: Signal | Connected | Lost) -> None:
        self._told.put_nowait(what)

    def _message(self, message: Any) -> None:
        """A signal of whatever kind that has come in."""
        fields = message.header.fields
        sender = fields.get(HeaderFields.sender)
        interface, member = fields.get(HeaderFields.interface), fields.get(HeaderFields.member)
        if self._bus is not None and sender == names.BUS_INTERFACE and member == "NameOwnerChanged":
            self._owner_changed(*message.body)
        elif self.init is not None and (self._bus is None or sender == self._owner):
            signature = fields.get(HeaderFields.signature, "")
            signal = parse(interface, member, signature, fields.get(HeaderFields.path, ""), list(message.body))
            if signal is None or (self._signals and member not in self._signals):
                return
            if self._told.qsize() >= MOST:
                self._drop()
                self._ended(f"{MOST} signals were not taken")
                return
            self._tell(signal)

    def _owner_changed(self, name: str, _before: str, owner: str) -> None:
        if name != names.SERVICE or owner == self._owner:
            return
        self._gone("Init has left the bus")
        self._owner = owner
        if owner and self._link is not None:
            self._reached(self._link)
