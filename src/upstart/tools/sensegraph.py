"""Whether jobs make sense together: what waits for what, `check_jobs`.

What is always true here: a job without ``start on`` may be started by hand, and an event that no job emits but the
manual knows may come.  Of jobs that are not those of a whole system no job and no event is missed, for another package
may bring it.  Work grows with the conditions, times the longest chain of jobs that start each other.
"""

from __future__ import annotations

from upstart.base import glob
from upstart.base.slips import LIKELY, job_event_meant, nearest
from upstart.conf.jobclass import And, Match
from upstart.engine.condition import leaves
from upstart.tools.eventtable import ELSEWHERE, JOB_EVENTS
from upstart.tools.findings import Finding
from upstart.tools.knownevents import WELL_KNOWN_EVENTS, emitted_by, job_of, well_known
from upstart.tools.sense import and_pairs, conditions, gone, needs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from upstart.conf.jobclass import Condition, JobClass
    from upstart.tools.jobtext import JobText


class Jobs:
    """The jobs that are there, by name, and what they emit.  ``whole``: they are those of a system, so that what is
    not there is missing; ``more`` are events of others."""

    def __init__(self, jobs: Mapping[str, JobClass], whole: bool, more: list[str] | None = None) -> None:
        self.jobs = dict(jobs)
        self.whole = whole
        self.literal: dict[str, list[str]] = {}
        self.patterns: list[tuple[str, str]] = []
        self.more = more or []
        for name, job in self.jobs.items():
            for event in emitted_by(job):
                if glob.is_literal(event):
                    self.literal.setdefault(event, []).append(name)
                else:
                    self.patterns.append((event, name))
        self.startable = self._startable("")

    def emitters(self, event: str) -> list[str]:
        """The jobs that emit an event."""
        found = list(self.literal.get(event, ()))
        return found + [name for pattern, name in self.patterns if glob.match(pattern, event)]

    def is_known(self, event: str) -> bool:
        """Whether somebody is known to emit an event."""
        if event in JOB_EVENTS or "$" in event or well_known(event) or event in ELSEWHERE:
            return True
        return bool(self.emitters(event)) or any(glob.match(pattern, event) for pattern in self.more)

    def _startable(self, held: str) -> set[str]:
        """The jobs that come to be started, if ``held`` never gets beyond that itself."""
        found = {name for name, job in self.jobs.items() if job.start_on is None}
        waiting = {name: job.start_on for name, job in self.jobs.items() if job.start_on is not None}
        while True:
            new = [
                name
                for name, condition in waiting.items()
                if is_possible(condition, lambda leaf: self.may_come(leaf, found, held))
            ]
            if not new:
                return found
            found.update(new)
            for name in new:
                del waiting[name]

    def may_come(self, leaf: Match, startable: set[str], held: str = "") -> bool:
        """Whether an event comes once the jobs ``startable`` are started, of which ``held`` gets no further."""
        if leaf.name in JOB_EVENTS:
            job = job_of(leaf)
            if job is None:
                return True
            if job == held:
                return leaf.name == "starting"
            return job in startable if job in self.jobs else not self.whole
        emitters = self.emitters(leaf.name)
        if "$" in leaf.name or (well_known(leaf.name) and held not in emitters):
            return True
        if not emitters:
            # That nobody is known to emit it is another finding.
            return True
        return not self.whole or any(name in startable and name != held for name in emitters)

    def deadlocked(self, holder: Match, other: Condition) -> Match | None:
        """What cannot come while a job is held in starting, though it can otherwise."""
        job = job_of(holder)
        if holder.name != "starting" or job not in self.jobs or len(holder.args) > 1 or self.jobs[job].instance:
            return None
        meanwhile = self._startable(job)
        return needs(
            other,
            lambda leaf: self.may_come(leaf, self.startable, "") and not self.may_come(leaf, meanwhile, job),
        )


def is_possible(condition: Condition, may_come: Callable[[Match], bool]) -> bool:
    """Whether a condition can be met by events of which ``may_come`` is true."""
    if isinstance(condition, Match):
        return may_come(condition)
    left = is_possible(condition.left, may_come)
    if isinstance(condition, And):
        return left and is_possible(condition.right, may_come)
    return left or is_possible(condition.right, may_come)


