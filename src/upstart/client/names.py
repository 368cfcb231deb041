"""The names by which Upstart is found on D-Bus.

The names are part of the interface of 1.13.2 and never change; only the extension (docs/dbus-extension.md) is ours.
"""

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

BUS_PATH = "/org/freedesktop/DBus"
BUS_INTERFACE = "org.freedesktop.DBus"
