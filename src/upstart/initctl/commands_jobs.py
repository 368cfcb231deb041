"""The commands that change a job, and usage.

A command that names a job waits for it, unless --no-wait; one that a job's own process calls for its own instance never
does, as it would wait for itself. Why a job failed, if init can tell, follows the error as a second line.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, DBusError
from upstart.base.names import JOB_FAILED, NO_EXTENSION, UNKNOWN_METHOD
from upstart.initctl.context import Context
from upstart.initctl.statusline import instance_status, show
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from upstart.client.init import Init
    from upstart.client.job import Instance

    T = TypeVar("T")

SIGHUP = 1


def start(context: Context) -> int:
    """start [JOB [KEY=VALUE]...]"""
    return _start(context, "start")


def restart(context: Context) -> int:
    """restart [JOB [KEY=VALUE]...]: the definition the job was started with stays in force."""
    return _start(context, "restart")


def _start(context: Context, method: str) -> int:
    """Start or restart, which answer alike."""
    target = Target(context)
    init = context.open()
    job = target.find_job(init)
    if target.instance is not None:
        instance = target.find_instance(job)
        _change(init, target, lambda: getattr(instance, method)(wait=False))
    else:
        wait = not context.settings.no_wait
        instance = _change(init, target, lambda: getattr(job, method)(target.env, wait))
    show(context, instance_status(job, instance, target.job))
    return 0


def stop(context: Context) -> int:
    """stop [JOB [KEY=VALUE]...]: with --force also what would be let run to its end, a pre-start for one, is ended."""
    target = Target(context)
    init = context.open()
    job = target.find_job(init)
    instance = target.find_instance(job)
    wait = target.instance is None and not context.settings.no_wait
    if context.settings.force:
        what = job if target.instance is None else instance
        try:
            _change(init, target, lambda: init.stop_by_force(what, target.env, wait))
        except DBusError as error:
            if error.name not in NO_EXTENSION:
                raise
            raise ClientError("This init daemon does not support --force")
    elif target.instance is not None:
        _change(init, target, lambda: instance.stop(wait))
    else:
        _change(init, target, lambda: job.stop(target.env, wait))
    show(context, instance_status(job, instance, target.job))
    return 0


def _change(init: Init, target: Target, call: Callable[[], T]) -> T:
    """A call that may take as long as the job does; if the job fails, its error and the reason are told apart."""
    init.quiet()
    try:
        return call()
    except DBusError as error:
        if error.name != JOB_FAILED:
            raise
        raise target.explained(init, error)


def reload(context: Context) -> int:
    """reload [JOB [KEY=VALUE]...]: sends the job's reload signal, HUP by default, to its main process."""
    target = Target(context)
    instance = target.find_instance(target.find_job(context.open()))
    try:
        instance.reload()
    except DBusError as error:
        if error.name != UNKNOWN_METHOD:
            raise
        # An init from before the upgrade to 1.13, still running, does not know the method.
        _hang_up(instance)
    return 0


def _hang_up(instance: Instance) -> None:
    processes = instance.processes
    if not processes or processes[0][0] != "main":
        raise ClientError("Not running")
    try:
        posix.kill(processes[0][1], SIGHUP)
    except OSError as error:
        raise ClientError(error.strerror)


def usage(context: Context) -> int:
    """usage [JOB]: how the job wants to be started."""
    target = Target(context)
    job = target.find_job(context.open())
    text = job.usage
    if context.settings.json:
        context.show_json({"job": target.job, "usage": text})
    else:
        context.message("Usage: " + text)
    return 0
