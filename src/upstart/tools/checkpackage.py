"""Checks the jobs of a Debian package: each for itself, against the init.d scripts beside it, and among themselves.

An invalid job is an error.  What else is told is a warning, for another package may make it right: a job that service
commands cannot find, a script that would start a service beside its job, an event that nobody is known to emit, a job
that nobody is known to have, an event that a job emits and does not declare.
"""

from __future__ import annotations

import os
import re
import sys

from upstart.base import glob
from upstart.conf.jobclass import And, Match, Or
from upstart.tools.checkjob import Invalid, check_text
from upstart.tools.packagefiles import Contents, Unreadable, read_package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.conf.jobclass import Condition, JobClass
    from upstart.tools.packagefiles import JobFile

#: What upstart-events(7) lists; a pattern for those with a part of their own.
WELL_KNOWN_EVENTS = (
    "startup",
    "starting",
    "started",
    "stopping",
    "stopped",
    "control-alt-delete",
    "keyboard-request",
    "power-status-changed",
    "session-end",
    "awaited",
    "awaited/none",
    "child-subreaper-failed",
    "before-mounting",
    "mounting",
    "mounted",
    "virtual-filesystems",
    "local-filesystems",
    "remote-filesystems",
    "filesystem",
    "all-swaps",
    "device-not-ready",
    "mountall-gives-up",
    "net-device-added",
    "net-device-removed",
    "net-device-changed",
    "network-interface-wanted",
    "net-device-up",
    "net-device-down",
    "static-network-up",
    "failsafe-boot",
    "deconfiguring-networking",
    "unmounted-remote-filesystems",
    "container",
    "not-container",
    "boot-script",
    "boot-waits",
    "runlevel",
    "serial-console",
    "*-device-*",
    "bridge-overrun",
    "cloud-init-enabled",
    "cloud-init-disabled",
    "cloud-config",
    "recovery",
    "socket",
    "file",
    "dbus",
    ":sys:*",
)
#: Events that name a job.
JOB_EVENTS = ("starting", "started", "stopping", "stopped")
#: The jobs of the machine that checks, which packages may rely on.
INSTALLED_JOBS = "/etc/init"

_EMIT = re.compile(r"\binitctl\s+(?:-\S+\s+)*emit\s+(?:-\S+\s+)*([A-Za-z0-9:_.-]+)")


def check_package(path: str, scripts: bool, prefix: str, installed: str = INSTALLED_JOBS) -> int:
    """Check all that is in the package at `path` and print what there is to tell; the exit status: 0 or 1.

    `scripts` says whether shell scripts are read by the shell, `prefix` begins the parser's messages, `installed` is
    the directory of jobs beside the package's.
    """
    try:
        contents = read_package(path)
    except Unreadable as error:
        print(f"ERROR: File {path}: {error}", file=sys.stderr)
        return 1
    if not contents.jobs:
        print(f"File {path}: no jobs")
    status = 0
    jobs: list[tuple[JobFile, JobClass]] = []
    for file in contents.jobs:
        label = f"{path}: {file.label}"
        try:
            jobs.append((file, check_text(label, file.name, file.data, scripts, prefix)))
            print(f"File {label}: syntax ok")
        except Invalid as error:
            print(f"ERROR: {error}", file=sys.stderr)
            status = 1
    known = Known(contents, [job for _, job in jobs], installed)
    for file, job in jobs:
        for text in [*counterpart(file, job, contents), *known.complaints(job), *undeclared(job)]:
            print(f"WARNING: File {path}: {file.label}: {text}", file=sys.stderr)
    for text in lost_links(contents, known):
        print(f"WARNING: File {path}: {text}", file=sys.stderr)
    return status


def counterpart(file: JobFile, job: JobClass, contents: Contents) -> Iterator[str]:
    """What is wrong with the script or the link in init.d of a job's service."""
    if file.session or job.instance or job.task or "/" in file.name:
        return
    stem = file.name.removesuffix(".sh")
    found = [name for name in (file.name, stem, stem + ".sh") if name in contents.scripts]
    if not found:
        if not contents.links_are_made:
            yield (
                f"no /etc/init.d/{file.name}: service, invoke-rc.d and update-rc.d do not find the job"
                f" (a link to /lib/init/upstart-job lets them)"
            )
        return
    text = contents.scripts[found[0]]
    if text is not None and b"/lib/lsb/init-functions" not in text and b"init-d-script" not in text.split(b"\n")[0]:
        yield f"/etc/init.d/{found[0]} does not source /lib/lsb/init-functions: it starts the service beside the job"


def lost_links(contents: Contents, known: Known) -> Iterator[str]:
    """Links for a job in init.d that has no job; that of upstart-sysv itself, for insserv, is none for a job."""
    for name, text in sorted(contents.scripts.items()):
        if text is not None or name == "upstart-job":
            continue
        if name.removesuffix(".sh") not in known.jobs and name not in known.jobs:
            yield f"/etc/init.d/{name} is a link to /lib/init/upstart-job, but there is no job {name}"


def undeclared(job: JobClass) -> Iterator[str]:
    """Events that the processes of a job emit, and its ``emits`` stanzas do not name."""
    for definition in job.processes.values():
        for event in _EMIT.findall(definition.command):
            if not any(glob.match(pattern, event) for pattern in job.emits):
                yield f"emits {event} without declaring it (emits {event})"


class Known:
    """The jobs and events that are known: of the package, of the machine, and of the manual."""

    def __init__(self, contents: Contents, jobs: list[JobClass], installed: str) -> None:
        self.jobs = {file.name for file in contents.jobs}
        self.events = list(WELL_KNOWN_EVENTS)
        for job in jobs:
            self.events += job.emits
        self._read_installed(installed)

    def _read_installed(self, directory: str) -> None:
        from upstart.conf.files import read_file
        from upstart.conf.parse import ParseError, decode, parse_job

        for folder, _, names in os.walk(directory):
            for name in sorted(names):
                if not name.endswith(".conf"):
                    continue
                path = os.path.join(folder, name)
                job = os.path.relpath(path, directory).removesuffix(".conf")
                self.jobs.add(job)
                try:
                    self.events += parse_job(job, decode(read_file(path)[0]), path).emits
                except (OSError, ParseError):
                    continue  # it is not what is being checked

    def complaints(self, job: JobClass) -> Iterator[str]:
        """Events and jobs in the conditions of a job that are not known."""
        for title, condition in (("start on", job.start_on), ("stop on", job.stop_on)):
            for match in matches(condition):
                if "$" not in match.name and not any(glob.match(pattern, match.name) for pattern in self.events):
                    yield f"{title} {match.name}: no job is known that emits this event"
                if match.name in JOB_EVENTS:
                    other = job_of(match)
                    if other is not None and other not in self.jobs:
                        yield f"{title} {match.name} {other}: no job of that name is known"


def matches(condition: Condition | None) -> Iterator[Match]:
    """The events of a condition, as they were written."""
    waiting = [condition]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (And, Or)):
            waiting += [node.right, node.left]
        elif node is not None:
            yield node


def job_of(match: Match) -> str | None:
    """The job that an event of a job's life is compared with; ``None`` if there is none, or several may match."""
    for position, word in enumerate(match.args):
        name, equals, value = word.partition("=")
        if not equals and position == 0:
            value = word
        elif name != "JOB":
            continue
        return None if re.search(r"[*?\[$]", value) else value
    return None
