"""What mountall would do, and what it waits for, in words and as JSON.

What is always true here: nothing but a plan or a state that was written down is looked at, and neither is changed. The
text is for people and may change; the names in the JSON stay.
"""

from __future__ import annotations

from upstart.mounts.core import EVENTS
from upstart.mounts.reducer import Reducer
from upstart.mounts.state import (
    AGAIN,
    ANNOUNCED,
    BUSY,
    CHECKING,
    FAILED,
    MOUNTING,
    OVER,
    begin,
)
from upstart.mounts.waiting import Waiting, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.mounts.plan import Plan
    from upstart.mounts.values import Entry


def plan_text(plan: Plan) -> str:
    """A line for each entry, what it waits for below it, and what is wrong at the end."""
    looked_at = Waiting(begin(plan))
    rows = [(looked_at.title(each.number), each.kind, each.type, each.device, each.given) for each in plan.entries]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = []
    for entry, row in zip(plan.entries, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[4]]).rstrip())
        lines += [f"    {note}" for note in notes(looked_at, entry)]
    return "".join(f"{printable(line)}\n" for line in [*lines, *plan.problems])


def notes(looked_at: Waiting, entry: Entry) -> list[str]:
    """What there is to say of an entry before anything has happened."""
    item = looked_at.items[entry.number]
    found = [entry.origin]
    if item.change:
        found.append("is mounted, and will be mounted again with these options")
    elif item.there and entry.origin != "mounted":
        found.append("is mounted")
    if entry.essential:
        found.append("is essential")
    if looked_at.wants_check(entry):
        found.append("is checked")
    if entry.through >= 0:
        found.append(f"shows through {looked_at.title(entry.through)}")
    if entry.retry == "directory":
        found.append("waits for the kernel to have it")
    said = [", ".join(found)]
    names = [entry.needs] if entry.needs and not item.there else []
    names += [looked_at.title(number) for number in entry.after]
    if names:
        said.append(f"after {listed(names)}")
    if entry.limit is not None:
        said.append(f"is waited for {entry.limit:g} seconds" if entry.limit else "is waited for without a limit")
    return said


def plan_json(plan: Plan) -> str:
    looked_at = Waiting(begin(plan))
    entries = []
    for entry in plan.entries:
        item = looked_at.items[entry.number]
        entries.append({
            "mountpoint": entry.mountpoint, "device": entry.device, "type": entry.type, "options": entry.options,
            "mount_options": entry.given, "pass": entry.passno, "kind": entry.kind, "origin": entry.origin,
            "after": [looked_at.title(number) for number in entry.after],
            "only_ordered_after": [looked_at.title(number) for number in entry.loose],
            "needs_device": entry.needs or None, "made_of": entry.holder or None, "limit": entry.limit,
            "essential": entry.essential, "checked": looked_at.wants_check(entry), "mounted": item.there,
            "remounted": item.change, "retried_for": entry.retry or None,
        })  # fmt: skip
    return as_json({"entries": entries, "problems": list(plan.problems)})


def status_text(data: dict[str, Any], now: float, running: bool) -> str:
    """What a mountall whose state was written down waits for; ``now`` is of CLOCK_BOOTTIME."""
    looked_at = at(data, now)
    lines = [headline(looked_at, running)]
    for name, kind, before in EVENTS:
        lines.append(f"{name}: {event_status(looked_at, name, kind, before)}")
    for entry in looked_at.entries:
        if looked_at.items[entry.number].phase not in OVER:
            lines.append(f"{looked_at.title(entry.number)} ({entry.origin}): {why(looked_at, entry)}")
    return "".join(f"{printable(line)}\n" for line in lines)


def status_json(data: dict[str, Any], now: float, running: bool) -> str:
    looked_at = at(data, now)
    entries = []
    for entry in looked_at.entries:
        item = looked_at.items[entry.number]
        deadline = looked_at.deadline(entry.number) if entry.number in looked_at.causes else None
        entries.append({
            "mountpoint": entry.mountpoint, "device": item.path or entry.device, "type": item.type or entry.type,
            "kind": entry.kind, "origin": entry.origin, "phase": item.phase, "check": item.check,
            "skipped": item.skipped, "why": None if item.phase in OVER else why(looked_at, entry),
            "waits_for": [looked_at.title(number) for number in blockers(looked_at, entry)],
            "seconds_left": None if deadline is None else max(0.0, round(deadline - now, 3)),
        })  # fmt: skip
    sent = looked_at.facts.sent
    return as_json({
        "running": running, "late": looked_at.facts.late, "ending": looked_at.facts.ending,
        "events": {name: name in sent for name, _, _ in EVENTS}, "entries": entries,
    })  # fmt: skip


