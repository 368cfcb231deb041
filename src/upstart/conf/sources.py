"""Where jobs come from: directories and files in order of precedence, and what becomes of jobs as these change.

`Sources` remembers for each job file a stamp of its inode and the class parsed from it, so a reload parses only what
changed; stamps are compared, so it needs no notification to find a change.  A job's best class is that of
the first directory that holds a valid file of its name; into it the first override is merged that is found in that
directory or one before it.  Each session (a chroot, named by its root directory) has directories and jobs of its own.

What cannot be read or parsed is reported, as ``FILE:LINE: text`` or ``FILE: text``, and never raised.  A file that
becomes invalid no longer defines its job.  A failure that says nothing about the file (no memory, no descriptors, an
I/O error) leaves what was known in place; ``lacks`` says then that everything should be looked at again.

There is no bound to how many files there are, so `load`, `reload` and `changed` are iterators of steps, each of which
takes about as long as one file does: what becomes of a job, or ``None`` for work without such a result.  One of them
is gone through to its end before another is begun, except that a session may come and go in between.
"""

from __future__ import annotations

import errno

from upstart.conf.disk import DIRECT, is_directory, stamp_path
from upstart.conf.files import CONF, GONE, OVERRIDE, is_ignored_directory, is_job_file, is_passing
from upstart.conf.jobdata import same_definition
from upstart.conf.known import Change, Directory, Entry, File
from upstart.conf.listing import Listing, list_jobs
from upstart.conf.parse import ParseError, decode, parse_job, parse_no_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeAlias

    from upstart.conf.disk import Disk
    from upstart.conf.jobclass import JobClass

    #: A session (``None`` for the main one) and the name of a job in it.
    Key: TypeAlias = "tuple[str | None, str]"
    Steps: TypeAlias = "Iterator[Change | None]"


