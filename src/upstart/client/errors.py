"""How clients fail: errors of D-Bus, of commands and of command lines, and the D-Bus names that are told apart."""

from __future__ import annotations

UNKNOWN_JOB = "com.ubuntu.Upstart0_6.Error.UnknownJob"
UNKNOWN_INSTANCE = "com.ubuntu.Upstart0_6.Error.UnknownInstance"
JOB_FAILED = "com.ubuntu.Upstart0_6.Error.JobFailed"
UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
UNKNOWN_INTERFACE = "org.freedesktop.DBus.Error.UnknownInterface"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
#: Nobody listens on Upstart's socket: another init is PID 1.
NO_SERVER = "org.freedesktop.DBus.Error.NoServer"
DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
TIMEOUT = "org.freedesktop.DBus.Error.Timeout"
FAILED = "org.freedesktop.DBus.Error.Failed"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"

#: What an init without our extension, or a bus whose policy does not know it, answers to its methods.
NO_EXTENSION = (UNKNOWN_METHOD, UNKNOWN_INTERFACE, ACCESS_DENIED)


class ClientError(Exception):
    """Something failed; the text is the message without the program's name."""


class UsageError(ClientError):
    """A program was called the wrong way: --help is recommended."""


class DBusError(ClientError):
    """An error of D-Bus: `name` is its D-Bus name, `message` the text for people (it may end in a newline)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
