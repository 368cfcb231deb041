"""The override of a job as a file that is changed: where it is, and how a new one takes the place of the old.

What is always true here: a user's is in the user's own directory, whoever's the job is, and begins as a copy of the one
that counted so far, for only the first counts; the system's is the one that counts, or beside the job's file. Whoever
reads the file sees the old text or the new, and what somebody else has written meanwhile is not overwritten.
"""

from __future__ import annotations

import os
import posix
import re

from upstart.base.errors import ClientError
from upstart.initctl.context import UNKNOWN, Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.places import Places

#: What update-rc.d writes as well, and takes away again (debian/lsb/registration).
MARK = "# Switched off by update-rc.d, which takes this line and the next one away again."
#: All such marks, of whoever switches jobs off.
_MARK = re.compile(r"# Switched off ([^\n,;]*)[^\n]*takes? this line and the next one away again\.")
_MANUAL = re.compile(r"[ \t]*manual[ \t]*(?:#.*)?")
_MODE = 0o644


class Override:
    """That of a job. ``path`` is where it is written, ``counts`` which one counts now (``None`` where none does), and
    ``text`` what that says."""

    def __init__(self, places: Places, job: str) -> None:
        """Raises ClientError, also where there is no such job."""
        conf = places.conf(job)
        if conf is None:
            raise unknown_job(places, job)
        self.job = job
        self.conf = conf
        self.counts = places.override(job)
        beside = conf.removesuffix(".conf") + ".override"
        self.path = places.own_override(job) if places.session else self.counts or beside
        self.text = _read(self.counts) if self.counts is not None else ""
        self._before = self.text if self.counts == self.path else None

    def save(self, text: str) -> None:
        """Have this be the text; without any the file goes, unless another one would count then. Raises ClientError."""
        if not text.strip():
            if self.counts in (None, self.path):
                self._remove()
                return
            text = f"# The job is what its own file says: {self.counts} does not count.\n"
        if not text.endswith("\n"):
            text += "\n"
        path = os.path.realpath(self.path)
        directory = os.path.dirname(path)
        new = f"{directory}/.{os.path.basename(path)}.{posix.getpid()}.new"
        try:
            os.makedirs(directory, exist_ok=True)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
            try:
                self._write(fd, text, path)
                self._check_unchanged()
                os.rename(new, path)
            except BaseException:
                os.unlink(new)
                raise
            finally:
                os.close(fd)
            _settle(directory)
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}")

    def _write(self, fd: int, text: str, path: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(fd, data) :]
        try:
            before = os.stat(path)
        except FileNotFoundError:
            os.fchmod(fd, _MODE)
        else:
            if os.geteuid() == 0:
                os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, before.st_mode & 0o7777)
        os.fsync(fd)

    def _remove(self) -> None:
        try:
            self._check_unchanged()
            if self._before is not None:
                os.unlink(self.path)
        except OSError as error:
            raise ClientError(f"{self.path}: {error.strerror}")

    def _check_unchanged(self) -> None:
        try:
            now = _read(self.path)
        except ClientError:
            now = None
        if now != self._before:
            raise ClientError(f"{self.path}: somebody else has changed the file meanwhile; nothing was written")


def unknown_job(places: Places, job: str) -> ClientError:
    """That there is no file of a job."""
    where = ", ".join(places.confdirs) or "no directory"
    return ClientError(f"Unknown job: {job}, of which there is no file in {where}").with_status(UNKNOWN)


def switched_off(text: str) -> str:
    """The text of an override with what keeps events from starting the job, at its end, where it counts."""
    if text and not text.endswith("\n"):
        text += "\n"
    return f"{text}{MARK}\nmanual\n"


def switched_by(before: str, session: bool) -> str:
    """Who has switched a job off, by the line before its ``manual``; empty where that does not say."""
    if before == MARK:
        # Both write it, for either takes back what the other has done; what is a session's concerns this one alone.
        return "by initctl disable" if session else "by update-rc.d or initctl disable"
    mark = _MARK.fullmatch(before)
    return mark[1] if mark is not None else ""


def switched_on(text: str, lines: list[int]) -> str:
    """The text without the stanzas ``manual``, which are in these lines, and without what says who wrote them."""
    kept: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if number in lines:
            if kept and _MARK.fullmatch(kept[-1]):
                kept.pop()
            if _MANUAL.fullmatch(line):
                continue
            # Another stanza may stand behind it.
            line = re.sub(r"\bmanual\b[ \t]*", "", line, count=1)
        kept.append(line)
    return "".join(line + "\n" for line in kept)


def tell(context: Context, places: Places) -> None:
    """Have init look at its files, where it would not notice by itself; an init that is not there reads them later."""
    if not places.pid and not places.session:
        return  # of a chroot: who answers here is the init outside
    try:
        context.open().reload_configuration()
    except ClientError:
        pass


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}")


def _settle(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass  # a file system that does not know how
    finally:
        os.close(fd)
