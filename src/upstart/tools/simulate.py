"""``init-simulate``: boots jobs in virtual time by the real engine, and says what came of it, and why.

What is always true here: no process is started and no init is asked; the files are read and nothing else.  The status
is 1 if a job is stuck, a file has an error, or two orders of the same events end differently.
"""

from __future__ import annotations

import errno
import json
import os
import sys

from upstart.base.errors import UsageError
from upstart.base.options import Option, parse
from upstart.client.status import Status
from upstart.initctl.statusline import describe
from upstart.tools import races, repeats
from upstart.tools.command import command
from upstart.tools.jobset import JobSet
from upstart.tools.playing import PARTS, is_mountall
from upstart.tools.resuming import Resumed
from upstart.tools.simulation import Simulation
from upstart.tools.situation import situation
from upstart.tools.stuck import Reasons

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from upstart.conf.jobclass import JobClass
    from upstart.engine.engine import Engine
    from upstart.tools.playing import Event
    from upstart.tools.simulation import Began

#: Where the jobs of a system are.
SYSTEM_JOBS = "/etc/init"
#: More jobs than that, and races are looked for only where that was asked for.
FEW = 1000

OPTIONS = (
    Option("", "with", "added", argument="FILE"),
    Option("", "without", "removed", argument="JOB"),
    Option("", "emit", "emitted", argument="EVENT"),
    Option("", "takes", "takes", argument="JOB=SECONDS"),
    Option("", "durations", "durations", argument="RECORD"),
    Option("", "from", "record", argument="RECORD"),
    Option("", "until", "until", argument="POINT"),
    Option("", "container", "container", argument="TYPE"),
    Option("", "races", "races"),
    Option("", "no-races", "no_races"),
    Option("", "json", "json"),
    Option("", "help", ""),
    Option("", "version", ""),
)
USAGE = """\
Usage: init-simulate [OPTION]... [DIRECTORY|PACKAGE|FILE]...
Boot jobs in virtual time, and tell what starts, what does not, and why.

Options:
      --with=FILE             with this job, override or package, too, and tell
                                what that changes
      --without=JOB           without this job, and tell what that changes
      --emit=EVENT            have EVENT, or 'EVENT KEY=VALUE...', come in the
                                place of startup; may be repeated
      --takes=JOB=SECONDS     how long the start of JOB takes, or JOB:PROCESS
      --durations=RECORD      processes take as long as in this record of init's
      --from=RECORD           go on from where this record ends, in the place of
                                booting
      --until=POINT           or from this point in it, as init-replay has it
      --container=TYPE        as in a container of this type
      --races                 look for races, however many jobs there are
      --no-races              do not look for races
      --json                  write all of it as JSON
      --help                  display this help and exit
      --version               output version information and exit

Without an argument the jobs are those in /etc/init.
The exit status is 1 if anything is stuck, in error, or depends on an order.
"""


