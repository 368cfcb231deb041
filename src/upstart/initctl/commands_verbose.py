"""status with --verbose, --json or --check: all that is known of an instance, and an exit status that tells it.

A service of /etc/init.d that has no job is shown as well, as its script says how it stands.
"""

from __future__ import annotations

import time

from upstart.base.errors import ClientError, DBusError
from upstart.base.names import UNKNOWN_INSTANCE, UNKNOWN_JOB
from upstart.client.status import Status
from upstart.initctl import processfacts
from upstart.initctl.commands_list import failures
from upstart.initctl.context import CHANGING, FAILED, INFO, NOTHING, UNKNOWN, Context
from upstart.initctl.facts import Facts, clock, size
from upstart.initctl.past import Past
from upstart.initctl.places import Places, find
from upstart.initctl.statusline import describe, keeps_ending
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.init import Init

#: Lines of the log that are shown, and how wide the names of what is known are.
LINES = 10
_WIDTH = 13
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def status_in_full(context: Context) -> int:
    """status JOB with --verbose, --json or --check. Raises ClientError."""
    settings = context.settings
    target = Target(context)
    init = context.open()
    service = None
    try:
        found = init.status(target.job, target.env) if target.instance is None else target.find_status(init)
    except DBusError as error:
        if error.name == UNKNOWN_JOB and context.session_address() is None and not target.env:
            from upstart.initctl import services

            service = next((each for each in services.without_jobs(()) if each.name == target.job), None)
        if service is None:
            found = _or_unknown(init, target)
        else:
            found = []
            service.ask()
    failed = failures(init) if found else {}
    past = Past(init)
    every = [Facts(init, each, failed, past) for each in found] if service is None else [Facts.of_service(service)]
    places = find(context)
    reports = [Report(context, init, facts, places) for facts in every]
    if settings.json:
        verbose = settings.priority <= INFO
        shown = [report.as_json(verbose) for report in reports]
        context.show_json(shown[0] if len(shown) == 1 else shown)
    else:
        for report in reports:
            report.write(settings.priority <= INFO)
    return max((report.exit_status() for report in reports), default=0) if settings.check else 0


def _or_unknown(init: Init, target: Target) -> list[Status]:
    """What there is, or an error that exits with `UNKNOWN` if there is nothing of that name."""
    try:
        return target.find_status(init)
    except ClientError as error:
        known = not isinstance(error, DBusError) or error.name in (UNKNOWN_JOB, UNKNOWN_INSTANCE)
        if target.context.settings.check and known:
            error.with_status(UNKNOWN)
        raise


class Report:
    """What is shown of one instance."""

    __slots__ = ("_context", "_facts", "_init", "_loop", "_places")

    def __init__(self, context: Context, init: Init, facts: Facts, places: Places) -> None:
        self._context = context
        self._init = init
        self._facts = facts
        self._places = places
        self._loop = "" if facts.status.goal != "start" else keeps_ending(init, facts.status)

    def exit_status(self) -> int:
        """What ``--check`` exits with."""
        facts = self._facts
        if facts.failed or self._loop:
            return FAILED
        if facts.running:
            return 0
        if facts.service is not None and facts.service.state == "unknown":
            return UNKNOWN
        return NOTHING if facts.stopped else CHANGING

    def write(self, verbose: bool) -> None:
        """Print it for people."""
        facts, context = self._facts, self._context
        line = facts.service.describe() if facts.service is not None else describe(facts.status)
        context.message(context.coloured(line, "31" if self._loop else facts.colour) if verbose else line)
        if verbose:
            for name, value in self._known():
                if value:
                    text = f"  {name + ':':{_WIDTH}}{context.plain(value)}"
                    context.message(context.folded(text, 2 + _WIDTH))
            self._write_log()
        if self._loop:
            context.flush()
            context.error(self._loop)

    def _known(self) -> list[tuple[str, str]]:
        facts = self._facts
        known = [("Description", facts.description), *self._files()]
        if facts.service is not None:
            known.append(("Runlevels", " ".join(facts.service.runlevels) or "none"))
        if facts.since is not None:
            known.append(("Since", f"{clock(facts.since)} ({ago(time.time() - facts.since)})"))
        for name, pid in facts.status.processes:
            known.append((f"{name.capitalize()}", f"{pid} {processfacts.command(pid)}".rstrip()))
        life = facts.life
        if life.respawns:
            known.append(("Respawns", f"{life.respawns}" + (f" since {clock(life.started)}" if life.started else "")))
        if life.ended is not None:
            known.append(("Last exit", f"{life.end}, at {clock(life.ended)}"))
        memory = facts.memory
        if memory is not None:
            counted = "of its cgroup" if memory.counted == "cgroup" else "resident"
            number = "1 process" if memory.processes == 1 else f"{memory.processes} processes"
            known.append(("Memory", f"{size(memory.bytes)}, {counted}, {number}"))
        known.append(("Failure", facts.failure))
        return known

    def _files(self) -> list[tuple[str, str]]:
        if self._facts.service is not None:
            return []
        conf, override = self._places.conf(self._facts.status.job), self._places.override(self._facts.status.job)
        return [("Job file", conf or ""), ("Override", override or "")]

    def _log(self) -> str | None:
        status = self._facts.status
        return None if self._facts.service is not None else self._places.log(status.job, status.instance)

    def _write_log(self) -> None:
        path = self._log()
        if path is None:
            return
        lines, problem = last_lines(path, LINES)
        if problem:
            self._context.message(f"  {'Log:':{_WIDTH}}{path}: {problem}")
        elif lines:
            self._context.message(f"  {'Log:':{_WIDTH}}{path}")
            for line in lines:
                self._context.message(self._context.folded("    " + self._context.plain(line), 6))

    def as_json(self, verbose: bool) -> dict[str, object]:
        """The same as a value; with ``verbose`` all that is known, else how it stands."""
        facts = self._facts
        shown = facts.as_json()
        if not verbose:
            return shown
        files = dict(self._files())
        memory, path = facts.memory, self._log()
        shown |= {
            "description": facts.description,
            "file": files.get("Job file") or None,
            "override": files.get("Override") or None,
            "since": facts.since,
            "respawns": facts.life.respawns,
            "exit_time": facts.life.ended,
            "exit_status": facts.life.status,
            "exit_seconds": facts.life.lived,
            "memory": memory.bytes if memory is not None else None,
            "memory_counted": memory.counted if memory is not None else None,
            "failure": facts.failure or None,
            "keeps_ending": self._loop or None,
            "log": path,
            "log_lines": last_lines(path, LINES)[0] if path is not None else [],
        }
        return shown


def ago(seconds: float) -> str:
    """How long ago something was, in its one or two largest units."""
    left = max(int(seconds), 0)
    words: list[str] = []
    for unit, size_of in _UNITS:
        count, left = divmod(left, size_of)
        if count or (unit == "second" and not words):
            words.append(f"{count} {unit}{'s' if count != 1 else ''}")
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words) + " ago"


def last_lines(path: str, count: int) -> tuple[list[str], str]:
    """The last lines of a log, and why there are none; a log that does not exist has none for no reason."""
    try:
        with open(path.encode("utf-8", "surrogateescape"), "rb") as file:
            file.seek(0, 2)
            file.seek(max(file.tell() - count * 1024, 0))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return [], ""
    except OSError as error:
        return [], error.strerror or str(error)
    if not lines[-1]:
        lines.pop()
    return [line.rstrip(b"\r").decode("utf-8", "replace") for line in lines[-count:]], ""
