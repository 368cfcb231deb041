"""The engine's state as one document, and back.

Whatever runs on across a re-exec is in it: definitions, instances with goal, state, pids and environments, events with
what they block and are blocked by, half-met conditions.  Requests are not: their connections end with the old program,
their jobs go on.  The timers that run for an instance are here, and have to be armed again.  Objects refer to each
other by serial (events), by (session, name) (jobs), and leaves of conditions by their place from left to right.
"""

from __future__ import annotations

from upstart.conf.jobdata import from_data, to_data
from upstart.engine.condition import leaves
from upstart.engine.data import PENDING, Blocked, Event, Instance
from upstart.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.conf.jobclass import Condition, JobClass
    from upstart.engine.data import Job, Progress

#: The layout of the document; a later one reads all earlier ones.  A key that was not in it from the beginning may be
#: missing, and then means what a new object begins with: adding one is no new layout.
VERSION = 1

#: What tells where an instance or an event is, in every document.
_PLACE = ("goal", "state", "env", "pids", "serial")
_EVENT_PLACE = ("serial", "name", "env", "progress")
#: What may be missing.
_PLAIN = (
    "start_env", "stop_env", "failed", "failed_process", "exit_status", "failure", "respawn_time", "respawn_count",
    "respawn_total", "respawn_since", "respawning", "forced", "last", "connection", "goal_since", "cause", "since",
    "noted", "began",
)  # fmt: skip
_EVENT_PLAIN = ("session", "failed", "fd", "last", "connection", "values", "at", "noted")


def dump(engine: Engine) -> dict[str, Any]:
    """The state as values that JSON knows.

    Tables in it are the engine's own: it is to be written down before the engine goes on.  ValueError where somebody
    has yet to take effects: without them this would be a moment that there never was.
    """
    if engine.effects:
        raise ValueError(f"{len(engine.effects)} effects are still to be performed")
    return {
        "version": VERSION,
        "serial": engine._serial,
        "job_environ": engine.job_environ,
        "shutting_down": engine.shutting_down,
        "ending": engine.ending,
        "tells_awaited": engine.tells_awaited,
        "awaits": engine.awaits,
        "respawning_allowed": engine.respawning_allowed,
        "failures": [[*key, text] for key, text in engine.failures.items()],
        "events": [_dump_event(event) for event in engine.events.values()],
        "jobs": [_dump_job(job) for job in engine.jobs.values()],
    }


def load(data: dict[str, Any], clock: Callable[[], float]) -> Engine:
    """An engine that goes on where the dumped one was.

    Raises KeyError, TypeError or ValueError where the document is not one of `dump`'s.
    """
    if data["version"] > VERSION:
        raise ValueError(f"state document of version {data['version']}, newest known is {VERSION}")
    engine = Engine(clock)
    engine.announcing = False
    engine._serial = data["serial"]
    engine.job_environ = dict(data["job_environ"])
    engine.shutting_down = data.get("shutting_down", False)
    engine.ending = engine.reporting = data.get("ending", False)
    engine.respawning_allowed = data.get("respawning_allowed", True)
    for session, name, instance, text in data.get("failures", ()):
        engine.failures[session, name, instance] = text
    for entry in data["events"]:
        event = Event(entry["serial"], entry["name"], entry["env"])
        event.progress = entry["progress"]
        _set(event, entry, _EVENT_PLAIN)
        if event.fd >= 0:
            engine.hold_fd(event.fd)
        engine.events[event.serial] = event
    for entry in data["jobs"]:
        _load_job(engine, entry)
    for instance in sorted(engine.instances(), key=lambda instance: instance.serial):
        if instance.job_class.stop_on is not None:
            engine.stop_index.add(instance, instance.job_class.stop_on, instance.env)
    for event in engine.events.values():
        if event.progress == PENDING or not event.blockers:
            engine._queue(event)
    # An older build, whose document lacks this, had nobody to tell.
    engine.tells_awaited = data.get("tells_awaited", True)
    engine.awaits = data.get("awaits", "")
    engine.announcing = True
    return engine


