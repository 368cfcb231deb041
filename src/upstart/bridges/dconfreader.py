"""upstart-dconf-bridge(8): changes of a user's dconf keys, as the writer tells them on the bus, with what they hold.

What is always true here: a value is what dconf's own library reads, with the user's profile; a key that was reset holds
what the databases below the user's have, or else the default of its schema.
"""

from __future__ import annotations

from upstart.base.buswords import DCONF
from upstart.base.errors import ClientError
from upstart.bridges.bus import Bus, address_of
from upstart.bridges.dconfkeys import Keys
from upstart.bridges.kinds import Bridge
from upstart.bridges.program import ALWAYS
from upstart.bridges.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from upstart.bridges.dconfkeys import Held, Told
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.dbus import wire

_LIBRARIES = ("libdconf.so.1", "libgio-2.0.so.0", "libglib-2.0.so.0")
#: Of dconf_client_read_full: what the user has set, and nothing below that.
_USER = 2


class Library:
    """dconf's library, and GLib's, as far as we need them.  Raises ClientError where they are not installed."""

    def __init__(self) -> None:
        # Only where it runs: --help does without.
        import ctypes

        self._ctypes = ctypes
        try:
            self._dconf, self._gio, self._glib = map(ctypes.CDLL, _LIBRARIES)
        except OSError as error:
            raise ClientError(f"dconf is not installed: {error}") from None
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        for library, name, result, *arguments in (
            (self._dconf, "dconf_client_new", pointer),
            (self._dconf, "dconf_client_read_full", pointer, pointer, text, number, pointer),
            (self._glib, "g_variant_print", pointer, pointer, number),
            (self._glib, "g_variant_unref", None, pointer),
            (self._glib, "g_free", None, pointer),
            (self._glib, "g_strfreev", None, pointer),
            (self._gio, "g_settings_schema_source_get_default", pointer),
            (self._gio, "g_settings_schema_source_list_schemas", None, pointer, number, pointer, pointer),
            (self._gio, "g_settings_schema_source_lookup", pointer, pointer, text, number),
            (self._gio, "g_settings_schema_get_path", text, pointer),
            (self._gio, "g_settings_schema_has_key", number, pointer, text),
            (self._gio, "g_settings_schema_get_key", pointer, pointer, text),
            (self._gio, "g_settings_schema_key_get_default_value", pointer, pointer),
            (self._gio, "g_settings_schema_key_unref", None, pointer),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._client = self._dconf.dconf_client_new()
        #: The schemas of each directory, once some key there was reset.
        self._schemas: dict[bytes, list[int]] | None = None

    def read(self, key: str) -> Held:
        """What a key holds."""
        raw = key.encode()
        value = self._dconf.dconf_client_read_full(self._client, raw, _USER, None)
        if value:
            return True, self._text(value)
        value = self._dconf.dconf_client_read_full(self._client, raw, 0, None) or self._default(raw)
        return False, self._text(value) if value else ""

    def _text(self, value: int) -> str:
        printed = self._glib.g_variant_print(value, 0)
        text = self._ctypes.string_at(printed).decode("utf-8", "backslashreplace")
        self._glib.g_free(printed)
        self._glib.g_variant_unref(value)
        return text

    def _default(self, key: bytes) -> int | None:
        if self._schemas is None:
            self._schemas = self._find_schemas()
        directory, slash, name = key.rpartition(b"/")
        for schema in self._schemas.get(directory + slash, ()):
            if self._gio.g_settings_schema_has_key(schema, name):
                found = self._gio.g_settings_schema_get_key(schema, name)
                value: int | None = self._gio.g_settings_schema_key_get_default_value(found)
                self._gio.g_settings_schema_key_unref(found)
                return value
        return None

    def _find_schemas(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        source = self._gio.g_settings_schema_source_get_default()
        names = self._ctypes.POINTER(self._ctypes.c_char_p)()
        if source:
            self._gio.g_settings_schema_source_list_schemas(source, 1, self._ctypes.byref(names), None)
        at = 0
        while names and (name := names[at]):
            schema = self._gio.g_settings_schema_source_lookup(source, name, 1)
            path = self._gio.g_settings_schema_get_path(schema) if schema else None
            if path:
                found.setdefault(path, []).append(schema)
            at += 1
        if names:
            self._glib.g_strfreev(names)
        return found


class DconfSource:
    """The source of one bridge, by the bus at ``address``; ``always``: every change is told."""

    patterns: tuple[str, ...] = (DCONF,)

    def __init__(self, host: Host, address: str, read: Callable[[str], Held], always: bool) -> None:
        self._host = host
        self._always = always
        self._keys = Keys(read)
        self._state = State(host)
        self._ready: Callable[[], object] | None = None
        self._bus = Bus(host, address, self._heard, self._connected)

    def want(self, leaves: Leaves) -> None:
        """Hear of what is waited for; it is ready once the bus knows that."""
        first = self._ready is None
        if first:
            # Which life of init this is, is known by now.
            self._keys.known = self._state.load(_known) or {}
            self._keys.unsure = {key for key, in self._state.doubts()}
        self._keys.want(None if self._always else leaves)
        self._bus.want(self._keys.rules())
        if first:
            self._ready = self._host.postpone()
            self._bus.connect()
        elif self._bus.up:
            self._connected()

    def _connected(self) -> None:
        # The bus answers in order: by then it has the rules, and what changes from then on is heard.
        self._bus.call("GetId", self._look)

    def _look(self, _answer: wire.Message) -> None:
        self._tell(self._keys.compare())
        if self._host.idle:
            self.told()
        if self._ready is not None:
            self._ready()

    def _heard(self, message: wire.Message) -> None:
        if message.header.member == "Notify" and message.header.signature == "sass":
            prefix, changes, _ = message.args()
            self._tell(self._keys.heard(prefix, changes))

    def _tell(self, told: Iterable[Told]) -> None:
        for name, env in told:
            self._state.doubt(env["KEY"])
            self._host.emit(env["KEY"], name, env, env["TYPE"])

    def told(self) -> None:
        """Leave word of what keys hold."""
        if not self._keys.unsure:
            self._state.save(known={key: list(held) for key, held in self._keys.known.items()})

    def watched(self) -> list[str]:
        """The match rules, and whether there is a bus."""
        return sorted(self._keys.rules()) if self._bus.up else ["no bus"]

    def close(self) -> None:
        """Leave the bus."""
        self._bus.close()
        self._state.close()


def _known(saved: dict[str, Any]) -> dict[str, Held]:
    return {str(key): (bool(is_set), str(value)) for key, (is_set, value) in saved["known"].items()}


BRIDGE = Bridge(
    "Bridge dconf events into upstart",
    lambda host, settings: DconfSource(host, address_of(system=False), Library().read, settings.always),
    (ALWAYS,),
    {"user": True},
)
