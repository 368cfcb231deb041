"""status and list, and the text that describes an instance, which start, stop and restart print too.

Our own daemon answers both with one call; any other is asked piece by piece.
"""

from __future__ import annotations

from upstart.base.names import (
    EXTENSION,
    INSTANCE,
    JOB,
    MANAGER,
    NO_EXTENSION,
    PATH,
    UNKNOWN_INSTANCE,
    UNKNOWN_JOB,
    UNKNOWN_METHOD,
)
from upstart.client.errors import DBusError
from upstart.initctl.context import Context
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from upstart.client.connection import Connection

#: Processes whose name the status does not mention, since the state or habit tells it.
_PLAIN = ("main", "pre-start", "post-stop")
_STATUS = "a(ssssa(si))"


def describe(job: str, instance: str, goal: str, state: str, processes: Sequence[tuple[str, int]]) -> str:
    """The status of an instance: one line, and one more for each process beside the first."""
    text = f"{job} ({instance}) {goal}/{state}" if instance else f"{job} {goal}/{state}"
    for number, (name, pid) in enumerate(processes):
        if number:
            text += f"\n\t{name} process {pid}"
        elif name in _PLAIN:
            text += f", process {pid}"
        else:
            text += f", ({name}) process {pid}"
    return text


def instance_status(init: Connection, job_path: str, instance_path: str | None) -> str:
    """The status of the instance at that path, or of one that is gone or never was. Raises DBusError."""
    job = init.get_string(job_path, JOB, "name")
    if instance_path is None:
        return describe(job, "", "stop", "waiting", ())
    try:
        found = init.get_all(instance_path, INSTANCE)
    except DBusError as error:
        if error.name != UNKNOWN_METHOD:
            raise
        return describe(job, "", "stop", "waiting", ())
    return describe(job, found["name"], found["goal"], found["state"], found["processes"])


def status(context: Context) -> int:
    """status [JOB [KEY=VALUE]...]: a stopped job is no failure, a missing instance that was asked for is."""
    target = Target(context)
    init = context.open()
    if target.instance is None:
        try:
            (entries,) = init.call(PATH, EXTENSION, "GetStatus", "sas", target.job, target.env, returns=_STATUS)
        except DBusError as error:
            if error.name == UNKNOWN_JOB:
                raise target.explained(init, error)
            if error.name not in NO_EXTENSION:
                raise
        else:
            for entry in entries:
                context.message(describe(*entry))
            return 0
    job_path = target.job_path(init)
    instance_path: str | None = None
    try:
        instance_path = target.instance_path(init, job_path)
    except DBusError as error:
        if target.instance is not None or target.env or error.name != UNKNOWN_INSTANCE:
            raise
    context.message(instance_status(init, job_path, instance_path))
    return 0


def list_jobs(context: Context) -> int:
    """list: every instance of every job, or the job itself if it has none."""
    init = context.open()
    try:
        (entries,) = init.call(PATH, EXTENSION, "GetStatusAll", returns=_STATUS)
    except DBusError as error:
        if error.name not in NO_EXTENSION:
            raise
        _list_piecewise(context, init)
    else:
        for entry in entries:
            context.message(describe(*entry))
    return 0


def _list_piecewise(context: Context, init: Connection) -> None:
    """The list from an init that does not know our extension; what vanishes meanwhile is left out."""
    (job_paths,) = init.call(PATH, MANAGER, "GetAllJobs", returns="ao")
    for job_path in job_paths:
        try:
            (instance_paths,) = init.call(job_path, JOB, "GetAllInstances", returns="ao")
            for instance_path in instance_paths or (None,):
                context.message(instance_status(init, job_path, instance_path))
        except DBusError as error:
            if error.name != UNKNOWN_METHOD:
                raise
