"""Times, events, causes and ends of processes in plain words, as every command that explains says them."""

from __future__ import annotations

import time

from upstart.base.expect import EXPECT_SECONDS, EXPECTED
from upstart.base.names import JOB_EVENTS, JOB_VARIABLES
from upstart.base.signals import signal_name
from upstart.client.story import events_of, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.story import Emitted, Goal, Step, Story

#: Variables of an event that are shown, characters of one's value, and names in a line.
SHOWN = 4
LONG = 40
NAMES = 6


def clock(wall: float, now: float | None = None) -> str:
    """A time of day; with its date where that is not today's."""
    today = time.localtime(now if now is not None else time.time())
    then = time.localtime(wall)
    format = "%H:%M:%S" if then[:3] == today[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(format, then)


def duration(seconds: float) -> str:
    """How long something took."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 2 * 86400:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{int(seconds // 86400)} days {int(seconds % 86400 // 3600)} h"


def ordinal(number: int) -> str:
    """Which one in a row."""
    if number <= 3:
        return ("first", "second", "third")[max(number, 1) - 1]
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def times(count: int) -> str:
    """How often."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def listed(names: list[str], what: str = "") -> str:
    """Names in a line, `NAMES` at most, behind what they are names of."""
    more = len(names) - NAMES
    text = ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"the {what}{'' if len(names) == 1 else 's'} {text}" if what else text


def event_name(name: str, env: dict[str, Any]) -> str:
    """An event with those of its variables that tell something."""
    words = [name]
    if name in JOB_EVENTS and env.get("JOB"):
        words.append(str(env["JOB"]))
        if env.get("INSTANCE"):
            words.append(f"INSTANCE={env['INSTANCE']}")
        if env.get("RESULT") == "failed":
            words.append("RESULT=failed")
        env = {key: value for key, value in env.items() if key not in JOB_VARIABLES}
    for key, value in list(env.items())[:SHOWN]:
        if value is not None:
            words.append(f"{key}={value if len(value) <= LONG else value[:LONG] + '...'}")
    return " ".join(words)


def who(by: Any, story: Story | None = None) -> str:
    """Who emitted an event, or asked for something, behind the word "by"."""
    if by is None:
        return "init itself"
    if by == "job":
        return "init, for that job"
    if isinstance(by, int):
        event = story.events.get(by) if story is not None else None
        return f"init, since something failed over {event.name if event is not None else 'another event'}"
    if by[0] == "fifo":
        return "whoever wrote it to /run/upstart/events"
    _, uid, pid, program, parent, of = by
    if uid is None:
        return "somebody on the bus"
    user = "root" if uid == 0 else f"uid {uid}"
    text = f"{program or 'a process'} ({f'pid {pid}, ' if pid else ''}{user})"
    if parent and parent != program:
        text += f", called by {parent}"
    if of:
        text += f", of the job {shown((of[0], of[1], of[2]))}"
    return text


def end_of(status: int | None) -> str:
    """How a process ended."""
    if status is None:
        return "ended, it is not known how"
    if status & ~0xFF:
        name = signal_name(status >> 8)
        return f"was killed by signal {name}" if name.isdigit() else f"was killed by SIG{name}"
    return "ended with status 0" if status == 0 else f"failed with status {status}"


def yet_to_be(expect: str, pid: int, job: str) -> str:
    """What a job with ``expect`` waits for in its main process, and what ends that."""
    return (
        f"It says 'expect {expect}': process {pid} has yet to {EXPECTED[expect]}. {EXPECT_SECONDS} s after its start "
        f"it counts as running all the same; 'initctl stop {job}' would end that before."
    )


def never_was(expect: str, pid: int) -> str:
    """That a job runs though its main process has not done what ``expect`` says."""
    other = " or, where it forks twice, with 'expect daemon'" if expect == "fork" else ""
    return (
        f"It says 'expect {expect}', but process {pid} was not seen to {EXPECTED[expect]}, and counts as running after "
        f"{EXPECT_SECONDS} s without that: start it without 'expect'{other}."
    )


def left_nothing(expect: str, pid: int) -> str:
    """That the main process has ended well where ``expect`` has a daemon follow."""
    return (
        f"It says 'expect {expect}': its main process ({pid}) was waited for to {EXPECTED[expect]}, and has ended with "
        f"no daemon left behind. A program that ends by itself, or works without a fork, needs no 'expect'."
    )


def cause_of(goal: Goal, story: Story) -> str:
    """Why an instance was to start or stop."""
    cause = goal.cause
    serials = events_of(cause)
    if serials:
        known = [story.events[serial] for serial in serials if serial in story.events]
        if not known:
            return "by events that are forgotten"
        text = "by " + " and ".join(dict.fromkeys([event_name(event.name, event.env) for event in known]))
        return text if len(known) == len(serials) else text + " and others that are forgotten"
    if isinstance(cause, list):
        return f"on request of {who(cause)}"
    return {
        "ended": "because it has done its work",
        "failed": "because it failed",
        "respawn": "to begin anew",
        "session": "because the session ends",
        "shutdown": "because everything is to stop",
        "mended": "after a fault in init",
    }.get(cause, "by init itself")


def step_text(step: Step, story: Story) -> str:
    """One step on the way back."""
    goal = step.goal
    assert goal is not None
    verb = "was started" if goal.goal == "start" else "was stopped"
    text = f"{shown(goal.of)} {verb} {cause_of(goal, story)}"
    event = step.event
    if event is not None and event.by != "job":
        text += f", emitted by {who(event.by, story)}"
    return text


def emitted_text(event: Emitted, story: Story) -> str:
    """An event, when it came and from whom."""
    return f"{clock(story.wall(event.at))}  {event_name(event.name, event.env)}, emitted by {who(event.by, story)}"
