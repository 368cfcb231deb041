"""One connection to an init on asyncio's loop, by jeepney: calls that are awaited, and what init tells by itself.

What is always true here:

- jeepney writes and reads the messages, and does what there is to say before the first; libdbus is not asked, whose
  Python binding can only be waited for with GLib's loop.
- Replies and signals come in the order in which they were sent.  Whatever goes wrong is a `DBusError`, with the names
  and texts that `upstart.client.connection` has for it.
- When the connection ends, whoever awaits a reply is told, and ``lost`` is called, once.
"""

from __future__ import annotations

import asyncio

from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_method_call
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import find_session_bus, find_system_bus, get_connectable_addresses
from jeepney.io.asyncio import DBusConnection

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.client.connection import BAD_REPLY, NEVER, check, check_server, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Seconds that a call waits for its reply unless it is told otherwise, as libdbus does.
TIMEOUT = 25.0
#: Seconds for what there is to say before the first message.
_GREETING = 10.0
#: Bytes read at once, of which there are few, before the first message.
_LINE = 1024

_GONE = "Connection was disconnected before a reply was received"


class Link:
    """An open connection; ``destination`` is the bus name that calls go to, ``None`` on a private connection.

    ``heard`` gets each signal's message, ``lost`` the reason for the end.
    """

    __slots__ = ("_heard", "_lost", "_reader", "_replies", "_serial", "_wire", "destination")

    def __init__(self, wire: Any, destination: str | None, heard: Callable[[Any], object]) -> None:
        self._wire = wire
        self._heard = heard
        self._lost: Callable[[str], object] = lambda reason: None
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._serial = 0
        self.destination = destination
        self._reader: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._read())

    def when_lost(self, lost: Callable[[str], object]) -> None:
        """Call ``lost`` with the reason when the connection ends by itself; at once if it has."""
        if self._reader is None:
            lost("Connection was disconnected")
        else:
            self._lost = lost

    async def call(
        self,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        *args: Any,
        returns: str | None = None,
        timeout: float = TIMEOUT,
        destination: str | None = None,
    ) -> tuple[Any, ...]:
        """Call a method and await its reply; the reply's values.

        As `Connection.call`, with another ``destination`` where one is named; a call whose task is cancelled is not
        taken back, and its reply is dropped.  Raises DBusError.
        """
        to = destination or self.destination or names.SERVICE
        reply = await self._exchange(to, path, interface, method, signature, args, timeout)
        fields = reply.header.fields
        error_name = fields.get(HeaderFields.error_name)
        if to == self.destination and error_name == names.NAME_HAS_NO_OWNER and await self._comes():
            reply = await self._exchange(to, path, interface, method, signature, args, timeout)
            fields = reply.header.fields
        if reply.header.message_type is MessageType.error:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else "Unknown error"
            raise DBusError(str(fields.get(HeaderFields.error_name)), text)
        if returns is not None and fields.get(HeaderFields.signature, "") != returns:
            raise DBusError(names.INVALID_ARGS, BAD_REPLY)
        return tuple(reply.body)

    async def bus_call(self, method: str, signature: str, *args: Any, returns: str | None = None) -> tuple[Any, ...]:
        """Call a method of the bus itself.  Raises DBusError."""
        return await self.call(
            names.BUS_PATH, names.BUS_INTERFACE, method, signature, *args, returns=returns,
            destination=names.BUS_INTERFACE,
        )  # fmt: skip

    async def _comes(self) -> bool:
        """Have the bus tell an init that is not on it yet; whether it comes."""
        try:
            await self.bus_call("StartServiceByName", "su", names.SERVICE, 0, returns="u")
        except DBusError:
            return False
        return True

    async def _exchange(
        self, to: str, path: str, interface: str, method: str, signature: str, args: tuple[Any, ...], timeout: float
    ) -> Any:
        check(args)
        if self._reader is None:
            raise DBusError(names.DISCONNECTED, _GONE)
        message = new_method_call(DBusAddress(checked(path), to, interface), method, signature or None, args)
        message.header.flags |= MessageFlag.no_auto_start
        self._serial += 1
        serial = self._serial
        future = self._replies[serial] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(None if timeout >= NEVER else timeout):
                await self._wire.send(message, serial=serial)
                return await future
        except TimeoutError:
            raise DBusError(names.NO_REPLY, f"{method} was not answered within {timeout:g} seconds") from None
        except OSError:
            raise DBusError(names.DISCONNECTED, _GONE) from None
        except DBusError:
            raise
        except Exception as error:  # what jeepney says of values that do not fit the signature has no class of its own
            raise DBusError(names.INVALID_ARGS, f"Invalid arguments for {method}: {error}") from None
        finally:
            del self._replies[serial]

    async def _read(self) -> None:
        reason = "Connection was disconnected"
        try:
            while True:
                self._take(await self._wire.receive())
        except (EOFError, OSError):
            pass
        except Exception as error:
            reason = f"What came is no message of D-Bus: {error}"
        self._reader = None
        self._end(reason)

    def _take(self, message: Any) -> None:
        kind = message.header.message_type
        if kind is MessageType.signal:
            self._heard(message)
        elif kind is not MessageType.method_call:
            future = self._replies.get(message.header.fields.get(HeaderFields.reply_serial, 0))
            if future is not None and not future.done():
                future.set_result(message)

    def _end(self, reason: str) -> None:
        self._wire.writer.close()
        for future in self._replies.values():
            if not future.done():
                future.set_exception(DBusError(names.DISCONNECTED, _GONE))
        lost, self._lost = self._lost, lambda reason: None
        lost(reason)

    def close(self) -> None:
        """Close the connection; ``lost`` is not called."""
        reader, self._reader = self._reader, None
        self._lost = lambda reason: None
        if reader is not None:
            reader.cancel()
            self._end("")


