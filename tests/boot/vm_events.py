"""Every event of a boot: by whom it was emitted, in which order and with which variables, beside the table of
upstart-events(7).

The init of the machine is ours but for one thing: what it is asked to emit is noted first (`NOTE`). Of a line of the
FIFO nobody knows the writer; init's own events and those of clients are known.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from machine import Machine
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, require
from vm_storage import must_be_at_rest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import manual

QUEUE = "/usr/lib/python3/dist-packages/upstart/engine/queue.py"
NOTES = "/run/emitted"
#: In the module of PID 1 that emits: each event with who asked for it, "fifo", "init", or a program and its job.
NOTE = f"""

def _noting(emit):
    import json
    import sys

    def who(frame):
        # What the engine emits by itself is init's, whoever has called.
        while frame and "/daemon/" in frame.f_code.co_filename:
            if frame.f_code.co_name == "_line":
                return "fifo"
            pid = getattr(frame.f_locals.get("call"), "pid", 0)
            if pid:
                return by(pid)
            frame = frame.f_back
        return "init"

    def by(pid):
        try:
            with open(f"/proc/{{pid}}/comm") as file:
                name = file.read().strip()
            with open(f"/proc/{{pid}}/environ") as file:
                env = dict(each.partition("=")[::2] for each in file.read().split(chr(0)))
            return name + " " + env.get("UPSTART_JOB", "")
        except OSError:
            return "gone"

    def noted(self, name, env, request=None, *more, **named):
        try:
            with open({NOTES!r}, "a") as file:
                waits = None if type(request).__name__ == "Keyed" else request is not None
                file.write(json.dumps([name, list(env), who(sys._getframe(1)), waits, env]) + chr(10))
        except OSError:
            pass
        return emit(self, name, env, request, *more, **named)

    return noted


Queue.emit = _noting(Queue.emit)
"""

#: Who emits by a line of the FIFO, or by initctl where that is missing.
BY_FIFO = {
    "udev", "ifup", "ifdown", "ifupdown", "ifupdown-virtual", "failsafe", "serial-gettys", "mountall-again",
    "network-interface-container", "rc-sysinit",
}  # fmt: skip
#: Variables that events of a device have only where udev has them, and what a page leaves to another.
OPTIONAL = {
    "AVAILABLE", "CONTAINER", "DEVNAME", "DEVPATH", "EXIT_SIGNAL", "EXIT_STATUS", "INIT_HALT", "INSTANCE", "PROCESS",
}  # fmt: skip
#: In this order, at boot.
ORDER = ("startup", "virtual-filesystems", "local-filesystems", "filesystem", "runlevel")


class Noted:
    """One event as it was emitted: ``who`` is "init", "fifo", or a program and its job; ``waits`` is ``None`` for one
    with a key, of which init answers every call when it has finished: whether anybody waits for that it cannot know."""

    def __init__(self, line: str) -> None:
        self.name: str
        self.name, self.keys, self.who, self.waits, self.env = json.loads(line)


def rows_of(event: Noted) -> list[manual.Event]:
    """What the page says of it: by its name, and by what it is a kind of."""
    rows = [row for row in manual.events() if fnmatchcase(event.name, row.name)]
    return sorted(rows, key=lambda row: row.name != event.name)


def emitted_by(event: Noted, row: manual.Event) -> bool:
    """Whether who emitted it is whom the page names."""
    program, _, job = event.who.partition(" ")
    emitters = {name.partition("(")[0] for name in row.emitters}
    if event.who == "init":
        return "init" in emitters
    if event.who == "fifo":
        return bool(BY_FIFO & emitters)
    if job == "upstart-bridges":
        # All of them are one process.
        return any(name.endswith("-bridge") for name in emitters)
    return bool({job, program} & emitters)


def wrong_with(event: Noted, row: manual.Event, exported: set[str]) -> list[str]:
    """What is not as the page has it; ``exported`` is what jobs add to the events about themselves."""
    found = []
    if not emitted_by(event, row):
        found.append(f"{event.name} was emitted by {event.who!r}, not by {row.emitters}")
    if row.kind == "signal" and event.waits:
        found.append(f"{event.name} is a signal, but {event.who!r} waits for it")
    if row.kind in ("hook", "method") and event.waits is False and event.who != "init":
        found.append(f"{event.name} is a {row.kind}, but {event.who!r} does not wait")
    told = row.text
    for other in re.findall(r"as for ([a-z-]+)", told):
        told += " ".join(each.text for each in manual.events() if each.name == other)
    wanted = set(re.findall(r"\b[A-Z_]{3,}\b", told))
    missing = wanted - set(event.keys) - OPTIONAL
    if missing:
        found.append(f"{event.name} lacks {sorted(missing)}: it has {event.keys}")
    more = set(event.keys) - wanted - (exported if "JOB" in wanted else set())
    if more and "and its properties" not in told:
        found.append(f"{event.name} has {sorted(more)}, of which the page says nothing")
    return found


def order_of(events: list[Noted]) -> list[str]:
    """What of the order of a boot is not as the page has it."""
    names = [event.name for event in events]
    found = [f"{name} was emitted {names.count(name)} times" for name in ORDER if names.count(name) != 1]
    places = [names.index(name) for name in ORDER if name in names]
    if places != sorted(places):
        found.append(f"the order was {sorted(ORDER, key=names.index)}")
    for name in ("remote-filesystems", "all-swaps", "static-network-up", "not-container"):
        if names.count(name) != 1:
            found.append(f"{name} was emitted {names.count(name)} times")
    if "remote-filesystems" in names and not (
        names.index("virtual-filesystems") < names.index("remote-filesystems") < names.index("filesystem")
    ):
        found.append("remote-filesystems is out of its place")
    mounts = [(event.name, event.env["MOUNTPOINT"]) for event in events if event.name in ("mounting", "mounted")]
    for name, place in mounts:
        if mounts.count((name, place)) != 1 and place != "none":
            found.append(f"{name} {place} was emitted {mounts.count((name, place))} times")
    for _, place in mounts:
        if ("mounting", place) in mounts and mounts.index(("mounting", place)) > mounts.index(("mounted", place)):
            found.append(f"{place} was mounted before mounting")
    if names[:1] != ["startup"] or "not-container" not in names[:4]:
        found.append(f"it began with {names[:4]}")
    return found


def noted(text: str) -> list[Noted]:
    """The events of a record."""
    return [Noted(line) for line in text.splitlines()]


def judge(vm: Machine) -> None:
    """MachineError unless all that was emitted is as upstart-events(7) has it."""
    events = noted(vm.command(f"cat {NOTES}"))
    exported = set(vm.command("sed -n 's/^export //p' /etc/init/*.conf").split())
    problems = order_of(events)
    for event in events:
        tried = [wrong_with(event, row, exported) for row in rows_of(event)]
        if not tried:
            problems.append(f"{event.name}, emitted by {event.who!r}, is not on the page")
        elif all(tried):
            problems += tried[0]
    require(not problems, "\n".join(dict.fromkeys(problems)))


def events(lab: Lab) -> None:
    """What a boot to runlevel 2 emits, with a disk beside the root."""
    disk = lab.disk()
    note(disk)
    data = lab.data_disk(disk)
    with lab.machine([disk, data]) as vm:
        vm.log_in(PATIENCE)
        must_be_at_rest(vm)
        vm.command("udevadm settle; sleep 2")
        judge(vm)


def note(disk: Disk) -> None:
    """Has the init on `disk` note what it emits."""
    disk.write(QUEUE, disk.read(QUEUE) + NOTE)


ROWS: dict[str, Callable[[Lab], None]] = {"events": events}
