"""The names by which Upstart is found on D-Bus, those of events of jobs, and names of jobs for people.

The names are part of the interface of 1.13.2 and never change; only the extension (docs/dbus-extension.md) is ours.
"""

from __future__ import annotations

SERVICE = "com.ubuntu.Upstart"
PATH = "/com/ubuntu/Upstart"
ADDRESS = "unix:abstract=/com/ubuntu/upstart"
#: Followed by the uid and the pid of a session's init.
SESSION_ADDRESS = "unix:abstract=/com/ubuntu/upstart-session/"

MANAGER = "com.ubuntu.Upstart0_6"
JOB = "com.ubuntu.Upstart0_6.Job"
INSTANCE = "com.ubuntu.Upstart0_6.Instance"
EXTENSION = "com.ubuntu.Upstart0_6.Extension"
PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"

BUS_PATH = "/org/freedesktop/DBus"
BUS_INTERFACE = "org.freedesktop.DBus"

#: The runlevels with which the machine ends.
LAST_RUNLEVELS = "06"

#: Errors.
UNKNOWN_JOB = "com.ubuntu.Upstart0_6.Error.UnknownJob"
UNKNOWN_INSTANCE = "com.ubuntu.Upstart0_6.Error.UnknownInstance"
JOB_FAILED = "com.ubuntu.Upstart0_6.Error.JobFailed"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
UNKNOWN_INTERFACE = "org.freedesktop.DBus.Error.UnknownInterface"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
#: Nobody listens on Upstart's socket: another init is PID 1.
NO_SERVER = "org.freedesktop.DBus.Error.NoServer"
DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
NAME_HAS_NO_OWNER = "org.freedesktop.DBus.Error.NameHasNoOwner"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
TIMEOUT = "org.freedesktop.DBus.Error.Timeout"
FAILED = "org.freedesktop.DBus.Error.Failed"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"

#: What an init without our extension, or a bus whose policy does not know it, answers to its methods.
NO_EXTENSION = (UNKNOWN_METHOD, UNKNOWN_INTERFACE, ACCESS_DENIED)

#: The events of a job's life, and what init says in them.
JOB_EVENTS = ("starting", "started", "stopping", "stopped")
JOB_VARIABLES = frozenset(("JOB", "INSTANCE", "RESULT", "PROCESS", "EXIT_STATUS", "EXIT_SIGNAL"))

#: Names in one line.
_NAMED = 8


def listed(names: list[str]) -> str:
    """Names for people: not more than fit into a line, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
