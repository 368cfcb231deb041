"""What is left of a machine that ends: what has yet to stop, and what its end has yet to do.

What is always true here: nothing is changed, and whoever is spared is left out, by a pid of one of its processes.
"""

from __future__ import annotations

from upstart.engine.condition import leaves
from upstart.engine.lifecycle import KILL_TIMER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from upstart.engine.data import Instance

#: How it stands with what is left: it is killed when its time is over, it has been and is still there, nothing limits
#: how long it takes to stop, or it is a task, or a start, that belongs to the end.
ENDS, KILLED, STOPS, WORKS = "ends", "killed", "stops", "works"


def to_stop(instances: Iterable[Instance], spared: Collection[int], later: Collection[str]) -> list[Instance]:
    """Those that are no part of the end; one that runs, and whose job is named in ``later``, or is to be stopped by an
    event that is, is none yet."""
    return [
        instance
        for instance in instances
        if not (instance.goal == "start" and (instance.last or _comes_later(instance, later)))
        and not set(instance.pids.values()).intersection(spared)
    ]


def unfinished(instances: Iterable[Instance], spared: Collection[int]) -> list[tuple[Instance, str]]:
    """Those on their way, and how it stands with each."""
    found = []
    for instance in instances:
        if set(instance.pids.values()).intersection(spared):
            continue
        if instance.goal == "stop":
            asked = {timer.removeprefix(KILL_TIMER) for timer in instance.timers if timer.startswith(KILL_TIMER)}
            found.append((instance, ENDS if asked - instance.doomed else KILLED if asked else STOPS))
        elif instance.last and (instance.job_class.task or instance.state != "running"):
            found.append((instance, WORKS))
    return found


def _comes_later(instance: Instance, names: Collection[str]) -> bool:
    condition = instance.job_class.stop_on
    if instance.job.name in names:
        return True
    return condition is not None and any(leaf.name in names for leaf in leaves(condition))
