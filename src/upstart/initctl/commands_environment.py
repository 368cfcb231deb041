"""The commands of the job environment: inside a job they act on that instance, elsewhere on the table of all jobs."""

from __future__ import annotations

from upstart.base.errors import UsageError
from upstart.initctl.context import Context, getenv


def _job_details(context: Context) -> list[str]:
    """Job and instance that a command acts on, or nothing for the global table."""
    job = None if context.settings.globally else getenv("UPSTART_JOB")
    if job is None:
        return []
    instance = getenv("UPSTART_INSTANCE")
    if instance is None:
        raise UsageError("missing job name")
    return [job, instance]


def get_env(context: Context) -> int:
    """get-env VARIABLE"""
    if not context.args:
        raise UsageError("missing variable name")
    details = _job_details(context)
    value = context.open().get_env(context.args[0], details)
    if context.settings.json:
        context.show_json({context.args[0]: value})
    else:
        context.message(value)
    return 0


def set_env(context: Context) -> int:
    """set-env VARIABLE[=VALUE]..."""
    if not context.args:
        raise UsageError("missing variable value")
    details = _job_details(context)
    context.open().set_env(context.args, details, replace=not context.settings.retain)
    return 0


def unset_env(context: Context) -> int:
    """unset-env VARIABLE..."""
    if not context.args:
        raise UsageError("missing variable name")
    details = _job_details(context)
    context.open().unset_env(context.args, details)
    return 0


def reset_env(context: Context) -> int:
    """reset-env"""
    details = _job_details(context)
    context.open().reset_env(details)
    return 0


def list_env(context: Context) -> int:
    """list-env: sorted as the locale has it."""
    import _locale

    details = _job_details(context)
    table = context.open().list_env(details)
    try:
        _locale.setlocale(_locale.LC_COLLATE, "")
    except Exception:  # locale.Error, whose module is too dear to import
        pass  # a locale that is not installed: the order of C
    table = sorted(table, key=_locale.strxfrm)
    if context.settings.json:
        pairs = (variable.partition("=") for variable in table)
        context.show_json({name: value for name, _, value in pairs})
        return 0
    for variable in table:
        context.message(variable)
    return 0