class Sources:
    """The directories and files of configuration; those added first take precedence.

    ``disk`` is what they are read by; it may be replaced between two steps.
    """

    def __init__(self, warn: Callable[[str], None], disk: Disk = DIRECT) -> None:
        self._warn = warn
        self.disk = disk
        #: Since the last look at everything there was something that could not be read for now.
        self.lacks = False
        self._directories: list[Directory] = []
        self._files: list[File] = []
        self._best: dict[str | None, dict[str, JobClass]] = {}
        #: The jobs that may have another best class, with what is wrong with one of their files.
        self._touched: dict[Key, str | None] = {}

    def add_dir(self, path: str, session: str | None = None) -> None:
        """Add a directory of job files; nothing is read before `load`."""
        self._directories.append(Directory(_normal(path), session))

    def add_file(self, path: str) -> None:
        """Add a file of general configuration; nothing is read before `load`."""
        self._files.append(File(_normal(path)))

    def know(self, job: JobClass) -> None:
        """Take a job as it was read by somebody else.

        It is the best of its name until `reload` has looked at the files, and stays so where these do not tell.
        """
        key = (job.session, job.name)
        self._best.setdefault(job.session, {})[job.name] = job
        self._touched.setdefault(key)
        for directory in self._directories:
            if directory.session == job.session:
                if job.override == directory.override(job.name):
                    directory.overrides.add(job.name)
                if job.source == directory.conf(job.name):
                    entry = directory.entries[job.name] = Entry()
                    entry.job = job
                    if job.override is not None:
                        directory.merged[job.name] = job.override, None
                    break

    def paths(self) -> list[str]:
        """All of them, in the order in which they are read."""
        files, directories = self.places()
        return files + directories

    def places(self) -> tuple[list[str], list[str]]:
        """The files of general configuration, and the directories of job files."""
        return [file.path for file in self._files], [directory.path for directory in self._directories]

    def directories(self, session: str | None = None) -> list[str]:
        """Those of a session's job files, the one that counts most first."""
        return [directory.path for directory in self._directories if directory.session == session]

    def load(self) -> Steps:
        """Read what has been added since the last call."""
        for file in self._files:
            if not file.loaded:
                self._check_file(file)
        for directory in list(self._directories):
            if not directory.loaded:
                yield from self._scan(directory)
        yield from self._settle()

    def reload(self) -> Steps:
        """Look at everything again, and report again what is still in error."""
        self.lacks = False
        for file in self._files:
            self._check_file(file)
        standing = [
            (directory, name, error) for directory in self._directories for name, error in directory.errors.items()
        ]
        for directory in list(self._directories):
            yield from self._scan(directory)
        for directory, name, error in standing:
            if directory.errors.get(name) is error:
                self._warn(error)
                yield None
        yield from self._settle()

    def changed(self, paths: Iterable[str]) -> Steps:
        """Look again at these paths: job files, overrides, or directories that may hold some."""
        scans: dict[Directory, None] = {}
        looks: list[tuple[Directory, str]] = []
        for path in sorted(paths):
            for file in self._files:
                if path == file.path or path == _toggled(file.path):
                    self._check_file(file)
            for directory in self._directories:
                if path == directory.path or directory.path.startswith(path + "/"):
                    if directory.entries and self._is_gone(directory.path):
                        self._warn(f"{directory.path}: Configuration directory deleted")
                    scans[directory] = None
                elif path.startswith(directory.path + "/"):
                    if is_job_file(path) and self._may_be_file(path):
                        looks.append((directory, path[len(directory.path) + 1 :]))
                    else:
                        scans[directory] = None
            yield None
        for directory in scans:
            yield from self._scan(directory)
        for directory, relative in looks:
            if directory not in scans:
                yield from self._look(directory, relative)
        yield from self._settle()

    def remove_session(self, session: str) -> list[Change]:
        """Forget the directories of a session; its jobs have no class any more."""
        self._directories = [directory for directory in self._directories if directory.session != session]
        for name in self._best.get(session, ()):
            self._touched[session, name] = None
        changes = [change for change in self._settle() if change is not None]
        self._best.pop(session, None)
        return changes

    def job_class(self, name: str, session: str | None = None) -> JobClass | None:
        """The best class of a job."""
        return self._best.get(session, {}).get(name)

    def error(self, name: str, session: str | None = None) -> str:
        """What is wrong with the file of a job, or with the first of several; "" if nothing is."""
        for directory in self._directories:
            if directory.session == session and name in directory.errors:
                return directory.errors[name]
        return ""

    def standing(self) -> list[str]:
        """What is wrong with files as they now are: a text each."""
        return [error for directory in self._directories for error in directory.errors.values()]

    def _is_gone(self, path: str) -> bool:
        """Whether there is no such directory, for all that can be told."""
        try:
            return not is_directory(self.disk, path)
        except OSError:
            return False

    def _may_be_file(self, path: str) -> bool:
        """Whether there is no such directory, or it cannot be told."""
        try:
            return not is_directory(self.disk, path)
        except OSError:
            return True

    def _check_file(self, file: File) -> None:
        file.loaded = True
        for path in (file.path, _toggled(file.path)):
            try:
                parse_no_job(decode(self.disk.read_file(path)[0]), path)
            except ParseError as error:
                self._warn(str(error))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    self._note(error)
                    self._warn(f"{path}: Unable to load configuration: {error.strerror}")

    def _note(self, error: OSError) -> None:
        """Take note of what could not be read."""
        if is_passing(error):
            self.lacks = True

    def _scan(self, directory: Directory) -> Iterator[None]:
        """Compare a directory with what is known of it, and parse what differs."""
        listing = Listing()
        try:
            yield from list_jobs(self.disk, directory.path, listing, self._warn)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._warn(f"{directory.path}: Unable to load configuration: {error.strerror}")
            if error.errno not in GONE:
                self.lacks = True
                return
            for name in [*directory.entries, *directory.overrides]:
                yield from self._update(directory, name, False, False)
            return
        first = not directory.loaded
        directory.loaded = True
        overrides = set(listing.overrides)
        confs = listing.confs
        known = set(confs)
        if listing.unknown:
            self.lacks = True
            # What could not be looked at is as it was.
            overrides.update([name for name in directory.overrides if not listing.tells(name)])
            known.update([name for name in directory.entries if not listing.tells(name)])
        gone = directory.entries.keys() - known
        for name in gone:
            yield from self._update(directory, name, False, name in overrides)
        directory.overrides, before = overrides, directory.overrides
        for name in confs:
            yield from self._update(directory, name, True, name in overrides, fresh=first)
        for name in sorted((before | overrides) - known):
            yield from self._update(directory, name, False, name in overrides)

    def _look(self, directory: Directory, relative: str) -> Iterator[None]:
        """Look at one file of a directory."""
        if any(is_ignored_directory(part) for part in relative.split("/")[:-1]):
            return
        name = relative.rpartition(".")[0]
        try:
            conf = stamp_path(self.disk, directory.conf(name), follow=True) is not None
            override = stamp_path(self.disk, directory.override(name), follow=False) is not None
        except OSError as error:
            self._note(error)
            self._warn(f"{directory.path}/{relative}: Unable to load configuration: {error.strerror}")
            return
        yield from self._update(directory, name, conf, override)

    def _update(
        self,
        directory: Directory,
        name: str,
        conf: bool,
        override: bool,
        *,
        fresh: bool = False,
    ) -> Iterator[None]:
        """Take note of which files of a name a directory has, and parse again what depends on them."""
        yield
        if directory not in self._directories:
            return  # its session has gone meanwhile
        if override:
            directory.overrides.add(name)
        else:
            directory.overrides.discard(name)
        if conf:
            entry = directory.entries.get(name)
            if entry is None:
                entry = directory.entries[name] = Entry()
        elif directory.entries.pop(name, None) is not None:
            directory.errors.pop(name, None)
            directory.merged.pop(name, None)
            self._touched.setdefault((directory.session, name))
        # An override counts for its own directory and those behind it.
        at = self._directories.index(directory)
        for other in self._directories[at:]:
            entry = other.entries.get(name)
            if entry is not None and other.session == directory.session:
                self._refresh(other, name, entry, fresh=fresh)
                yield

    def _refresh(self, directory: Directory, name: str, entry: Entry, *, fresh: bool) -> None:
        """Parse a file again if it or its override differ from what was parsed."""
        override = self._override(directory, name)
        #: What is looked at.
        path = directory.conf(name)
        job = stamp = error = merged = None
        try:
            if override is not None:
                path = override
                merged = override, stamp_path(self.disk, override, follow=False)
                path = directory.conf(name)
            if not fresh and entry.stamp is not None and merged == directory.merged.get(name):
                if entry.stamp == stamp_path(self.disk, path, follow=True):
                    return
            data, stamp = self.disk.read_file(path)
            job = parse_job(name, decode(data), path, directory.session)
            if merged is not None:
                path = merged[0]
                job, merged, error = self._merge(job, merged)
        except ParseError as problem:
            error = str(problem)
        except OSError as problem:
            error = f"{path}: Error while loading configuration file: {problem.strerror}"
            if is_passing(problem):
                self.lacks = True
                job, stamp = entry.job, None
        entry.stamp = stamp
        if job is None or entry.job is None or not same_definition(job, entry.job):
            entry.job = job
        if merged is not None:
            directory.merged[name] = merged
        else:
            directory.merged.pop(name, None)
        key = (directory.session, name)
        self._touched.setdefault(key)
        if error is not None:
            self._warn(error)
            self._touched[key] = directory.errors[name] = error
        else:
            directory.errors.pop(name, None)

    def _merge(
        self, job: JobClass, override: tuple[str, int | None]
    ) -> tuple[JobClass, tuple[str, int | None], str | None]:
        """Apply an override: the class, the override with its stamp, and what is wrong with it.

        Of an override with an error the stanzas before the error count, so that one that begins with ``manual`` holds.
        Raises `OSError` where the override cannot be read for now: it may say that the job is to be left alone.
        """
        path, stamp = override
        try:
            data, stamp = self.disk.read_file(path)
            return parse_job(job.name, decode(data), path, job.session, job), (path, stamp), None
        except ParseError as problem:
            return problem.job or job, (path, stamp), str(problem)
        except OSError as problem:
            if is_passing(problem):
                raise
            return job, (path, stamp), f"{path}: Error while loading configuration file: {problem.strerror}"

    def _override(self, last: Directory, name: str) -> str | None:
        """The path of the override that counts for a file in a directory."""
        for directory in self._directories:
            if directory.session == last.session and name in directory.overrides:
                return directory.override(name)
            if directory is last:
                break
        return None

    def _settle(self) -> Steps:
        """Find the best class of every job that may have another one."""
        for key in list(self._touched):
            if key not in self._touched:
                continue  # by a session that came in between
            error = self._touched.pop(key)
            session, name = key
            best = None
            for directory in self._directories:
                if directory.session == session:
                    entry = directory.entries.get(name)
                    if entry is not None and entry.job is not None:
                        best = entry.job
                        break
            known = self._best.setdefault(session, {})
            if best is not known.get(name) or error is not None:
                if best is None:
                    known.pop(name, None)
                else:
                    known[name] = best
                yield Change(session, name, best, error)
            else:
                yield None


def _normal(path: str) -> str:
    """A path without slashes at its end, as paths of files in it are made from it."""
    return path.rstrip("/") or "/"


def _toggled(path: str) -> str:
    """The override of a configuration file."""
    return path.removesuffix(CONF) + OVERRIDE