def at(data: dict[str, Any], now: float) -> Reducer:
    looked_at = Reducer.load(data)
    looked_at.now = now
    return looked_at


def headline(looked_at: Reducer, running: bool) -> str:
    if running:
        return "mountall is running, for what was left over" if looked_at.facts.late else "mountall is running"
    return "mountall has ended" if looked_at.facts.ended else "mountall was killed"


def event_status(looked_at: Reducer, name: str, kind: str, before: tuple[str, ...]) -> str:
    """Whether an event of all file systems was emitted, or what it waits for."""
    if name in looked_at.facts.sent:
        return "emitted"
    names = [each for each in before if each not in looked_at.facts.sent]
    for entry in looked_at.entries:
        if entry.kind == kind and looked_at.is_counted(entry.number):
            names.append(looked_at.title(entry.number))
    return f"waits for {listed(names)}" if names else "is about to be emitted"


def blockers(looked_at: Reducer, entry: Entry) -> list[int]:
    """The entries that one waits for."""
    numbers = (*entry.after, *looked_at.items[entry.number].more)
    return [number for number in numbers if not looked_at.lets_go(number, entry)]


def why(looked_at: Reducer, entry: Entry) -> str:
    """Why an entry is not mounted and announced yet."""
    number, item = entry.number, looked_at.items[entry.number]
    said = reason(looked_at, entry)
    if item.skipped:
        return f"{said}; nothing waits for it any more"
    deadline = looked_at.deadline(number) if number in looked_at.causes else None
    if deadline is None:
        return said
    then = "a shell follows" if looked_at.ends_in_shell((number,)) else "it is left out"
    return f"{said}; in {max(0, round(deadline - looked_at.now))} seconds {then}"


def reason(looked_at: Reducer, entry: Entry) -> str:
    number, item = entry.number, looked_at.items[entry.number]
    if item.phase == MOUNTING:
        return "waits for the jobs that its event mounting has started"
    if item.phase == ANNOUNCED:
        return "is mounted; waits for the jobs that its event mounted has started"
    if item.phase == BUSY:
        return "is being made ready" if entry.type == "swap" else "is being mounted"
    if item.phase == FAILED:
        return looked_at.failure(number)
    if item.phase == AGAIN:
        seconds = max(0, round((item.retry_at or looked_at.now) - looked_at.now))
        return f"{item.words}; is tried again in {seconds} seconds"
    parts = []
    if number in looked_at.causes or (entry.needs and not item.path and not item.there):
        parts.append(looked_at.reason(number))
    elif item.check == CHECKING:
        parts.append("is being checked" + (f", {item.progress} %" if item.progress >= 0 else ""))
    else:
        guards = [guard for guard in sorted(looked_at.guards[number]) if looked_at.may_be_checked(guard)]
        if guards and looked_at.wants_check(entry):
            parts.append(f"is checked after {listed([looked_at.title(guard) for guard in guards])}")
    names = [looked_at.title(other) for other in blockers(looked_at, entry)]
    if names:
        parts.append(f"waits for {listed(names)}")
    if entry.retry == "directory" and not item.appeared:
        parts.append("waits for the kernel to have it")
    return "; ".join(parts) or "is about to be mounted"


def printable(text: str) -> str:
    """Text that can be written whatever bytes a name has: those that are no text as their octal numbers."""
    if text.isprintable():
        return text
    shown = []
    for character in text:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            shown.append(f"\\{code - 0xDC00:03o}")
        elif code < 0x20 or code == 0x7F:
            shown.append(f"\\{code:03o}")
        else:
            shown.append(character)
    return "".join(shown)


def as_json(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document, indent=2) + "\n"
