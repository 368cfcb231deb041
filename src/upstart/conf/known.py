"""What is known of job files: what was found in a directory, and what has become of a job.

Plain data, which `sources` keeps and changes.
"""

from __future__ import annotations

from upstart.conf.files import CONF, OVERRIDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass


class Change:
    """A job that has another best class than before, or a file in error.

    ``job_class`` is ``None`` where no valid file of that name is left.  ``error`` is what was reported of a file of
    this name; the class is then the one that counts without that file.
    """

    __slots__ = ("error", "job_class", "name", "session")

    def __init__(self, session: str | None, name: str, job_class: JobClass | None, error: str | None) -> None:
        self.session = session
        self.name = name
        self.job_class = job_class
        self.error = error

    def __repr__(self) -> str:
        return f"<Change {self.name}: {self.job_class} {self.error or ''}>"


class Entry:
    """A job file as it was read."""

    __slots__ = ("job", "stamp")

    def __init__(self) -> None:
        #: ``None`` where the file has to be read again.
        self.stamp: int | None = None
        #: The class, with the override that belongs to it; ``None`` for a file in error.
        self.job: JobClass | None = None


class Directory:
    """A directory of job files.

    By the name of the job: the files, the overrides merged into them with their stamps, and what is in error.
    ``overrides`` are the names of which this directory itself has an override.
    """

    __slots__ = ("entries", "errors", "loaded", "merged", "overrides", "path", "session")

    def __init__(self, path: str, session: str | None) -> None:
        self.path = path
        self.session = session
        self.loaded = False
        self.entries: dict[str, Entry] = {}
        self.merged: dict[str, tuple[str, int | None]] = {}
        self.errors: dict[str, str] = {}
        self.overrides: set[str] = set()

    def conf(self, name: str) -> str:
        """The path of a job's file."""
        return f"{self.path}/{name}{CONF}"

    def override(self, name: str) -> str:
        """The path of a job's override."""
        return f"{self.path}/{name}{OVERRIDE}"


class File:
    """A file of general configuration, which may have an override too."""

    __slots__ = ("loaded", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.loaded = False
