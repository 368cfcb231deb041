"""Changes in the engine as D-Bus signals.

What is always true here: a signal is built once, however many listen.
"""

from __future__ import annotations

from upstart.base.names import PATH
from upstart.daemon.interfaces import EXTENSION_INTERFACE, INSTANCE_OBJECT, JOB_OBJECT, MANAGER_INTERFACE
from upstart.daemon.keeping import CLOSED, FREE
from upstart.daemon.paths import path_of_instance, path_of_job
from upstart.dbus import wire
from upstart.engine.lifecycle import NEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.effects import Announce


#: Of the extension: it is gathered, and so is not sent as the engine announces it.
AWAITED_CHANGED = "AwaitedChanged"

_BUILD = {
    (interface.name, name): wire.signal_builder(interface.name, name, "".join([kind for _, kind in args]))
    for interface in (MANAGER_INTERFACE, EXTENSION_INTERFACE, *JOB_OBJECT, *INSTANCE_OBJECT)
    for name, args in interface.signals.items()
}
#: The bodies of GoalChanged and StateChanged.
_WORDS = {word: wire.pack("s", word) for word in ("start", "stop", "respawn", *NEXT)}
#: What the engine announces whether or not anybody listens to the rest.
ALWAYS = frozenset((AWAITED_CHANGED, FREE, CLOSED))
_MANAGER = MANAGER_INTERFACE.name
_EXTENSION = EXTENSION_INTERFACE.name
_JOB = JOB_OBJECT[0].name
_INSTANCE = INSTANCE_OBJECT[0].name


def restarted(serial: int) -> bytes:
    """The signal that tells that init was re-executed."""
    return _BUILD[_MANAGER, "Restarted"](serial, PATH, b"")


def awaited_changed(serial: int, names: list[str]) -> bytes:
    """The signal that tells of which events other tests are awaited."""
    return _BUILD[_EXTENSION, AWAITED_CHANGED](serial, PATH, wire.pack("as", names))


def names(effect: Announce) -> tuple[str, ...]:
    """The names by which a client may want the signal for an effect: an event's, besides, with that of the event."""
    if effect.signal == "EventEmitted":
        value: Any = effect.value
        return effect.signal, f"{effect.signal} {value[0]}"
    return (effect.signal,)


def build(serial: int, effect: Announce) -> bytes:
    """The signal for an effect."""
    name = effect.signal
    subject: Any = effect.subject
    if name == "StateChanged" or name == "GoalChanged":
        word: Any = effect.value
        return _BUILD[_INSTANCE, name](serial, path_of_instance(subject), _WORDS[word])
    if name == "EventEmitted":
        value: Any = effect.value
        event, env = value
        words = [f"{key}={value}" for key, value in env.items()]
        return _BUILD[_MANAGER, name](serial, PATH, wire.pack("sas", event, words))
    if name in (FREE, CLOSED):
        return _BUILD[_EXTENSION, name](serial, PATH, wire.pack("s", effect.value))
    if name == "JobAdded" or name == "JobRemoved":
        return _BUILD[_MANAGER, name](serial, PATH, wire.pack("o", path_of_job(subject)))
    if name == "InstanceAdded" or name == "InstanceRemoved":
        return _BUILD[_JOB, name](serial, path_of_job(subject.job), wire.pack("o", path_of_instance(subject)))
    return _BUILD[_INSTANCE, "Failed"](serial, path_of_instance(subject), wire.pack("i", effect.value))
