"""The job, and the instance of it, that a command line means.

With arguments it is the job named first, and the instance that the KEY=VALUE words after it select. Without, the
command was called by a process of a job, and means the very instance that the process belongs to.
"""

from __future__ import annotations

import posix

from upstart.base.errors import ClientError, DBusError, Reason, UsageError
from upstart.base.names import NO_EXTENSION, UNKNOWN_INSTANCE, UNKNOWN_JOB
from upstart.initctl.context import Context, getenv
from upstart.initctl.statusline import instance_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.init import Init
    from upstart.client.job import Instance, Job
    from upstart.client.status import Status

SCRIPTS = "/etc/init.d"
#: Of a file's mode; the module stat would take its time.
FORMAT, REGULAR, EXECUTABLE = 0o170000, 0o100000, 0o111


class Target:
    """What a command acts on: `instance` is the name of one, or None if `env` selects it."""

    __slots__ = ("context", "env", "instance", "job")

    def __init__(self, context: Context) -> None:
        """Raises UsageError if there are neither arguments nor a job around us."""
        self.context = context
        self.instance: str | None = None
        if context.args:
            self.job = context.args[0]
        else:
            job = getenv("UPSTART_JOB")
            self.instance = getenv("UPSTART_INSTANCE")
            if job is None or self.instance is None:
                raise UsageError("missing job name")
            self.job = job
        self.env = context.args[1:]

    def find_job(self, init: Init) -> Job:
        """The job. Raises DBusError; ClientError with what is wrong with the job's file."""
        try:
            return init.job(self.job)
        except DBusError as error:
            if error.name != UNKNOWN_JOB:
                raise
            raise self.explained(init, error)

    def explained(self, init: Init, error: ClientError) -> ClientError:
        """What ends the command after an error: the reason, if one is known, once the error itself has been told."""
        try:
            reason = init.failure_reason(self.job, self.instance or "")
        except DBusError:
            # An original init never knows.
            reason = ""
        if not reason and isinstance(error, DBusError) and error.name == UNKNOWN_JOB:
            reason = self._script()
        if not reason:
            return error
        self.context.error(str(error))
        return Reason(reason)

    def _script(self) -> str:
        """What is said of the init.d script that has the name of an unknown job; empty if there is none."""
        if self.context.settings.user or "/" in self.job:
            return ""
        path = f"{SCRIPTS}/{self.job}"
        try:
            mode = posix.lstat(path.encode("utf-8", "surrogateescape")).st_mode
        except (OSError, ValueError):
            return ""
        if mode & FORMAT != REGULAR or not mode & EXECUTABLE:
            return ""
        return f"There is no job, but a script {path}, for service(8)"

    def find_instance(self, job: Job) -> Instance:
        """The instance of the job. Raises DBusError."""
        return job.instance_named(self.instance) if self.instance is not None else job.instance(self.env)

    def find_status(self, init: Init) -> list[Status]:
        """The status of what the command line means. Raises ClientError."""
        if self.instance is None:
            try:
                return init.status(self.job, self.env)
            except DBusError as error:
                if error.name == UNKNOWN_JOB:
                    raise self.explained(init, error)
                if error.name not in NO_EXTENSION:
                    raise
        job = self.find_job(init)
        instance: Instance | None = None
        try:
            instance = self.find_instance(job)
        except DBusError as error:
            if self.instance is not None or self.env or error.name != UNKNOWN_INSTANCE:
                raise
        return [instance_status(job, instance, self.job)]
