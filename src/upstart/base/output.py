"""Standard output of programs that print: what becomes of them when it cannot be written.

What is always true here: a program whose output is lost ends with one line that says why, and with its status for
trouble, not with the interpreter's account of itself; where whoever read it has gone, without the line.  An output
that is closed from the start takes everything.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer


class OutputLostError(Exception):
    """Standard output cannot be written; no OSError, which programs take for one about a file that they read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        #: Whether it is a pipe that nobody reads any more.
        self.unread = isinstance(error, BrokenPipeError)


class _Raw(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLostError(error) from None


def printing(program: str, trouble: int, action: Callable[[], int], unread: int | None = None) -> int:
    """Do what prints, and write all of it; its exit status, or ``trouble`` where the output is lost.

    ``unread``, if it is given, is the status where whoever read the output has gone.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8", errors="replace")
    elif sys.stdout is sys.__stdout__:
        own = sys.__stdout__
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Raw(own.fileno(), "w", closefd=False)),
            encoding=own.encoding,
            errors=own.errors,
            line_buffering=own.line_buffering,
        )
    try:
        try:
            status = action()
        finally:
            # argparse shows its help, and raises SystemExit.
            sys.stdout.flush()
    except OutputLostError as error:
        # What is left is not to be tried again at the end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if error.unread:
            return trouble if unread is None else unread
        print(f"{program}: Unable to write: {error}", file=sys.stderr)
        return trouble
    return status
