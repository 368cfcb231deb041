"""What init tells of by itself, as values: jobs, instances, goals, states and events, dbus-extension.md's none.

What is always true here: a message that is not one of these signals, whole and of the right types, gives nothing.
Objects are named by their path, since what a signal tells of may be gone when it arrives.
"""

from __future__ import annotations

from upstart.base.names import BUS_INTERFACE, EXTENSION, INSTANCE, JOB, MANAGER, PATH, SERVICE
from upstart.base.paths import unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "AwaitedChanged", "ConnectionClosed", "DescriptorsFree", "EventEmitted", "Failed", "GoalChanged", "InstanceAdded",
    "InstanceRemoved", "JobAdded", "JobRemoved", "Restarted", "Signal", "StateChanged", "names_of",
]  # fmt: skip

_JOBS = PATH + "/jobs/"


class Signal:
    """Base of all: ``path`` is the object that tells it, of init, a job or an instance."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        names = [name for kind in type(self).__mro__ for name in getattr(kind, "__slots__", ())]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class _OfJob(Signal):
    __slots__ = ("job",)

    def __init__(self, path: str, job: str) -> None:
        super().__init__(path)
        self.job = job


class JobAdded(_OfJob):
    """``job`` is the path of one that init has from now on."""

    __slots__ = ()


class JobRemoved(_OfJob):
    """``job`` is the path of one that init has no more."""

    __slots__ = ()


class EventEmitted(Signal):
    """An event has finished: ``name``, and ``env`` as KEY=VALUE."""

    __slots__ = ("env", "name")

    def __init__(self, path: str, name: str, env: list[str]) -> None:
        super().__init__(path)
        self.name = name
        self.env = env


class Restarted(Signal):
    """Init has executed itself again: told on a bus, as a connection of our own ends by that."""

    __slots__ = ()


class AwaitedChanged(Signal):
    """Our extension: jobs wait for the ``events`` with other tests than before; for whichever, where none is named."""

    __slots__ = ("events",)

    def __init__(self, path: str, events: list[str]) -> None:
        super().__init__(path)
        self.events = events


class DescriptorsFree(Signal):
    """Our extension: the ``job``, for which descriptors are kept, has no instance any more."""

    __slots__ = ("job",)

    def __init__(self, path: str, job: str) -> None:
        super().__init__(path)
        self.job = job


class ConnectionClosed(Signal):
    """Our extension: nobody in init has the connection of this ``key`` any more."""

    __slots__ = ("key",)

    def __init__(self, path: str, key: str) -> None:
        super().__init__(path)
        self.key = key


class _OfInstance(Signal):
    __slots__ = ("instance",)

    def __init__(self, path: str, instance: str) -> None:
        super().__init__(path)
        self.instance = instance


class InstanceAdded(_OfInstance):
    """The job at ``path`` has one more, at the path ``instance``."""

    __slots__ = ()


class InstanceRemoved(_OfInstance):
    """The job at ``path`` has lost the one at the path ``instance``."""

    __slots__ = ()


class GoalChanged(Signal):
    """The instance at ``path`` is to ``start`` or to ``stop``."""

    __slots__ = ("goal",)

    def __init__(self, path: str, goal: str) -> None:
        super().__init__(path)
        self.goal = goal


class StateChanged(Signal):
    """The instance at ``path`` has entered a ``state`` of init(5)."""

    __slots__ = ("state",)

    def __init__(self, path: str, state: str) -> None:
        super().__init__(path)
        self.state = state


class Failed(Signal):
    """The instance at ``path`` has failed: an exit status, a signal shifted left by 8, or -1 if it was never run."""

    __slots__ = ("status",)

    def __init__(self, path: str, status: int) -> None:
        super().__init__(path)
        self.status = status


#: By interface and member: the signature of what it carries, and what it is here.
_SIGNALS: dict[tuple[str, str], tuple[str, Any]] = {
    (MANAGER, "JobAdded"): ("o", JobAdded),
    (MANAGER, "JobRemoved"): ("o", JobRemoved),
    (MANAGER, "EventEmitted"): ("sas", EventEmitted),
    (MANAGER, "Restarted"): ("", Restarted),
    (EXTENSION, "AwaitedChanged"): ("as", AwaitedChanged),
    (EXTENSION, "DescriptorsFree"): ("s", DescriptorsFree),
    (EXTENSION, "ConnectionClosed"): ("s", ConnectionClosed),
    (JOB, "InstanceAdded"): ("o", InstanceAdded),
    (JOB, "InstanceRemoved"): ("o", InstanceRemoved),
    (INSTANCE, "GoalChanged"): ("s", GoalChanged),
    (INSTANCE, "StateChanged"): ("s", StateChanged),
    (INSTANCE, "Failed"): ("i", Failed),
}


def parse(interface: str | None, member: str | None, signature: str, path: str, values: list[Any]) -> Signal | None:
    """The signal that a message is, ``None`` for any other; ``values`` are those of its body."""
    wanted, kind = _SIGNALS.get((interface or "", member or ""), ("", None))
    if kind is None or signature != wanted:
        return None
    signal: Signal = kind(str(path), *map(_plain, values))
    return signal


def _plain(value: Any) -> Any:
    """A value without the binding's own type."""
    if isinstance(value, str):
        return str(value)
    return int(value) if isinstance(value, int) else [str(item) for item in value]


def names_of(path: str) -> tuple[str, str] | None:
    """The job, and its instance, that an object path names, both as they are called; ``None`` for any other path.

    That of a job has an instance ``""``.  Jobs of chroot sessions, of which init tells nobody, are not meant.
    """
    elements = [unescape(element) for element in path.removeprefix(_JOBS).split("/")]
    job, instance = (*elements, "")[:2]
    if not path.startswith(_JOBS) or len(elements) > 2 or job is None or instance is None:
        return None
    return job, instance


def match_rules(names: Sequence[str]) -> list[str]:
    """What to ask a bus for that is to send the signals of these names, or all of them, and who has init's name."""
    rule = f"type='signal',sender='{SERVICE}'"
    return [
        *([f"{rule},member='{name}'" for name in names] or [rule]),
        f"type='signal',sender='{BUS_INTERFACE}',member='NameOwnerChanged',arg0='{SERVICE}'",
    ]
