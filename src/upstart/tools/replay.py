"""``init-replay``: leads the engine through a record of what init was told, and shows how it stands there.

What is always true here: nothing is done to the machine, and nothing of it is asked.  The status is 1 if a state is not
the one that was recorded, and 2 if there is nothing to be shown.
"""

from __future__ import annotations

import json
import time

from upstart.base.errors import UsageError
from upstart.base.options import Option, parse
from upstart.client.history import History
from upstart.client.story import Story
from upstart.engine import account
from upstart.engine.history import unpacked
from upstart.initctl.explained import Explainer
from upstart.initctl.statusline import describe
from upstart.tools.command import command
from upstart.tools.simulate import statuses
from upstart.tools.situation import Situation, situation, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.journal import Input

OPTIONS = (
    Option("", "until", "until", argument="POINT"),
    Option("", "inputs", "inputs"),
    Option("", "explain", "explained", argument="JOB"),
    Option("", "json", "json"),
    Option("", "help", ""),
    Option("", "version", ""),
)
USAGE = """\
Usage: init-replay [OPTION]... RECORD
Lead init's engine through a record, and show how all jobs stand in the end.

Options:
      --until=POINT           stop at this point: behind so many inputs (12),
                                after so many seconds (1.5, or 2s), or where
                                an event comes ('started JOB=web')
      --inputs                show all inputs until then, numbered
      --explain=JOB           say why JOB runs there, or does not; may be
                                repeated
      --json                  write all of it as JSON
      --help                  display this help and exit
      --version               output version information and exit

Records are made by `initctl record' and `init --record'.
To go on from a point in virtual time, use init-simulate --from.
The exit status is 1 if a state is not the one that was recorded.
"""
#: Texts of the history that are read at a time.
TEXTS = 64
#: What changes nothing that anybody sees.
UNSEEN = ("run", "set_announcing", "set_priority", "set_reporting", "answer", "note_clock", "process_used")


class Settings:
    """What the command line says."""

    def __init__(self) -> None:
        self.until = ""
        self.inputs = False
        self.explained: list[str] = []
        self.json = False


def inputs_of(found: Situation) -> list[tuple[int, float, Input]]:
    """The inputs until the point, numbered, with seconds since the beginning."""
    record = found.record
    given = [entry[1] for entry in record.entries if entry[0] == "in"][: found.replay.number]
    return [(number, each.at - record.at, each) for number, each in enumerate(given, 1)]


def explain(found: Situation, name: str) -> list[str]:
    """What `initctl explain` would have said of a job at the point.  Raises `UsageError`."""
    replay = found.replay
    engine = replay.engine
    job = engine.jobs.get((None, name))
    if job is None:
        raise UsageError(f"unknown job: {name}")
    steps = account.of_job(engine, job, None)
    told: dict[str, Any] = {}
    while not told:
        try:
            next(steps)
        except StopIteration as end:
            told = end.value
    clocks = (replay.now, 0.0, found.record.time - found.record.at)
    told["clocks"] = clocks
    history = History()
    since: int | None = 0
    while since is not None:
        chunks, following = engine.history.chunks(since, TEXTS)
        texts = [(first, json.dumps(unpacked(packed))) for first, packed in chunks]
        since = history.take((texts, clocks, following, list(engine.events)), since)
    explainer = Explainer(told, Story(history), lambda job, instance: None)
    explainer.explain(None)
    return explainer.lines


def show(found: Situation, settings: Settings) -> None:
    """Tell people."""
    record, replay = found.record, found.replay
    explained = {name: explain(found, name) for name in settings.explained}
    begun = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(record.time))
    print(f"Record of {record.program}, begun {begun}, of {record.inputs} inputs")
    print("Values are " + ("those that were" if record.values else "replaced by marks where nothing compares them"))
    for note in replay.notes:
        print(f"Note: {note}")
    if record.cut:
        print(f"{record.cut}; what there is is replayed")
    for difference in replay.differences:
        print(f"DIFFERENT: {difference}")
    if replay.checks and not replay.differences:
        times = "once" if replay.checks == 1 else f"{replay.checks} times"
        print(f"The state was compared {times}, and was the recorded one")
    if settings.inputs:
        print("\nInputs:")
        for number, seconds, given in inputs_of(found):
            if given.name not in UNSEEN:
                print(f"  {number:6}  {seconds:10.3f}  {written(given)}")
    where = f"after input {replay.number}"
    if found.last is not None and found.last.name not in UNSEEN:
        where += f" ({written(found.last)})"
    print(f"\nAt {replay.seconds:.3f} s, {where if replay.number else 'before the first input'}:")
    for status in statuses(replay.engine):
        print(f"  {describe(status)}")
    for name, lines in explained.items():
        print(f"\n{name}:")
        for line in lines:
            print(f"  {line}")


def document(found: Situation, settings: Settings) -> dict[str, Any]:
    """All of it for programs."""
    record, replay = found.record, found.replay
    told: dict[str, Any] = {
        "program": record.program,
        "time": record.time,
        "values": record.values,
        "inputs": record.inputs,
        "cut": record.cut or None,
        "notes": replay.notes,
        "checks": replay.checks,
        "differences": replay.differences,
        "input": replay.number,
        "seconds": round(replay.seconds, 6),
        "jobs": [
            {
                "job": status.job,
                "instance": status.instance,
                "goal": status.goal,
                "state": status.state,
                "processes": dict(status.processes),
            }
            for status in statuses(replay.engine)
        ],
        "events": [
            {"name": event.name, "variables": event.env, "progress": event.progress}
            for event in replay.engine.events.values()
        ],
    }
    if settings.explained:
        told["explained"] = {name: explain(found, name) for name in settings.explained}
    if settings.inputs:
        told["told"] = [
            {"number": number, "seconds": round(seconds, 6), "name": given.name, "arguments": given.args}
            for number, seconds, given in inputs_of(found)
        ]
    return told


def main(argv: list[str]) -> int:
    """The command; the exit status."""
    return command("init-replay", USAGE, lambda: _main(argv))


def _main(argv: list[str]) -> int:
    settings = Settings()
    words = parse(argv, OPTIONS, settings)
    if not words:
        raise UsageError("missing record")
    if len(words) > 1:
        raise UsageError(f"one record at a time, and not {words[1]} as well")
    found = situation(words[0], settings.until)
    if settings.json:
        print(json.dumps(document(found, settings), indent=2))
    else:
        show(found, settings)
    return int(bool(found.replay.differences))
