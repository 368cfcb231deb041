"""The names by which Upstart is found on D-Bus, D-Bus's own, those of events of jobs, and names of jobs for people.

Each stands here and nowhere else.  They are part of the interface of 1.13.2 and never change; only the extension
(docs/dbus-extension.md) is ours.
"""

from __future__ import annotations

SERVICE = "com.ubuntu.Upstart"
PATH = "/com/ubuntu/Upstart"
ADDRESS = "unix:abstract=/com/ubuntu/upstart"
#: Followed by the uid and the pid of a session's init.
SESSION_ADDRESS = "unix:abstract=/com/ubuntu/upstart-session/"

MANAGER = "com.ubuntu.Upstart0_6"
JOB = MANAGER + ".Job"
INSTANCE = MANAGER + ".Instance"
EXTENSION = MANAGER + ".Extension"

#: The bus, its interface and its own name.
BUS_PATH = "/org/freedesktop/DBus"
BUS_INTERFACE = "org.freedesktop.DBus"
#: Says, within a process, that its connection has ended.
LOCAL = BUS_INTERFACE + ".Local"
PROPERTIES = BUS_INTERFACE + ".Properties"
INTROSPECTABLE = BUS_INTERFACE + ".Introspectable"
PEER = BUS_INTERFACE + ".Peer"

#: The event of a runlevel, and those with which the machine ends.
RUNLEVEL_EVENT = "runlevel"
LAST_RUNLEVELS = "06"
#: Left by who enters a runlevel, before init hears of it.
RUNLEVEL_MARK = "/run/upstart/runlevel"

#: Errors: ours begin with the first of these, which who raises a `CommandError` leaves out, D-Bus's own with the other.
ERROR_PREFIX = MANAGER + ".Error."
_BUS_ERROR = BUS_INTERFACE + ".Error."
UNKNOWN_JOB = ERROR_PREFIX + "UnknownJob"
UNKNOWN_INSTANCE = ERROR_PREFIX + "UnknownInstance"
JOB_FAILED = ERROR_PREFIX + "JobFailed"
UNKNOWN_METHOD = _BUS_ERROR + "UnknownMethod"
UNKNOWN_INTERFACE = _BUS_ERROR + "UnknownInterface"
ACCESS_DENIED = _BUS_ERROR + "AccessDenied"
#: Nobody listens on Upstart's socket: another init is PID 1.
NO_SERVER = _BUS_ERROR + "NoServer"
DISCONNECTED = _BUS_ERROR + "Disconnected"
NAME_HAS_NO_OWNER = _BUS_ERROR + "NameHasNoOwner"
NO_REPLY = _BUS_ERROR + "NoReply"
TIMEOUT = _BUS_ERROR + "Timeout"
FAILED = _BUS_ERROR + "Failed"
INVALID_ARGS = _BUS_ERROR + "InvalidArgs"
LIMITS_EXCEEDED = _BUS_ERROR + "LimitsExceeded"
FILE_NOT_FOUND = _BUS_ERROR + "FileNotFound"
BAD_ADDRESS = _BUS_ERROR + "BadAddress"

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
