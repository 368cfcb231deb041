"""A stand-in for the init daemon, on the reference implementation of D-Bus: `fake_init.py ADDRESS ANSWERS`.

ANSWERS is a Python literal: {method: answer}; the answer is (signature, values...), ("error", name, message),
("silence",) for a call that is never answered, or ("hang up",) to close the connection. Properties are answered under
"Get NAME" with what a variant holds, GetAll under "GetAll" with a dictionary. Each call is printed as a line, a literal
again; the first line, "ready", says that the address is being listened on.
"""

from __future__ import annotations

import ast
import ctypes
import sys
from typing import Any

sys.path.append("/usr/lib/python3/dist-packages")

import _dbus_bindings
from dbus.mainloop.glib import DBusGMainLoop


class Peer(_dbus_bindings.Connection):  # type: ignore[misc]
    """A client's connection."""


class Server(_dbus_bindings._Server):  # type: ignore[misc]
    """Keeps its connections, which would otherwise be closed at once."""

    def __new__(cls, address: str, loop: Any) -> Server:
        server: Server = super().__new__(cls, address, Peer, loop, None)
        return server

    def __init__(self, address: str, loop: Any) -> None:
        self.peers: list[Any] = []

    def _on_new_connection(self, peer: Any) -> None:
        self.peers.append(peer)
        peer.add_message_filter(answer)


ANSWERS: dict[str, tuple[Any, ...]] = ast.literal_eval(sys.argv[2])


def answer(peer: Any, message: Any) -> int:
    try:
        return _answer(peer, message)
    except BaseException as error:
        print("failed", repr(error), flush=True)
        return int(_dbus_bindings.HANDLER_RESULT_HANDLED)


def plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else bool(value) if type(value).__name__ == "Boolean" else int(value)


def _answer(peer: Any, message: Any) -> int:
    if message.get_type() != _dbus_bindings.MESSAGE_TYPE_METHOD_CALL:
        return int(_dbus_bindings.HANDLER_RESULT_NOT_YET_HANDLED)
    path, interface, name = plain([message.get_path(), message.get_interface(), message.get_member()])
    args = plain(message.get_args_list())
    print([path, interface, name, *args], flush=True)
    if name in ("Get", "Set"):
        name = f"{name} {args[1]}"
    wanted = ANSWERS.get(name)
    if wanted is None:
        return int(_dbus_bindings.HANDLER_RESULT_NOT_YET_HANDLED)
    if wanted[0] == "hang up":
        peer.close()
    elif wanted[0] == "error":
        peer.send_message(_dbus_bindings.ErrorMessage(message, wanted[1], wanted[2]))
    elif wanted[0] != "silence":
        reply = _dbus_bindings.MethodReturnMessage(message)
        if wanted[0]:
            reply.append(*wanted[1:], signature=wanted[0])
        peer.send_message(reply)
    return int(_dbus_bindings.HANDLER_RESULT_HANDLED)


server = Server(sys.argv[1], DBusGMainLoop())
print("ready", flush=True)
glib = ctypes.CDLL("libglib-2.0.so.0")
while True:
    glib.g_main_context_iteration(None, 1)
