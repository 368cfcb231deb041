"""Resource limits by the names of init(5)'s ``limit`` stanza, and the limits that init itself started with.

init raises its own descriptor limit; what a job inherits is always what init was given, so the original values are
taken when this module is imported, before anything can have changed them, and cross a re-exec through `dump`.
"""

from __future__ import annotations

import errno
import resource

from upstart.conf.stanzas import LIMITS as NAMES

#: Name in a job file to number, setrlimit(2).
LIMITS: dict[str, int] = {name: getattr(resource, f"RLIMIT_{name.upper()}") for name in NAMES}

_original = resource.getrlimit(resource.RLIMIT_NOFILE)


def set_limit(number: int, soft: int, hard: int) -> None:
    """Set a limit of the calling process; -1 is unlimited.  Raises OSError with setrlimit(2)'s error number."""
    try:
        resource.prlimit(0, number, (soft, hard))
    except ValueError:
        raise OSError(errno.EINVAL, "Invalid argument")


def original_descriptors() -> tuple[int, int]:
    """The (soft, hard) descriptor limit that jobs inherit."""
    return _original


def raise_descriptors(wanted: int) -> int:
    """Raise init's own soft descriptor limit towards ``wanted`` (never lower it); returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def dump() -> list[int]:
    """The limit that jobs inherit, for the state document of a re-exec."""
    return list(_original)


def restore(state: list[int]) -> None:
    """Take over what `dump` gave before the re-exec (our own limit is already the raised one)."""
    global _original
    _original = (int(state[0]), int(state[1]))
