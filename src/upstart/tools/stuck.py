"""Why a simulated system stands as it does: what never started and what it lacks, what is stuck, and in which circle.

What is always true here: nothing is changed, and nothing is guessed: what is told follows from who holds which event,
and from what has happened.
"""

from __future__ import annotations

from upstart.conf.jobclass import And, Match
from upstart.engine.condition import leaves
from upstart.engine.data import Instance
from upstart.engine.lifecycle import WAITING_FOR
from upstart.tools import playing
from upstart.tools.eventtable import JOB_EVENTS
from upstart.tools.knownevents import emitted_by, job_of
from upstart.tools.sense import required

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.conf.jobclass import Condition
    from upstart.engine.data import Event, Job, Progress
    from upstart.tools.simulation import Simulation

    #: What stands still: an instance, a job or instance whose condition is half met, or a job that has not started.
    Node = Job | Instance

#: What mountall brings about.
_MOUNTALLS = ("filesystem", "local-filesystems", "remote-filesystems", "virtual-filesystems", "all-swaps", "mounted")


class Reasons:
    """The questions that a simulation that has come to its end answers."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._engine = simulation.world.engine
        self._late = simulation.begins_late
        self._begun = {began.job for began in simulation.begun} | simulation.started_before
        #: Who holds an event, by its number: instances that it started or stopped, and conditions that are half met.
        self._holders: dict[int, list[tuple[Node, bool]]] = {}
        for job in self._engine.jobs.values():
            self._note(job, job.start_progress)
        for instance in self._engine.instances():
            self._note(instance, instance.stop_progress)
            for blocked in instance.blocking:
                if blocked.event is not None:
                    self._holders.setdefault(blocked.event.serial, []).append((instance, False))

    def _note(self, node: Node, progress: Progress | None) -> None:
        for event in dict.fromkeys(progress.values()) if progress else ():
            self._holders.setdefault(event.serial, []).append((node, True))

    # What never started

    def never(self) -> list[tuple[str, str]]:
        """The jobs that some event was to start and none did, with what was lacking."""
        found = []
        for job in self._engine.jobs.values():
            if job.job_class.start_on is not None and job.name not in self._begun:
                lack = self.lacks(job.job_class.start_on, job.start_progress or {})
                found.append((job.name, self._has_no_name(job) or lack))
        return sorted(found)

    def _has_no_name(self, job: Job) -> str:
        """What init said when the condition was met, and the instance could not be named; empty if it was not so."""
        words = f"Failed to obtain {job.name} instance: "
        return next((text for text in self._simulation.world.log if text.startswith(words)), "")

    def lacks(self, condition: Condition, progress: Progress) -> str:
        """What of a condition is not met, and why that has not come."""
        if isinstance(condition, Match):
            return "" if condition in progress else f"{_text(condition)} ({self._why_not(condition)})"
        left, right = (self.lacks(side, progress) for side in (condition.left, condition.right))
        if isinstance(condition, And):
            return " and ".join(part for part in (left, right) if part)
        return f"{left} or {right}" if left and right else ""

    def _why_not(self, leaf: Match) -> str:
        job = job_of(leaf) if leaf.name in JOB_EVENTS else None
        if job is not None:
            if (None, job) not in self._engine.jobs:
                return "there is no such job"
            if job not in self._begun:
                return "that job " + ("has not started in the record" if self._late else "never started")
        came = [event for event in self._simulation.history if event.partition(" ")[0] == leaf.name]
        if job is not None:
            came = [event for event in came if event.split(" ")[1] == job]
            return "that came with other variables" if came else "that has not come to this"
        if not came:
            return "not emitted in the record" if self._late else "never emitted"
        if not any(" " in event for event in came):
            return "came without variables"
        others = "; ".join(dict.fromkeys(event.partition(" ")[2] or "none" for event in came))
        return f"came with {others}" if len(others) < 60 else "came with other variables"

    # What is stuck

    def stuck(self) -> list[tuple[str, str, str]]:
        """The instances that neither run nor are at rest: name, goal and state, and what they wait for."""
        found = []
        for instance in self._engine.instances():
            if self._is_stuck(instance):
                what = "; ".join(text for _, text in self._waits_for(instance)) or self._own_process(instance)
                found.append((instance.display, f"{instance.goal}/{instance.state}", what))
        return found

    def circles(self) -> list[list[str]]:
        """The circles in which instances wait for each other, each as steps in words, none twice."""
        found: dict[frozenset[str], list[str]] = {}
        for instance in self._engine.instances():
            circle = self._circle(instance) if self._is_stuck(instance) else []
            if circle:
                found.setdefault(frozenset(circle), circle)
        return list(found.values())

    def _is_stuck(self, instance: Instance) -> bool:
        """Whether an instance neither runs nor is at rest, or its process waits for an event of its own."""
        return (instance.goal, instance.state) != ("start", "running") or any(True for _ in self._asked(instance))

    def _circle(self, start: Node) -> list[str]:
        """The steps of a circle that is reached from ``start``; empty if there is none."""
        path: list[tuple[Node, Iterator[tuple[Node, str]], str]] = [(start, self._waits_for(start), "")]
        seen = {id(start)}
        while path:
            _, waits, _ = path[-1]
            step = next(waits, None)
            if step is None:
                path.pop()
                continue
            other, text = step
            for place, (earlier, _, _) in enumerate(path):
                if earlier is other:
                    return [each for _, _, each in path[place + 1 :]] + [text]
            if id(other) not in seen:
                seen.add(id(other))
                path.append((other, self._waits_for(other), text))
        return []

    def _waits_for(self, node: Node) -> Iterator[tuple[Node, str]]:
        """What has to move before ``node`` can, each with that in words."""
        if isinstance(node, Instance):
            if node.blocker is not None:
                yield from self._held(f"{node.display} waits for its event {node.blocker.name}", node.blocker)
            for who, event in self._asked(node):
                yield from self._held(f"{who} waits for its event {_described(event)}", event)
            condition, progress = node.job_class.stop_on, node.stop_progress
            title = f"stop on of {node.display}"
        else:
            condition, progress = node.job_class.start_on, node.start_progress
            title = f"start on of {node.name}"
        if condition is None or (not progress and isinstance(node, Instance)):
            return
        # What has not begun to be met may be met by another side of an `or`, whatever that lacks.
        for leaf in leaves(condition) if progress else required(condition):
            if leaf not in (progress or {}):
                for source in self._sources(leaf):
                    name = source.job.name if isinstance(source, Instance) else source.name
                    yield source, f"{title} lacks {_text(leaf)}, which comes from {name}"

    def _held(self, text: str, event: Event) -> Iterator[tuple[Node, str]]:
        for holder, half in self._holders.get(event.serial, ()):
            if isinstance(holder, Instance):
                how = f"stop on of {holder.display}, which is half met" if half else holder.display
            else:
                how = f"start on of {holder.name}, which is half met"
            yield holder, f"{text}, which is held by {how}"

    def _asked(self, instance: Instance) -> Iterator[tuple[str, Event]]:
        """The events that the main process of an instance has emitted and waits for."""
        if not playing.is_mountall(instance.job_class) or "main" not in instance.pids:
            return
        world = self._simulation.world
        for waiting in self._simulation.waiting:
            for request in waiting.requests:
                event = self._engine.events.get(world.requested[request])
                if not world.answers.get(request) and event is not None:
                    yield waiting.who, event

    def _sources(self, leaf: Match) -> Iterator[Node]:
        """The instances, and the jobs that have not started, from which an event would come."""
        if leaf.name in JOB_EVENTS:
            names = [job_of(leaf) or ""]
        elif leaf.name in _MOUNTALLS:
            names = ["mountall"]
        elif leaf.name == "runlevel":
            names = ["rc-sysinit"]
        else:
            jobs = self._engine.jobs.values()
            names = [job.name for job in jobs if leaf.name in emitted_by(job.job_class)]
        for name in names:
            job = self._engine.jobs.get((None, name))
            if job is not None and job.name not in self._begun:
                yield job
            for instance in job.instances.values() if job is not None else ():
                if self._is_stuck(instance):
                    yield instance

    def _own_process(self, instance: Instance) -> str:
        process = WAITING_FOR.get(instance.state, "")
        return f"its {process} process goes on" if process in instance.pids else "for no reason that is known"


def _text(leaf: Match) -> str:
    return " ".join((leaf.name, *leaf.args))


def _described(event: Event) -> str:
    """An event with what tells it from its like."""
    place = event.env.get("MOUNTPOINT")
    return f"{event.name} MOUNTPOINT={place}" if place else event.name
