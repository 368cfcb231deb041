"""Checks a directory of job files, each for itself and all together; or those of the running init.

A directory is that of a whole system if it is /etc/init, or has the job that enters the first runlevel: there what is
not to be found is missing.  Everywhere else it may come from another package.
"""

from __future__ import annotations

import os

from upstart.conf.files import CONF, OVERRIDE, is_ignored_directory, is_job_file, read_file
from upstart.conf.parse import ParseError, decode, parse_job
from upstart.tools.checkjob import Invalid, check_text
from upstart.tools.sense import check_job
from upstart.tools.sensegraph import Jobs, check_jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.conf.jobclass import JobClass
    from upstart.tools.findings import Report
    from upstart.tools.jobtext import JobText

#: Where the init of a system has its jobs.
SYSTEM_JOBS = "/etc/init"
#: The jobs of a boot, of which a whole system has one.
_OF_A_SYSTEM = ("rc-sysinit", "rcS-scripts", "mountall")


def holds_jobs(path: str) -> bool:
    """Whether a directory is one of job files, and not that of a package, which has none right in it."""
    if os.path.exists(os.path.join(path, "debian", "control")):
        return False
    return any(is_job_file(name) for name in os.listdir(path))


def job_files(path: str) -> Iterator[str]:
    """The job files and overrides in and below a directory, relative to it, in the order of names."""
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_ignored_directory(name))
        for name in sorted(names):
            if is_job_file(name):
                yield os.path.relpath(os.path.join(folder, name), path)


def merge_override(path: str, text: JobText) -> None:
    """Have a job be what it is with the override beside its file, if there is a valid one."""
    if text.job is None or not path.endswith(CONF):
        return
    override = path.removesuffix(CONF) + OVERRIDE
    try:
        data = read_file(override)[0]
        text.job = parse_job(text.name, decode(data), override, base=text.job)
    except (OSError, ParseError):
        return  # an override in error changes nothing, and is told of when it is checked


def check_directory(
    path: str, report: Report, scripts: bool, prefix: str, jobs: dict[str, JobClass] | None = None
) -> None:
    """Check the job files below ``path``.

    ``scripts`` says whether shell scripts are read by the shell, ``prefix`` begins the parser's messages, ``jobs`` are
    further ones that there are.
    """
    texts: dict[str, JobText] = {}
    for relative in job_files(path):
        file = os.path.join(path, relative)
        try:
            data = read_file(file)[0]
            text = check_text(file, relative.removesuffix(CONF), data, scripts, prefix)
        except OSError as error:
            report.error(f"File {file}: {error.strerror}", file)
            continue
        except Invalid as error:
            report.error(str(error), file, error.line)
            continue
        report.fine(file)
        merge_override(file, text)
        if not text.is_override:
            texts[text.name] = text
        else:
            for finding in check_job(text):
                report.found(file, finding)
    classes = dict(jobs or {})
    classes.update({name: text.job for name, text in texts.items() if text.job is not None})
    whole = os.path.realpath(path) == SYSTEM_JOBS or any(name in classes for name in _OF_A_SYSTEM)
    together: dict[str, list[tuple[JobText, object]]] = {}
    for text, finding in check_jobs(texts, Jobs(classes, whole)):
        together.setdefault(text.name, []).append((text, finding))
        report.found(text.label, finding)
    for text in texts.values():
        for finding in check_job(text, unknown_too=False):
            report.found(text.label, finding)


def check_running(report: Report, scripts: bool, prefix: str) -> None:
    """Check what the running init of the system has: its job files, beside jobs that it has from elsewhere."""
    from upstart.base.errors import ClientError
    from upstart.client.init import Init

    try:
        init = Init.open()
        errors = init.configuration_errors()
        jobs = {}
        for job in init.jobs():
            jobs[job.name] = _class_of(job.name, job.start_on, job.stop_on, job.emits)
        init.close()
    except ClientError as error:
        report.error(f"The running init cannot be asked: {error}")
        return
    for text in errors:
        report.error(text)
    check_directory(SYSTEM_JOBS, report, scripts, prefix, jobs)


def _class_of(name: str, start_on: list[list[str]], stop_on: list[list[str]], emits: list[str]) -> JobClass:
    """A job by what init tells of it."""
    from upstart.conf.jobclass import JobClass
    from upstart.tools.rpn import condition_from_rpn

    job = JobClass(name, "")
    job.start_on, job.stop_on = condition_from_rpn(start_on), condition_from_rpn(stop_on)
    job.emits = tuple(emits)
    return job
