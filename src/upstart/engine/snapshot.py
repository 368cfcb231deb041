"""All of an engine as values, so that another goes on from there exactly as it would: `take` and `load`.

What is always true here: two engines of the same snapshot that are told the same inputs are in the same state after
each.  The state document alone (`state`) is what a re-exec needs; here is what a re-exec may lose or make anew besides:
what the daemon tells the engine of the world, in which order events are queued, who waits for an answer, and the order
in which jobs are found where that is not the one in which they stand.
"""

from __future__ import annotations

from upstart.engine import state
from upstart.engine.awaited import Awaited, count
from upstart.engine.condition import leaves
from upstart.engine.data import Blocked
from upstart.engine.index import EventIndex, each_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from upstart.engine.data import Instance, Job
    from upstart.engine.engine import Engine

#: What the daemon tells, by the attribute that has it.
_TOLD = (
    "environ", "extra_environ", "priority", "announcing", "reporting", "apparmor_available",
)  # fmt: skip


def take(engine: Engine) -> dict[str, Any]:
    """The engine as values that JSON knows; tables in it are its own.

    ValueError where somebody has yet to take effects, which are no part of it.
    """
    snapshot: dict[str, Any] = {"state": state.dump(engine)}
    for key in _TOLD:
        snapshot[key] = getattr(engine, key)
    snapshot["queue"] = [
        [event.serial for _, event in engine._pass],
        [event.serial for _, event in engine._next_pass],
        engine._cursor,
        engine._restless,
    ]
    snapshot["asked"] = [event.serial for event in engine.events.values() if event.request is not None]
    snapshot["waiting"] = [
        [*_name_of(instance), [blocked.kind for blocked in instance.blocking]]
        for instance in engine.instances()
        if any(blocked.event is None for blocked in instance.blocking)
    ]
    # Of those that are gone the history alone has yet to know.
    moved = [each for each in engine._moved if each.job.instances.get(each.name) is each]
    snapshot["moved"] = [_name_of(instance) for instance in moved]
    jobs = list(engine.jobs.values())
    if (found := _of_index(engine.start_index)) != _of_index(_index(jobs)):
        snapshot["index"] = found
    awaited = engine.awaited
    if (counted := _of_awaited(awaited)) != _of_awaited(count([job.job_class for job in jobs], engine.environ)):
        snapshot["awaited"] = counted
    return snapshot


def load(snapshot: dict[str, Any], clock: Callable[[], float]) -> Engine:
    """An engine that goes on where the other was.  Requests are 0 in it.

    Raises KeyError, TypeError or ValueError where the snapshot is not one of `take`'s.
    """
    engine = state.load(snapshot["state"], clock)
    engine.set_environ(dict(snapshot["environ"]))
    for key in _TOLD:
        if key != "environ":
            setattr(engine, key, snapshot[key])
    first, second, engine._cursor, engine._restless = snapshot["queue"]
    engine._pass = [(serial, engine.events[serial]) for serial in first]
    engine._next_pass = [(serial, engine.events[serial]) for serial in second]
    queued = {*first, *second}
    for event in engine.events.values():
        event.queued = event.serial in queued
    for serial in snapshot["asked"]:
        engine.events[serial].request = 0
    for session, job, name, kinds in snapshot["waiting"]:
        instance = engine.jobs[session, job].instances[name]
        events = iter(instance.blocking)
        instance.blocking = [next(events) if kind == "event" else Blocked(kind, request=0) for kind in kinds]
    engine._moved = {engine.jobs[session, job].instances[name]: None for session, job, name in snapshot["moved"]}
    if "index" in snapshot:
        engine.start_index = _load_index(engine, snapshot["index"])
    if "awaited" in snapshot:
        engine.awaited = _load_awaited(snapshot["awaited"])
    engine.effects.clear()
    return engine


def _name_of(instance: Instance) -> list[str | None]:
    return [instance.job.session, instance.job.name, instance.name]


# The order in which the jobs are found that an event may start

def _index(jobs: Iterable[Job]) -> EventIndex[Job]:
    index: EventIndex[Job] = EventIndex()
    for job in jobs:
        if job.job_class.start_on is not None:
            index.add(job, job.job_class.start_on)
    return index


def _of_index(index: EventIndex[Job]) -> list[Any]:
    """Each name with the leaves that any event of it may match, and those by variable and value, in their order."""
    places: dict[Job, dict[Any, int]] = {}

    def place(entry: tuple[Job, Any]) -> list[Any]:
        job, leaf = entry
        if job not in places:
            condition = job.job_class.start_on
            places[job] = {each: at for at, each in enumerate(leaves(condition) if condition is not None else ())}
        return [job.session, job.name, places[job][leaf]]

    return [
        [
            name,
            [place(entry) for entry in bucket.plain],
            [
                [key, [[value, [place(entry) for entry in each_of(found)]] for value, found in values.items()]]
                for key, values in bucket.keyed.items()
            ],
        ]
        for name, bucket in sorted(index._buckets.items())
    ]


def _load_index(engine: Engine, saved: list[Any]) -> EventIndex[Job]:
    index = _index(engine.jobs.values())

    def entries(places: list[list[Any]]) -> dict[Any, None]:
        found: dict[Any, None] = {}
        for session, name, at in places:
            job = engine.jobs[session, name]
            assert job.job_class.start_on is not None
            found[job, list(leaves(job.job_class.start_on))[at]] = None
        return found

    for name, plain, keyed in saved:
        bucket = index._buckets[name]
        bucket.plain = entries(plain)
        bucket.keyed = {key: {value: entries(places) for value, places in values} for key, values in keyed}
    return index


# The order in which events are counted that are awaited

def _of_awaited(awaited: Awaited) -> list[Any]:
    names, listeners, matching = awaited.counts()
    return [
        [[name, [[list(tests), number] for tests, number in found.items()]] for name, found in names.items()],
        [[job, [_plain(pattern) for pattern in patterns]] for job, patterns in listeners.items()],
        [[job, list(found.items())] for job, found in matching.items()],
        [[job, [[name, list(tests)] for name, tests in named]] for job, named in awaited._written.items()],
    ]


def _plain(pattern: Any) -> list[Any]:
    wanted, but, texts = pattern
    return [wanted, list(but), [list(each) for each in texts]]


def _load_awaited(saved: list[Any]) -> Awaited:
    awaited = Awaited()
    names, listeners, matching, written = saved
    awaited.names = {name: {tuple(tests): number for tests, number in found} for name, found in names}
    awaited._listeners = {
        job: [(wanted, tuple(but), tuple([(text, no) for text, no in texts])) for wanted, but, texts in patterns]
        for job, patterns in listeners
    }
    awaited._matching = {job: dict(found) for job, found in matching}
    awaited._written = {job: [(name, tuple(tests)) for name, tests in named] for job, named in written}
    return awaited


