"""Object paths of jobs and instances (`upstart.base.paths` has how names stand in them).

Jobs of a chroot session have the session's root as one more element in front.
"""

from __future__ import annotations

from upstart.base.names import PATH
from upstart.base.paths import escape, unescape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance, Job

JOBS = PATH + "/jobs"


def job_path(session: str | None, name: str) -> str:
    """The path of a job."""
    if session is None:
        return f"{JOBS}/{escape(name)}"
    return f"{JOBS}/{escape(session)}/{escape(name)}"


def instance_path(session: str | None, name: str, instance: str) -> str:
    """The path of an instance."""
    return f"{job_path(session, name)}/{escape(instance)}"


def path_of_job(job: Job) -> str:
    """The object path of a job."""
    return job_path(job.session, job.name)


def path_of_instance(instance: Instance) -> str:
    """The object path of an instance."""
    return instance_path(instance.job.session, instance.job.name, instance.name)


def candidates(path: str) -> list[tuple[str | None, str, str | None]]:
    """What a path below `JOBS` may mean, as (session, job, instance or None for the job itself).

    ``/jobs/A/B`` is an instance B of A, or the job B of the chroot session A.
    """
    if not path.startswith(JOBS + "/"):
        return []
    names = []
    for element in path[len(JOBS) + 1 :].split("/"):
        name = unescape(element)
        if name is None:
            return []
        names.append(name)
    if len(names) == 1:
        return [(None, names[0], None)]
    if len(names) == 2:
        return [(None, names[0], names[1]), (names[0], names[1], None)]
    if len(names) == 3:
        return [(names[0], names[1], names[2])]
    return []
