"""Lists of ``KEY=VALUE`` words, as calls bring them, and the tables that they stand for.

What is always true here: making the table of a list costs time by its length, so that of a long one is made in steps,
before the method is called that wants it.
"""

from __future__ import annotations

from upstart.base.names import INVALID_ARGS
from upstart.engine import environ
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

#: Words of a list whose table is made in steps, and words between two steps.
LONG_LIST = 2048
STEP = 512


class Words(list[str]):
    """A long list of words, of which it is known which table it stands for; None where it stands for none."""

    __slots__ = ("table",)
    table: dict[str, str] | None


def words_in_steps(words: list[str]) -> Generator[None, None, Words]:
    """The same list, with its table, which is made in steps."""
    known = Words(words)
    known.table = None
    table: dict[str, str] = {}
    for at in range(0, len(words), STEP):
        try:
            table.update(environ.parse(words[at : at + STEP]))
        except ValueError:
            return known
        yield
    known.table = table
    return known


def environment(words: list[str]) -> dict[str, str]:
    """The table that a list of words stands for; InvalidArgs where one has no ``=``."""
    if isinstance(words, Words) and words.table is not None:
        return words.table
    try:
        return environ.parse(words)
    except ValueError:
        raise CommandError(INVALID_ARGS, "Env must be KEY=VALUE pairs")
