"""The jobs that a tool is given: directories of job files, packages, single files, each on top of those before it."""

from __future__ import annotations

import os

from upstart.conf.files import CONF, OVERRIDE, read_file
from upstart.conf.parse import ParseError, decode, parse_job
from upstart.tools.checkdirectory import holds_jobs, job_files
from upstart.tools.packagefiles import Unreadable, is_package, read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass


class JobSet:
    """Jobs by their names, as they came, and what could not be read, in ``errors``, a line each."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobClass] = {}
        self.errors: list[str] = []

    def copy(self) -> JobSet:
        """Another with the same jobs."""
        other = JobSet()
        other.jobs.update(self.jobs)
        return other

    def add(self, path: str) -> None:
        """Add what is at ``path``: a directory of job files, a package, or one job file or override."""
        if os.path.isdir(path) and holds_jobs(path):
            for relative in sorted(job_files(path), key=lambda name: (name.endswith(OVERRIDE), name)):
                self.add_file(os.path.join(path, relative), relative.rpartition(".")[0])
        elif is_package(path):
            self._add_package(path)
        else:
            self.add_file(path)

    def add_file(self, path: str, name: str = "") -> None:
        """Add a job, or change one by an override."""
        name = name or os.path.basename(path).removesuffix(CONF).removesuffix(OVERRIDE)
        if not path.endswith((CONF, OVERRIDE)):
            self.errors.append(f"{path}: the name of a job file ends in {CONF} or {OVERRIDE}")
            return
        try:
            data = read_file(path)[0]
        except OSError as error:
            self.errors.append(f"{path}: {error.strerror}")
            return
        self._define(path, name, data)

    def _define(self, path: str, name: str, data: bytes) -> None:
        base = self.jobs.get(name) if path.endswith(OVERRIDE) else None
        if base is None and path.endswith(OVERRIDE):
            return
        try:
            self.jobs[name] = parse_job(name, decode(data), path, base=base)
        except ParseError as error:
            self.errors.append(str(error))

    def _add_package(self, path: str) -> None:
        try:
            contents = read_package(path)
        except Unreadable as error:
            self.errors.append(f"{path}: {error}")
            return
        for file in contents.jobs:
            if not file.session:
                self._define(f"{path}: {file.label}", file.name, file.data)
