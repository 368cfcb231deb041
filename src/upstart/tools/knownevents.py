"""Which events somebody is known to emit: those of the manual, and those of jobs and their scripts."""

from __future__ import annotations

import re

from upstart.base import glob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.conf.jobclass import JobClass, Match

#: What upstart-events(7) lists; a pattern for those with a part of their own.
WELL_KNOWN_EVENTS = (
    "startup",
    "recovery",
    "starting",
    "started",
    "stopping",
    "stopped",
    "control-alt-delete",
    "keyboard-request",
    "power-status-changed",
    "session-end",
    "awaited",
    "awaited/none",
    "child-subreaper-failed",
    "before-mounting",
    "mounting",
    "mounted",
    "virtual-filesystems",
    "local-filesystems",
    "remote-filesystems",
    "filesystem",
    "all-swaps",
    "device-not-ready",
    "mountall-gives-up",
    "net-device-added",
    "net-device-removed",
    "net-device-changed",
    "network-interface-wanted",
    "net-device-up",
    "net-device-down",
    "static-network-up",
    "network-online",
    "failsafe-boot",
    "deconfiguring-networking",
    "unmounted-remote-filesystems",
    "container",
    "not-container",
    "boot-script",
    "boot-waits",
    "runlevel",
    "serial-console",
    "*-device-*",
    "file",
    "socket",
    "unmounted",
    "dbus",
    "dbus-name",
    "dbus-activation",
    "dconf",
    ":sys:*",
    "bridge-overrun",
    "cloud-init-enabled",
    "cloud-init-disabled",
    "cloud-config",
)

#: How a script emits an event.
EMIT = re.compile(r"\binitctl\s+(?:-\S+\s+)*emit\s+(?:-\S+\s+)*([A-Za-z0-9:_.-]+)")


def well_known(name: str) -> bool:
    """Whether the manual has an event of that name."""
    return name in WELL_KNOWN_EVENTS or any(
        glob.match(pattern, name) for pattern in WELL_KNOWN_EVENTS if not glob.is_literal(pattern)
    )


def emitted_by(job: JobClass) -> Iterator[str]:
    """The events that a job emits, as patterns: what it declares, and what its scripts emit by initctl."""
    yield from job.emits
    for definition in job.processes.values():
        if "emit" in definition.command:
            yield from EMIT.findall(definition.command)


def job_of(match: Match) -> str | None:
    """The job that an event of a job's life is compared with; ``None`` if there is none, or several may match."""
    for position, word in enumerate(match.args):
        name, equals, value = word.partition("=")
        if not equals and position == 0:
            value = word
        elif name != "JOB":
            continue
        return None if re.search(r"[*?\[$]", value) else value
    return None