async def open_link(
    address: str | None, bus: str | None, heard: Callable[[Any], object] = lambda message: None
) -> Link:
    """Connect to PID 1's own socket, to a D-Bus ``address``, or to a ``bus`` ("system" or "session").

    Raises DBusError.
    """
    try:
        async with asyncio.timeout(_GREETING):
            if bus is not None:
                link = Link(await _greeted(find_system_bus() if bus == "system" else find_session_bus()),
                            names.SERVICE, heard)  # fmt: skip
                try:
                    await link.bus_call("Hello", "", returns="s")
                except BaseException:
                    link.close()
                    raise
                return link
            address = names.ADDRESS if address is None else checked(address)
            return Link(await _greeted(next(get_connectable_addresses(address)), address), None, heard)
    except TimeoutError:
        raise DBusError(names.TIMEOUT, f"Nothing was answered within {_GREETING:g} seconds") from None
    except KeyError:
        raise DBusError(names.NO_SERVER, "DBUS_SESSION_BUS_ADDRESS is not set") from None
    except (OSError, EOFError, RuntimeError, ValueError, AuthenticationError) as error:
        where = bus + " bus" if bus else address
        raise DBusError(names.NO_SERVER, f"Failed to connect to {where}: {error or 'Connection was closed'}") from None


async def _greeted(place: str, address: str = "") -> Any:
    """A connection to a socket whose server is who it has to be, and has let us in."""
    reader, writer = await asyncio.open_unix_connection(place)
    try:
        check_server(address, writer.get_extra_info("socket").fileno())
        authenticator = Authenticator()
        for data in authenticator:
            writer.write(data)
            await writer.drain()
            answer = await reader.read(_LINE)
            if not answer:
                raise EOFError
            authenticator.feed(answer)
        writer.write(BEGIN)
        await writer.drain()
        return DBusConnection(reader, writer)
    except BaseException:
        writer.close()
        raise
