"""What is known of events beyond their names: their variables, what other systems emit, and what never was one.

What is always true here: the variables of an event are all that its emitters give it, so a test for another one is
never passed; an event without an entry may have any.  What only looks like an event is in `base.emitters`.
"""

from __future__ import annotations

from upstart.base.glob import is_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

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
#: The shortest name whose likeness to another is no accident, and the one where two letters are none.
_SHORTEST, _LONG = 7, 12
#: As many other letters only make a slip likely.
LIKELY = 3
_DIGITS = str.maketrans("123456789", "000000000")


def nearest(name: str, names: Iterable[str], most: int = 0) -> str:
    """The name among ``names`` of which ``name`` must be a slip; empty where there is none.

    ``most`` letters may be other ones; by itself that is one, and two of a long name.
    """
    if len(name) < _SHORTEST and most < LIKELY:
        return ""
    best, distance = "", most or 1 + (len(name) >= _LONG)
    for other in names:
        if abs(len(other) - len(name)) <= distance and is_literal(other):
            found = _distance(name, other, distance)
            # What differs in a number is another of the same kind.
            if found and found <= distance - bool(best) and name.translate(_DIGITS) != other.translate(_DIGITS):
                best, distance = other, found
    return best


def job_event_meant(name: str) -> str:
    """The event of jobs that lacks one letter in a name too short for `nearest`; empty where none does."""
    if len(name) >= _SHORTEST:
        return ""
    return next((other for other in JOB_EVENTS if len(other) > len(name) and _distance(name, other, 1) == 1), "")


def _distance(one: str, other: str, most: int) -> int:
    """How many letters were left out, put in, changed, or exchanged with the next; more than ``most`` is one more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
