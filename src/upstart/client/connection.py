"""A connection to the init daemon: calls that wait for their reply, and nothing more.

The programs of this room and those of the rooms that may import it (telinit, shutdown, the bridges) talk to init
through `Connection`. What is always true here:

- Only libdbus's own binding is loaded (`_dbus_bindings`, 2 ms); the `dbus` package above it costs ten times as much.
- No text from outside reaches libdbus unchecked: it ends a process that hands it a malformed string or path.
- Who has an init's socket is its user or root: before that init listens, anybody may take the name.
- Whatever goes wrong is a `DBusError`, with the text that libdbus or the daemon gave for it.

Use::

    init = connect_private()                      # or connect_private(address), connect_bus(system=True)
    (path,) = init.call(names.PATH, names.MANAGER, "GetJobByName", "s", "tty1")
    init.emit_event("runlevel", ["RUNLEVEL=2"], wait=False)
"""

from __future__ import annotations

import _socket
import posix
import sys

from upstart.base import names
from upstart.base.errors import DBusError
from upstart.base.inherited import restore_locale

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# libdbus reads this from the process's environment; os.environ and posix.environ, from which children get theirs,
# stay as they were.
posix.putenv(b"DBUS_FATAL_WARNINGS", b"0")

import _dbus_bindings  # noqa: E402

__all__ = ["NEVER", "Connection", "DBusError", "connect_bus", "connect_private"]

#: A timeout that never ends (libdbus's own notion of it: the largest int, in milliseconds).
NEVER = 2147483.647

#: What a filter answers so that others see the message as well.
_NOT_HANDLED = _dbus_bindings.HANDLER_RESULT_NOT_YET_HANDLED

#: What is said of a reply of other types than the interface has.
BAD_REPLY = "Invalid arguments received in reply"


class _Raw(_dbus_bindings.Connection):  # type: ignore[misc]
    """libdbus's connection as a class of Python's own, whose instances are garbage-collected.

    The binding's own class keeps its weak references, from Python 3.12 on, in the header that only such objects have:
    an instance of it writes in front of its memory, and the process may crash.
    """


class Connection:
    """An open connection to an init daemon, directly or by way of a bus.

    `destination` is the bus name that calls go to, None on a private connection.
    """

    __slots__ = ("_raw", "destination")

    def __init__(self, raw: Any, destination: str | None = None) -> None:
        self._raw = raw
        self.destination = destination

    def call(
        self,
        path: str,
        interface: str,
        method: str,
        signature: str = "",
        *args: Any,
        returns: str | None = None,
        timeout: float | None = None,
    ) -> tuple[Any, ...]:
        """Calls a method and waits for its reply; gives the reply's values.

        `signature` is the D-Bus signature of `args`; `returns`, where given, that which the reply must have.
        `timeout` is in seconds: None means libdbus's default (25), `NEVER` no limit.
        Raises DBusError, for an error reply as for a lost connection.
        """
        reply = self._exchange(self._message(path, interface, method, signature, args), timeout)
        if self.destination == names.SERVICE and reply.get_error_name() == names.NAME_HAS_NO_OWNER and self._comes():
            reply = self._exchange(self._message(path, interface, method, signature, args), timeout)
        values = reply.get_args_list()
        error_name = reply.get_error_name()
        if error_name is not None:
            text = str(values[0]) if values and isinstance(values[0], str) else "Unknown error"
            raise DBusError(str(error_name), text)
        if returns is not None and reply.get_signature() != returns:
            raise DBusError(names.INVALID_ARGS, BAD_REPLY)
        return tuple(values)

    def _exchange(self, message: Any, timeout: float | None) -> Any:
        """Sends a call and waits for its reply."""
        replies: list[Any] = []
        try:
            pending = self._raw.send_message_with_reply(message, replies.append, -1.0 if timeout is None else timeout)
            if pending is not None:
                pending.block()
        except Exception as error:
            raise _converted(error) from None
        if not replies or (replies[0].get_error_name() == names.NO_REPLY and not self._raw.get_is_connected()):
            # libdbus makes up an answer to what was asked of a connection that is gone.
            raise DBusError(names.DISCONNECTED, "Connection was disconnected before a reply was received")
        return replies[0]

    def _comes(self) -> bool:
        """Has the bus tell an init that is not on it yet; whether it comes."""
        bus = self.to(names.BUS_INTERFACE)
        try:
            bus.call(names.BUS_PATH, names.BUS_INTERFACE, "StartServiceByName", "su", names.SERVICE, 0, returns="u")
        except DBusError:
            return False
        return True

    def post(self, path: str, interface: str, method: str, signature: str = "", *args: Any) -> None:
        """Sends a call that wants no reply, and waits only until it is written. Raises DBusError."""
        message = self._message(path, interface, method, signature, args)
        message.set_no_reply(True)
        try:
            self._raw.send_message(message)
            self._raw.flush()
        except Exception as error:
            raise _converted(error) from None

    def quiet(self) -> None:
        """Tells an init with our extension to send no signals here, before a long wait. Raises DBusError.

        Only on a private connection: on a bus signals come to those who ask for them.
        """
        if self.destination is None:
            self.post(names.PATH, names.EXTENSION, "Quiet")

    def get_property(self, path: str, interface: str, name: str) -> Any:
        """The value of a property. Raises DBusError."""
        return self.call(path, names.PROPERTIES, "Get", "ss", interface, name, returns="v")[0]

    def get_string(self, path: str, interface: str, name: str) -> str:
        """The value of a property that is a string. Raises DBusError."""
        value = self.get_property(path, interface, name)
        if not isinstance(value, str):
            raise DBusError(names.INVALID_ARGS, BAD_REPLY)
        return value

    def get_all(self, path: str, interface: str) -> dict[str, Any]:
        """All properties of an interface. Raises DBusError."""
        values: dict[str, Any] = self.call(path, names.PROPERTIES, "GetAll", "s", interface, returns="a{sv}")[0]
        return values

    def set_property(self, path: str, interface: str, name: str, value: str) -> None:
        """Sets a property of type string (Upstart has no other that can be set). Raises DBusError."""
        self.call(path, names.PROPERTIES, "Set", "ssv", interface, name, value)

    def emit_event(self, name: str, env: list[str], wait: bool, timeout: float = NEVER) -> None:
        """Emits an event with its environment (KEY=VALUE); with `wait`, returns once it is finished.

        Raises DBusError, with the name com.ubuntu.Upstart0_6.Error.EventFailed if a job it waited for failed.
        """
        self.call(names.PATH, names.MANAGER, "EmitEvent", "sasb", name, env, wait, timeout=timeout)

    def to(self, destination: str) -> Connection:
        """The same connection, to talk to another name on its bus."""
        return Connection(self._raw, destination)

    def filter(self, take: Callable[[Connection, Any], object]) -> None:
        """Gives `take` every message that comes in, in the main loop that the connection was made with."""

        def each(_raw: Any, message: Any) -> Any:
            take(self, message)
            return _NOT_HANDLED

        self._raw.add_message_filter(each)

    def close(self) -> None:
        """Closes a private connection; a bus connection belongs to libdbus and stays."""
        if self.destination is None:
            self._raw.close()

    def disconnect(self) -> None:
        """Closes the connection, also one to a bus that was made with a main loop."""
        self._raw.close()

    def _message(self, path: str, interface: str, method: str, signature: str, args: tuple[Any, ...]) -> Any:
        for value in args:
            check(value)
        try:
            message = _dbus_bindings.MethodCallMessage(self.destination, checked(path), interface, method)
            message.set_auto_start(False)
            if signature:
                message.append(*args, signature=signature)
        except DBusError:
            raise
        except Exception as error:  # ValueError, TypeError, and the MemoryError that libdbus's refusal looks like
            raise DBusError(names.INVALID_ARGS, f"Invalid arguments for {method}: {error}") from None
        return message


