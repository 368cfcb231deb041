"""Who emits the events of upstart-events(7), in words, for who explains what a job waits for."""

from __future__ import annotations

from upstart.base.glob import is_literal, match

_INIT = "init itself"
_MOUNTALL = "mountall(8)"
_UDEV = "the udev bridge, upstart-udev-bridge(8)"

#: The name of an event or a pattern of names, those with the more letters first where several match: who emits it.
EMITTERS = {
    "startup": "init itself, once, as the first event of a boot or a session",
    "recovery": "init itself, in the place of startup where the kernel's command line asks for it",
    "control-alt-delete": "init itself, when these keys are pressed on the console",
    "keyboard-request": "init itself, when the request key is pressed on the console",
    "power-status-changed": "init itself, on SIGPWR",
    "session-end": "a session's init, when the session ends",
    "awaited": _INIT,
    "awaited/none": _INIT,
    "child-subreaper-failed": "a session's init",
    "before-mounting": _MOUNTALL,
    "mounting": _MOUNTALL,
    "mounted": "mountall(8), and the mount bridge for what others mount",
    "unmounted": "the mount bridge, upstart-mount-bridge(8)",
    "virtual-filesystems": _MOUNTALL,
    "local-filesystems": _MOUNTALL,
    "remote-filesystems": _MOUNTALL,
    "filesystem": _MOUNTALL,
    "all-swaps": _MOUNTALL,
    "device-not-ready": _MOUNTALL,
    "mountall-gives-up": "the job mountall-again",
    "net-device-added": _UDEV,
    "net-device-removed": _UDEV,
    "net-device-changed": _UDEV,
    "*-device-*": _UDEV,
    "network-interface-wanted": "the job ifupdown-virtual",
    "net-device-up": "ifup(8), and init for the loopback",
    "net-device-down": "ifdown(8)",
    "static-network-up": "the job ifupdown and ifup(8), once all interfaces marked auto are up",
    "network-online": "the job network-online",
    "failsafe-boot": "the job failsafe, where the network has not come in time",
    "deconfiguring-networking": "the job umountall",
    "unmounted-remote-filesystems": "the job umountall",
    "container": "init itself, right after startup, in a container",
    "not-container": "init itself, right after startup, on a machine",
    "boot-script": "the job rcS-scripts",
    "boot-waits": "the jobs that run scripts",
    "runlevel": "telinit(8) and shutdown(8); at a boot the job rc-sysinit",
    "serial-console": "the job serial-gettys",
    "file": "the file bridge, upstart-file-bridge(8)",
    "socket": "the socket bridge, upstart-socket-bridge(8)",
    "dbus": "the D-Bus bridge, upstart-dbus-bridge(8)",
    "dbus-name": "the D-Bus bridge, upstart-dbus-bridge(8)",
    "dbus-activation": "the D-Bus bridge, upstart-dbus-bridge(8)",
    "dconf": "the dconf bridge, upstart-dconf-bridge(8)",
    ":sys:*": "the event bridge, upstart-event-bridge(8), for what the system's init emits",
    "bridge-overrun": "a bridge that could not keep up",
    "cloud-*": "the jobs of cloud-init",
}
#: Names that are written as if they were events, and what their writers mean.
NO_EVENTS = {
    "shutdown": "runlevel [016]",
    "reboot": "runlevel 6",
    "halt": "runlevel 0",
    "poweroff": "runlevel 0",
    "boot": "runlevel [2345]",
}


def emitter_of(name: str) -> str:
    """Who emits the event, as far as the manual says; empty where it does not."""
    known = EMITTERS.get(name)
    if known is not None:
        return known
    return next((who for pattern, who in EMITTERS.items() if not is_literal(pattern) and match(pattern, name)), "")
