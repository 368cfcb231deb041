"""The commands that speak to init as a whole: events, configuration, version, log priority and notifications."""

from __future__ import annotations

from upstart.base.errors import UsageError
from upstart.initctl.context import Context


def emit(context: Context) -> int:
    """emit EVENT [KEY=VALUE]...: waits, unless told otherwise, until the event is finished."""
    if not context.args:
        raise UsageError("missing event name")
    init = context.open()
    init.quiet()
    init.emit(context.args[0], context.args[1:], not context.settings.no_wait)
    return 0


def reload_configuration(context: Context) -> int:
    """reload-configuration"""
    context.open().reload_configuration()
    return 0


def version(context: Context) -> int:
    """version: that of the init daemon, with its name."""
    version = context.open().version
    if context.settings.json:
        name, _, number = version.rstrip(")").rpartition(" ")
        context.show_json({"version": number, "program": name.partition(" ")[0], "text": version})
    else:
        context.message(version)
    return 0


def log_priority(context: Context) -> int:
    """log-priority [PRIORITY]: shows or sets it."""
    init = context.open()
    if context.args:
        init.log_priority = context.args[0]
    elif context.settings.json:
        context.show_json({"log-priority": init.log_priority})
    else:
        context.message(init.log_priority)
    return 0


def notify_disk_writeable(context: Context) -> int:
    """notify-disk-writeable"""
    context.open().notify_disk_writeable()
    return 0


def notify_dbus_address(context: Context) -> int:
    """notify-dbus-address ADDRESS"""
    if not context.args:
        raise UsageError("missing D-Bus address")
    context.open().notify_dbus_address(context.args[0])
    return 0


def notify_cgroup_manager_address(context: Context) -> int:
    """notify-cgroup-manager-address ADDRESS"""
    if not context.args:
        raise UsageError("missing address")
    context.open().notify_cgroup_manager_address(context.args[0])
    return 0
