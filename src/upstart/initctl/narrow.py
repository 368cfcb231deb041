"""Lines and tables that heed the width of what they are shown on.

What is always true here: only what is wider changes, words are never cut apart, and the names of jobs stay whole.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

#: Blanks between two columns, what stands where a cell was cut, and characters that are left of one at least.
GAP = 2
CUT = "..."
LEAST = 12
#: Of the room of a line, what is left beside its indentation at least.
ROOM = 16


def screen_columns() -> int:
    """Columns of the screen: of COLUMNS (as strtoul(3) reads it: a negative one is huge), or of the terminal; 0 where
    neither says."""
    text = posix.environ.get(b"COLUMNS", b"").decode("utf-8", "surrogateescape").lstrip(" \t\n\v\f\r")
    digits = text[1:] if text[:1] in ("+", "-") else text
    width = int(digits) if digits.isascii() and digits.isdigit() else 0
    if width and text[0] == "-":
        width = 1 << 31
    if not width:
        try:
            width = posix.get_terminal_size(1).columns
        except OSError:
            width = 0
    return width


def folded(text: str, width: int, indent: int) -> str:
    """The text with newlines in the place of blanks, so that lines have at most ``width`` columns, but where a word is
    longer than a line; those after the first begin with ``indent`` blanks.  A width of 0 is none."""
    if not width or len(text) <= width or width - indent < ROOM:
        return text
    margin = " " * indent
    lines = []
    rest = text
    while len(rest) > width:
        begin = len(rest) - len(rest.lstrip(" "))
        # Of a line's first word nothing is cut off.
        cut = rest.rfind(" ", begin + 1, width + 1)
        start = len(rest) - len(rest[max(cut, 0) :].lstrip(" "))
        end = rest.find(" ", start)
        if cut < 0 or (end if end >= 0 else len(rest)) - start > width - indent:
            # A word that fits into no line may as well stay where it is.
            cut = end
        if cut < 0:
            break
        lines.append(rest[:cut].rstrip(" "))
        rest = margin + rest[cut:].lstrip(" ")
    return "\n".join([*lines, rest])


def widths_of(rows: list[list[str]], elastic: Collection[int], width: int) -> list[int]:
    """How wide each column is for the table to have at most ``width`` columns, or no more than it must: those of the
    numbers ``elastic`` may be cut, the widest first.  A width of 0 is none."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    while width and sum(widths) + GAP * (len(widths) - 1) > width:
        widest = max(elastic, key=lambda at: widths[at], default=None)
        if widest is None or widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    return widths


def cell(text: str, width: int) -> str:
    """A cell of a column."""
    return text.ljust(width) if len(text) <= width else text[: width - len(CUT)].rstrip(" ") + CUT
