"""explain: why a job runs or does not, what became of an event, and what a boot still waits for.

What is always true here: nothing is changed and nothing guessed.  Exit statuses: 0 where it runs, was emitted, or
nothing is left; else those of `upstart.initctl.context`.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import NO_EXTENSION, UNKNOWN_JOB
from upstart.initctl.context import UNKNOWN, Context
from upstart.initctl.explained import Explainer
from upstart.initctl.places import find
from upstart.initctl.story import Story
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.init import Init


def explain(context: Context) -> int:
    """explain JOB [INSTANCE] | EVENT | --boot"""
    settings = context.settings
    if settings.boot:
        if context.args:
            raise UsageError(f"unexpected argument: {context.args[0]}")
        return _boot(context, context.open())
    if len(context.args) > 2:
        raise UsageError(f"unexpected argument: {context.args[2]}")
    target = Target(context)
    init = context.open()
    account = None if settings.event else _account(init, target.job)
    if account is None:
        return _event(context, init, target)
    instance = context.args[1] if len(context.args) > 1 else target.instance
    known = {each["name"] for each in account["instances"]}
    story = Story(init.history())
    told = {of[2] for of in story.goals if of[1] == target.job}
    if instance is not None and instance not in known | told:
        raise ClientError(f"Unknown instance: {instance} of job {target.job}").with_status(UNKNOWN)
    places = find(context)
    explainer = Explainer(account, story, _log_of(places, account), _manual(account))
    explainer.explain(instance)
    return _show(context, explainer.lines, explainer.status, {"job": target.job, "account": account})


def _log_of(places: Any, account: dict[str, Any]) -> Any:
    def log(job: str, instance: str) -> str | None:
        if account["console"] in ("none", "output", "owner"):
            return None
        path: str | None = places.log(job, instance)
        try:
            posix.stat((path or "").encode("utf-8", "surrogateescape"))
        except FileNotFoundError:
            return None
        except OSError:
            pass  # it is for others to read
        return path

    return log


def _manual(account: dict[str, Any]) -> str:
    """The ``FILE:LINE`` that keeps events from starting a job; "" where there is none, or it cannot be told."""
    if account["start_on"] or not account["file"] or account["pending"]:
        return ""
    from upstart.initctl import checker

    try:
        by = checker.manual(checker.merged(account["file"], account["override"])[0])
    except ClientError:
        return ""  # its files are not there for who asks
    return f"{by.file}:{by.number}" if by is not None else ""


def _account(init: Init, job: str) -> dict[str, Any] | None:
    """The account of a job, None where there is none of that name."""
    try:
        return init.account(job)
    except DBusError as error:
        if error.name == UNKNOWN_JOB:
            return None
        if error.name in NO_EXTENSION:
            raise ClientError("This init daemon does not tell what is needed to explain anything")
        raise


def _event(context: Context, init: Init, target: Target) -> int:
    """What has the name of no job is an event, if anybody knows it."""
    from upstart.base.emitters import emitter_of
    from upstart.initctl.eventexplained import explain_event

    name = target.job
    story = Story(init.history())
    awaited = init.awaited_by([name])
    emits = init.emitters(name)
    if not (story.by_name.get(name) or awaited or emits or emitter_of(name) or context.settings.event):
        error = DBusError(UNKNOWN_JOB, f"Unknown job: {name}")
        raise target.explained(init, error).with_status(UNKNOWN)
    lines, status = explain_event(name, story, init.account(), awaited, emits)
    return _show(context, lines, status, {"event": name})


def _boot(context: Context, init: Init) -> int:
    from upstart.initctl.bootexplained import explain_boot

    try:
        account = init.account()
    except DBusError as error:
        if error.name in NO_EXTENSION:
            raise ClientError("This init daemon does not tell what is needed to explain anything")
        raise
    errors = init.configuration_errors()
    lines, status = explain_boot(account, Story(init.history()), errors)
    return _show(context, lines, status, {"account": account, "errors": errors})


def _show(context: Context, lines: list[str], status: int, more: dict[str, object]) -> int:
    if context.settings.json:
        context.show_json({**more, "lines": lines, "status": status})
    else:
        for line in lines:
            context.message(context.plain(line))
    return status
