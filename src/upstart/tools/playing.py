"""What the processes of a simulated system do: how long each takes, and what it emits.

A task ends at once and well, a service lives, a process beside a main one ends at once; all else is said by whoever
simulates.  A process emits what its script emits by initctl, when it ends, or where it lives when it runs; what a job
only declares comes once, when it runs.  What the programs of a boot emit is known here: mountall, each file system
waiting for its ``mounted`` before it counts; rc-sysinit, the network of a machine with no interface but the loopback,
and failsafe.  Of events of devices none come by themselves.

What is always true here: nothing is decided by chance, so the same jobs and the same words lead to the same end.
"""

from __future__ import annotations

import re

from upstart.base.glob import is_literal
from upstart.tools.eventtable import ELSEWHERE
from upstart.tools.knownevents import EMIT, well_known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from upstart.conf.jobclass import JobClass

    #: An event and its variables.
    Event = tuple[str, dict[str, str]]
    #: What a program does: events, those of one list at once, of which it waits for the end of some.
    Steps = Generator[list[Event], None, None]

#: The variables of an event in a script, and what ends the command that emits it.
_VARIABLE = re.compile(r"(?<!\S)([A-Za-z_]\w*)=[\"']?([^\s\"'$`;&|()]*)")
_END_OF_COMMAND = re.compile(r"[;&|\n)]")
#: The kernel's file systems, then root and what lies in it, as a machine has them at least.
_VIRTUAL = {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/run": "tmpfs"}
_LOCAL = ("/tmp", "/var", "/home")
#: Seconds after which failsafe gives the network up.
FAILSAFE_SECONDS = 60.0
#: The events whose end mountall waits for.
WAITED_FOR = ("mounting", "mounted")
#: The name of the parts of mountall, which a simulation may have take long one by one.
PARTS = ("virtual", "local", "remote")


def events_of_start(container: str) -> list[Event]:
    """What init emits by itself when a system starts; ``container`` is its type, or empty for a machine."""
    where: Event = ("container", {"CONTAINER": container}) if container else ("not-container", {})
    loopback = {"IFACE": "lo", "LOGICAL": "lo", "ADDRFAM": "inet", "METHOD": "loopback"}
    return [("startup", {}), where, ("net-device-up", loopback)]


def emitted(job: JobClass, process: str) -> list[Event]:
    """What a process of a job emits by initctl, in the order of its text; nothing that is well known, for whether and
    when that comes is said here."""
    definition = job.processes.get(process)
    if definition is None or "emit" not in definition.command:
        return []
    found: dict[str, dict[str, str]] = {}
    for match in EMIT.finditer(definition.command):
        if not well_known(match[1]):
            rest = _END_OF_COMMAND.split(definition.command[match.end() :], maxsplit=1)[0]
            found.setdefault(match[1], dict(_VARIABLE.findall(rest)))
    return list(found.items())


def declared(job: JobClass) -> list[Event]:
    """What a job only says that it emits, once it runs."""
    if not job.emits:
        return []
    said = {name for process in job.processes for name, _ in emitted(job, process)}
    return [
        (name, {})
        for name in dict.fromkeys(job.emits)
        if is_literal(name) and name not in said and name not in ELSEWHERE and not well_known(name)
    ]


def is_mountall(job: JobClass) -> bool:
    """Whether the main process of a job is mountall."""
    return job.name == "mountall" and "main" in job.processes


def brings_network(job: JobClass) -> bool:
    """Whether a job says that the network of the machine is up, and not that of one interface."""
    return "static-network-up" in job.emits and not job.instance


def brings_runlevel(job: JobClass) -> bool:
    """Whether a job enters the first runlevel."""
    return job.name == "rc-sysinit"


class Mountall:
    """What mountall does, in parts that go on beside each other."""

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._told: set[str] = set()

    def parts(self) -> Iterator[tuple[str, Steps]]:
        """The parts by their names."""
        yield "virtual", self._virtual()
        yield "local", self._local()
        yield "remote", self._remote()

    def finished(self) -> bool:
        """Whether all of it is done."""
        return len(self._done) == len(PARTS)

    def _virtual(self) -> Steps:
        yield [("mounted", _mount(place, kind)) for place, kind in _VIRTUAL.items()]
        yield [("virtual-filesystems", {})]
        self._done.add("virtual")
        yield self._finish()

    def _local(self) -> Steps:
        for places in (("/",), _LOCAL):
            yield [("mounting", _mount(place, "ext4")) for place in places]
            yield [("mounted", _mount(place, "ext4")) for place in places]
        self._done.add("local")
        yield self._finish()

    def _remote(self) -> Steps:
        self._done.add("remote")
        yield self._finish()

    def _finish(self) -> list[Event]:
        names = [f"{part}-filesystems" for part in ("local", "remote") if {"virtual", part} <= self._done]
        if self.finished():
            names += ["all-swaps", "filesystem"]
        names = [name for name in names if name not in self._told]
        self._told.update(names)
        return [(name, {}) for name in names]


def _mount(place: str, kind: str) -> dict[str, str]:
    return {"DEVICE": "none" if place in _VIRTUAL else "/dev/sda1", "MOUNTPOINT": place, "TYPE": kind, "OPTIONS": "rw"}