class Settings:
    """What the command line says."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.removed: list[str] = []
        self.emitted: list[str] = []
        self.takes: list[str] = []
        self.durations = ""
        self.record = ""
        self.until = ""
        self.container = ""
        self.races = False
        self.no_races = False
        self.json = False


class Outcome:
    """All that there is to tell."""

    def __init__(self, simulation: Simulation, errors: list[str]) -> None:
        reasons = Reasons(simulation)
        self.simulation = simulation
        self.errors = errors
        self.begun, self.repeats = repeats.split(simulation)
        self.never = reasons.never()
        # What is started again and again was only on its way when the simulation was ended.
        moving = {began.display for began in self.repeats}
        self.stuck = [each for each in reasons.stuck() if each[0] not in moving]
        self.circles = reasons.circles()
        self.races: list[races.Race] = []
        self.races_looked_for = False
        self.changes: list[str] | None = None
        #: The point in a record from which the simulation goes on, in words.
        self.origin = ""

    def is_bad(self) -> bool:
        """Whether something is wrong."""
        return bool(self.errors or self.stuck or self.races or self.simulation.restless)

    def statuses(self) -> list[Status]:
        """How all instances, and jobs without one, stand in the end."""
        return statuses(self.simulation.world.engine)


def statuses(engine: Engine) -> list[Status]:
    """How all instances, and jobs without one, stand."""
    found = []
    for job in engine.jobs.values():
        if not job.instances:
            found.append(Status(job.name))
        for instance in job.instances.values():
            pids = sorted(instance.pids.items(), key=lambda entry: entry[0] != "main")
            found.append(Status(job.name, instance.name, instance.goal, instance.state, pids))
    return found


def event(text: str) -> Event:
    """An event as it is written on a command line, ``NAME KEY=VALUE...``.  Raises `UsageError`."""
    if not text.split():
        raise UsageError("an event has a name")
    name, *words = text.split()
    env = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"not a variable of an event: {word}")
        env[key] = value
    return name, env


def duration(text: str, jobs: Mapping[str, JobClass]) -> tuple[str, float]:
    """What ``--takes`` is given.  Raises `UsageError`."""
    key, _, number = text.rpartition("=")
    try:
        seconds = float(number)
    except ValueError:
        seconds = -1.0
    if not key or not 0 <= seconds < 1e6:
        raise UsageError(f"not a job and its seconds: {text}")
    name, colon, process = key.partition(":")
    job = jobs.get(name)
    if job is None:
        raise UsageError(f"unknown job: {name}")
    if colon and process not in job.processes and not (is_mountall(job) and process in PARTS):
        raise UsageError(f"{name} has no process {process}")
    return key, seconds


def simulate(words: list[str], settings: Settings) -> Outcome:
    """Do what the command line asks for.  Raises `UsageError` or `Unusable`."""
    if settings.until and not settings.record:
        raise UsageError("--until is a point in the record of --from")
    known = situation(settings.durations).durations() if settings.durations else {}
    if settings.record:
        if words:
            raise UsageError(f"jobs are those of the record, and not of {words[0]}: add some by --with")
        return go_on(settings, known)
    for path in [*(words or [SYSTEM_JOBS]), *settings.added]:
        if not os.path.exists(path):
            raise UsageError(f"{path}: {os.strerror(errno.ENOENT)}")
    base = JobSet()
    for path in words or [SYSTEM_JOBS]:
        base.add(path)
    jobs = base.copy()
    for path in settings.added:
        jobs.add(path)
    for name in dict.fromkeys(settings.removed):
        if jobs.jobs.pop(name, None) is None:
            raise UsageError(f"unknown job: {name}")
    if not jobs.jobs and not base.errors + jobs.errors:
        raise UsageError(f"no jobs in {' '.join(words or [SYSTEM_JOBS])}")
    events = [event(text) for text in settings.emitted] or [("startup", {})]
    takes = known | dict([duration(text, jobs.jobs) for text in settings.takes])

    def run(more: dict[str, float], among: JobSet = jobs) -> Simulation:
        return Simulation(among.jobs.values(), takes | more, settings.container).run(events)

    outcome = Outcome(run({}), base.errors + jobs.errors)
    if settings.added or settings.removed:
        outcome.changes = changes(run({}, base), outcome.simulation)
    look_for_races(outcome, settings, run)
    return outcome


def look_for_races(outcome: Outcome, settings: Settings, run: Callable[[dict[str, float]], Simulation]) -> None:
    """Do so, where it is wanted; ``run`` has all happen again with more that takes long."""
    simulation = outcome.simulation
    wanted = settings.races or (not settings.no_races and len(simulation.jobs) <= FEW)
    # Of what goes on for ever there is no end that could be another one.
    if wanted and not simulation.restless:
        outcome.races = list(races.find(simulation, run))
        outcome.races_looked_for = True


def go_on(settings: Settings, known: dict[str, float]) -> Outcome:
    """Go on from a point in a record.  Raises `UsageError` or `Unusable`."""
    found = situation(settings.record, settings.until)
    jobs = {job.name: job.job_class for job in found.replay.engine.jobs.values() if job.session is None}
    added = JobSet()
    added.jobs.update(jobs)
    for path in settings.added:
        if not os.path.exists(path):
            raise UsageError(f"{path}: {os.strerror(errno.ENOENT)}")
        added.add(path)
    for name in settings.removed:
        if name not in jobs:
            raise UsageError(f"unknown job: {name}")
    more = [job for name, job in added.jobs.items() if jobs.get(name) is not job]
    events = [event(text) for text in settings.emitted]
    takes = found.durations() | known | dict([duration(text, added.jobs) for text in settings.takes])

    def run(late: dict[str, float], changed: bool = True) -> Simulation:
        new, gone = (more, settings.removed) if changed else ([], [])
        return Resumed(found, takes | late, settings.container, new, gone).go_on(events)

    outcome = Outcome(run({}), added.errors + found.replay.differences)
    outcome.origin = f"after input {found.replay.number} of {settings.record}, {found.replay.seconds:.3f} s"
    if found.broken_off:
        outcome.origin += f" ({found.broken_off})"
    if settings.added or settings.removed:
        outcome.changes = changes(run({}, False), outcome.simulation)
    look_for_races(outcome, settings, run)
    return outcome


def changes(before: Simulation, after: Simulation) -> list[str]:
    """What is otherwise after a change of jobs: ends, and whether and by what a job was started.

    A job whose instances there are, or were, is told of by these alone.
    """
    found = []
    old, new = _ends(before), _ends(after)
    causes = [{began.display: began.events for began in each.begun} for each in (before, after)]
    jobs = [{job.name for job in each.jobs} for each in (before, after)]
    named = {began.job for each in (before, after) for began in each.begun if began.display != began.job}
    for display in dict.fromkeys([*old, *causes[0], *new, *causes[1]]):
        job = display.partition(" (")[0]
        if display in named and display not in causes[0] and display not in causes[1]:
            continue
        # An instance that is gone stands as a job does that has none.
        was, now = (
            states.get(display, "stop/waiting" if display in cause or job in there else "not there")
            for states, cause, there in zip((old, new), causes, jobs, strict=True)
        )
        if was == now and causes[0].get(display) != causes[1].get(display):
            was, now = (
                "started by " + " ".join(each[display]) if display in each else "never started" for each in causes
            )
        if was != now:
            found.append(f"{display}: {was} becomes {now}")
    return found


def _ends(simulation: Simulation) -> dict[str, str]:
    """How instances stand in the end, as far as they come to one."""
    return simulation.states() | dict.fromkeys(repeats.names(simulation), "started again and again")


def show(outcome: Outcome) -> None:
    """Tell people."""
    simulation = outcome.simulation
    for text in outcome.errors:
        print(f"ERROR: {text}")
    if outcome.origin:
        print(f"From where init was {outcome.origin}:\n")
    print("Started, in this order:")
    _show_starts(outcome.begun)
    if simulation.restless:
        what = "; what repeats is this:" if outcome.repeats else "."
        print(f"\nJobs start each other for ever, and the simulation was ended{what}")
        _show_starts(outcome.repeats)
    if outcome.never:
        print("\nNever started, and what that lacks:")
        for name, lack in outcome.never:
            print(f"  {name}: {lack}")
    if outcome.stuck:
        print("\nStuck:")
        for display, state, what in outcome.stuck:
            print(f"  {display} {state}: {what}")
    for circle in outcome.circles:
        print("\nA circle:")
        for step in circle:
            print(f"  {step}")
    for race in outcome.races:
        print(f"\nA race: {race.display} ends as {race.early}, but as {race.put_off} where {race.late} comes last:")
        for order in race.orders:
            print(f"  {', '.join(order) if order else 'nothing that it waits for comes'}")
    if outcome.changes is not None:
        print("\nWhat changes:")
        for line in outcome.changes or ["nothing"]:
            print(f"  {line}")
    print("\nIn the end:")
    for status in outcome.statuses():
        print(f"  {describe(status)}")


def _show_starts(begun: list[Began]) -> None:
    for began in begun:
        cause = f"  ({' '.join(began.events)})" if began.events else ""
        print(f"  {began.at:8.2f}  {began.display}{cause}")


def document(outcome: Outcome) -> dict[str, Any]:
    """All of it for programs."""
    simulation = outcome.simulation
    return {
        "errors": outcome.errors,
        "from": outcome.origin or None,
        "events": simulation.events,
        "started": [_start(began) for began in outcome.begun],
        "never": dict(outcome.never),
        "restless": simulation.restless,
        "repeats": [_start(began) for began in outcome.repeats],
        "stuck": [{"instance": name, "state": state, "why": why} for name, state, why in outcome.stuck],
        "circles": outcome.circles,
        "races": [
            {
                "instance": race.display,
                "ends": race.early,
                "or": race.put_off,
                "where_last": race.late,
                "orders": list(race.orders),
            }
            for race in outcome.races
        ]
        if outcome.races_looked_for
        else None,
        "changes": outcome.changes,
        "states": simulation.states(),
    }


def _start(began: Began) -> dict[str, Any]:
    return {
        "job": began.job,
        "instance": began.display,
        "at": round(began.at, 6),
        "up": None if began.up is None else round(began.up, 6),
        "ended": None if began.ended is None else round(began.ended, 6),
        "events": began.events,
    }


def main(argv: list[str]) -> int:
    """The command; the exit status."""
    return command("init-simulate", USAGE, lambda: _main(argv))


def _main(argv: list[str]) -> int:
    settings = Settings()
    outcome = simulate(parse(argv, OPTIONS, settings), settings)
    if settings.json:
        json.dump(document(outcome), sys.stdout, indent=2)
        print()
    else:
        show(outcome)
    return int(outcome.is_bad())
