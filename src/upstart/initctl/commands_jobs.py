"""The commands that change a job, and usage.

A command that names a job waits for it, unless --no-wait; one that a job's own process calls for its own instance never
does, as it would wait for itself. Why a job failed, if init can tell, follows the error as a second line.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError
from upstart.base.names import EXTENSION, INSTANCE, JOB, JOB_FAILED, NO_EXTENSION, PATH, UNKNOWN_METHOD
from upstart.client.connection import NEVER
from upstart.client.errors import DBusError
from upstart.initctl.commands_status import instance_status
from upstart.initctl.context import Context
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.connection import Connection

SIGHUP = 1


def start(context: Context) -> int:
    """start [JOB [KEY=VALUE]...]"""
    return _start(context, "Start")


def restart(context: Context) -> int:
    """restart [JOB [KEY=VALUE]...]: the definition the job was started with stays in force."""
    return _start(context, "Restart")


def _start(context: Context, method: str) -> int:
    """Start or Restart, which answer alike."""
    target = Target(context)
    init = context.open()
    job_path = target.job_path(init)
    if target.instance is not None:
        instance_path = target.instance_path(init, job_path)
        _change(context, init, target, instance_path, INSTANCE, method, "b", False)
    else:
        wait = not context.settings.no_wait
        (instance_path,) = _change(
            context, init, target, job_path, JOB, method, "asb", target.env, wait, returns="o"
        )
    context.message(instance_status(init, job_path, instance_path))
    return 0


def stop(context: Context) -> int:
    """stop [JOB [KEY=VALUE]...]: with --force also what would be let run to its end, a pre-start for one, is ended."""
    target = Target(context)
    init = context.open()
    job_path = target.job_path(init)
    instance_path = target.instance_path(init, job_path)
    wait = target.instance is None and not context.settings.no_wait
    if context.settings.force:
        path = job_path if target.instance is None else instance_path
        try:
            _change(context, init, target, PATH, EXTENSION, "StopForce", "sasb", path, target.env, wait)
        except DBusError as error:
            if error.name not in NO_EXTENSION:
                raise
            raise ClientError("This init daemon does not support --force")
    elif target.instance is not None:
        _change(context, init, target, instance_path, INSTANCE, "Stop", "b", wait)
    else:
        _change(context, init, target, job_path, JOB, "Stop", "asb", target.env, wait)
    context.message(instance_status(init, job_path, instance_path))
    return 0


def _change(
    context: Context,
    init: Connection,
    target: Target,
    path: str,
    interface: str,
    method: str,
    signature: str,
    *args: Any,
    returns: str | None = None,
) -> tuple[Any, ...]:
    """A call that may take as long as the job does; if the job fails, its error and the reason are told apart."""
    init.quiet()
    try:
        return init.call(path, interface, method, signature, *args, returns=returns, timeout=NEVER)
    except DBusError as error:
        if error.name != JOB_FAILED:
            raise
        raise target.explained(init, error)


def reload(context: Context) -> int:
    """reload [JOB [KEY=VALUE]...]: sends the job's reload signal, HUP by default, to its main process."""
    target = Target(context)
    init = context.open()
    instance_path = target.instance_path(init, target.job_path(init))
    try:
        init.call(instance_path, INSTANCE, "Reload")
    except DBusError as error:
        if error.name != UNKNOWN_METHOD:
            raise
        # An init from before the upgrade to 1.13, still running, does not know the method.
        _hang_up(init, instance_path)
    return 0


def _hang_up(init: Connection, instance_path: str) -> None:
    processes = init.get_property(instance_path, INSTANCE, "processes")
    if not processes or processes[0][0] != "main":
        raise ClientError("Not running")
    try:
        posix.kill(processes[0][1], SIGHUP)
    except OSError as error:
        raise ClientError(error.strerror)


def usage(context: Context) -> int:
    """usage [JOB]: how the job wants to be started."""
    target = Target(context)
    init = context.open()
    job_path = target.job_path(init)
    context.message("Usage: " + init.get_string(job_path, JOB, "usage"))
    return 0
