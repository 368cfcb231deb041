"""upstart-udev-bridge(8): udev's own words about devices, by pyudev, for `upstart.bridges.udev`.

What is always true here: the monitor listens before devices are enumerated, so that none falls between the two; the
kernel passes on nothing but what is about subsystems that some job waits for.  Where it had to drop messages (ENOBUFS),
all devices are enumerated, and the difference is told.
"""

from __future__ import annotations

import errno
import os

from upstart.base.devicewords import PATTERN
from upstart.base.loop import READ
from upstart.base.options import Option
from upstart.base.priority import INFO, WARN
from upstart.bridges import program
from upstart.bridges.kinds import Bridge
from upstart.bridges.state import State
from upstart.bridges.udev import Devices, Known, Record, subsystems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from typing import Any

    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.bridges.udev import Told

#: Bytes of messages that the kernel keeps for us, as many as the original asks for; and messages taken in one turn.
BUFFER = 128 << 20
BATCH = 64


#: What the system's init is told by a file of udev's rules, so that no bridge has to run for it.
RULES = "/usr/lib/udev/rules.d/90-upstart.rules"
BY_RULE = frozenset(("net-device-added", "net-device-removed", "net-device-changed", "backlight-device-added"))


class UdevSource:
    """The source of one bridge; with ``always`` it tells of all subsystems, and enumerates none. What is ``elsewhere``
    is told by somebody else."""

    patterns: tuple[str, ...] = (PATTERN,)

    def __init__(self, host: Host, always: bool, keep: bool, elsewhere: Container[str] = ()) -> None:
        # As long as it takes to load, and only where it runs: --help does without.
        import pyudev

        self._host = host
        self._always = always
        self._elsewhere = elsewhere
        self._devices = Devices(keep)
        self._context = pyudev.Context()
        self._monitor = pyudev.Monitor.from_netlink(self._context, "udev")
        self._filtered: set[str] = set()
        self._listening = False
        self._state = State(host)

    def want(self, leaves: Leaves) -> None:
        """Tell of the subsystems that are awaited."""
        wanted = None if self._always or leaves is None else subsystems(self._ours(leaves))
        first = not self._listening
        if first:
            self._state.load(lambda saved: self._devices.load(saved["devices"]))
            self._devices.unsure = {path: Known(*values) for path, *values in self._state.doubts() if len(values) == 4}
        new = self._devices.want(wanted)
        self._filter(wanted)
        if first:
            self._listen()
        if new:
            self._host.log(INFO, f"Looking for devices of {', '.join(sorted(new))}")
            self._enumerate(new)

    def _ours(self, leaves: Iterable[tuple[str, object]]) -> Iterator[str]:
        return (name for name, _ in leaves if name not in self._elsewhere)

    def _filter(self, wanted: set[str] | None) -> None:
        """Have the kernel pass on what is about these; it passes on what was asked for before as well."""
        for subsystem in sorted(wanted - self._filtered) if wanted is not None else ():
            self._monitor.filter_by(subsystem)
            self._filtered.add(subsystem)

    def _listen(self) -> None:
        self._listening = True
        try:
            self._monitor.set_receive_buffer_size(BUFFER)
        except OSError:
            pass  # in a container: what does not fit is found by looking
        self._monitor.start()
        self._host.loop.add_fd(self._monitor.fileno(), READ, self._readable)

    def _readable(self, _events: int) -> None:
        for _ in range(BATCH):
            try:
                device = self._monitor.poll(timeout=0)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._host.log(WARN, "Messages of udev were lost; looking at all devices")
                self._enumerate(self._devices.wanted or set())
                return
            if device is None:
                return
            self._tell(self._devices.heard(record_of(device)))

    def _enumerate(self, among: set[str]) -> None:
        self._tell(self._devices.found(self._present(among), among))

    def _tell(self, events: Iterator[Told]) -> None:
        for key, name, env in events:
            if name not in self._elsewhere:
                doubt = self._devices.doubt(name, key)
                if doubt:
                    self._state.doubt(*doubt)
                self._host.emit(key, name, env)

    def _present(self, among: set[str]) -> Iterator[Record]:
        """All devices of these subsystems that udev has dealt with."""
        for subsystem in sorted(among):
            for device in self._context.list_devices(subsystem=subsystem).match_is_initialized():
                yield record_of(device, "add")

    def watched(self) -> list[str]:
        """The subsystems."""
        wanted = self._devices.wanted
        return [f"devices of {each}" for each in sorted(wanted)] if wanted is not None else ["all devices"]

    def close(self) -> None:
        """Listen no more."""
        # pyudev closes the socket when nobody has the monitor any more.
        del self._monitor
        self._state.close()

    # What outlives us

    def told(self) -> None:
        """Write down what init knows of."""
        self._state.save(devices=self._devices.dump())


def record_of(device: Any, action: str = "") -> Record:
    """A device of pyudev as we take it, with the action of its message if no other is given; nothing that is in
    its names or values keeps the rest from being told."""
    properties = []
    names = iter(device.properties)
    while True:
        try:
            name = next(names)
        except (StopIteration, UnicodeDecodeError):
            break
        properties.append((name.encode(), _raw(lambda name=name: device.properties[name])))  # type: ignore[misc]
    return Record(
        action.encode() or _raw(lambda: device.action),
        _raw(lambda: device.device_path),
        _raw(lambda: device.sys_name),
        _raw(lambda: device.subsystem),
        _raw(lambda: device.device_node),
        properties,
    )


def _raw(get: Callable[[], str | None]) -> bytes:
    """The bytes of a text that pyudev gives only where they are UTF-8; none where there is none."""
    try:
        return (get() or "").encode("utf-8", "surrogateescape")
    except UnicodeDecodeError as error:
        return bytes(error.object)
    except KeyError:
        return b""


BRIDGE = Bridge(
    "Bridge udev events into Upstart.",
    lambda host, settings: UdevSource(
        host, settings.always, not settings.strip, BY_RULE if not settings.user and os.path.exists(RULES) else ()
    ),
    ((Option("", "no-strip", "strip", False), "keep control characters in what udev says"), program.ALWAYS),
    {"strip": True},
)
