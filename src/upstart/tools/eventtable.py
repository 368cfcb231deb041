"""What is known of events beyond their names: their variables, what other systems emit, and what never was one.

What is always true here: the variables of an event are all that its emitters give it, so a test for another one is
never passed; an event without an entry may have any.  What only looks like an event is in `base.emitters`.
"""

from __future__ import annotations

_MOUNT = ("DEVICE", "MOUNTPOINT", "TYPE", "OPTIONS")
_STOP = ("JOB", "INSTANCE", "RESULT", "PROCESS", "EXIT_STATUS", "EXIT_SIGNAL")
_INTERFACE = ("IFACE", "LOGICAL", "ADDRFAM", "METHOD")

#: Events that name a job, with the variables that they have beside those that the job exports.
JOB_EVENTS = {"starting": ("JOB", "INSTANCE"), "started": ("JOB", "INSTANCE"), "stopping": _STOP, "stopped": _STOP}
#: Events with the variables that they have.
VARIABLES: dict[str, tuple[str, ...]] = {
    "startup": (),
    "mounting": _MOUNT,
    "mounted": _MOUNT,
    "virtual-filesystems": (),
    "local-filesystems": (),
    "remote-filesystems": (),
    "filesystem": (),
    "all-swaps": (),
    "net-device-up": _INTERFACE,
    "net-device-down": _INTERFACE,
    "static-network-up": (),
    "runlevel": ("RUNLEVEL", "PREVLEVEL", "INIT_HALT"),
    "control-alt-delete": (),
    "unmounted-remote-filesystems": (),
    "unmounted": _MOUNT,
    "bridge-overrun": ("BRIDGE", "DROPPED"),
}
#: The runlevels that there are.
RUNLEVELS = "0123456Ss"
#: The results that the end of a job has.
RESULTS = ("ok", "failed")
#: Events of Ubuntu's and others' programs that no page of ours describes.
ELSEWHERE = frozenset((
    "cloud-config", "desktop-end", "desktop-lock", "desktop-session-start", "desktop-shutdown",
    "desktop-start", "desktop-unlock", "login-session-start", "graphics-device-added", "drm-device-added",
    "plymouth-ready", "session-start", "session-stop", "xsession", "xsession-SESSION", "usb-device-added",
    "indicator-services-start", "indicator-services-end", "network-services-start", "unmounted", "remounted",
))  # fmt: skip
