"""Jobs and events as a graph: which event starts and stops which job, and which job emits it.

An arrow points as time goes: from an event to the job that it starts or stops, from a job to the events that it emits,
from a job to one that starts or stops with it; what starts when another is about to comes before that one.

What is always true here: a box is there once, and so is an arrow; a job that is only named by another has a box, too.
"""

from __future__ import annotations

import re

from upstart.base import glob
from upstart.engine.condition import leaves
from upstart.tools.eventtable import JOB_EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from upstart.conf.jobclass import Condition, JobClass

    #: A box: "job" or "event", and the name.
    Box = tuple[str, str]

START, STOP, EMITS = "start", "stop", "emits"
_CONDITION = re.compile(r"\s+(start|stop) on ([^,]+) \(job:\s*([^,]*), env:")


class BadLine(Exception):
    """A line that is none of what ``initctl show-config -e`` prints."""


class Arrow:
    """``kind`` is `START`, `STOP` or `EMITS`; one that starts or stops goes to, or where ``before`` from, that half of
    a job's box."""

    __slots__ = ("before", "head", "kind", "tail")

    def __init__(self, kind: str, tail: Box, head: Box, before: bool = False) -> None:
        self.kind = kind
        self.tail = tail
        self.head = head
        self.before = before

    def cause(self) -> tuple[Box, Box]:
        """What makes what happen: that is the other way round for what starts before another."""
        return (self.head, self.tail) if self.before else (self.tail, self.head)

    def key(self) -> tuple[str, Box, Box, bool]:
        """What tells arrows apart."""
        return self.kind, self.tail, self.head, self.before


class Graph:
    """``boxes`` in the order in which they came, and ``arrows``; ``causes`` has the first condition of each job."""

    def __init__(self) -> None:
        self.boxes: dict[Box, None] = {}
        self._arrows: dict[tuple[str, Box, Box, bool], Arrow] = {}
        #: The jobs that are there, and not only named.
        self.jobs: dict[str, None] = {}
        self.causes: dict[str, Box] = {}

    @property
    def arrows(self) -> list[Arrow]:
        """All arrows, in the order in which they came."""
        return list(self._arrows.values())

    def add_job(self, name: str) -> None:
        """A job that is there."""
        self.jobs[name] = None
        self.boxes["job", name] = None

    def add_condition(self, job: str, kind: str, event: str, other: str) -> None:
        """An event of a job's condition, ``other`` being the job that it names, if it names one."""
        box: Box = ("job", job)
        if other:
            source: Box = ("job", other)
            arrow = Arrow(kind, source, box)
            if kind == START and event == "starting":
                arrow = Arrow(kind, box, source, True)
        else:
            # What an instance fills in is an event of that job alone.
            source = ("event", f"{job}:{event}" if event.startswith("$") else event)
            arrow = Arrow(kind, source, box)
        self._add(arrow)
        if kind == START:
            self.causes.setdefault(job, source)

    def add_emits(self, job: str, event: str) -> None:
        """An event, or a pattern of events, that a job emits."""
        self._add(Arrow(EMITS, ("job", job), ("event", f"{job}:{event}" if event.startswith("$") else event)))

    def _add(self, arrow: Arrow) -> None:
        for box in (arrow.tail, arrow.head):
            self.boxes[box] = None
        self._arrows.setdefault(arrow.key(), arrow)

    def finish(self) -> Graph:
        """Draw what emits a pattern to all events that it fits."""
        events = [name for kind, name in self.boxes if kind == "event"]
        for arrow in self.arrows:
            pattern = arrow.head[1]
            if arrow.kind == EMITS and "*" in pattern:
                for name in events:
                    if name != pattern and glob.match(pattern, name):
                        self._add(Arrow(EMITS, arrow.tail, ("event", name)))
        return self

    def only(self, boxes: Iterable[Box], arrows: Iterable[Arrow] | None = None) -> Graph:
        """The part of the graph that has only these boxes, and all arrows between them unless some are given."""
        kept = set(boxes)
        part = Graph()
        for box in self.boxes:
            if box in kept:
                part.boxes[box] = None
        part.jobs = {name: None for name in self.jobs if ("job", name) in kept}
        part.causes = {name: box for name, box in self.causes.items() if name in part.jobs and box in kept}
        for arrow in self.arrows if arrows is None else arrows:
            if arrow.tail in kept and arrow.head in kept:
                part._add(arrow)
        return part

    def restricted(self, names: Iterable[str]) -> Graph:
        """What these jobs start and stop on and emit, and who emits what they wait for."""
        chosen = {("job", name) for name in names}
        arrows = [arrow for arrow in self.arrows if arrow.tail in chosen or arrow.head in chosen]
        # An arrow of another job to one of them belongs to that other, unless it is what theirs wait for.
        arrows = [arrow for arrow in arrows if _owner(arrow) in chosen]
        near = {box for arrow in arrows for box in (arrow.tail, arrow.head)} | chosen
        waited = {arrow.cause()[0] for arrow in arrows if arrow.kind != EMITS}
        for arrow in self.arrows:
            if arrow.kind == EMITS and (arrow.head in waited or arrow.tail in waited):
                arrows.append(arrow)
                near |= {arrow.tail, arrow.head}
        return self.only(near, arrows)

    def around(self, name: str, depth: int) -> Graph:
        """What is at most ``depth`` arrows from a job, whichever way these point."""
        beside: dict[Box, set[Box]] = {}
        for arrow in self.arrows:
            beside.setdefault(arrow.tail, set()).add(arrow.head)
            beside.setdefault(arrow.head, set()).add(arrow.tail)
        near: set[Box] = {("job", name)}
        edge = near
        for _ in range(depth):
            edge = {other for box in edge for other in beside.get(box, ())} - near
            near = near | edge
        return self.only(near)

    def path(self, event: str, job: str) -> Graph | None:
        """The shortest ways on which an event comes to start a job; None if there is none."""
        follows: dict[Box, list[Arrow]] = {}
        for arrow in self.arrows:
            if arrow.kind != STOP:
                follows.setdefault(arrow.cause()[0], []).append(arrow)
        start: Box = ("event", event)
        distance = {start: 0}
        ways: dict[Box, list[Arrow]] = {}
        edge = [start]
        while edge and ("job", job) not in distance:
            found: list[Box] = []
            for box in edge:
                for arrow in follows.get(box, ()):
                    other = arrow.cause()[1]
                    if other not in distance:
                        distance[other] = distance[box] + 1
                        found.append(other)
                    if distance[other] == distance[box] + 1:
                        ways.setdefault(other, []).append(arrow)
            edge = found
        if ("job", job) not in distance:
            return None
        kept: dict[Box, None] = {("job", job): None}
        arrows: list[Arrow] = []
        todo: list[Box] = [("job", job)]
        while todo:
            for arrow in ways.get(todo.pop(), ()):
                arrows.append(arrow)
                before = arrow.cause()[0]
                if before not in kept:
                    kept[before] = None
                    todo.append(before)
        return self.only(kept, arrows)

    def clusters(self) -> dict[Box, list[str]]:
        """The jobs that the same event or job starts, by that, where there are several."""
        found: dict[Box, list[str]] = {}
        for name in self.jobs:
            if name in self.causes:
                found.setdefault(self.causes[name], []).append(name)
        return {box: names for box, names in found.items() if len(names) > 1}