def connect_private(address: str | None = None, loop: Any = None) -> Connection:
    """Connects to the init daemon's own socket: to `address` (a D-Bus address), or that of PID 1. Raises DBusError.

    `loop` is a main loop of the binding's, for who waits for signals too.
    """
    address = names.ADDRESS if address is None else checked(address)
    try:
        raw = _Raw(address) if loop is None else _Raw(address, mainloop=loop)
    except DBusError:
        raise
    except Exception as error:
        raise _converted(error) from None
    try:
        check_server(address, raw.get_unix_fd())
    except DBusError:
        raw.close()
        raise
    return Connection(raw)


def check_server(address: str, fd: int) -> None:
    """Raises DBusError unless the init that has this address, or root, listens at the other end of a socket."""
    owner = _owner(address)
    if owner is not None and _uid_of_server(fd) not in ("0", owner):
        path = address.partition("=")[2]
        raise DBusError(names.NO_SERVER, f"Failed to connect to socket {path}: Its server is another user's")


def _owner(address: str) -> str | None:
    """The uid of the init that has this address, as digits; None for one that inits do not give themselves."""
    if address == names.ADDRESS:
        return "0"
    head, session, rest = address.partition(names.SESSION_ADDRESS)
    return rest.partition("/")[0] if session and not head else None


def _uid_of_server(fd: int) -> str:
    """Who listened at the other end of a connected socket, unix(7)."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        return str(int.from_bytes(credentials[4:8], sys.byteorder))
    finally:
        sock.detach()  # it is libdbus's


def connect_bus(system: bool = True, destination: str = names.SERVICE, loop: Any = None) -> Connection:
    """Connects to the system bus or the session bus, to talk to the init daemon of that bus name. Raises DBusError.

    `loop` as in `connect_private`.
    """
    try:
        kind = _dbus_bindings.BUS_SYSTEM if system else _dbus_bindings.BUS_SESSION
        if not system:
            # Where there is no session bus libdbus may start one.
            restore_locale()
        raw = _Raw._new_for_bus(kind) if loop is None else _Raw._new_for_bus(kind, mainloop=loop)
        raw.set_exit_on_disconnect(False)
    except Exception as error:
        raise _converted(error) from None
    return Connection(raw, destination)


def check(value: Any) -> None:
    """Raises DBusError if D-Bus cannot carry a string that is, or is somewhere in, ``value``."""
    if isinstance(value, str):
        checked(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check(item)


def checked(text: str) -> str:
    """`text`, if D-Bus can carry it: UTF-8 without a NUL byte.  Raises DBusError."""
    if "\0" in text:
        raise DBusError(names.INVALID_ARGS, f"Not allowed to contain a NUL byte: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DBusError(names.INVALID_ARGS, f"Not valid UTF-8: {text!r}") from None
    return text


def _converted(error: Exception) -> DBusError:
    """What the binding raised (an exception of the `dbus` package, which is not imported here) as ours."""
    name = getattr(error, "_dbus_error_name", None) or names.FAILED
    return DBusError(str(name), str(error.args[0]) if error.args else str(error))
