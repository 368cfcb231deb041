"""How a job stands, for whoever explains it: its conditions and what has met them, what its instances wait for, who
holds whom, and who could emit what is missing; or all that is not at rest.

What is always true here: nothing is changed, values are such that JSON knows them, and what goes through all jobs does
so in steps.  Of more than `MOST` of anything the rest is left out, and that is said.
"""

from __future__ import annotations

from upstart.base.glob import is_literal, match, split_test
from upstart.base.names import JOB_EVENTS
from upstart.conf.condition import condition_to_rpn
from upstart.engine.condition import leaves

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any

    from upstart.conf.jobclass import Condition, Match
    from upstart.engine.data import Event, Instance, Job, Progress
    from upstart.engine.engine import Engine
    from upstart.engine.public import Public

    Answer = Generator[None, None, dict[str, Any]]

#: Instances, events and names that are told of.
MOST = 200
NAMES = 16
#: Jobs that are looked at in one step.
STEP = 400


def of_job(engine: Engine, job: Job, public: Public | None) -> Answer:
    """The account of one job; without what is nobody's business where it is for others (``public``)."""
    job_class = job.job_class
    events: dict[int, Event] = {}
    instances = list(job.instances.values())[:MOST]
    told: dict[str, Any] = {
        "job": job.name,
        "description": job_class.description or "",
        "file": job_class.source,
        "override": job_class.override,
        "start_on": condition_to_rpn(job_class.start_on),
        "stop_on": condition_to_rpn(job_class.stop_on),
        "met": _met(job_class.start_on, job.start_progress, events),
        "task": job_class.task,
        "respawn": [job_class.respawn_limit, job_class.respawn_interval] if job_class.respawn else None,
        "processes": list(job_class.processes),
        "expect": job_class.expect,
        "console": job_class.console,
        "kill_timeout": job_class.kill_timeout,
        "instance_name": job_class.instance,
        "pending": job.pending,
        "removed": job.pending and job.successor is None,
        "ending": engine.ending,
        "instances": [_instance(each, events) for each in instances],
        "more": len(job.instances) - len(instances),
    }
    told["emitters"] = yield from _emitters(engine, job)
    told["held_by_it"] = [_holding(each) for each in instances if each.blocking]
    told["events"] = yield from _events(engine, events, public)
    return told


def of_all(engine: Engine, public: Public | None) -> Answer:
    """The account of all that is on its way, waits, or has not come about: instances between two states of rest, and
    conditions that are met by half."""
    events: dict[int, Event] = dict(engine.events)
    moving: list[dict[str, Any]] = []
    half: list[dict[str, Any]] = []
    for at, job in enumerate(list(engine.jobs.values())):
        if at % STEP == STEP - 1:
            yield
        if job.start_progress and len(half) < MOST:
            condition = job.job_class.start_on
            met = _met(condition, job.start_progress, events)
            up = any(instance.goal == "start" for instance in job.instances.values())
            told = {"job": job.name, "session": job.session, "start_on": condition_to_rpn(condition), "met": met}
            half.append({**told, "up": up})
        for instance in job.instances.values():
            rests = (instance.goal, instance.state) == ("start", "running") and not instance.job_class.task
            if not rests and len(moving) < MOST:
                moving.append({"job": job.name, "task": instance.job_class.task, **_instance(instance, events)})
    return {
        "ending": engine.ending,
        "moving": moving,
        "half": half,
        "failures": [[*key, text] for key, text in list(engine.failures.items())[-MOST:]],
        "events": (yield from _events(engine, events, public)),
    }


def _met(condition: Condition | None, progress: Progress | None, events: dict[int, Event]) -> list[list[int]]:
    """Which of the events of a condition have come, from left to right, and by which event."""
    if condition is None or not progress:
        return []
    events.update({event.serial: event for event in progress.values()})
    return [[place, progress[leaf].serial] for place, leaf in enumerate(leaves(condition)) if leaf in progress]


def _instance(instance: Instance, events: dict[int, Event]) -> dict[str, Any]:
    if instance.blocker is not None:
        events[instance.blocker.serial] = instance.blocker
    stop_on = instance.job_class.stop_on
    return {
        "name": instance.name,
        "goal": instance.goal,
        "goal_since": instance.goal_since,
        "cause": instance.cause,
        "state": instance.state,
        "since": instance.since,
        "pids": dict(instance.pids),
        "began": dict(instance.began),
        "unready": sorted(instance.unready),
        "timers": dict(instance.timers),
        "blocker": instance.blocker.serial if instance.blocker is not None else None,
        "met": _met(stop_on, instance.stop_progress, events),
        "failed": instance.failed,
        "failure": instance.failure,
        "respawns": instance.respawn_total,
        "forced": instance.forced,
        # Of a start that was asked for by events, however long ago.
        "start_events": (instance.start_env or instance.env).get("UPSTART_EVENTS", ""),
        "stop_events": (instance.stop_env or {}).get("UPSTART_STOP_EVENTS", ""),
    }


