"""cat, enable and disable: the files of a job as init has them, and whether events start it.

What is always true here: it is init's parser that says what a file means. A job that is switched off is so by a line
``manual`` in its override, in the words of update-rc.d(8), so that either takes back what the other has done.
"""

from __future__ import annotations

from upstart.base.errors import ClientError, UsageError
from upstart.initctl import checker
from upstart.initctl.context import Context
from upstart.initctl.overrides import Override, switched_by, switched_off, switched_on, tell, unknown_job
from upstart.initctl.places import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.initctl.places import Places


def cat(context: Context) -> int:
    """cat JOB: status 1 where a file has an error."""
    if len(context.args) != 1:
        raise UsageError("missing job name" if not context.args else "too many arguments")
    (job,) = context.args
    places = find(context)
    conf = places.conf(job)
    if conf is None:
        raise unknown_job(places, job)
    lines, errors = checker.merged(conf, places.override(job))
    context.document = True
    if context.settings.json:
        shown = [{"file": line.file, "line": line.number, "text": line.text} for line in lines]
        context.show_json({"job": job, "lines": shown, "errors": errors})
    else:
        labels = [f"{line.file}:{line.number}:" for line in lines]
        width = max(map(len, labels), default=0)
        for label, line in zip(labels, lines, strict=True):
            text = context.plain(line.text)
            context.message(f"{context.coloured(label.ljust(width), '2')} {text}" if text else label)
        context.flush()
        for error in errors:
            context.error(error)
    return 1 if errors else 0


def disable(context: Context) -> int:
    """disable JOB..."""
    return _for_each(context, _disable)


def enable(context: Context) -> int:
    """enable JOB..."""
    return _for_each(context, _enable)


def _for_each(context: Context, switch: Callable[[Context, Places, str], bool]) -> int:
    """Switch each job; the status is that of the first that could not be."""
    if not context.args:
        raise UsageError("missing job name")
    places = find(context)
    status = 0
    changed = False
    for job in context.args:
        try:
            changed = switch(context, places, job) or changed
        except ClientError as error:
            context.flush()
            context.fail(error)
            status = status or error.status
    if changed:
        tell(context, places)
    return status


def _disable(context: Context, places: Places, job: str) -> bool:
    """Whether anything was to be done."""
    override = Override(places, job)
    lines = checker.merged(override.conf, override.counts)[0]
    by = checker.manual(lines)
    if by is not None:
        before = next((each.text for each in lines if (each.file, each.number + 1) == (by.file, by.number)), "")
        who = switched_by(before, places.session)
        where = f"{by.file}:{by.number}"
        said = f"{who} ({where}); 'initctl enable {job}' takes that back" if who else f"by {where}"
        context.message(f"{job} is switched off already, {said}")
        return False
    override.save(switched_off(override.text))
    context.message(f"{job} is switched off: no event starts it any more ({override.path})")
    return True


def _enable(context: Context, places: Places, job: str) -> bool:
    override = Override(places, job)
    changed = False
    if override.counts is not None:
        of_override, _ = checker.merged(override.counts, None)
        manual = [line.number for line in of_override if checker.is_manual(line)]
        if manual:
            override.save(switched_on(override.text, manual))
            changed = True
    lines, _ = checker.merged(override.conf, places.override(job))
    by = checker.manual(lines)
    if by is not None:
        raise ClientError(f"{by.file}:{by.number} says manual: have it start by `initctl edit {job}', with a start on")
    if not any(line.stanza == "start" for line in lines):
        context.message(f"{job} has no start on: no event starts it")
    elif changed:
        context.message(f"{job} is switched on: events start it again")
    else:
        context.message(f"{job} is switched on already")
    return changed
