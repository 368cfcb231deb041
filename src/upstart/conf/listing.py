"""Walking a directory for job files.

A directory that links back to one above it is reported, not followed.
"""

from __future__ import annotations

import stat

from upstart.conf.disk import DIRECTORY, FILE, LINK, UNKNOWN
from upstart.conf.files import CONF, OVERRIDE, is_ignored_directory, is_job_file, is_passing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upstart.conf.disk import Disk, Entry

#: Directories below a directory of job files, one in the other.
MAX_DEPTH = 50


class Listing:
    """The job files of a directory: the names of the jobs with a ``.conf``, and of those with an ``.override``.

    ``unknown`` are what could not be told about, paths of files or of directories, relative to it.
    """

    __slots__ = ("confs", "overrides", "unknown")

    def __init__(self) -> None:
        self.confs: list[str] = []
        self.overrides: list[str] = []
        self.unknown: list[str] = []

    def tells(self, name: str) -> bool:
        """Whether what there is of a job of this name was found out."""
        return not any(
            name == each.rpartition(".")[0] or name.startswith(each + "/") for each in self.unknown
        )


def list_jobs(disk: Disk, root: str, listing: Listing, warn: Callable[[str], None]) -> Iterator[None]:
    """List the job files in and below a directory in ``listing``, each directory in the order of names.

    An iterator of steps that take next to no time each.  Raises `OSError` if the directory itself cannot be read;
    trouble below it is warned about.
    """
    found = disk.scandir(root)
    status = disk.stat(root, True)
    yield from _list(disk, root.rstrip("/"), found, "", {status[1:3]}, listing, warn)


def _list(
    disk: Disk,
    root: str,
    entries: list[Entry],
    prefix: str,
    above: set[tuple[int, int]],
    listing: Listing,
    warn: Callable[[str], None],
) -> Iterator[None]:
    entries.sort()
    for number, (name, kind) in enumerate(entries):
        if not number & 31:
            yield
        relative = prefix + name
        path = f"{root}/{relative}"
        try:
            if kind == DIRECTORY:
                if not is_ignored_directory(name):
                    yield from _descend(disk, root, relative, above, listing, warn)
            elif not is_job_file(name):
                continue
            elif kind == UNKNOWN:
                disk.stat(path, False)
            elif name.endswith(CONF):
                mode = disk.stat(path, True)[0] if kind == LINK else 0
                if kind == FILE or stat.S_ISREG(mode):
                    listing.confs.append(relative[: -len(CONF)])
                elif stat.S_ISDIR(mode):
                    yield from _descend(disk, root, relative, above, listing, warn)
            elif kind == FILE:
                listing.overrides.append(relative[: -len(OVERRIDE)])
        except OSError as error:
            warn(f"{path}: {error.strerror}")
            if is_passing(error):
                listing.unknown.append(relative)


def _descend(
    disk: Disk,
    root: str,
    relative: str,
    above: set[tuple[int, int]],
    listing: Listing,
    warn: Callable[[str], None],
) -> Iterator[None]:
    path = f"{root}/{relative}"
    identity = disk.stat(path, True)[1:3]
    if identity in above:
        warn(f"{path}: Directory loop detected")
        return
    if len(above) > MAX_DEPTH:
        warn(f"{path}: Directories nested too deeply")
        return
    found = disk.scandir(path)
    yield from _list(disk, root, found, f"{relative}/", above | {identity}, listing, warn)
