"""A job: a name under which a job class is registered, with its instances and what its ``start on`` has met so far."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass
    from upstart.engine.condition import Progress
    from upstart.engine.instance import Instance


class Job:
    """``job_class`` is the definition in force.

    Where the configuration changed while instances were there, ``pending`` is True and ``successor`` the definition
    that takes over when the last instance has ended, or None where the job goes away then.
    """

    __slots__ = ("instances", "job_class", "name", "pending", "session", "start_progress", "successor")

    def __init__(self, job_class: JobClass) -> None:
        self.name = job_class.name
        self.session = job_class.session
        self.job_class = job_class
        self.pending = False
        self.successor: JobClass | None = None
        self.instances: dict[str, Instance] = {}
        self.start_progress: Progress | None = None

    def __repr__(self) -> str:
        return f"<Job {self.name}>"
