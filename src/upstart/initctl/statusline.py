"""The text that describes how an instance stands, which status, list, start, stop and restart print alike."""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import UNKNOWN_METHOD
from upstart.client.status import Status
from upstart.initctl.context import Context

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


def show(context: Context, status: Status) -> None:
    """Print a status, or what ``--json`` makes of it."""
    if context.settings.json:
        from upstart.initctl.facts import Facts

        context.show_json(Facts(None, status, {}).as_json())
    else:
        context.message(describe(status))


def instance_status(job: Job, instance: Instance | None, known: str) -> Status:
    """The status of an instance of a job, or of one that is gone or never was. Raises DBusError.

    A job whose file was removed is gone itself once it has stopped; ``known`` is the name that it was found by.
    """
    try:
        name = job.name
    except DBusError as error:
        if error.name != UNKNOWN_METHOD:
            raise
        name = known
    return instance.status(name) if instance is not None else Status(name)


def keeps_ending(init: Init, status: Status) -> str:
    """That the main process of an instance is respawned again and again, if it is so and init can tell."""
    try:
        return init.keeps_ending(status.job, status.instance)
    except DBusError:
        return ""  # an older build
