"""A re-exec without a state: what can be seen of the jobs of the program before us takes its place.

What is always true here: a process is a job's only if it is our child and has the environment of a job of ours.
"""

from __future__ import annotations

import os

from upstart.base.priority import WARN
from upstart.process import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.engine.engine import Engine


def children_of_jobs(address: str | None) -> dict[tuple[str, str], int]:
    """Our children that a job started, by job and instance name: of each the oldest.

    ``address`` is what UPSTART_SESSION says to our jobs.  Not among them: what a job of another init or of a chroot
    session has left to us.
    """
    own = os.getpid()
    session = None if address is None else os.fsencode(address)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for pid in procfs.all_pids():
        info = procfs.look(pid)
        if info is None or info.ppid != own or info.state == "Z":
            continue
        env = procfs.environment(pid)
        job = env.get(b"UPSTART_JOB")
        if job is None or env.get(b"UPSTART_SESSION") != session or b"UPSTART_CHROOT" in env:
            continue
        key = (os.fsdecode(job), os.fsdecode(env.get(b"UPSTART_INSTANCE", b"")))
        if key not in found or info.start < found[key][0]:
            found[key] = (info.start, pid)
    return {key: pid for key, (_, pid) in found.items()}


def adopt(engine: Engine, address: str | None, log: Callable[[int, str], object]) -> None:
    """Have jobs whose processes run count as running with them; ``address`` as above, ``log`` (priority, text)."""
    for (name, instance_name), pid in children_of_jobs(address).items():
        job = engine.jobs.get((None, name))
        if job is None or instance_name in job.instances or "main" not in job.job_class.processes:
            continue
        instance = engine.adopt_process(job, instance_name, pid)
        log(WARN, f"{instance.display} main process ({pid}) adopted")
