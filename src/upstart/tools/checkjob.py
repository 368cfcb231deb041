"""Whether a job file is valid: by init's own parser, and each of its shell scripts by ``/bin/sh -n``.

Nothing is started, and no running init is asked.
"""

from __future__ import annotations

import os
import subprocess

from upstart.conf.files import OVERRIDE, read_file
from upstart.conf.parse import ParseError, decode, parse_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass

#: The sections in the order in which they are checked, and the process that each is.
SECTIONS = (
    ("pre-start", "pre-start"),
    ("post-start", "post-start"),
    ("script", "main"),
    ("pre-stop", "pre-stop"),
    ("post-stop", "post-stop"),
)


class Invalid(Exception):
    """The message to show."""


def check(path: str, scripts: bool, prefix: str) -> None:
    """Check a job file, and its shell scripts where ``scripts`` says so.

    ``prefix`` begins the messages of the parser.  Raises `Invalid`.
    """
    name = os.path.basename(path)
    try:
        data = read_file(path)[0]
    except OSError as error:
        text = f"{name}: Error while loading configuration file: {error.strerror}"
        raise Invalid(f"File {path}: syntax invalid:\n{prefix}{text}")
    check_text(path, name.removesuffix(".conf"), data, scripts, prefix)


def check_text(label: str, name: str, data: bytes, scripts: bool, prefix: str) -> JobClass:
    """Check what a file holds that is told of as ``label``, and has or will have the job ``name``; see `check`.

    The ``name`` of an override ends as its file does.
    """
    failure: ParseError | None = None
    source = os.path.basename(name)
    try:
        job = parse_job(name, decode(data), source if source.endswith(OVERRIDE) else source + ".conf")
    except ParseError as error:
        failure = error
        if error.job is None:
            raise Invalid(f"File {label}: syntax invalid:\n{prefix}{failure}")
        job = error.job
    if scripts:
        for section, process in SECTIONS:
            definition = job.processes.get(process)
            if definition is not None and definition.script:
                errors = shell_errors(definition.command)
                if errors is not None:
                    raise Invalid(f"File {label}: shell syntax invalid in {section} section:\n{errors}")
    if failure is not None:
        raise Invalid(f"File {label}: syntax invalid:\n{prefix}{failure}")
    return job


def shell_errors(script: str) -> str | None:
    """What the shell says against a script; ``None`` if nothing.

    Lines are counted from that of the word ``script``.
    """
    text = os.fsencode(f"script\n{script}end script\n")
    shell = subprocess.run(
        ["/bin/sh", "-n"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if shell.returncode == 0:
        return None
    return os.fsdecode(shell.stdout).rstrip("\n")
