"""edit: change a job by its override, in an editor.

What is always true here: what is edited is a copy, which init does not see. It is taken, whole and at once, when init
would take all of it; until then the job is what it was. What was edited in vain is offered to be edited again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from upstart.base.errors import ClientError, UsageError
from upstart.base.inherited import environment
from upstart.initctl import checker
from upstart.initctl.context import Context, getenv
from upstart.initctl.overrides import Override, tell
from upstart.initctl.places import find

EDITORS = ("sensible-editor", "editor", "vi", "nano")

#: What stands below the text in the editor.
_HELP = """\
## These lines are only to be read, and are left out.
##
## Above goes the override of the job {job}: a stanza there takes the place of
## that in its own file, and env, export, emits, normal exit and limit add to
## those there; see init(5). `manual' has no event start the job. Without any
## stanza the override goes away.
##
## This is the job now, with the file and line that each line comes from:
##
"""


def edit(context: Context) -> int:
    """edit JOB: status 1 where nothing was changed because of an error."""
    if len(context.args) != 1:
        raise UsageError("missing job name" if not context.args else "too many arguments")
    (job,) = context.args
    places = find(context)
    override = Override(places, job)
    _check_writable(override.path)
    command = _editor()
    with tempfile.TemporaryDirectory(prefix="initctl-edit-") as directory:
        path = os.path.join(directory, os.path.basename(job) + ".override")
        text = override.text
        while True:
            help_text = _help(override)
            _write(path, text + ("" if text.endswith("\n") or not text else "\n") + "\n" + help_text)
            context.flush()
            _edit(command, path)
            text = _edited(path, help_text)
            if text.rstrip() == override.text.rstrip():
                context.message(f"{override.path}: not changed")
                return 0
            _write(path, text)
            errors, warnings = checker.problems(path)
            context.flush()
            for problem in (*errors, *warnings):
                context.error(_named(problem, path, override.path))
            if not errors:
                break
            if not _again():
                context.reason(f"{override.path} is as it was")
                return 1
    override.save(text)
    tell(context, places)
    context.message(f"{override.path}: {'changed' if text.strip() else 'removed'}")
    return 0


def _check_writable(path: str) -> None:
    """That the file can be written is known before anything is edited. Raises ClientError."""
    directory = os.path.dirname(os.path.realpath(path))
    while not os.path.isdir(directory) and directory not in ("/", ""):
        directory = os.path.dirname(directory)
    if not os.access(directory, os.W_OK):
        raise ClientError(f"{path}: You may not write this file")


def _editor() -> str:
    """The command of the editor, for the shell. Raises ClientError."""
    for variable in ("VISUAL", "EDITOR"):
        command = getenv(variable)
        if command:
            return command
    for name in EDITORS:
        if shutil.which(name) is not None:
            return name
    raise ClientError("There is no editor: set VISUAL or EDITOR to one")


def _edit(command: str, path: str) -> None:
    try:
        status = subprocess.run(["/bin/sh", "-c", f'{command} "$@"', command, path], env=environment(), check=False)
    except OSError as error:
        raise ClientError(f"{command}: {error.strerror}")
    if status.returncode:
        raise ClientError(f"The editor has failed ({command}, status {status.returncode}); nothing was changed")


def _help(override: Override) -> str:
    """What is to be read below the text."""
    lines, _ = checker.merged(override.conf, override.counts)
    shown = [f"## {line.file}:{line.number}: {line.text}".rstrip() for line in lines]
    return _HELP.format(job=override.job) + "\n".join(shown) + "\n"


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def _edited(path: str, help_text: str) -> str:
    """What was edited, without what was only to be read: somebody may have written below that."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            left_out = set(help_text.splitlines())
            kept = [line for line in file.read().split("\n") if line not in left_out]
    except OSError as error:
        raise ClientError(f"The editor has left no file: {error.strerror}; nothing was changed")
    text = "\n".join(kept)
    return text.rstrip() + "\n" if text.strip() else ""


def _named(problem: str, path: str, name: str) -> str:
    """A problem of the copy as one of the file itself, on its last line: the others say that it is one."""
    text = problem.rstrip("\n").rpartition("\n")[2].removeprefix("upstart:")
    for copy in (path, os.path.basename(path)):
        if text.startswith(copy + ":"):
            return name + text[len(copy) :]
    return text if name in text else f"{name}: {text}"


def _again() -> bool:
    """Whether somebody is there who wants to edit again."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write("Edit again? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")
