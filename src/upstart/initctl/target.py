"""The job, and the instance of it, that a command line means.

With arguments it is the job named first, and the instance that the KEY=VALUE words after it select. Without, the
command was called by a process of a job, and means the very instance that the process belongs to.
"""

from __future__ import annotations

from upstart.base.errors import ClientError, UsageError
from upstart.base.names import EXTENSION, JOB, MANAGER, PATH, UNKNOWN_JOB
from upstart.client.errors import DBusError
from upstart.initctl.context import Context, getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.connection import Connection


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

    def job_path(self, init: Connection) -> str:
        """The object path of the job. Raises DBusError; ClientError with what is wrong with the job's file."""
        path: str
        try:
            (path,) = init.call(PATH, MANAGER, "GetJobByName", "s", self.job, returns="o")
        except DBusError as error:
            if error.name != UNKNOWN_JOB:
                raise
            raise self.explained(init, error)
        return path

    def explained(self, init: Connection, error: ClientError) -> ClientError:
        """What ends the command after an error: the reason, if init knows one, once the error itself has been told."""
        try:
            (reason,) = init.call(
                PATH, EXTENSION, "FailureReason", "ss", self.job, self.instance or "", returns="s"
            )
        except DBusError:
            # An original init never knows.
            return error
        if not reason:
            return error
        self.context.error(str(error))
        return ClientError(str(reason))

    def instance_path(self, init: Connection, job_path: str) -> str:
        """The object path of the instance. Raises DBusError."""
        path: str
        if self.instance is not None:
            (path,) = init.call(job_path, JOB, "GetInstanceByName", "s", self.instance, returns="o")
        else:
            (path,) = init.call(job_path, JOB, "GetInstance", "as", self.env, returns="o")
        return path
