"""A point in a record: how the system stood there, what had happened, and how long its processes had taken.

What is always true here: it is the record that is read, and nothing of the machine.  A duration is known only of what
ended by itself: of a process that was asked to end, or of a service that goes on, it says nothing.
"""

from __future__ import annotations

import json

from upstart.base.names import JOB_EVENTS
from upstart.base.signals import signal_name
from upstart.conf.jobclass import Match
from upstart.engine import snapshot
from upstart.engine.condition import matches
from upstart.engine.recorded import NotARecord, read
from upstart.engine.replaying import Replay
from upstart.tools.command import Unusable
from upstart.tools.playing import PARTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.engine.data import Event, Instance
    from upstart.engine.journal import Input


class Unreached(Exception):
    """A record has no such point; ``str()`` says why."""


class Point:
    """Where to stop: behind an input with this number, before the first that came later than so many seconds, or once
    an event has been handled.  None of them means the end."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.number: int | None = None
        self.seconds: float | None = None
        self.event: Match | None = None
        if text.isdecimal():
            self.number = int(text)
            return
        try:
            self.seconds = float(text.removesuffix("s"))
        except ValueError:
            name, *tests = text.split() or [""]
            self.event = Match(name, tuple(tests)) if name else None


class Duration:
    """How long a process of a job took, in seconds, each time that it ended by itself."""

    def __init__(self) -> None:
        self.first: float | None = None

    def add(self, seconds: float) -> None:
        """It took so long; the first time counts, for what follows may find its work done."""
        if self.first is None:
            self.first = round(seconds, 6)


class Situation:
    """The state that a record leads to at a point; ``replay`` is there.

    ``history`` are the events until then as they are written, the lives of jobs by name and instance.  ``begins_late``:
    the record begins in the middle of a life of init's, of which nothing else is known.
    """

    def __init__(self, path: str, until: str = "") -> None:
        """Raises OSError, `NotARecord` or `Unreached`."""
        with open(path, "rb") as file:
            self.record = read(file)
        self.history: list[str] = []
        #: The events that have come, by name and place, and the jobs that have started.
        self.emitted: set[tuple[str, str]] = set()
        self.started: set[str] = set()
        #: The last input, as it is written, and the one that is next.
        self.last: Input | None = None
        self._durations: dict[str, Duration] = {}
        self._begun: dict[int, tuple[Instance, str, float]] = {}
        self._since: dict[str, float] = {}
        self._stop_at: Match | None = None
        self._reached = False
        self.replay = Replay(self.record, self._event, self._told)
        # What was there at the beginning has started at some time.
        self.started.update(instance.job.name for instance in self.replay.engine.instances())
        self.begins_late = bool(self.replay.engine.jobs)
        self._lead(Point(until))

    def _lead(self, point: Point) -> None:
        replay = self.replay
        self._stop_at = point.event
        while not self._reached:
            following = replay.following()
            if following is None:
                break
            if point.number is not None and replay.number >= point.number:
                return
            if point.seconds is not None and following.at - self.record.at > point.seconds:
                return
            self._before(following)
            replay.step()
        # It is there, and is yet to be handled.
        while self._reached and self.last is not None and self.last.name != "run":
            following = replay.following()
            if following is None:
                break
            self._before(following)
            replay.step()
        if point.event is not None and not self._reached:
            raise Unreached(f"the event {point.text} does not come in the record")
        if point.number is not None and replay.number < point.number:
            raise Unreached(f"the record has {replay.number} inputs, and not {point.text}")

    def saved(self) -> dict[str, Any]:
        """The engine as it stands, as values of their own."""
        self.replay.engine.take_effects()
        found: dict[str, Any] = json.loads(json.dumps(snapshot.take(self.replay.engine)))
        return found

    @property
    def broken_off(self) -> str:
        """Why there is no more of the record than this, where it was not ended there; empty elsewhere."""
        return self.record.cut if self.replay.following() is None else ""

    # What happens

    def _event(self, event: Event) -> None:
        name, env = event.name, event.env
        if name in JOB_EVENTS:
            job, instance = env.get("JOB", ""), env.get("INSTANCE", "")
            self.history.append(f"{name} {job} ({instance})" if instance else f"{name} {job}")
            if name == "starting":
                self.started.add(job)
        else:
            self.history.append(" ".join((name, *(f"{key}={value}" for key, value in env.items()))))
            part = name.removesuffix("-filesystems")
            if part in PARTS and "mountall" in self._since:
                self._duration(f"mountall:{part}").add(self.replay.now - self._since["mountall"])
        self.emitted.add((name, env.get("MOUNTPOINT", "")))
        if self._stop_at is not None and matches(self._stop_at, event, None):
            self._reached = True

    def _before(self, given: Input) -> None:
        """A process is about to be told as having ended: the engine still knows whose it was."""
        if given.name == "process_exited":
            found = self.replay.engine.pids.get(given.args["pid"])
            begun = self._begun.pop(given.args["pid"], None)
            if found is not None and begun is not None and f"kill:{found[1]}" not in found[0].timers:
                instance, process, since = begun
                # Whether a main process is to end, or lives, the job says.
                if process != "main" or instance.job_class.task:
                    self._duration(f"{instance.job.name}:{process}").add(given.at - since)

    def _told(self, given: Input) -> None:
        self.last = given
        engine = self.replay.engine
        if given.name == "process_spawned":
            pid = given.args["pid"]
            found = engine.pids.get(pid)
            if found is not None:
                self._begun[pid] = (*found, given.at)
                if found[1] == "main":
                    self._since[found[0].job.name] = given.at
        elif given.name in ("process_forked", "process_stopped"):
            self._ready(given)

    def _ready(self, given: Input) -> None:
        """A main process has become a daemon, or has stopped itself: it has begun to serve."""
        for pid, (instance, process, since) in list(self._begun.items()):
            if process != "main" or instance.job_class.expect == "none" or instance.state == "spawned":
                continue
            if instance.main_pid in (pid, given.args["pid"]):
                self._duration(f"{instance.job.name}:main").add(given.at - since)

    def _duration(self, key: str) -> Duration:
        return self._durations.setdefault(key, Duration())

    def durations(self) -> dict[str, float]:
        """Seconds by ``JOB:PROCESS``, as `Simulation` takes them."""
        return {key: each.first for key, each in self._durations.items() if each.first is not None}


def situation(path: str, until: str = "") -> Situation:
    """What a record leads to.  Raises `Unusable`."""
    try:
        return Situation(path, until)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    except (NotARecord, Unreached) as error:
        raise Unusable(f"{path}: {error}") from None


def written(given: Input) -> str:
    """An input as people read it."""
    words = [given.name.replace("_", "-")]
    for key, value in given.args.items():
        if key == "by":
            if isinstance(value, list) and value[0] == "client":
                words.append(f"by {value[3] or 'process'} ({value[2]})" if value[2] else "by a client of the bus")
            continue
        if isinstance(value, dict):
            if "request" in value:
                continue
            if "class" in value:
                value = value["class"]["name"]
            elif key in ("instance", "job") and value:
                what = next(iter(value.values()))
                value = f"{what[1]} ({what[2]})" if key == "instance" and what[2] else what[1]
            else:
                words += [f"{name}={text}" for name, text in value.items()] if key != "environ" else []
                continue
        if value in (None, False, "") or (key in ("fd", "request") and value == -1):
            continue
        if key == "status" and value > 0xFF:
            value = f"by {signal_name(value >> 8)}"
        words.append(key if value is True else str(value))
    return " ".join(words)
