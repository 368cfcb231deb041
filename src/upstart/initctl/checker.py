"""What init's own parser says of job files, by init-checkconf(8): a job as its override leaves it, and what is wrong.

The parser itself is no part of what initctl loads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from upstart.base.errors import ClientError
from upstart.base.inherited import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAM = "/usr/bin/init-checkconf"


class Line:
    """A line of a job, where it stands, and the first word of the stanza that it belongs to."""

    __slots__ = ("file", "number", "stanza", "text")

    def __init__(self, file: str, number: int, stanza: str, text: str) -> None:
        self.file = file
        self.number = number
        self.stanza = stanza
        self.text = text


def merged(conf: str, override: str | None) -> tuple[list[Line], list[str]]:
    """The lines of a job that count, and what is wrong with its files. Raises ClientError."""
    found = _ask("--json", f"--merged={override or ''}", conf)
    lines = [Line(each["file"], each["line"], each["stanza"], each["text"]) for each in found["lines"]]
    return lines, found["errors"]


def manual(lines: list[Line]) -> Line | None:
    """The line that keeps events from starting the job."""
    return next((line for line in lines if is_manual(line)), None)


def is_manual(line: Line) -> bool:
    """Whether it has the stanza; a comment before it belongs to that as well."""
    return line.stanza == "manual" and "manual" in line.text.partition("#")[0]


def problems(path: str) -> tuple[list[str], list[str]]:
    """What keeps init from taking a file, and what makes no sense in it. Raises ClientError."""
    errors: list[str] = []
    warnings: list[str] = []
    for finding in _ask("--json", path)["findings"]:
        text = finding["text"] + (f"; write: {finding['write']}" if finding["write"] else "")
        if finding["level"] == "error":
            errors.append(text)
        else:
            warnings.append(f"{path}:{finding['line']}: {text}" if finding["line"] else f"{path}: {text}")
    return errors, warnings


def _ask(*words: str) -> dict[str, Any]:
    """The answer of the program. Raises ClientError."""
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "init-checkconf")
    program = beside if os.access(beside, os.X_OK) else PROGRAM
    try:
        done = subprocess.run(
            [program, *words], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except OSError as error:
        raise ClientError(f"{program}: {error.strerror}")
    except ValueError:
        said = done.stderr.decode("utf-8", "surrogateescape").strip().partition("\n")[0]
        raise ClientError(said.removeprefix("init-checkconf: ") or f"{program} gives no answer")
    return answer
