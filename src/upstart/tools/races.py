"""Races: two orders of the same events that end differently, found by having one thing after the other come late.

Each process that something waits for, each part of mountall and each event of the start is put off in turn, so that
all else comes before it.  What stands otherwise in the end depends on that order.  This finds what hangs on one of
them, and not what takes two to be late at once.
"""

from __future__ import annotations

from upstart.engine.condition import leaves
from upstart.tools import repeats
from upstart.tools.eventtable import JOB_EVENTS
from upstart.tools.knownevents import job_of
from upstart.tools.playing import PARTS
from upstart.tools.simulation import Simulation, main_effort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upstart.conf.jobclass import JobClass

#: Seconds by which something is put off: more than all else takes, and less than failsafe waits.
LATE = 30.0
#: As many things are put off at most.
MOST = 400
#: As many events of an order are told.
MOST_HEARD = 20


class Race:
    """``display`` ends as ``early`` where ``late`` comes in its turn, and as ``put_off`` where it comes last.

    ``orders`` are those of the events that it listens to, in both.
    """

    __slots__ = ("display", "early", "late", "orders", "put_off")

    def __init__(self, display: str, early: str, put_off: str, late: str, orders: tuple[list[str], list[str]]) -> None:
        self.display = display
        self.early = early
        self.put_off = put_off
        self.late = late
        self.orders = orders


def candidates(simulation: Simulation) -> list[str]:
    """What can be put off of what has happened in a simulation, as the key of its duration."""
    found = ["init:not-container", "init:container", "init:net-device-up"]
    classes = {job.name: job for job in simulation.jobs}
    for name in dict.fromkeys([*simulation.under_way, *(began.job for began in simulation.begun)]):
        if name == "mountall":
            found += [f"mountall:{part}" for part in PARTS]
        elif name in classes and main_effort(classes[name]):
            found.append(name)
    return found


def find(baseline: Simulation, simulate: Callable[[dict[str, float]], Simulation]) -> Iterator[Race]:
    """The races in what ``baseline`` shows; ``simulate`` does the same again with more that takes long."""
    classes = {job.name: job for job in baseline.jobs}
    before = baseline.states()
    told: set[tuple[str, str]] = set()
    for key in candidates(baseline)[:MOST]:
        if baseline.takes.get(key):
            continue
        other = simulate({key: LATE})
        after = other.states()
        if other.restless:
            # Of these there is no end; all else was cut off on its way.
            again = repeats.names(other)
            after = before | dict.fromkeys(again, "started again and again")
        for display in sorted(before.keys() | after.keys()):
            early, late = before.get(display, "stop/waiting"), after.get(display, "stop/waiting")
            if early == late or (display, late) in told:
                continue
            told.add((display, late))
            job = classes.get(display.partition(" (")[0])
            orders = (heard(baseline, job), heard(other, job)) if job is not None else ([], [])
            yield Race(display, early, late, key, orders)


def heard(simulation: Simulation, job: JobClass) -> list[str]:
    """The events that came and that the conditions of a job name, in their order."""
    names = set()
    for condition in (job.start_on, job.stop_on):
        for leaf in leaves(condition) if condition is not None else ():
            names.add((leaf.name, job_of(leaf) if leaf.name in JOB_EVENTS else None))
    found = []
    for event in simulation.history:
        words = event.split(" ")
        if (words[0], None) in names or (len(words) > 1 and (words[0], words[1]) in names):
            found.append(event)
    return found if len(found) <= MOST_HEARD else [*found[:MOST_HEARD], "..."]
