"""What a check finds, and how it is told: to people, as JSON, or as SARIF 2.1.0 for programs that show such results.

What is always true here: an error is what init, or the shell, would refuse; a finding of sense is a warning, says in
which line, why, and what to write instead.  Text is written as it comes; JSON and SARIF once all is known, as one
document on standard output.
"""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The kinds of findings, each with what it is about.
RULES = {
    "syntax": "init or the shell cannot read the file",
    "unknown-event": "an event that nothing emits",
    "unknown-job": "a job that there is not",
    "never": "a condition that no event fulfils",
    "words": "words of an event that no bridge can bring about",
    "circle": "jobs that wait for each other",
    "and-order": "an event that is held while what must come with it waits for that",
    "expect": "the stanza expect of a program that does not fork",
    "task": "a task that never ends",
    "respawn-limit": "the stanza respawn limit without respawn",
    "no-process": "a stanza about a main process that there is not",
    "twice": "a stanza that a later one makes void",
    "unset-variable": "a variable that nobody sets",
    "package": "a job that does not fit what is beside it in its package",
}


class Finding:
    """``rule`` is one of `RULES`, ``line`` counts from 1 and is 0 where it is about no line; ``text`` says why, and
    ``write`` what to write instead, or is empty."""

    __slots__ = ("line", "rule", "text", "write")

    def __init__(self, rule: str, line: int, text: str, write: str = "") -> None:
        self.rule = rule
        self.line = line
        self.text = text
        self.write = write

    def __repr__(self) -> str:
        return f"<Finding {self.line} {self.rule}: {self.text}>"


class Report:
    """Tells people what has been found, and counts it."""

    def __init__(self) -> None:
        self.errors = 0
        self.warnings = 0

    def say(self, text: str) -> None:
        """Something by the way."""
        print(text)

    def fine(self, label: str) -> None:
        """The file ``label`` is valid."""
        print(f"File {label}: syntax ok", flush=True)

    def error(self, text: str, label: str = "", line: int = 0) -> None:
        """What makes the file ``label`` invalid, or cannot be done."""
        self.errors += 1
        print(f"ERROR: {text}", file=sys.stderr)

    def found(self, label: str, finding: Finding) -> None:
        """A finding of sense in the file ``label``."""
        self.warnings += 1
        line = f":{finding.line}" if finding.line else ""
        write = f"; write: {finding.write}" if finding.write else ""
        print(f"WARNING: File {label}{line}: {finding.text}{write}", file=sys.stderr)

    def end(self) -> None:
        """All has been told."""


class Collecting(Report):
    """Keeps what has been found for a document at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        #: Level, label, finding; ``write`` of an error is empty.
        self.results: list[tuple[str, str, Finding]] = []

    def say(self, text: str) -> None:
        pass

    def fine(self, label: str) -> None:
        self.files.append(label)

    def error(self, text: str, label: str = "", line: int = 0) -> None:
        self.errors += 1
        self.results.append(("error", label, Finding("syntax", line, text)))

    def found(self, label: str, finding: Finding) -> None:
        self.warnings += 1
        self.results.append(("warning", label, finding))


class Json(Collecting):
    """``valid``, the files without an error, and ``findings``, a table each."""

    def end(self) -> None:
        findings: list[dict[str, Any]] = [
            {
                "level": level,
                "file": label or None,
                "line": finding.line or None,
                "rule": finding.rule,
                "text": finding.text,
                "write": finding.write or None,
            }
            for level, label, finding in self.results
        ]
        json.dump({"valid": self.files, "findings": findings}, sys.stdout, indent=2)
        print()


class Sarif(Collecting):
    """One run, each finding a result."""

    def __init__(self, tool: str, version: str) -> None:
        super().__init__()
        self.tool = tool
        self.version = version

    def end(self) -> None:
        rules = [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()]
        driver = {"name": self.tool, "version": self.version, "rules": rules}
        results = [self._result(*entry) for entry in self.results]
        document = {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        }
        json.dump(document, sys.stdout, indent=2)
        print()

    def _result(self, level: str, label: str, finding: Finding) -> dict[str, Any]:
        text = f"{finding.text}; write: {finding.write}" if finding.write else finding.text
        result: dict[str, Any] = {"ruleId": finding.rule, "level": level, "message": {"text": text}}
        if label:
            from urllib.parse import quote  # takes as long to load as all else here

            uri = ("file://" if label.startswith("/") else "") + quote(label, errors="surrogateescape")
            place: dict[str, Any] = {"artifactLocation": {"uri": uri}}
            if finding.line:
                place["region"] = {"startLine": finding.line}
            result["locations"] = [{"physicalLocation": place}]
        return result
