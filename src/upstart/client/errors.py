"""What goes wrong: `DBusError`, and the names that it has where init says no."""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import (
    ACCESS_DENIED,
    DISCONNECTED,
    ERROR_PREFIX,
    INVALID_ARGS,
    JOB_FAILED,
    NAME_HAS_NO_OWNER,
    NO_EXTENSION,
    NO_REPLY,
    NO_SERVER,
    UNKNOWN_INSTANCE,
    UNKNOWN_JOB,
    UNKNOWN_METHOD,
)

#: The job is running already, or is being started.
ALREADY_STARTED = ERROR_PREFIX + "AlreadyStarted"
#: It has been stopped already.
ALREADY_STOPPED = ERROR_PREFIX + "AlreadyStopped"
#: Something failed over the event that was waited for.
EVENT_FAILED = ERROR_PREFIX + "EventFailed"
#: Only root, and in a session its user, may do that.
PERMISSION_DENIED = ERROR_PREFIX + "PermissionDenied"

__all__ = [
    "ACCESS_DENIED", "ALREADY_STARTED", "ALREADY_STOPPED", "DISCONNECTED", "DBusError", "EVENT_FAILED", "INVALID_ARGS",
    "JOB_FAILED", "NAME_HAS_NO_OWNER", "NO_EXTENSION", "NO_REPLY", "NO_SERVER", "PERMISSION_DENIED",
    "UNKNOWN_INSTANCE", "UNKNOWN_JOB", "UNKNOWN_METHOD",
]  # fmt: skip
