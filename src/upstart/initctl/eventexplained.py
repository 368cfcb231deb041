"""What became of an event, and who waits for it, in a few lines."""

from __future__ import annotations

from upstart.base.emitters import emitter_of
from upstart.base.names import JOB_EVENTS
from upstart.base.slips import event_meant
from upstart.client.story import shown
from upstart.client.words import clock, duration, event_name, times, who
from upstart.initctl.context import CHANGING, NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.story import Emitted, Story

    #: Job, whether by its ``start on``, event, tests: as init's AwaitedBy answers.
    Awaited = tuple[str, bool, str, list[str]]

#: Events of a name that are told of, the last ones, and jobs in a line.
LAST = 3
NAMES = 12


def explain_event(
    name: str, story: Story, account: dict[str, Any], awaited: list[Awaited] | None, emits: list[str]
) -> tuple[list[str], int]:
    """The lines, and the exit status: `NOTHING` where it was never emitted, `CHANGING` while one is in progress.

    ``account`` is that of all that is not at rest, ``emits`` are the jobs whose files say that they emit it; of a
    history alone neither is known, nor who waits for it: ``awaited`` is None.
    """
    came = story.by_name.get(name, [])
    lines: list[str] = []
    status = 0
    if not came:
        status = NOTHING
        since = f" since {clock(story.wall(story.beginning))}, when the history begins" if story.gap else ""
        lines.append(f"{name} has not been emitted{since}.")
    else:
        known = ", as far as the history goes back" if story.gap else ""
        lines.append(f"{name} has been emitted {times(len(came))}{known}.")
    if name in JOB_EVENTS:
        lines.append("  Events of jobs are told of only where something was waiting for them.")
    for event in came[-LAST:]:
        lines += _one(event, story, account)
        if event.serial in story.history.unfinished:
            status = CHANGING
    for starts, what in ((True, "start on it"), (False, "stop on it")):
        jobs = list(dict.fromkeys([job for job, start, _, _ in awaited or () if start == starts]))
        if jobs:
            lines.append(f"  Jobs that {what}: {_listed(jobs)}.")
    if awaited is None:
        lines.append("  Which jobs waited for it is not in a saved history.")
    elif not awaited:
        lines.append("  No job waits for it.")
    if emits:
        lines.append(f"  Jobs whose files say that they emit it: {_listed(emits)}.")
    known = emitter_of(name)
    if known:
        lines.append(f"  It comes from {known}.")
    elif not emits and not came:
        meant = event_meant(name)
        lines.append(f"  Nobody is known to emit it{f'; what is meant may be {meant!r}' if meant else ''}.")
    return lines, status


def _one(event: Emitted, story: Story, account: dict[str, Any]) -> list[str]:
    text = f"  {clock(story.wall(event.at))}  {event_name(event.name, event.env)}, emitted by {who(event.by, story)}"
    unfinished = event.serial in story.history.unfinished
    if unfinished:
        text += f"; it is in progress, for {duration(max(0.0, story.history.clock - event.at))}"
    elif event.done is not None:
        text += f"; finished after {duration(event.done - event.at)}"
        if event.failed:
            text += ", and something failed over it"
    lines = [text]
    goals = story.caused(event.serial)
    for goal in ("start", "stop"):
        names = [shown(each.of) for each in goals if each.goal == goal]
        if names:
            lines.append(f"    it {'started' if goal == 'start' else 'stopped'} {_listed(names)}")
    half = [shown(of) for _, of, _, serial in story.half if serial == event.serial]
    if half:
        lines.append(f"    it met a part of the conditions of {_listed(list(dict.fromkeys(half)))}")
    if unfinished:
        holders = account["events"].get(str(event.serial), {}).get("holders", [])
        for holder in holders:
            if holder[0] == "half":
                lines.append(f"    held by {shown((None, holder[1], holder[2]))}, whose condition is met by half")
            else:
                lines.append(f"    held by {shown((None, holder[1], holder[2]))}, {holder[3]}/{holder[4]}")
        if not holders:
            lines.append("    by whom it is held is not known")
    return lines


def _listed(names: list[str]) -> str:
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
