"""What init and the program that writes its record say to each other, and how init becomes that program in a child.

Init sends lines of JSON, each a list of what `engine.record` calls the lines of a record, in order; but of ``from`` and
``check`` without what comes last, which comes by a pipe that is sent along: a child of init's, which has the engine as
it was at that moment, says by `LENGTH` bytes how long the snapshot is, and then that.  The first line is ``begin`` with
init's version.  The answer is one line, when the record has ended: why.

What is always true here: init loads nothing of that program, whose modules are as much again as its own.
"""

from __future__ import annotations

import os
import sys

NAME = "upstart-record"
#: Of what is said; a program of another version does nothing.
VERSION = 1
#: Bytes.
LENGTH = 8


def execute(socket: int, file: int, path: str, values: bool, limit: int) -> None:
    """In a child: become the program, which speaks by ``socket``; see `recordserver.run`.  Returns where it cannot."""
    for fd in (socket, file):
        if fd >= 0:
            os.set_inheritable(fd, True)
    words = [str(word) for word in (VERSION, socket, file, int(values), limit)]
    text = f"import sys; sys.path += {sys.path!r}; from upstart.daemon.recordserver import main; main()"
    try:
        os.execve(sys.executable, [sys.executable, "-ISB", "-c", text, *words, path], {})
    except OSError:
        pass
