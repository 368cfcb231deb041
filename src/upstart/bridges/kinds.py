"""The bridges that there are: for each its name, and the module that makes it, which is loaded when it is asked for."""

from __future__ import annotations

from upstart.base.errors import ClientError
from upstart.base.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.bridges.host import Host, Source

#: Name -> module of this room, which has a `Bridge` called BRIDGE.
MODULES = {
    "dbus": "dbussignals",
    "dconf": "dconfreader",
    "event": "sysevents",
    "file": "files",
    "local": "localsocket",
    "mount": "mounttable",
    "socket": "socketbridge",
    "udev": "udevmonitor",
}
#: The commands' names: what stands before and after that of the bridge.
PREFIX, SUFFIX = "upstart-", "-bridge"


class Bridge:
    """A kind of bridge.

    ``make`` (host, settings) makes its source; ``options`` are its own, and set attributes of ``settings``, of which
    ``defaults`` has those that none sets; ``check`` (settings) raises UsageError where they will not do.  ``synopsis``
    and ``text`` are for ``--help``.
    """

    __slots__ = ("check", "defaults", "make", "options", "synopsis", "text")

    def __init__(
        self,
        synopsis: str,
        make: Callable[[Host, Any], Source],
        options: tuple[tuple[Option, str], ...] = (),
        defaults: dict[str, Any] | None = None,
        text: str = "Without --daemon it stays in the foreground, and says on standard error what is wrong.",
        check: Callable[[Any], object] = lambda settings: None,
    ) -> None:
        self.synopsis = synopsis
        self.make = make
        self.options = options
        self.defaults = defaults or {}
        self.text = text
        self.check = check


def find(name: str) -> Bridge:
    """The bridge of that name.  ClientError where there is none, or what it stands on is not installed."""
    module = MODULES.get(name)
    if module is None:
        raise ClientError(f"Unknown bridge: {name}")
    bridge: Bridge = __import__(f"upstart.bridges.{module}", fromlist=["BRIDGE"]).BRIDGE
    return bridge


def command(name: str) -> str:
    """The name of the command that runs this bridge alone."""
    return f"{PREFIX}{name}{SUFFIX}"
