"""A re-exec without a state: what can be seen of the jobs of the program before us takes its place.

What is always true here: a process is a job's only if it is our child and has the environment of a job of ours.  One
whose job is not known, since its file could not be read for now, is that job's as soon as it is, in the next program
too if need be; of all that was started later none is.
"""

from __future__ import annotations

import os

from upstart.base.priority import WARN
from upstart.process import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.engine.engine import Engine

#: Seconds until a process is looked at again that could not be looked at.
AGAIN_SECONDS = 1.0


def children_of_jobs(address: str | None) -> dict[tuple[str, str], tuple[int, int]]:
    """Our children that a job started, by job and instance name: of each the oldest, when it was started, and its pid.

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
    return found


class Adoption:
    """The processes of one daemon's jobs that it has found running; ``log`` (priority, text) is its own log."""

    __slots__ = ("_engine", "_left", "_log", "_loop", "_soon")

    def __init__(self, engine: Engine, loop: Loop, log: Callable[[int, str], object]) -> None:
        self._engine = engine
        self._loop = loop
        self._log = log
        #: Those of jobs that are not known: when each was started, and its pid, by job and instance name.
        self._left: dict[tuple[str, str], tuple[int, int]] = {}
        self._soon = False

    def begin(self, address: str | None) -> None:
        """Have jobs whose processes run count as running with them; ``address`` as above.  Raises OSError."""
        self._left = children_of_jobs(address)
        self._adopt()

    def defined(self) -> None:
        """A job is defined: it may be one whose process runs."""
        if self._left and not self._soon:
            self._soon = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._soon = False
        try:
            self._adopt()
        except OSError:
            self._soon = True
            self._loop.call_later(AGAIN_SECONDS, self._look)

    def _adopt(self) -> None:
        """Adopt what can be.  Raises OSError where a process cannot be looked at for now."""
        for key, (start, pid) in list(self._left.items()):
            name, instance_name = key
            job = self._engine.jobs.get((None, name))
            if job is None:
                continue
            info = procfs.look(pid)
            del self._left[key]
            if info is None or info.start != start or info.ppid != os.getpid():
                continue
            if instance_name not in job.instances and "main" in job.job_class.processes:
                instance = self._engine.adopt_process(job, instance_name, pid)
                self._log(WARN, f"{instance.display} main process ({pid}) adopted")

    # Across a re-exec

    def dump(self) -> list[tuple[str, str, int, int]]:
        """Those that are left."""
        return [(*key, *found) for key, found in self._left.items()]

    def restore(self, saved: list[tuple[str, str, int, int]]) -> None:
        """Go on from what `dump` gave."""
        self._left = {(job, name): (start, pid) for job, name, start, pid in saved}
        self.defined()
