"""The job, and the instance of it, that a command line means.

With arguments it is the job named first, and the instance that the KEY=VALUE words after it select. Without, the
command was called by a process of a job, and means the very instance that the process belongs to.
"""

from __future__ import annotations

from upstart.client.context import Context, getenv
from upstart.client.errors import UsageError
from upstart.client.names import JOB, MANAGER, PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.connection import Connection


class Target:
    """What a command acts on: `instance` is the name of one, or None if `env` selects it."""

    __slots__ = ("env", "instance", "job")

    def __init__(self, context: Context) -> None:
        """Raises UsageError if there are neither arguments nor a job around us."""
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
        """The object path of the job. Raises DBusError."""
        path: str = init.call(PATH, MANAGER, "GetJobByName", "s", self.job, returns="o")[0]
        return path

    def instance_path(self, init: Connection, job_path: str) -> str:
        """The object path of the instance. Raises DBusError."""
        path: str
        if self.instance is not None:
            (path,) = init.call(job_path, JOB, "GetInstanceByName", "s", self.instance, returns="o")
        else:
            (path,) = init.call(job_path, JOB, "GetInstance", "as", self.env, returns="o")
        return path
