"""Why a job runs, or does not, in a few lines: from init's account of it (docs/dbus-extension.md) and the history.

What is always true here: every sentence follows from what init said; where it does not know, that is said.
"""

from __future__ import annotations

from upstart.base.expect import EXPECT_SECONDS
from upstart.base.signals import signal_name
from upstart.client.story import shown
from upstart.client.words import (
    NAMES,
    cause_of,
    clock,
    duration,
    end_of,
    event_name,
    left_nothing,
    listed,
    never_was,
    step_text,
    times,
    yet_to_be,
)
from upstart.initctl.conditionexplained import Conditions
from upstart.initctl.context import CHANGING, FAILED, NOTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.client.story import Goal, Life, Of, Story

    Account = dict[str, Any]

#: Steps back that are shown.
STEPS = 8
#: What is done in a state, where a process is waited for.
_PROCESS_OF = {
    "security": "security", "pre-start": "pre-start", "spawned": "main", "post-start": "post-start",
    "pre-stop": "pre-stop", "killed": "main", "post-stop": "post-stop",
}  # fmt: skip


class Explainer:
    """Explains one job; ``log`` gives the path of the log of an instance, where it has one;
    ``manual`` is the ``FILE:LINE`` that keeps events from starting it.

    ``lines`` is what it has come to, ``status`` what a script is told.
    """

    def __init__(
        self,
        account: Account,
        story: Story,
        log: Callable[[str, str], str | None],
        manual: str = "",
    ) -> None:
        self.account = account
        self.story = story
        self._log = log
        self.lines: list[str] = []
        self.status = 0
        self.job: str = account["job"]
        self.now: float = account["clocks"][0]
        #: Whether all there is to know is in a saved history.
        self._saved = account["start_on"] is None
        self._conditions = Conditions(account, story, self._say, manual)

    def explain(self, instance: str | None) -> None:
        """All instances, or that of this name."""
        found = [each for each in self.account["instances"] if instance in (None, each["name"])]
        for each in found[:NAMES]:
            self._instance(each)
        if len(found) > NAMES:
            self._say(f"{self.job} has {len(found) - NAMES + self.account['more']} more instances: name one of them")
        if not found:
            self._stopped(instance)
        elif self.account["instance_name"] and instance is None:
            self._conditions.start()
        self._definition()

    def _say(self, text: str, depth: int = 0) -> None:
        self.lines.append("  " * depth + text)

    def _since(self, at: float) -> str:
        if not at:
            return "since before the history begins"
        return f"since {clock(self.story.wall(at))} ({duration(max(0.0, self.now - at))})"

    def _at(self, at: float) -> str:
        return clock(self.story.wall(at))

    def _of(self, instance: str | None) -> Of:
        for of in self.story.goals:
            if of[1] == self.job and of[2] == instance:
                return of
        return None, self.job, instance

    # One that is there

    def _instance(self, instance: dict[str, Any]) -> None:
        name = f"{self.job} ({instance['name']})" if instance["name"] else self.job
        goal, state = instance["goal"], instance["state"]
        pids = ", ".join(f"{process} process {pid}" for process, pid in instance["pids"].items())
        if (goal, state) == ("start", "running"):
            what = "is at work" if self.account["task"] else "runs"
            self._say(f"{name} {what} {self._since(instance['since'])}{', ' + pids if pids else ''}.")
            pid = instance["pids"].get("main")
            waited = self.now - instance["began"].get("main", self.now) > EXPECT_SECONDS
            if waited and pid in self._forkless(instance["name"]):
                self._say(never_was(self.account["expect"], pid), 1)
        else:
            self.status = CHANGING
            verb = {"start": "is starting", "respawn": "is to be respawned"}.get(goal, "is stopping")
            self._say(f"{name} {verb}: {state} {self._since(instance['since'])}{', ' + pids if pids else ''}.")
            self._waits(instance)
        for event in self.story.waited_for(self._of(instance["name"]))[:NAMES]:
            name = event_name(event.name, event.env)
            self._say(f"It has emitted {name}, which is in progress; its process may wait for that "
                      f"('initctl explain {event.name}' says who holds it).", 1)  # fmt: skip
        self._why(instance)
        self._troubles(instance)
        self._holds(instance["name"])
        if instance["met"]:
            self._conditions.half(self.account["stop_on"], instance["met"], "stop on")

    def _forkless(self, instance: str) -> list[int]:
        """Main processes that 'expect' has fork, and that have become no other; of what is not known, none."""
        if self.account["expect"] not in ("fork", "daemon") or self.account["pending"]:
            return []
        lives = self.story.lives.get(self._of(instance), [])
        return [each.pid for each in (lives[-1].processes if lives else ()) if each.name == "main" and not each.became]

    def _why(self, instance: dict[str, Any]) -> None:
        of = self._of(instance["name"])
        goal = self.story.last_goal(of, "stop" if instance["goal"] == "stop" else "start")
        if goal is not None:
            self._chain(goal)
        elif instance["goal"] == "start" and instance["start_events"]:
            events = instance["start_events"].replace(" ", " and ")
            self._say(f"It was started by {events}; the history does not go back that far.", 1)
        elif instance["cause"] is None and not instance["goal_since"]:
            self._say("It ran already when the history began: what has started it is not known.", 1)
        else:
            self._say("What has led to that is not in the history any more.", 1)

    def _chain(self, goal: Goal) -> None:
        steps = self.story.back(goal)
        for step in steps[:STEPS]:
            self._say(f"{self._at(step.at)}  {step_text(step, self.story)}", 1)
        if len(steps) > STEPS:
            self._say(f"and so on, {len(steps) - STEPS} steps more (initctl critical-chain {self.job})", 1)

    def _waits(self, instance: dict[str, Any]) -> None:
        """What keeps an instance in a state that it is to leave, and what would end that."""
        state = instance["state"]
        blocker = instance["blocker"]
        if blocker is not None:
            self._blocked(instance, self.account["events"].get(str(blocker)))
            return
        process = _PROCESS_OF.get(state)
        if process is None:
            self._say("Whom it waited for is not in a saved history." if self._saved else "It goes on at once.", 1)
            return
        pid = instance["pids"].get(process)
        if pid is None:
            if process in instance["unready"]:
                self._say(f"Its {process} process is yet to be started: there may be no memory or no process left.", 1)
            return
        if state == "killed":
            sent = self._signalled(instance["name"], pid)
            due = instance["timers"].get(f"kill:{process}")
            text = f"Its {process} process {pid} was sent {sent or 'its kill signal'} and has not ended"
            if due is not None:
                text += f"; it is killed by SIGKILL in {duration(max(0.0, due - self.now))}"
            self._say(text + ".", 1)
            return
        if state == "spawned":
            expect = self.account["expect"]
            if "main" in instance["unready"]:
                self._say(f"Process {pid} is there and has yet to execute its program.", 1)
            elif expect != "none":
                self._say(yet_to_be(expect, pid, self.job), 1)
            return
        began = instance["began"].get(process)
        text = f"It waits for its {process} process {pid}"
        if began is not None:
            text += f", which has taken {duration(max(0.0, self.now - began))}"
        if not self._saved:
            text += f"; 'initctl stop --force {self.job}' would end that"
        self._say(f"{text}.", 1)

    def _blocked(self, instance: dict[str, Any], event: dict[str, Any] | None) -> None:
        if event is None:
            self._say("It waits for its event to finish; who holds that is not known.", 1)
            return
        kind = event["name"]
        when = f", emitted at {self._at(event['at'])}" if event["at"] else ""
        self._say(f"It waits for its event '{kind} {self.job}' to finish{when}. That is held by", 1)
        for holder in event["holders"]:
            if holder[0] == "half":
                self._say(f"{holder[1]}, whose condition is met by half ('initctl explain {holder[1]}' says more)", 2)
            else:
                _, job, name, goal, state = holder
                of = shown((None, job, name))
                self._say(f"{of}, {goal}/{state}: it goes on when that is done, or at 'initctl stop {job}' "
                          f"('initctl explain {job}' says more)", 2)  # fmt: skip
        if not event["holders"]:
            self._say("nobody that can be seen", 2)

    def _signalled(self, instance: str, pid: int) -> str:
        for _, entry in reversed(self.story.history.entries):
            if entry[1] == "signal" and entry[2][1] == self.job and entry[2][2] == instance and entry[4] == pid:
                name = signal_name(entry[5])
                return f"{name if name.isdigit() else 'SIG' + name} at {self._at(entry[0])}"
        return ""

    # What went wrong

    def _troubles(self, instance: dict[str, Any]) -> None:
        if instance["respawns"]:
            limit = self.account["respawn"]
            text = f"It has been respawned {times(instance['respawns'])} since it was started"
            if limit and limit[0] and limit[1]:
                text += f"; its limit is {limit[0]} in {limit[1]} s"
            self._say(text + ".", 1)
            last = self._last_end(instance["name"])
            if last:
                self._say(last, 1)
        if instance["failed"] and instance["failure"]:
            self._say(f"It has failed: {instance['failure']}", 1)
        if (instance["respawns"] or instance["failed"]) and (log := self._log(self.job, instance["name"])):
            self._say(f"Its log: {log}", 1)

    def _last_end(self, instance: str) -> str:
        lives = self.story.lives.get(self._of(instance), [])
        processes = [process for life in lives for process in life.processes if process.ended is not None]
        if not processes:
            return ""
        last = processes[-1]
        ended = last.ended or 0.0
        lived = f" after {duration(ended - last.began)}" if last.began is not None else ""
        return f"Its last {last.name} process ({last.pid}) {end_of(last.status)}{lived}, at {self._at(ended)}."

    # Whom it holds

    def _holds(self, instance: str) -> None:
        for each in self.account["held_by_it"]:
            if each["name"] != instance:
                continue
            waiting = [f"{name} {job}" if job else name for _, name, job in each["events"]]
            if waiting:
                self._say(f"Until that is done it holds {listed(waiting, 'event')}.", 1)
            if each["requests"]:
                self._say(f"{_count(len(each['requests']), 'command')} wait{'s' if len(each['requests']) == 1 else ''} "
                          f"for it ({listed(each['requests'])}).", 1)  # fmt: skip

    # One that is not there

    def _stopped(self, instance: str | None) -> None:
        name = f"{self.job} ({instance})" if instance else self.job
        lives = self._lives(instance)
        last = lives[-1] if lives else None
        failure = self._failure(instance)
        self.status = FAILED if failure else NOTHING
        if last is None:
            since = f"since the history begins, {self._at(self.story.beginning)}"
            self._say(f"{name} does not run, and has not {since}.")
        elif last.ended is not None:
            verb = "is done" if self.account["task"] and not failure else "does not run"
            self._say(f"{name} {verb}: it stopped at {self._at(last.ended)} "
                      f"({duration(max(0.0, self.now - last.ended))} ago).")  # fmt: skip
            self._last_life(last)
        else:
            self._say(f"{name} does not run.")
        if failure:
            at, text = failure
            if last is None or last.failure != text:
                self._say(f"{self._at(at)}  {text}", 1)
            if last is not None and (log := self._log(self.job, last.of[2] or "")):
                self._say(f"Its log: {log}", 1)
        self._conditions.start()

    def _lives(self, instance: str | None) -> list[Life]:
        lives = [
            life
            for of, found in self.story.lives.items()
            if of[1] == self.job and instance in (None, of[2])
            for life in found
        ]
        return sorted(lives, key=lambda life: life.ended if life.ended is not None else self.now)

    def _failure(self, instance: str | None) -> tuple[float, str] | None:
        """What failed last, unless it has run well since."""
        found = [
            failure
            for of, failures in self.story.failures.items()
            if of[1] == self.job and (instance in (None, of[2]) or of[2] is None)
            for failure in failures
        ]
        if not found:
            return None
        last = max(found)
        lives = self._lives(instance)
        started = [life.began for life in lives if life.began is not None and life.began > last[0]]
        return None if started else last

    def _last_life(self, life: Life) -> None:
        if life.stop is not None:
            if life.stop.cause not in ("ended", "failed"):
                self._chain(life.stop)
            elif life.stop.cause == "ended" and life.start is not None:
                self._say(f"It had done its work. It {_started(life.start, self.story)} "
                          f"at {self._at(life.start.at)}.", 1)  # fmt: skip
        if life.failure:
            self._say(f"It failed: {life.failure}", 1)
            last = [each for each in life.processes if each.name == "main" and each.ended is not None][-1:]
            if life.up is None and last and not last[0].status and last[0].pid in self._forkless(life.of[2] or ""):
                self._say(left_nothing(self.account["expect"], last[0].pid), 1)
        for process in [each for each in life.processes if each.ended is not None and each.status][-1:]:
            lived = f", after {duration(process.ended - process.began)}" if process.began and process.ended else ""
            if str(process.pid) not in life.failure:
                self._say(f"Its {process.name} process ({process.pid}) {end_of(process.status)}{lived}.", 1)

    # Its definition

    def _definition(self) -> None:
        if self.account["removed"]:
            self._say("Its file is gone: the job is forgotten when it has stopped.", 1)
        elif self.account["pending"]:
            self._say("Its file has changed: what runs keeps to the old one; stop and start it to have the new.", 1)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _started(goal: Goal, story: Story) -> str:
    return f"was started {cause_of(goal, story)}"
