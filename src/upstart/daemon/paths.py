"""Object paths of jobs and instances: escaped as libnih does, so that clients that build them themselves find them.

A letter or digit stands for itself, any other byte is ``_`` and two hexadecimal digits, and an empty name is a lone
``_``. Jobs of a chroot session have the session's root as one more element in front.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance, Job

ROOT = "/com/ubuntu/Upstart"
JOBS = ROOT + "/jobs"

#: Names that need escaping, as they were escaped; so many at most, none longer than that.
_escaped: dict[str, str] = {}
_MOST, _LONGEST = 1024, 64

_BYTE = {byte: chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}" for byte in range(256)}


def escape(name: str) -> str:
    """One element of an object path."""
    if name.isalnum() and name.isascii():
        return name
    if not name:
        return "_"
    known = _escaped.get(name)
    if known is None:
        known = "".join([_BYTE[byte] for byte in name.encode("utf-8", "surrogateescape")])
        if len(name) > _LONGEST:
            return known
        if len(_escaped) >= _MOST:
            _escaped.clear()
        _escaped[name] = known
    return known


def unescape(element: str) -> str | None:
    """The name that `escape` made ``element`` of, or None if it did not make it."""
    if "_" not in element:
        return element
    if element == "_":
        return ""
    head, *parts = element.split("_")
    raw = head.encode()
    for part in parts:
        try:
            raw += bytes((int(part[:2], 16),)) + part[2:].encode()
        except ValueError:
            return None
    name = raw.decode("utf-8", "surrogateescape")
    return name if escape(name) == element else None


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