def check_jobs(texts: Mapping[str, JobText], jobs: Jobs) -> Iterator[tuple[JobText, Finding]]:
    """What is wrong with these jobs as far as it takes all ``jobs`` to see it."""
    circles = _circles(jobs)
    for name, text in texts.items():
        job = jobs.jobs.get(name)
        if job is None:
            continue
        for word, title, condition in conditions(job):
            for finding in _unknown(text, jobs, word, title, condition):
                yield text, finding
        if name in circles:
            yield text, _circle(text, job, circles[name])
        if job.start_on is not None:
            for holder, late in and_pairs(job.start_on, jobs.deadlocked):
                held, later = (" ".join((leaf.name, *leaf.args)) for leaf in (holder, late))
                yield (
                    text,
                    Finding(
                        "and-order",
                        text.line_in("start", holder.name),
                        f"start on ... {held} and {later}: {job_of(holder)} is held until both have come, and {later}"
                        f" comes only after it",
                        f"start on {later}",
                    ),
                )


def _unknown(text: JobText, jobs: Jobs, word: str, title: str, condition: Condition) -> Iterator[Finding]:
    """Events and jobs that are missing, where the condition cannot do without; and slips of the pen in any case."""

    def exists(leaf: Match) -> bool:
        job = job_of(leaf) if leaf.name in JOB_EVENTS else None
        return jobs.is_known(leaf.name) and (job is None or job in jobs.jobs)

    needed = not is_possible(condition, exists)
    whole = jobs.whole and needed
    names = list(dict.fromkeys(leaf.name for leaf in leaves(condition)))
    for leaf in dict.fromkeys(leaves(condition)):
        line = text.line_in(word, leaf.name)
        never = f", so the job never {word}s by that" if needed else ""
        if not jobs.is_known(leaf.name):
            if leaf.name not in names:
                continue
            names.remove(leaf.name)
            finding = gone(leaf.name)
            known = [*WELL_KNOWN_EVENTS, *jobs.literal]
            like = nearest(leaf.name, known) or job_event_meant(leaf.name)
            like = like or (nearest(leaf.name, known, LIKELY) if whole else "")
            if finding is not None:
                yield Finding(
                    finding.rule, line, f"{title} {leaf.name}: {finding.text}{never}", f"{title} {finding.write}"
                )
            elif like:
                yield Finding(
                    "unknown-event",
                    line,
                    f"{title} {leaf.name}: nothing is known to emit that, but {like} is an event",
                    f"{title} {like}",
                )
            elif whole:
                yield Finding(
                    "unknown-event",
                    line,
                    f"{title} {leaf.name}: no job declares that it emits that, and no program is known to",
                    f"emits {leaf.name}, in the job whose program does, if there is one",
                )
        elif not exists(leaf) and word == "start" and needed:
            missing = str(job_of(leaf))
            # Names of jobs that differ in two letters are those of two jobs.
            like = nearest(missing, jobs.jobs, 1)
            if like or whole:
                yield Finding(
                    "unknown-job",
                    text.line_in(word, missing),
                    f"{title} {leaf.name} {missing}: there is no job {missing}{never}",
                    f"{title} {leaf.name} {like}" if like else "",
                )


def _circles(jobs: Jobs) -> dict[str, list[str]]:
    """The circles of jobs that nothing but each other starts, each by the name of its first job."""
    stuck = {name for name in jobs.jobs if name not in jobs.startable}
    every = set(jobs.jobs)
    next_of: dict[str, str] = {}
    for name in stuck:
        condition = jobs.jobs[name].start_on
        # What waits for what is not there at all is no circle.
        if condition is None or not is_possible(condition, lambda leaf: jobs.may_come(leaf, every)):
            continue
        for leaf in leaves(condition):
            if not jobs.may_come(leaf, jobs.startable):
                job = job_of(leaf) if leaf.name in JOB_EVENTS else None
                others = [job] if job is not None else jobs.emitters(leaf.name)
                next_of.setdefault(name, next((other for other in others if other in stuck), ""))
    found: dict[str, list[str]] = {}
    for start in sorted(next_of):
        path = [start]
        while next_of.get(path[-1]) and next_of[path[-1]] not in path:
            path.append(next_of[path[-1]])
        follower = next_of.get(path[-1], "")
        if follower in path:
            circle = path[path.index(follower) :]
            first = min(circle)
            place = circle.index(first)
            found[first] = circle[place:] + circle[:place]
    return found


def _circle(text: JobText, job: JobClass, circle: list[str]) -> Finding:
    way = " for ".join([*circle, circle[0]])
    if len(circle) == 1:
        what = f"{circle[0]} starts only when it has been started"
    else:
        what = f"a circle: {way.replace(' for ', ' waits for ', 1)}"
    return Finding(
        "circle", text.line("start"), f"{what}; no event starts any of them", "an event that starts one of them"
    )
