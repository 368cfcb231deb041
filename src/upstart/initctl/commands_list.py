"""list with patterns, filters, an order, columns, services or JSON: everything but the original's plain list.

Instances come in the order of their names unless another is asked for. Exit status 3 says that nothing was found.
"""

from __future__ import annotations

from upstart.base.errors import DBusError, UsageError
from upstart.base.glob import match
from upstart.base.names import NO_EXTENSION
from upstart.client.status import Status
from upstart.initctl.context import NOTHING, Context
from upstart.initctl.facts import COLUMNS, ELASTIC, Facts
from upstart.initctl.narrow import GAP, cell, widths_of
from upstart.initctl.past import Past
from upstart.initctl.statusline import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.init import Init


def failures(init: Init) -> dict[tuple[str, str], str]:
    """Why instances failed that have not come to run since; of an init that cannot tell, nothing."""
    try:
        return init.failures()
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        return {}


def list_chosen(context: Context) -> int:
    """list [PATTERN...] with any option or pattern."""
    settings = context.settings
    columns = _columns(settings.columns) if settings.columns is not None else []
    init = context.open()
    failed = failures(init)
    past = Past(init)
    found = [Facts(init, status, failed, past) for status in init.all_status()]
    if "failed" in settings.kinds:
        known = {str(facts.status.job) for facts in found}
        broken = {(name, ""): error for name, error in _broken(init).items() if name not in known}
        found += [Facts(init, Status(name, state="unknown"), broken, past) for name, _ in broken]
    if settings.services:
        found += _services(context, {str(facts.status.job) for facts in found})
    found = [facts for facts in found if _is_named(facts, context.args) and _is_wanted(context, facts)]
    found.sort(key=lambda facts: (facts.status.job, facts.status.instance))
    if settings.sort is not None:
        _sort(found, settings.sort)
    if settings.json:
        context.show_json([facts.as_json() | _pieces(facts, columns) for facts in found])
    elif columns and found:
        _table(context, found, columns)
    else:
        for facts in found:
            text = facts.service.describe() if facts.service is not None else describe(facts.status)
            context.message(context.coloured(text, facts.colour))
    return 0 if found else NOTHING


def _broken(init: Init) -> dict[str, str]:
    """What is wrong with files of jobs, by job; of an init that cannot tell, nothing."""
    try:
        errors = init.configuration_errors()
        directories = init.directories()[0] if errors else []
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        return {}
    found: dict[str, str] = {}
    for text in errors:
        for directory in directories:
            file = text.removeprefix(directory + "/")
            ends = [at for at in (file.find(".conf:"), file.find(".override:")) if at > 0]
            if file != text and ends:
                found.setdefault(file[: min(ends)], text)
    return found


def _columns(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in COLUMNS:
            raise UsageError(f"unknown column: {name}; there are {', '.join(COLUMNS)}")
    if not names:
        raise UsageError(f"no column is named; there are {', '.join(COLUMNS)}")
    return names


def _services(context: Context, jobs: set[str]) -> list[Facts]:
    """The services of the system that have no job; a session has none."""
    if context.session_address() is not None:
        return []
    from upstart.initctl import services

    found = []
    for service in services.without_jobs(jobs):
        if not context.args or any(match(pattern, service.name) for pattern in context.args):
            service.ask()
            found.append(Facts.of_service(service))
    return found


def _is_named(facts: Facts, patterns: list[str]) -> bool:
    return not patterns or any(match(pattern, facts.status.job) for pattern in patterns)


def _is_wanted(context: Context, facts: Facts) -> bool:
    """Whether it fits one of the filters, where any is given."""
    kinds = {
        "running": facts.running,
        "stopped": facts.stopped,
        "failed": facts.failed,
        "changing": not facts.running and not facts.stopped and facts.status.state != "unknown",
    }
    return not context.settings.kinds or any(kinds[kind] for kind in context.settings.kinds)


def _sort(found: list[Facts], order: str) -> None:
    """By a column, what has no value last; backwards with a hyphen before the name."""
    backwards = order.startswith("-")
    name = order.removeprefix("-")
    if name not in COLUMNS:
        raise UsageError(f"unknown column: {name}; there are {', '.join(COLUMNS)}")
    value, _ = COLUMNS[name]
    keys = {id(facts): value(facts) for facts in found}

    def key(facts: Facts) -> tuple[bool, float, str]:
        of = keys[id(facts)]
        number = float(of) if isinstance(of, (int, float)) else 0.0
        return of in (None, ""), -number if backwards else number, of if isinstance(of, str) else ""

    if backwards and any(isinstance(of, str) and of for of in keys.values()):
        found.sort(key=lambda facts: str(keys[id(facts)]), reverse=True)
    else:
        found.sort(key=key)


def _pieces(facts: Facts, columns: list[str]) -> dict[str, object]:
    return {name: COLUMNS[name][0](facts) for name in columns}


def _table(context: Context, found: list[Facts], columns: list[str]) -> None:
    """A line for each instance, and one with the names of the columns above; texts are cut on a narrow terminal."""
    rows = [[name.upper() for name in columns]]
    for facts in found:
        rows.append([COLUMNS[name][1](COLUMNS[name][0](facts)).replace("\n", " ") for name in columns])
    widths = widths_of(rows, [at for at, name in enumerate(columns) if name in ELASTIC], context.width)
    colours = ["1", *(facts.colour for facts in found)]
    for row, colour in zip(rows, colours, strict=True):
        line = (" " * GAP).join(map(cell, row, widths)).rstrip()
        context.message(context.coloured(context.plain(line), colour))
