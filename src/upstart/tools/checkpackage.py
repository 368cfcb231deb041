"""Checks the jobs of a Debian package: each for itself, against the init.d scripts beside it, and among themselves.

An invalid job is an error.  What else is told is a warning, for another package may make it right: a job that service
commands cannot find, a script that would start a service beside its job, an event that nobody is known to emit, a job
that nobody is known to have, an event that a job emits and does not declare.
"""

from __future__ import annotations

import os
import re

from upstart.base import glob
from upstart.engine.condition import leaves
from upstart.tools.checkjob import Invalid, check_text
from upstart.tools.eventtable import JOB_EVENTS
from upstart.tools.findings import Finding, Report
from upstart.tools.knownevents import EMIT, WELL_KNOWN_EVENTS, job_of
from upstart.tools.packagefiles import Contents, Unreadable, read_package
from upstart.tools.sense import check_job
from upstart.tools.sensegraph import Jobs, check_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.conf.jobclass import JobClass
    from upstart.tools.jobtext import JobText
    from upstart.tools.packagefiles import JobFile

#: The jobs of the machine that checks, which packages may rely on.
INSTALLED_JOBS = "/etc/init"


def check_package(
    path: str, scripts: bool, prefix: str, installed: str = INSTALLED_JOBS, report: Report | None = None
) -> int:
    """Check all that is in the package at `path` and report what there is to tell; the exit status: 0 or 1.

    `scripts` says whether shell scripts are read by the shell, `prefix` begins the parser's messages, `installed` is
    the directory of jobs beside the package's.
    """
    report = report or Report()
    try:
        contents = read_package(path)
    except Unreadable as error:
        report.error(f"File {path}: {error}", path)
        return 1
    if not contents.jobs:
        report.say(f"File {path}: no jobs")
    status = 0
    jobs: list[tuple[JobFile, JobText, JobClass]] = []
    for file in contents.jobs:
        label = f"{path}: {file.label}"
        try:
            text = check_text(label, file.name, file.data, scripts, prefix)
            report.fine(label)
            if text.job is not None:
                jobs.append((file, text, text.job))
        except Invalid as error:
            report.error(str(error), label, error.line)
            status = 1
    known = Known(contents, [job for _, _, job in jobs], installed)
    together: dict[str, list[Finding]] = {}
    texts = {text.name: text for file, text, _ in jobs if not file.session}
    classes = {file.name: job for file, _, job in jobs if not file.session}
    for text, finding in check_jobs(texts, Jobs(classes, False, known.events)):
        together.setdefault(text.label, []).append(finding)
    for file, text, job in jobs:
        label = text.label
        for words in counterpart(file, job, contents):
            report.found(label, Finding("package", 0, words))
        # Of the same name one finding is enough.
        sense = [*check_job(text, file.session), *together.get(label, [])]
        told = {finding.text.partition(":")[0] for finding in sense if finding.rule in ("unknown-event", "unknown-job")}
        for rule, line, words in known.complaints(text, job):
            if words.partition(":")[0] not in told:
                report.found(label, Finding(rule, line, words))
        for finding in sense:
            report.found(label, finding)
        for process, event, words in undeclared(job):
            line = text.line_in_process(process, rf"\bemit\b.*{re.escape(event)}")
            report.found(label, Finding("package", line, words))
    for words in lost_links(contents, known):
        report.found(path, Finding("package", 0, words))
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


def undeclared(job: JobClass) -> Iterator[tuple[str, str, str]]:
    """Events that the processes of a job emit, and its ``emits`` stanzas do not name; process, event and text."""
    for process, definition in job.processes.items():
        for event in EMIT.findall(definition.command):
            if not any(glob.match(pattern, event) for pattern in job.emits):
                yield process, event, f"emits {event} without declaring it (emits {event})"


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

    def complaints(self, text: JobText, job: JobClass) -> Iterator[tuple[str, int, str]]:
        """Events and jobs in the conditions of a job that are not known: rule, line and text."""
        for title, condition in (("start on", job.start_on), ("stop on", job.stop_on)):
            for match in leaves(condition) if condition is not None else ():
                if "$" not in match.name and not any(glob.match(pattern, match.name) for pattern in self.events):
                    words = f"{title} {match.name}: no job is known that emits this event"
                    yield "unknown-event", text.line_in(title.partition(" ")[0], match.name), words
                if match.name in JOB_EVENTS:
                    other = job_of(match)
                    if other is not None and other not in self.jobs:
                        words = f"{title} {match.name} {other}: no job of that name is known"
                        yield "unknown-job", text.line_in(title.partition(" ")[0], other), words
