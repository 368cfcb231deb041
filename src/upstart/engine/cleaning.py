"""A record without secrets: values that nothing compares are replaced by marks, equal ones by equal marks.

What is always true here: an engine that is told cleaned inputs gets into the states of the one that was told the
real ones, up to marks.  So a value stays as it is where the engine looks at it: where a condition of some job tests
its variable, or refers to it, or an instance is named by it; and variables that init itself sets stay.  Names stay: of
jobs, events, instances and variables, and what conditions say.  Of programs and scripts the events that they emit stay,
of paths of job files the last part.  What is not known here is replaced.

Which variables are compared is known as definitions come.  Where a later one compares what an earlier did not, the
values are given of the marks that stand for it, for who replays to put them in their places (`Cleaner.reveals`).
"""

from __future__ import annotations

import re
from hashlib import blake2b

from upstart.engine.compared import Compared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

#: What the parameters of inputs are.  Those that stay are numbers, words of init's own, and names.
ENVIRONMENTS = frozenset(("environ", "env", "tested", "table"))
PLAIN = frozenset(
    ("available", "priority", "announcing", "reporting", "request", "name", "fd", "last", "connection", "serial",
     "limit", "key", "process", "pid", "ready", "signal", "status", "timer", "force", "asked", "timers", "ending",
     "spared", "later", "replace", "what", "suspended", "wall", "processor", "read",
     "written")
)  # fmt: skip
OTHERS = frozenset(("entry", "value", "reason", "text", "session", "job_class", "job", "instance", "by"))

#: What a definition has that stays: numbers, words of the job language, names and conditions.
CLASS_PLAIN = frozenset(
    ("name", "instance", "export", "start_on", "stop_on", "emits", "expect", "task", "respawn", "respawn_limit",
     "respawn_interval", "normal_exit", "kill_timeout", "kill_signal", "kill_mode", "reload_signal", "console", "umask",
     "nice", "oom_score_adj", "limits", "debug")
)  # fmt: skip
#: The keys of a state document and of what is in it, by what stands there.
STATE_PLAIN = frozenset(
    ("version", "serial", "shutting_down", "ending", "tells_awaited", "awaits", "respawning_allowed")
)
EVENT_PLAIN = frozenset(("serial", "name", "progress", "failed", "fd", "last", "connection", "at", "noted"))
INSTANCE_PLAIN = frozenset(
    ("goal", "state", "pids", "serial", "failed", "failed_process", "exit_status", "respawn_time", "respawn_count",
     "respawn_total", "respawn_since", "respawning", "forced", "last", "connection", "name", "unready", "timers", "fds",
     "blocker", "blocking", "stop_progress", "goal_since", "since", "noted", "began", "doomed")
)  # fmt: skip
INSTANCE_ENVIRONMENTS = ("env", "start_env", "stop_env")
JOB_PLAIN = frozenset(("pending", "start_progress"))
SNAPSHOT_PLAIN = frozenset(
    ("priority", "announcing", "reporting", "apparmor_available", "queue", "asked", "awaited")
)

#: Bytes of values that are remembered, so that they can be given should a later definition compare them.
REMEMBERED = 8 << 20
_EMITS = re.compile(r"\binitctl\s+(?:-\S+\s+)*emit\s+(?:-\S+\s+)*([A-Za-z0-9:_.-]+)")
#: What init says of processes, with names and numbers in it.
_SAID = re.compile(
    r"Failed to spawn .+ process|.+ process \(\d+\) (terminated with status \d+|killed by \S+ \S+|exited normally|"
    r"ended with unknown status)|it is no child of init|.+ respawning too fast, stopped",
    re.DOTALL,
)


