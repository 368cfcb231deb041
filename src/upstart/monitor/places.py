"""The inits that can be looked at, by the names of ``--destination``."""

from __future__ import annotations

import os

#: What each is called.
PLACES = {
    "system-bus": "the system bus",
    "session-bus": "the session bus",
    "system-socket": "the socket of the system's init",
    "session-socket": "the socket of the session's init",
}
SYSTEM_BUS = "/run/dbus/system_bus_socket"


class Place:
    """Where init is: a D-Bus ``address`` or a ``bus``, as `upstart.client.glib.Watcher` takes them."""

    __slots__ = ("address", "bus", "may_change", "text")

    def __init__(self, name: str) -> None:
        """Raises KeyError for a session's socket where there is no session."""
        self.text = PLACES[name]
        #: Whether the user may start and stop jobs there: root may, and of a session, whose it is.
        self.may_change = os.geteuid() == 0 or name.startswith("session")
        self.bus = name.removesuffix("-bus") if name.endswith("-bus") else None
        self.address = os.environ["UPSTART_SESSION"] if name == "session-socket" else None


def default() -> str:
    """The session's init if we are in a session, or else that of the system: by the bus, which everybody may ask.

    Where there is no bus, as early in a boot, by its socket.
    """
    if os.environ.get("UPSTART_SESSION"):
        return "session-socket"
    bus = "DBUS_SYSTEM_BUS_ADDRESS" in os.environ or os.path.exists(SYSTEM_BUS)
    return "system-bus" if bus else "system-socket"
