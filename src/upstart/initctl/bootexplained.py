"""What of the boot, or of all that was to happen, is still not there, and what it waits for."""

from __future__ import annotations

from upstart.client.story import shown
from upstart.client.words import clock, duration, event_name
from upstart.initctl.condition import leaves_of
from upstart.initctl.context import CHANGING, FAILED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from upstart.client.story import Story

    Account = dict[str, Any]

#: Of each kind.
MOST = 20


def explain_boot(account: Account, story: Story, errors: Sequence[str]) -> tuple[list[str], int]:
    """The lines, and the exit status: `CHANGING` while something is on its way, `FAILED` where something has failed.

    ``errors`` is what is wrong with files of jobs, ``FILE:LINE: text`` each.
    """
    now: float = account["clocks"][0]
    lines: list[str] = []
    begins = [at for at, what in story.begins if what in ("boot", "session")]
    if begins:
        lines.append(f"Began at {clock(story.wall(begins[0]))}, {duration(now - begins[0])} ago.")
    else:
        lines.append("When it began is not known: init has lost its history since.")
    if account["ending"]:
        lines.append("The machine ends.")
    levels = story.by_name.get("runlevel", [])
    if levels:
        lines.append(f"Runlevel {levels[-1].env.get('RUNLEVEL') or '?'} since {clock(story.wall(levels[-1].at))}.")
    elif begins:
        lines.append("No runlevel has been entered.")
    moving = account["moving"]
    if moving:
        lines.append(f"On {'its' if len(moving) == 1 else 'their'} way:")
        for instance in _in_order(moving)[:MOST]:
            lines.append("  " + _moving(instance, account, story, now))
    else:
        lines.append("Nothing is on its way.")
    holding = [each for each in account["half"] if _holds_somebody(each, account, story)]
    if holding:
        lines.append("Conditions that are met by half, and so hold events that others wait for:")
        lines += ["  " + _half(each, account, story) for each in holding[:MOST]]
    waiting = [each for each in account["half"] if each not in holding and not each.get("up")]
    if waiting:
        lines.append("Not started, for only a part of their start condition has come:")
        lines += ["  " + _half(each, account, story) for each in waiting[:MOST]]
        if len(waiting) > MOST:
            lines.append(f"  and {len(waiting) - MOST} more")
    if errors:
        lines.append("Files with an error; a job of which there is no other file is unknown until it is mended:")
        lines += [f"  {text}" for text in errors[:MOST]]
        if len(errors) > MOST:
            lines.append(f"  and {len(errors) - MOST} more (initctl check-config)")
    failures = _standing_failures(account, story)
    if failures:
        lines.append("Failed, and not run since:")
        lines += [f"  {text}" for text in failures[:MOST]]
        if len(failures) > MOST:
            lines.append(f"  and {len(failures) - MOST} more (initctl list --failed)")
    return lines, CHANGING if moving else FAILED if failures or errors else 0


def _in_order(moving: list[Account]) -> list[Account]:
    """Those first that wait for no other."""
    return sorted(moving, key=lambda instance: (instance["blocker"] is not None, instance["since"]))


def _moving(instance: Account, account: Account, story: Story, now: float) -> str:
    name = shown((None, instance["job"], instance["name"]))
    since = f" for {duration(max(0.0, now - instance['since']))}" if instance["since"] else ""
    text = f"{name} {instance['goal']}/{instance['state']}{since}"
    if instance["pids"]:
        text += ", " + ", ".join(f"{process} process {pid}" for process, pid in instance["pids"].items())
    if instance["blocker"] is not None:
        event = account["events"].get(str(instance["blocker"]))
        if event is not None:
            holders = [
                shown((None, holder[1], holder[2])) + (" (condition met by half)" if holder[0] == "half" else "")
                for holder in event["holders"]
            ]
            text += f", waits for {', '.join(holders) or 'its event to finish'}"
    elif instance["task"] and instance["state"] == "running":
        text += ", at work"
    waited_for = story.waited_for((None, instance["job"], instance["name"]))
    if waited_for:
        text += f", may wait for {' and '.join(event_name(event.name, event.env) for event in waited_for)} to finish"
    goal = story.last_goal((None, instance["job"], instance["name"]), instance["goal"])
    if goal is not None and isinstance(goal.cause, list):
        events = [story.events[serial] for serial in goal.cause if serial in story.events]
        if events:
            text += f"; {'started' if instance['goal'] == 'start' else 'stopped'} by "
            text += " and ".join([event_name(event.name, event.env) for event in events])
    return text


def _holds_somebody(half: Account, account: Account, story: Story) -> bool:
    """Whether an event that has met the condition blocks an instance, or one whose process has emitted it."""
    blockers = {instance["blocker"] for instance in account["moving"]}
    for instance in account["moving"]:
        blockers.update([event.serial for event in story.waited_for((None, instance["job"], instance["name"]))])
    return any(serial in blockers for _, serial in half["met"])


def _half(half: Account, account: Account, story: Story) -> str:
    leaves = leaves_of(half["start_on"])
    met = dict(half["met"])
    missing = [leaf.text for place, leaf in enumerate(leaves) if place not in met]
    events = [account["events"].get(str(serial)) for serial in met.values()]
    names = [
        f"{event_name(event['name'], event['env'])} at {clock(story.wall(event['at']))}"
        for event in events
        if event is not None
    ]
    return f"{half['job']} has {' and '.join(names)}; missing: {', '.join(missing)}"


def _standing_failures(account: Account, story: Story) -> list[str]:
    found = []
    for session, job, instance, text in account["failures"]:
        if session is not None:
            continue
        of = (None, job, instance)
        start, failed = story.last_goal(of, "start"), story.failures.get(of)
        if start is not None and failed and start.at > failed[-1][0]:
            continue
        when = f"{clock(story.wall(failed[-1][0]))}  " if failed else ""
        found.append(f"{when}{text}")
    return found
