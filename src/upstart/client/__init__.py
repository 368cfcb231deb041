"""The client library of Upstart: what other programs may use, which is what `PUBLIC` names and nothing else.

The names of this package itself are loaded when they are first asked for, since initctl asks for few.  Modules that
are not in `PUBLIC`, names that begin with ``_``, and ``Init.connection`` may change at any time; what is in it keeps
its meaning as long as the D-Bus interface does.  docs/client-library.md has examples.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.base.errors import DBusError
    from upstart.client.init import Init
    from upstart.client.job import Instance, Job
    from upstart.client.status import Status

#: Everything that is public, by the module that it is imported from.
PUBLIC: dict[str, tuple[str, ...]] = {
    "upstart.client": ("DBusError", "Init", "Instance", "Job", "Status"),
    "upstart.client.aio": ("Connected", "Init", "Instance", "Job", "Lost", "Watcher"),
    "upstart.client.errors": (
        "ACCESS_DENIED", "ALREADY_STARTED", "ALREADY_STOPPED", "DISCONNECTED", "DBusError", "EVENT_FAILED",
        "INVALID_ARGS", "JOB_FAILED", "NAME_HAS_NO_OWNER", "NO_EXTENSION", "NO_REPLY", "NO_SERVER",
        "PERMISSION_DENIED", "UNKNOWN_INSTANCE", "UNKNOWN_JOB", "UNKNOWN_METHOD",
    ),
    "upstart.client.glib": ("Watcher",),
    "upstart.client.history": ("History",),
    "upstart.client.signals": (
        "AwaitedChanged", "ConnectionClosed", "DescriptorsFree", "EventEmitted", "Failed", "GoalChanged",
        "InstanceAdded", "InstanceRemoved", "JobAdded", "JobRemoved", "Restarted", "Signal", "StateChanged", "names_of",
    ),
}  # fmt: skip

__all__ = ["DBusError", "Init", "Instance", "Job", "Status"]

_HOMES = {
    "DBusError": "upstart.base.errors", "Init": "upstart.client.init", "Instance": "upstart.client.job",
    "Job": "upstart.client.job", "Status": "upstart.client.status",
}  # fmt: skip


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys

    __import__(home)
    found: object = getattr(sys.modules[home], name)
    globals()[name] = found
    return found
