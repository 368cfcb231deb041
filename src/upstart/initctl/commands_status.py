"""status and list, and the text that describes an instance, which start, stop and restart print too.

Our own daemon answers both with one call; any other is asked piece by piece.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import NO_EXTENSION, UNKNOWN_INSTANCE, UNKNOWN_JOB, UNKNOWN_METHOD
from upstart.client.status import Status
from upstart.initctl.context import Context
from upstart.initctl.target import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.init import Init
    from upstart.client.job import Instance, Job

#: Processes whose name the status does not mention, since the state or habit tells it.
_PLAIN = ("main", "pre-start", "post-stop")


def describe(status: Status) -> str:
    """The status of an instance: one line, and one more for each process beside the first."""
    text = f"{status.job} ({status.instance})" if status.instance else status.job
    text += f" {status.goal}/{status.state}"
    for number, (name, pid) in enumerate(status.processes):
        if number:
            text += f"\n\t{name} process {pid}"
        elif name in _PLAIN:
            text += f", process {pid}"
        else:
            text += f", ({name}) process {pid}"
    return text


def instance_status(job: Job, instance: Instance | None, known: str) -> str:
    """The status of an instance of a job, or of one that is gone or never was. Raises DBusError.

    A job whose file was removed is gone itself once it has stopped; ``known`` is the name that it was found by.
    """
    try:
        name = job.name
    except DBusError as error:
        if error.name != UNKNOWN_METHOD:
            raise
        name = known
    return describe(instance.status(name) if instance is not None else Status(name))


def status(context: Context) -> int:
    """status [JOB [KEY=VALUE]...]: a stopped job is no failure, a missing instance that was asked for is."""
    target = Target(context)
    init = context.open()
    if target.instance is None:
        try:
            found = init.status(target.job, target.env)
        except DBusError as error:
            if error.name == UNKNOWN_JOB:
                raise target.explained(init, error)
            if error.name not in NO_EXTENSION:
                raise
        else:
            for each in found:
                context.message(describe(each))
                if each.goal != "stop":
                    _warn_of_loop(context, init, each)
            return 0
    job = target.find_job(init)
    instance: Instance | None = None
    try:
        instance = target.find_instance(job)
    except DBusError as error:
        if target.instance is not None or target.env or error.name != UNKNOWN_INSTANCE:
            raise
    context.message(instance_status(job, instance, target.job))
    return 0


def _warn_of_loop(context: Context, init: Init, status: Status) -> None:
    """Where an instance is shown as running only because it is respawned again and again, say so beside it."""
    try:
        text = init.keeps_ending(status.job, status.instance)
    except DBusError:
        return  # an older build
    if text:
        context.flush()
        context.error(text)


def list_jobs(context: Context) -> int:
    """list: every instance of every job, or the job itself if it has none."""
    for each in context.open().all_status():
        context.message(describe(each))
    return 0
