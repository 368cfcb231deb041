"""What there is to know of an instance, each piece asked for when it is wanted and not before.

What is always true here: what cannot be known is ``None`` or empty, and is shown as such. The names of the columns of
``list`` are the keys of ``COLUMNS``; by the same names the pieces stand in what ``--json`` prints.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.client.status import Status
from upstart.initctl import processfacts
from upstart.initctl.past import Life, Past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.client.init import Init
    from upstart.initctl.processfacts import Memory
    from upstart.initctl.services import Service


class Facts:
    """Of one instance, or of a job that has none, or of a ``service`` of /etc/init.d that has no job.

    ``failures`` is why instances failed that have not come to run since, by job and instance; ``past`` what init
    remembers of all.
    """

    __slots__ = ("_description", "_failures", "_init", "_memory", "_past", "service", "status")

    def __init__(
        self,
        init: Init | None,
        status: Status,
        failures: dict[tuple[str, str], str],
        past: Past | None = None,
        service: Service | None = None,
    ) -> None:
        self._init = init
        self._failures = failures
        self._past = past or Past(None)
        self._description: str | None = None
        self._memory: Memory | None = None
        self.status = status
        self.service = service

    @classmethod
    def of_service(cls, service: Service) -> Facts:
        """Of a script: its goal is ``script``, its state what it says itself."""
        return cls(None, Status(service.name, "", "script", service.state), {}, service=service)

    @property
    def name(self) -> str:
        """The job with its instance, as a status has it."""
        return f"{self.status.job} ({self.status.instance})" if self.status.instance else self.status.job

    @property
    def pid(self) -> int | None:
        """The first of its processes, the main one where there is one."""
        return self.status.processes[0][1] if self.status.processes else None

    @property
    def life(self) -> Life:
        """What init remembers of it."""
        return self._past.life(str(self.status.job), str(self.status.instance))

    @property
    def since(self) -> float | None:
        """Since when it is in its state, or, where init does not remember, its process runs: seconds of the epoch."""
        if self.life.waiting is not None:
            return self.life.waiting
        moment = processfacts.started(self.pid) if self.pid is not None else None
        return None if moment is None else processfacts.to_wall(moment)

    @property
    def memory(self) -> Memory | None:
        """What its processes use."""
        if self._memory is None and self.status.processes:
            self._memory = processfacts.memory([pid for _, pid in self.status.processes])
        return self._memory

    @property
    def failure(self) -> str:
        """Why it failed, unless it has run since; a script that should run and does not says no more than that."""
        if self.service is not None:
            return "its process has gone" if self.service.state == "dead" else ""
        return self._failures.get((self.status.job, self.status.instance), "")

    @property
    def description(self) -> str:
        """What the job says of itself."""
        if self._description is None:
            try:
                self._description = self._init.job(self.status.job).description if self._init is not None else ""
            except DBusError:
                self._description = ""
        return self._description

    @property
    def running(self) -> bool:
        """Whether it runs and is to run."""
        return (self.status.goal, self.status.state) in (("start", "running"), ("script", "running"))

    @property
    def stopped(self) -> bool:
        """Whether it does not run and is not to."""
        return self.status.state in ("waiting", "stopped", "dead") and self.status.goal != "start"

    @property
    def failed(self) -> bool:
        """Whether it should run, or have run, and failed."""
        return self.status.goal != "start" and bool(self.failure)

    @property
    def colour(self) -> str:
        """How it is shown: an SGR of ECMA-48; empty for what is plain."""
        if self.failed:
            return "31"
        if self.running:
            return "32"
        return "" if self.stopped or self.status.state == "unknown" else "33"

    def as_json(self) -> dict[str, object]:
        """How it stands, as ``--json`` has it everywhere."""
        status = self.status
        processes = [{"name": str(name), "pid": int(pid)} for name, pid in status.processes]
        shown: dict[str, object] = {
            "job": str(status.job), "instance": str(status.instance), "goal": str(status.goal),
            "state": str(status.state), "processes": processes,
        }  # fmt: skip
        if self.service is not None:
            shown["script"] = self.service.path
            shown["runlevels"] = self.service.runlevels
        return shown


def clock(moment: float | None) -> str:
    """A time of day with its date, for people; a hyphen for none."""
    import time

    return "-" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def size(count: int | None) -> str:
    """Bytes for people; a hyphen for none."""
    if count is None:
        return "-"
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _memory(facts: Facts) -> int | None:
    return facts.memory.bytes if facts.memory is not None else None


#: Column -> the value that it is sorted and written to JSON by, and the text that stands in a table for the value.
COLUMNS: dict[str, tuple[Callable[[Facts], object], Callable[[object], str]]] = {
    "job": (lambda facts: str(facts.status.job), str),
    "instance": (lambda facts: str(facts.status.instance), lambda value: str(value) or "-"),
    "goal": (lambda facts: str(facts.status.goal), str),
    "state": (lambda facts: str(facts.status.state), str),
    "pid": (lambda facts: facts.pid, lambda value: "-" if value is None else str(value)),
    "since": (lambda facts: facts.since, lambda value: clock(value if isinstance(value, float) else None)),
    "respawns": (lambda facts: facts.life.respawns, lambda value: "-" if value is None else str(value)),
    "exit": (lambda facts: facts.life.end, lambda value: str(value) or "-"),
    "memory": (_memory, lambda value: size(value if isinstance(value, int) else None)),
    "failure": (lambda facts: facts.failure, lambda value: str(value) or "-"),
    "description": (lambda facts: facts.description, lambda value: str(value) or "-"),
    "runlevels": (
        lambda facts: facts.service.runlevels if facts.service is not None else "", lambda value: str(value) or "-"
    ),
}
#: Columns of text, which can be cut where there is no room.
ELASTIC = ("exit", "failure", "description")
