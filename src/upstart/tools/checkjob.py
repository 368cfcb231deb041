"""Whether a job file is valid: by init's own parser, and each of its shell scripts by ``/bin/sh -n``.

Nothing is started, and no running init is asked.  Lines are counted from the start of the file, by the shell too.
"""

from __future__ import annotations

import os
import re
import subprocess

from upstart.conf.files import read_file
from upstart.tools.jobtext import JobText

#: The sections in the order in which they are checked, and the process that each is.
SECTIONS = (
    ("pre-start", "pre-start"),
    ("post-start", "post-start"),
    ("script", "main"),
    ("pre-stop", "pre-stop"),
    ("post-stop", "post-stop"),
)


#: Where the shell says in which line of a script an error is.
_SHELL_LINE = re.compile(r"^/bin/sh: (\d+):")


class Invalid(Exception):
    """The message to show, and the line of the file that it is about, or 0."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


def check(path: str, scripts: bool, prefix: str) -> JobText:
    """Check a job file, and its shell scripts where ``scripts`` says so.

    ``prefix`` begins the messages of the parser.  Raises `Invalid`.
    """
    name = os.path.basename(path)
    try:
        data = read_file(path)[0]
    except OSError as error:
        text = f"{name}: Error while loading configuration file: {error.strerror}"
        raise Invalid(f"File {path}: syntax invalid:\n{prefix}{text}")
    return check_text(path, name.removesuffix(".conf"), data, scripts, prefix)


def check_text(label: str, name: str, data: bytes, scripts: bool, prefix: str) -> JobText:
    """Check what a file holds that is told of as ``label``, and has or will have the job ``name``; see `check`.

    The ``name`` of an override ends as its file does.
    """
    text = JobText(label, name, data)
    failure, job = text.failure, text.job
    if scripts and job is not None:
        for section, process in SECTIONS:
            definition = job.processes.get(process)
            if definition is not None and definition.script:
                errors = shell_errors(definition.command, text.process_line(process))
                if errors is not None:
                    line = _SHELL_LINE.match(errors)
                    raise Invalid(
                        f"File {label}: shell syntax invalid in {section} section:\n{errors}",
                        int(line[1]) if line is not None else text.process_line(process),
                    )
    if failure is not None:
        raise Invalid(f"File {label}: syntax invalid:\n{prefix}{failure}", failure.line)
    return text


def shell_errors(script: str, line: int) -> str | None:
    """What the shell says against a script; ``None`` if nothing.

    Lines are counted from that of the word ``script``, which is ``line``.
    """
    text = os.fsencode("\n" * (line - 1) + f"script\n{script}end script")
    shell = subprocess.run(["/bin/sh", "-n"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if shell.returncode == 0:
        return None
    return os.fsdecode(shell.stdout).rstrip("\n")
