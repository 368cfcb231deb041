"""What has to come before anything is checked or mounted: jobs' business, of which mountall only knows whether there is
any.

On nearly every boot there is none, and to have jobs find that out by themselves, on mountall's ``starting``, is a
process each that the boot waits for. So mountall looks, and emits before-mounting(7) for what there is. What is always
true here: init is done with one need before the next is told of; a need is told of once in a boot, however often
mountall is started; in a container, whose kernel and clock are its host's, there are none but scripts.
"""

from __future__ import annotations

import os
import select
import time

from upstart.base.errors import ClientError
from upstart.mounts.settings import parse_values
from upstart.mounts.values import Emit
from upstart.sysv.standins import ROOT_CHECK, job_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from upstart.mounts.events import Events
    from upstart.mounts.files import Reader

EVENT = "before-mounting"
#: A shell that the kernel's command line asks for; a hardware clock in local time, or none and a clock that is behind;
#: scripts that insserv puts first.
EMERGENCY, CLOCK, SCRIPTS = "emergency", "clock", "scripts"
#: The kernel's words for a shell before anything else.
SHELL_WORDS = frozenset(("emergency", "-b"))
#: Seconds: how long init may stay away, and between two tries to reach it.
INIT_SECONDS, RETRY = 60.0, 0.1

_CONTAINER = "/run/container_type"
_ORDER = "/etc/init.d/.depend.boot"
_CLOCK = "/etc/adjtime"
_CLOCK_SETTINGS = ("/etc/default/rcS", "/etc/default/hwclock")
_CLOCKS = "/sys/class/rtc"
#: Where no clock has the time, these have been written when it was known: the last of them as the system ended.
_TIMES = (
    "/var/lib/systemd/timesync/clock", "/usr/lib/clock-epoch", "/var/lib/urandom/random-seed", "/var/log/wtmp",
    "/var/lib/dpkg/status", "/etc/adjtime",
)  # fmt: skip


def needs(reader: Reader, now: float) -> Iterator[tuple[str, ...]]:
    """What this machine needs, in the order in which it is needed, each as variables of the event; ``now`` is the time
    of its clock."""
    if not reader.exists(_CONTAINER):
        if SHELL_WORDS.intersection(reader.text("/proc/cmdline").split()):
            yield (f"NEED={EMERGENCY}",)
        if not reader.names(_CLOCKS):
            if (known := last_known_time(reader)) > now:
                yield f"NEED={CLOCK}", f"TIME={known}"
        elif is_clock_local(reader):
            yield (f"NEED={CLOCK}",)
    if any(job_of(name) is None for name in scripts_first(reader.text(_ORDER))):
        yield (f"NEED={SCRIPTS}",)


def last_known_time(reader: Reader) -> int:
    """The latest time, in seconds since 1970, that is known to have been; 0 if none is."""
    found = 0
    for path in _TIMES:
        try:
            found = max(found, int(os.stat(reader.root + path).st_mtime))
        except OSError:
            pass
    return found


def is_clock_local(reader: Reader) -> bool:
    """Whether the hardware clock shows local time, and is to be touched at all."""
    if "LOCAL" not in [line.strip() for line in reader.text(_CLOCK).split("\n")]:
        return False
    values: dict[str, str] = {}
    for path in _CLOCK_SETTINGS:
        values.update(parse_values(reader.text(path), path)[0])
    return values.get("HWCLOCKACCESS") != "no"


def scripts_first(order: str) -> list[str]:
    """The scripts that come right before the check of the root, by the text of insserv's .depend.boot."""
    for line in order.split("\n"):
        name, colon, others = line.partition(":")
        if colon and name == ROOT_CHECK:
            return others.split()
    return []


def have_done(events: Events, needs: Iterable[tuple[str, ...]]) -> None:
    """Tell of these needs, one after the other, and wait until init is done with each: ClientError without init."""
    for number, env in enumerate(needs):
        events.emit(Emit(-1 - number, EVENT, env, f"{EVENT} {env[0]}"))
        while not events.receive():
            if events.lost:
                _come_back(events)
            poll = select.poll()
            poll.register(events.fileno(), select.POLLIN | (select.POLLOUT if events.wants_write else 0))
            poll.poll()


def _come_back(events: Events) -> None:
    """Wait for an init that executes itself; it is sent again what has no answer."""
    lost_at = time.monotonic()
    while events.lost:
        try:
            events.open()
        except OSError as error:
            if time.monotonic() - lost_at > INIT_SECONDS:
                raise ClientError(f"Could not connect to Upstart: {error.strerror or error}")
            time.sleep(RETRY)