def _owner(arrow: Arrow) -> Box:
    """The job whose file has what an arrow shows."""
    return arrow.tail if arrow.kind == EMITS or arrow.before else arrow.head


def from_classes(jobs: Mapping[str, JobClass]) -> Graph:
    """The graph of jobs by what their files say."""
    graph = Graph()
    for name, job in jobs.items():
        graph.add_job(name)
        for event in job.emits:
            graph.add_emits(name, event)
        for kind, condition in ((START, job.start_on), (STOP, job.stop_on)):
            for event, other in named(condition):
                graph.add_condition(name, kind, event, other)
    return graph.finish()


def named(condition: Condition | None) -> Iterator[tuple[str, str]]:
    """The events of a condition, each with the job that it names, or nothing."""
    for leaf in leaves(condition) if condition is not None else ():
        other = ""
        if leaf.name in JOB_EVENTS:
            found = [word[4:] for word in leaf.args if word.startswith("JOB=")]
            if leaf.args and "=" not in leaf.args[0]:
                found.insert(0, leaf.args[0])
            other = found[0] if found else ""
        yield leaf.name, other


def from_text(lines: Iterable[str]) -> Graph:
    """The graph of what ``initctl show-config -e`` prints.  Raises `BadLine`."""
    graph = Graph()
    job = ""
    for line in lines:
        line = line.rstrip()
        condition = _CONDITION.match(line)
        words = line.split()
        if condition is not None and job:
            graph.add_condition(job, condition[1], condition[2], condition[3])
        elif words[:1] == ["emits"] and line[:1].isspace() and len(words) > 1 and job:
            graph.add_emits(job, words[1])
        elif len(words) == 1:
            job = words[0]
            graph.add_job(job)
        elif words:
            raise BadLine(line.lstrip())
    return graph.finish()
