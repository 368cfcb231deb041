"""explain: why a job runs or does not, what became of an event, and what a boot still waits for.

What is always true here: nothing is changed and nothing guessed.  Exit statuses: 0 where it runs, was emitted, or
nothing is left; else those of `upstart.initctl.context`.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import NO_EXTENSION, UNKNOWN_INSTANCE, UNKNOWN_JOB
from upstart.client.story import Story
from upstart.initctl.context import UNKNOWN, Context
from upstart.initctl.explained import Explainer
from upstart.initctl.places import find
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.init import Init


def explain(context: Context) -> int:
    """explain JOB [INSTANCE | KEY=VALUE...] | EVENT | --boot"""
    settings = context.settings
    if settings.boot:
        if context.args:
            raise UsageError(f"unexpected argument: {context.args[0]}")
        if settings.saved is not None:
            raise UsageError("--boot is about the init that runs, and not about a saved history")
        return _boot(context, context.open())
    target = Target(context)
    if settings.saved is not None:
        return _saved(context, target)
    init = context.open()
    account = None if settings.event else _account(init, target.job)
    if account is None:
        if target.env:
            raise UsageError(f"unexpected argument: {target.env[0]}")
        return _event(context, init, target)
    story = Story(init.history())
    instance = _instance(target, account, story, init)
    places = find(context)
    explainer = Explainer(account, story, _log_of(places, account), _manual(account))
    explainer.explain(instance)
    return _show(context, explainer.lines, explainer.status, {"job": target.job, "account": account})


def _instance(target: Target, account: dict[str, Any], story: Story, init: Init | None) -> str | None:
    """The instance that is named, or that the words KEY=VALUE select; None for all.  Raises ClientError."""
    if not target.env:
        return target.instance
    known = {each["name"] for each in account["instances"]}
    known |= {of[2] for of in story.goals if of[:2] == (None, target.job) and of[2] is not None}
    name = target.env[0]
    if len(target.env) == 1 and name in known:
        return name
    other = next((word for word in target.env if "=" not in word), None)
    if other is not None and len(target.env) > 1:
        raise UsageError(f"unexpected argument: {target.env[1] if other == name else other}")
    if other is None and init is not None:
        try:
            name = init.job(target.job).instance(target.env).name
        except DBusError as error:
            if error.name != UNKNOWN_INSTANCE:
                raise
            # It says which one it would be.
            name = error.message.partition(": ")[2]
    if name not in known:
        raise ClientError(f"Unknown instance: {name} of job {target.job}").with_status(UNKNOWN)
    return name


def _saved(context: Context, target: Target) -> int:
    """The same of what `history --save` has written, which has neither conditions nor who holds whom."""
    from upstart.client.words import clock
    from upstart.initctl.eventexplained import explain_event
    from upstart.initctl.pastaccount import account_of
    from upstart.initctl.saved import saved_history

    assert context.settings.saved is not None
    story = Story(saved_history(context.settings.saved))
    moment = f"As of {clock(story.wall(story.history.clock))}, when the history was saved:"
    account = None if context.settings.event else account_of(target.job, story)
    if account is not None:
        explainer = Explainer(account, story, lambda job, instance: None)
        explainer.explain(_instance(target, account, story, None))
        lines, status = explainer.lines, explainer.status
    else:
        if not story.by_name.get(target.job) and not context.settings.event:
            text = f"The history has no job and no event {target.job}"
            raise ClientError(text).with_status(UNKNOWN)
        lines, status = explain_event(target.job, story, {"events": {}}, None, [])
    return _show(context, [moment, *lines], status, {"name": target.job})


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
            depth = len(line) - len(line.lstrip(" "))
            context.message(context.folded(context.plain(line), depth + 2))
    return status
