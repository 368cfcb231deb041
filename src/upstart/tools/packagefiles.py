"""What a Debian package holds for init: its jobs, and the init.d scripts beside them.

A package is a ``.deb``, a ``.dsc`` with its tarballs, or a directory with an unpacked source (it has
``debian/control``) or an unpacked package.  Nothing of it is run and nothing is written outside a temporary directory;
it is read by python-debian, and a ``.dsc`` is unpacked by dpkg-source(1).  What cannot be read is an `Unreadable`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where jobs are, from the root of a system: those of the system, then those of sessions.
SYSTEM_JOBS = "etc/init/"
SESSION_JOBS = ("usr/share/upstart/sessions/", "etc/xdg/upstart/")
SCRIPTS = "etc/init.d/"
#: The target of the link that stands for a job in init.d.
LINK = "/lib/init/upstart-job"

#: Directories of a source tree that hold nothing of its own.
_SKIPPED = {".git", ".pc", ".svn", ".hg", ".bzr"}


class Unreadable(Exception):
    """Why a package cannot be read, for the user."""


class JobFile:
    """A job file of a package."""

    __slots__ = ("data", "label", "name", "session")

    def __init__(self, label: str, name: str, data: bytes, session: bool) -> None:
        #: Its path in the package.
        self.label = label
        #: Of the job; with the directories below that of the jobs.
        self.name = name
        self.data = data
        #: Whether it is for session inits.
        self.session = session


class Contents:
    """All that concerns init in one package."""

    def __init__(self) -> None:
        self.jobs: list[JobFile] = []
        #: Names in init.d: the script, or None for a link to `LINK`.
        self.scripts: dict[str, bytes | None] = {}
        #: Whether dh_installupstart(1) makes the links when the package is built.
        self.links_are_made = False

    def add(self, path: str, data: bytes | None, prefix: str = "") -> None:
        """Take in the file at `path` from the root of a system, if it is of interest; ``None`` is a link to `LINK`.

        `prefix` is where in the package that root is.
        """
        if path.startswith(SCRIPTS):
            name = path.removeprefix(SCRIPTS)
            if "/" not in name and name != "README":
                self.scripts[name] = data
        elif path.endswith(".conf") and data is not None:
            for directory in (SYSTEM_JOBS, *SESSION_JOBS):
                if path.startswith(directory):
                    name = path.removeprefix(directory).removesuffix(".conf")
                    self.jobs.append(JobFile(prefix + path, name, data, directory != SYSTEM_JOBS))


def of_interest(path: str) -> bool:
    """Whether `Contents.add` would look at a path."""
    return path.startswith((SYSTEM_JOBS, SCRIPTS, *SESSION_JOBS))


def is_package(path: str) -> bool:
    """Whether a path names something this module reads."""
    return os.path.isdir(path) or path.endswith((".deb", ".udeb", ".dsc"))


def read_package(path: str) -> Contents:
    """What the package at `path` holds.  Raises `Unreadable`."""
    try:
        if os.path.isdir(path):
            return _directory(path)
        if path.endswith(".dsc"):
            return _source_package(path)
        return _binary_package(path)
    except ImportError:
        raise Unreadable("the package python3-debian is needed to look into packages")
    except OSError as error:
        raise Unreadable(str(error))


def _binary_package(path: str) -> Contents:
    from tarfile import TarError

    from debian.arfile import ArError
    from debian.debfile import DebError, DebFile

    contents = Contents()
    try:
        with DebFile(path) as package:
            archive = package.data.tgz()
            for member in archive:
                name = member.name.removeprefix("./")
                if not of_interest(name):
                    continue
                if member.issym():
                    if member.linkname == LINK:
                        contents.add(name, None)
                    continue
                file = archive.extractfile(member)
                if file is not None:
                    contents.add(name, file.read())
    except (ArError, DebError, TarError, EOFError) as error:
        raise Unreadable(f"no Debian package: {error}")
    return contents


def _source_package(path: str) -> Contents:
    from debian.deb822 import Dsc

    with open(path, "rb") as file:
        if "Source" not in Dsc(file):
            raise Unreadable("no Debian source package: it names no Source")
    with tempfile.TemporaryDirectory(prefix="init-checkconf-") as directory:
        tree = os.path.join(directory, "tree")
        command = ["dpkg-source", "--no-check", "--extract", path, tree]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        except FileNotFoundError:
            raise Unreadable("dpkg-source (package dpkg-dev) is needed to unpack it")
        if done.returncode:
            raise Unreadable(os.fsdecode(done.stdout).strip())
        return _source_tree(tree)


def _directory(path: str) -> Contents:
    if os.path.exists(os.path.join(path, "debian", "control")):
        return _source_tree(path)
    contents = Contents()
    for name, data in _files(path):
        contents.add(name, data)
    return contents


def _files(root: str, skipped: frozenset[str] = frozenset()) -> Iterator[tuple[str, bytes | None]]:
    """Regular files and links to `LINK` below a directory whose path from some root directory is of interest.

    Given are the path from `root`, and the data; ``None`` for a link.  Directories in `skipped` are left out.
    """
    for directory, subdirectories, names in os.walk(root):
        below = os.path.relpath(directory, root)
        subdirectories[:] = sorted(
            name
            for name in subdirectories
            if name not in _SKIPPED and os.path.normpath(os.path.join(below, name)) not in skipped
        )
        for name in sorted(names):
            path = os.path.normpath(os.path.join(below, name))
            full = os.path.join(directory, name)
            if not any(f"/{place}" in f"/{path}" for place in (SYSTEM_JOBS, SCRIPTS, *SESSION_JOBS)):
                continue
            if os.path.islink(full):
                if os.readlink(full) == LINK:
                    yield path, None
            elif os.path.isfile(full):
                with open(full, "rb") as file:
                    yield path, file.read()


def _source_tree(tree: str) -> Contents:
    from debian.deb822 import Deb822

    contents = Contents()
    debian = os.path.join(tree, "debian")
    with open(os.path.join(debian, "control"), "rb") as control:
        paragraphs = list(Deb822.iter_paragraphs(control, use_apt_pkg=False))
    packages = [paragraph["Package"] for paragraph in paragraphs if "Package" in paragraph]
    depends = " ".join(
        paragraph.get(field, "")
        for paragraph in paragraphs
        for field in ("Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep")
    )
    contents.links_are_made = re.search(r"\bdh-sequence-upstart\b", depends) is not None or _rules_call(debian)

    for name in sorted(os.listdir(debian)):
        path = os.path.join(debian, name)
        found = _maintainers_file(name, packages)
        if found is None or not os.path.isfile(path):
            continue
        kind, service = found
        with open(path, "rb") as file:
            data = file.read()
        if kind == "init":
            contents.scripts[service] = data
        else:
            contents.jobs.append(JobFile(f"debian/{name}", service, data, False))

    # What earlier builds have left below debian/ is no part of the source.
    built = frozenset(os.path.join("debian", name) for name in [*packages, "tmp"])
    for path, content in _files(tree, built):
        for place in (SYSTEM_JOBS, SCRIPTS, *SESSION_JOBS):
            before, found_place, _ = f"/{path}".partition(f"/{place}")
            if found_place:
                contents.add(path[len(before) :].removeprefix("/"), content, path[: len(before)])
                break
    return contents


def _rules_call(debian: str) -> bool:
    """Whether debian/rules has the add-on by an option or by a call."""
    try:
        with open(os.path.join(debian, "rules"), "rb") as file:
            return re.search(rb"(?m)^\t[ @-]*dh_installupstart|--with[ =][\w,-]*\bupstart\b", file.read()) is not None
    except OSError:
        return False


def _maintainers_file(name: str, packages: list[str]) -> tuple[str, str] | None:
    """Kind ("job", "init") and service of a file of debian/ by debhelper's names; ``None`` for any other."""
    for ending, kind in (("upstart-job", "job"), ("upstart", "job"), ("init", "init"), ("init.d", "init")):
        if name == ending and packages:
            return kind, packages[0]
        if not name.endswith("." + ending):
            continue
        stem = name[: -len(ending) - 1]
        owners = [package for package in packages if stem == package or stem.startswith(package + ".")]
        if owners:
            owner = max(owners, key=len)
            return kind, stem[len(owner) + 1 :] or owner
    return None