def _dump_event(event: Event) -> dict[str, Any]:
    data = {key: getattr(event, key) for key in (*_EVENT_PLACE, *_EVENT_PLAIN)}
    if event.values is event.env:
        del data["values"]
    return data


def _dump_progress(condition: Condition | None, progress: Progress | None) -> list[list[int]]:
    if condition is None or not progress:
        return []
    # In the order in which they were met: a definition that takes over sees them in that.
    places = {leaf: place for place, leaf in enumerate(leaves(condition))}
    return [[places[leaf], event.serial] for leaf, event in progress.items()]


def _dump_job(job: Job) -> dict[str, Any]:
    return {
        "class": to_data(job.job_class),
        "pending": job.pending,
        "successor": to_data(job.successor) if job.successor is not None else None,
        "start_progress": _dump_progress(job.job_class.start_on, job.start_progress),
        "instances": [_dump_instance(job, instance) for instance in job.instances.values()],
    }


def _dump_instance(job: Job, instance: Instance) -> dict[str, Any]:
    data: dict[str, Any] = {key: getattr(instance, key) for key in (*_PLACE, *_PLAIN)}
    data["name"] = instance.name
    # Instances share their job's definition, for a job changes its own only when it has none.
    if instance.job_class is not job.job_class:
        data["class"] = to_data(instance.job_class)
    data["unready"] = sorted(instance.unready)
    data["doomed"] = sorted(instance.doomed)
    data["timers"] = dict(instance.timers)
    data["fds"] = list(instance.fds)
    data["blocker"] = instance.blocker.serial if instance.blocker is not None else None
    data["blocking"] = [blocked.event.serial for blocked in instance.blocking if blocked.event is not None]
    data["stop_progress"] = _dump_progress(instance.job_class.stop_on, instance.stop_progress)
    return data


def _timers(data: dict[str, Any], job_class: JobClass) -> dict[str, float]:
    """The timers of an instance; a document without them says in other words which there are, and not until when."""
    if "timers" in data:
        return dict(data["timers"])
    names = [f"kill:{process}" for process in data.get("killed", ())]
    if data["state"] == "spawned" and job_class.expect == "stop" and "main" not in data.get("unready", ()):
        names.append("expect")
    return dict.fromkeys(names, 0.0)


def _set(thing: object, data: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Give an object those of its attributes that a document has."""
    for key in keys:
        if key in data:
            setattr(thing, key, data[key])


def _load_progress(engine: Engine, condition: Condition | None, data: list[list[int]]) -> Progress | None:
    if condition is None or not data:
        return None
    places = list(leaves(condition))
    progress: Progress = {}
    for place, serial in data:
        event = engine.events[serial]
        progress[places[place]] = event
        event.blockers += 1
    return progress


def _load_job(engine: Engine, data: dict[str, Any]) -> None:
    job = engine.define(from_data(data["class"]))
    job.start_progress = _load_progress(engine, job.job_class.start_on, data.get("start_progress", []))
    for entry in data["instances"]:
        _load_instance(engine, job, entry)
    successor = data.get("successor")
    job.pending = data.get("pending", False)
    job.successor = from_data(successor) if successor is not None else None


def _load_instance(engine: Engine, job: Job, data: dict[str, Any]) -> None:
    job_class: JobClass = from_data(data["class"]) if "class" in data else job.job_class
    instance = job.instances[data["name"]] = Instance(data["serial"], job, job_class, data["name"])
    for key in _PLACE:
        setattr(instance, key, data[key])
    _set(instance, data, _PLAIN)
    instance.unready = set(data.get("unready", ()))
    instance.doomed = set(data.get("doomed", ()))
    instance.timers = _timers(data, job_class)
    engine.set_fds(instance, tuple(data.get("fds", ())))
    for process, pid in instance.pids.items():
        engine.pids[pid] = (instance, process)
    if data["blocker"] is not None:
        instance.blocker = engine.events[data["blocker"]]
        instance.blocker.waiting = instance
    for serial in data["blocking"]:
        event = engine.events[serial]
        event.blockers += 1
        instance.blocking.append(Blocked("event", event))
    instance.stop_progress = _load_progress(engine, job_class.stop_on, data.get("stop_progress", []))
    if instance.noted != instance.state:
        engine._moved[instance] = None
