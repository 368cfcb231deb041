"""The words of a ``file`` event in a job's condition, see file-event(7): the kinds there are, and what a path may be.

What is always true here: the disk is not looked at.
"""

from __future__ import annotations

EVENT = "file"
CREATE, MODIFY, DELETE = "create", "modify", "delete"
OPEN, CLOSE, ATTRIB, MOVED = "open", "close", "attrib", "moved"
#: What is told to who does not say which, and what only to who names it.
USUAL = (CREATE, MODIFY, DELETE)
NAMED = (OPEN, CLOSE, ATTRIB, MOVED)
VARIABLES = ("FILE", "EVENT", "MATCH")


def place(text: str, home: str) -> tuple[str, str]:
    """The absolute path that a job means, or what is wrong with it.

    ``home`` is where a relative path begins, empty where there are none: for jobs of the system.
    """
    path = text
    if home and not text.startswith("/"):
        path = f"{home}/{text[2:] if text.startswith(('~/', './')) else text}"
    if not path.startswith("/"):
        return "", "Path must be absolute"
    parts = path.split("/")
    if ".." in parts:
        return "", "Path must not contain '..'"
    if "$" in text:
        return "", "the variable is known only to an instance of the job"
    if all(part in ("", ".") for part in parts):
        return "", "the root directory is always there"
    return path, ""