class Cleaner:
    """Cleans one record; ``key`` are bytes that nobody else knows, ``phrases`` words of reasons that may stay.

    ``forgot`` is whether there were more values than are remembered.
    """

    def __init__(self, key: bytes, phrases: Iterable[str] = ()) -> None:
        self._key = key
        self._phrases = frozenset(phrases)
        self._compared = Compared(self._give)
        #: Values that were replaced, by variable, and marks of those that have been given since.
        self._seen: dict[str, dict[str, str]] = {}
        self._size = 0
        self._given: set[str] = set()
        self._reveals: dict[str, str] = {}
        self.forgot = False

    def reveals(self) -> dict[str, str]:
        """The values of marks that stand before this and are compared from now on; each is given once."""
        found, self._reveals = self._reveals, {}
        return found

    def input(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of an input, as a journal has them."""
        if name == "define":
            self._compared.learn(args["job_class"]["class"])
        elif name == "emit":
            values = dict(args.get("env") or {}) | dict(args.get("tested") or {})
            self._compared.note_event(str(args.get("name")), values)
        return {key: self._argument(name, key, args) for key in args}

    def _argument(self, name: str, key: str, args: Mapping[str, Any]) -> Any:
        value = args[key]
        if value is None or key in PLAIN:
            return value
        if key in ENVIRONMENTS:
            return self._env(value)
        if key == "entry":
            return self._entry(value)
        if key == "value":
            return self._value(str(args.get("key")), value)
        if key == "reason" and name == "end_session":
            return value
        if key in ("reason", "text"):
            return self._text(value)
        if key == "session":
            return self._session(value)
        if key == "job_class":
            return {"class": self._class(value["class"])}
        if key == "by":
            return self._who(value)
        if key in ("job", "instance") and isinstance(value, dict):
            return {kind: [self._session(what[0]), *what[1:]] for kind, what in value.items()}
        return self._anything(value)

    def snapshot(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        """A snapshot of the engine."""
        for job in snapshot["state"]["jobs"]:
            for definition in (job["class"], job.get("successor"), *(each.get("class") for each in job["instances"])):
                if definition is not None:
                    self._compared.learn(definition)
        for event in snapshot["state"]["events"]:
            self._compared.note_event(event["name"], event.get("values") or event["env"])
        return {key: self._part(key, value) for key, value in snapshot.items()}

    def _part(self, key: str, value: Any) -> Any:
        if key in SNAPSHOT_PLAIN:
            return value
        if key == "state":
            return {each: self._of_state(each, value[each]) for each in value}
        if key in ("environ", "extra_environ"):
            return self._env(value)
        if key in ("waiting", "moved"):
            return [[self._session(entry[0]), *entry[1:]] for entry in value]
        if key == "index":
            return [
                [
                    name,
                    self._places(plain),
                    [[word, [[test, self._places(found)] for test, found in values]] for word, values in keyed],
                ]
                for name, plain, keyed in value
            ]
        return self._anything(value)

    def _places(self, places: list[list[Any]]) -> list[list[Any]]:
        return [[self._session(place[0]), *place[1:]] for place in places]

    def _of_state(self, key: str, value: Any) -> Any:
        if key in STATE_PLAIN:
            return value
        if key == "job_environ":
            return self._env(value)
        if key == "failures":
            return [[self._session(session), job, name, self._text(text)] for session, job, name, text in value]
        if key == "events":
            return [self._record(event, EVENT_PLAIN, ("env", "values")) for event in value]
        if key == "jobs":
            return [self._job(job) for job in value]
        return self._anything(value)

    def _job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in job.items():
            if key in ("class", "successor"):
                found[key] = self._class(value) if value is not None else None
            elif key == "instances":
                found[key] = [self._record(each, INSTANCE_PLAIN, INSTANCE_ENVIRONMENTS) for each in value]
            else:
                found[key] = value if key in JOB_PLAIN else self._anything(value)
        return found

    def _record(self, record: Mapping[str, Any], plain: frozenset[str], environments: Iterable[str]) -> dict[str, Any]:
        """An event or an instance."""
        found: dict[str, Any] = {}
        for key, value in record.items():
            if value is None or key in plain:
                found[key] = value
            elif key in environments:
                found[key] = self._env(value)
            elif key == "session":
                found[key] = self._session(value)
            elif key == "cause":
                found[key] = self._who(value)
            elif key == "failure":
                found[key] = self._text(value)
            elif key == "class":
                found[key] = self._class(value)
            else:
                found[key] = self._anything(value)
        return found

    # Definitions

    def _class(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A definition, as `conf.jobdata` has it."""
        found: dict[str, Any] = {}
        for key, value in data.items():
            if value is None or key in CLASS_PLAIN:
                found[key] = value
            elif key == "env":
                found[key] = [self._entry(entry) for entry in value]
            elif key == "session":
                found[key] = self._session(value)
            elif key in ("source", "override"):
                head, slash, tail = value.rpartition("/")
                found[key] = (self._other(head) if head else "") + slash + tail
            elif key == "processes":
                found[key] = {
                    name: [self._program(command), script] for name, (command, script) in value.items()
                }
            elif key == "cgroups":
                found[key] = [[self._anything(word) for word in entry] for entry in value]
            else:
                found[key] = self._anything(value)
        return found

    def _program(self, text: str) -> str:
        """A script or command line: what it emits, and whether it is the same as another."""
        emits = "".join(f"\ninitctl emit {name}" for name in dict.fromkeys(_EMITS.findall(text)))
        return f": {self._other(text)}{emits}"

    def _give(self, key: str | None) -> None:
        """The values of a variable, or of any, are compared from now on."""
        for each in list(self._seen) if key is None else [key]:
            for value, mark in self._seen.pop(each, {}).items():
                if value not in self._given:
                    self._given.add(value)
                    self._reveals[mark] = value

    # Values

    def _mark(self, value: str) -> str:
        """What stands for the value of a variable."""
        data = value.encode("utf-8", "surrogatepass")
        return "~" + blake2b(data, digest_size=6, key=self._key).hexdigest()

    def _other(self, text: str) -> str:
        """What stands for a text that is no value: it stays, whichever values are given."""
        return self._mark("\0" + text)

    def _value(self, key: str, value: str) -> str:
        if not value or key in self._compared or value in self._given:
            return value
        mark = self._mark(value)
        seen = self._seen.setdefault(key, {})
        if value not in seen:
            self._size += len(key) + len(value) + 100
            if self._size > REMEMBERED:
                self.forgot = True
                self._seen.clear()
                self._size = 0
                seen = self._seen.setdefault(key, {})
            seen[value] = mark
        return mark

    def _env(self, table: Mapping[str, str]) -> dict[str, str]:
        return {key: self._value(key, value) for key, value in table.items()}

    def _entry(self, entry: str) -> str:
        key, equals, value = entry.partition("=")
        return key + equals + self._value(key, value)

    def _session(self, session: str | None) -> str | None:
        return None if session is None else self._other(session)

    def _who(self, who: Any) -> Any:
        """Who has asked for something, as the history has it: a program by its name, an instance by its own."""
        if not isinstance(who, (list, tuple)):
            return who
        return [[self._session(each[0]), *each[1:]] if isinstance(each, (list, tuple)) else each for each in who]

    def _text(self, text: str) -> str:
        """A reason, in words: those of init's own stay."""
        return ": ".join(
            part if part in self._phrases or _SAID.fullmatch(part) else self._other(part) for part in text.split(": ")
        )

    def _anything(self, value: Any) -> Any:
        """What nobody has said anything of: no text of it stays."""
        if isinstance(value, str):
            return self._other(value) if value else value
        if isinstance(value, dict):
            return {self._other(key): self._anything(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._anything(each) for each in value]
        return value


def essence(snapshot: dict[str, Any], cleaned: bool) -> dict[str, Any]:
    """What two snapshots of one state have in common: all of it, but reasons in words where values were replaced.

    Requests count as such, whoever waits.
    """
    if not cleaned:
        return snapshot
    document = snapshot["state"]
    jobs = [
        job | {"instances": [each | {"failure": each["failure"] is not None} for each in job["instances"]]}
        for job in document["jobs"]
    ]
    failures = [entry[:3] for entry in document["failures"]]
    return snapshot | {"state": document | {"jobs": jobs, "failures": failures}}


def revealed(value: Any, reveals: Mapping[str, str]) -> Any:
    """A snapshot in which marks have got their values."""
    if isinstance(value, str):
        if value in reveals:
            return reveals[value]
        key, equals, mark = value.partition("=")
        return f"{key}={reveals[mark]}" if equals and mark in reveals else value
    if isinstance(value, dict):
        return {key: revealed(each, reveals) for key, each in value.items()}
    if isinstance(value, list):
        return [revealed(each, reveals) for each in value]
    return value
