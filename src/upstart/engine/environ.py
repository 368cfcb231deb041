"""Environment tables: ordered ``KEY: VALUE`` dictionaries, as jobs and events carry them.

The order of keys is kept, because a positional value in a condition means "the n-th variable of the event".  Setting a
key that is there replaces its value in place.  Nothing here reads the environment of the running process; the
variables that a bare ``env KEY`` refers to are handed in.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def parse(words: Iterable[str]) -> dict[str, str]:
    """Turn ``KEY=VALUE`` words into a table.

    Raises ValueError for a word without ``=``.
    """
    table: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(word)
        table[key] = value
    return table


def words(table: Mapping[str, str]) -> list[str]:
    """The table as ``KEY=VALUE`` words."""
    return [f"{key}={value}" for key, value in table.items()]


def append(table: dict[str, str], entries: Iterable[str], inherited: Mapping[str, str], replace: bool = True) -> None:
    """Add ``KEY=VALUE`` or bare ``KEY`` entries.

    A bare key takes its value from ``inherited``; where that has none, replacing removes the key from the table, so
    that a job sees such a variable only if init has it.
    """
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not replace and key in table:
            continue
        if equals:
            table[key] = value
        elif key in inherited:
            table[key] = inherited[key]
        else:
            table.pop(key, None)