def _holding(instance: Instance) -> dict[str, Any]:
    """Whom an instance holds until it has come to rest: events, and the number of requests that wait."""
    held = [blocked.event for blocked in instance.blocking if blocked.event is not None]
    return {
        "name": instance.name,
        "events": [[event.serial, event.name, event.env.get("JOB") if event.waiting is not None else None]
                   for event in held[:NAMES]],
        "requests": [blocked.kind for blocked in instance.blocking if blocked.event is None][:NAMES],
    }  # fmt: skip


def _events(
    engine: Engine, events: dict[int, Event], public: Public | None
) -> Generator[None, None, dict[str, dict[str, Any]]]:
    """Each of these, and who holds it."""
    wanted = dict(list(events.items())[:MOST])
    holders: dict[int, list[list[Any]]] = {serial: [] for serial in wanted}
    for at, job in enumerate(list(engine.jobs.values()) if wanted else ()):
        if at % STEP == STEP - 1:
            yield
        for event in set((job.start_progress or {}).values()):
            if event.serial in holders:
                holders[event.serial].append(["half", job.name, None])
        for instance in job.instances.values():
            for blocked in instance.blocking:
                if blocked.event is not None and blocked.event.serial in holders:
                    holders[blocked.event.serial].append(
                        ["instance", job.name, instance.name, instance.goal, instance.state]
                    )
            for event in set((instance.stop_progress or {}).values()):
                if event.serial in holders:
                    holders[event.serial].append(["half", job.name, instance.name])
    return {
        str(serial): {
            "name": event.name,
            "env": public.variables(event.name, event.env, event.env.get("JOB") is not None and _own(event))
            if public is not None
            else event.env,
            "at": event.at,
            "progress": event.progress,
            "holders": holders[serial][:NAMES],
            "more": max(0, len(holders[serial]) - NAMES),
        }
        for serial, event in wanted.items()
    }


def _own(event: Event) -> bool:
    """Whether init has emitted an event for an instance: what it blocks tells, or its name."""
    return event.waiting is not None or event.name in JOB_EVENTS


def _emitters(engine: Engine, job: Job) -> Generator[None, None, list[dict[str, Any]]]:
    """Of each event of the start condition, from left to right: jobs that say that they emit it, and, of an event of
    jobs, the jobs that it may be of and how they stand."""
    if job.job_class.start_on is None:
        return []
    wanted = list(leaves(job.job_class.start_on))
    found: list[dict[str, Any]] = [{"emits": [], "jobs": []} for _ in wanted]
    names = [_job_named(leaf) for leaf in wanted]
    for each, name in zip(found, names, strict=True):
        if name is not None and is_literal(name):
            each["jobs"] = _standing(engine.jobs.get((job.session, name)))
    patterns = [(at, name) for at, name in enumerate(names) if name is not None and not is_literal(name)]
    for at, other in enumerate(list(engine.jobs.values())):
        if at % STEP == STEP - 1:
            yield
        if other.session != job.session:
            continue
        for pattern in other.job_class.emits:
            for place, leaf in enumerate(wanted):
                if len(found[place]["emits"]) < NAMES and match(pattern, leaf.name):
                    found[place]["emits"] += [other.name] if other.name not in found[place]["emits"] else []
        for place, name in patterns:
            if len(found[place]["jobs"]) < NAMES and match(name, other.name):
                found[place]["jobs"] += _standing(other)
    return found


def _job_named(leaf: Match) -> str | None:
    """The job, or the pattern of jobs, whose event a leaf means; None where it is no event of jobs."""
    if leaf.name not in JOB_EVENTS:
        return None
    for position, test in enumerate(leaf.args):
        key, value, negated = split_test(test)
        if (key == "JOB" or (key is None and not position)) and not negated:
            return "*" if "$" in value else value
    return "*"


def _standing(job: Job | None) -> list[list[Any]]:
    """A job's instances, or itself where it has none: job, instance, goal, state."""
    if job is None:
        return []
    instances: Iterable[Instance] = list(job.instances.values())[:NAMES]
    return [[job.name, each.name, each.goal, each.state] for each in instances] or [[job.name, "", "stop", "waiting"]]
