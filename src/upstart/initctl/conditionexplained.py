"""What the condition of a job waits for, in a few lines: what of it has come, what is missing, and who could emit that.

What is always true here: every sentence follows from init's account of the job and from the history; where these do not
tell, that is said.
"""

from __future__ import annotations

from upstart.base.emitters import NO_EVENTS, emitter_of
from upstart.base.names import JOB_EVENTS
from upstart.base.slips import event_meant
from upstart.client.story import shown
from upstart.client.words import NAMES, clock, event_name, listed, times, who
from upstart.initctl.condition import Leaf, leaves_of, needed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.client.story import Story


class Conditions:
    """Explains those of one job; ``say`` (text, depth) is given each line, ``manual`` is the ``FILE:LINE`` that keeps
    events from starting it."""

    __slots__ = ("_account", "_job", "_manual", "_say", "_story")

    def __init__(
        self, account: dict[str, Any], story: Story, say: Callable[[str, int], object], manual: str
    ) -> None:
        self._account = account
        self._job: str = account["job"]
        self._story = story
        self._say = say
        self._manual = manual

    def _at(self, at: float) -> str:
        return clock(self._story.wall(at))

    def start(self) -> None:
        """What starts the job, and what of that has come."""
        rpn = self._account["start_on"]
        if rpn is None:
            self._say("What it waited for is not in a saved history.", 1)
            return
        if not rpn:
            override = self._account["override"]
            where = ""
            if self._manual:
                where = f", for {self._manual} says 'manual' ('initctl cat {self._job}' shows its lines)"
            elif override:
                where = f"; {override} is its override ('initctl cat {self._job}' shows what both make of it)"
            self._say(f"It has no 'start on'{where}: it starts only when somebody asks for it, "
                      f"as by 'initctl start {self._job}'.", 1)  # fmt: skip
            return
        if self._account["ending"]:
            self._say("The machine ends: nothing starts that is no part of that.", 1)
        self.half(rpn, self._account["met"], "start on", self._account["emitters"])

    def half(
        self, rpn: list[list[str]], met: list[list[int]], what: str, emitters: list[dict[str, Any]] | None = None
    ) -> None:
        """A condition, with the events that have met a part of it; ``emitters`` are who could emit each of the rest."""
        leaves = leaves_of(rpn)
        by = {place: serial for place, serial in met}
        self._say(f"{what.capitalize()} {needed(rpn)}:" if len(leaves) > 1 else f"It waits for {leaves[0].text} "
                  f"('{what}'):", 1)  # fmt: skip
        for place, leaf in enumerate(leaves):
            serial = by.get(place)
            if serial is not None:
                event = self._account["events"].get(str(serial))
                text = event_name(event["name"], event["env"]) if event is not None else leaf.text
                when = f" at {self._at(event['at'])}" if event is not None else ""
                known = self._story.events.get(serial)
                by_whom = f", by {who(known.by, self._story)}" if known is not None and known.by != "job" else ""
                self._say(f"has come: {text}{when}{by_whom}", 2)
            else:
                self._missing(leaf, emitters[place] if emitters is not None and place < len(emitters) else None)

    def _missing(self, leaf: Leaf, emitters: dict[str, Any] | None) -> None:
        came = [event for event in self._story.by_name.get(leaf.name, ()) if leaf.name not in JOB_EVENTS]
        if leaf.name in JOB_EVENTS:
            self._missing_of_job(leaf, emitters)
            return
        text = f"is missing: {leaf.text}"
        fitting = [event for event in came if leaf.fits(event.env)]
        if fitting:
            last = fitting[-1]
            started = any(goal.of[1] == self._job and goal.goal == "start" for goal in self._story.caused(last.serial))
            then = " and started it then" if started else ""
            text += f"; it came last at {self._at(last.at)}{then}: it has to come again"
        elif came:
            last = came[-1]
            text += f"; {leaf.name} came {times(len(came))}, last as '{event_name(leaf.name, last.env)}', "
            text += "which does not fit"
        else:
            since = "" if not self._story.gap else f" since {self._at(self._story.beginning)}, when the history begins"
            text += f"; it has not been emitted{since}"
        self._say(text, 2)
        known = emitter_of(leaf.name)
        jobs = emitters["emits"] if emitters is not None else []
        if jobs:
            self._say(f"by their files {listed(jobs, 'job')} emit{'s' if len(jobs) == 1 else ''} it", 3)
        if known:
            self._say(f"it comes from {known}", 3)
        elif leaf.name in NO_EVENTS and not came:
            self._say(f"nothing emits an event of that name; what is meant may be '{NO_EVENTS[leaf.name]}'", 3)
        elif not jobs and not came and (meant := event_meant(leaf.name)):
            self._say(f"nothing is known to emit an event of that name; what is meant may be '{meant}'", 3)
        elif not jobs and not came:
            self._say("no job says that it emits it, and no page of the manual: whoever does is not known", 3)

    def _missing_of_job(self, leaf: Leaf, emitters: dict[str, Any] | None) -> None:
        self._say(f"is missing: {leaf.text}", 2)
        standing = emitters["jobs"] if emitters is not None else None
        if standing is None:
            return
        named = leaf.job
        if not standing:
            self._say(f"there is no job {named}" if named else "there is no such job", 3)
            return
        for job, instance, goal, state in standing[:NAMES]:
            name = shown((None, job, instance))
            up = (goal, state) == ("start", "running")
            down = (goal, state) == ("stop", "waiting")
            if leaf.name in ("started", "starting") and up:
                self._say(f"{name} runs already: the event comes when it is started the next time", 3)
            elif leaf.name in ("stopping", "stopped") and down:
                self._say(f"{name} does not run: the event comes when it has been started, and stops", 3)
            elif down:
                self._say(f"{name} does not run ('initctl explain {job}' says why)", 3)
            elif up:
                self._say(f"{name} runs: the event comes when it stops", 3)
            else:
                self._say(f"{name} is on its way, {goal}/{state} ('initctl explain {job}')", 3)
