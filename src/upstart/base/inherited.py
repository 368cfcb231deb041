"""What a program that we execute is to find as we found it: the interpreter has changed some of that for itself.

What is always true here: Python ignores `IGNORED`, which every program inherits, and in a plain C locale it puts an
LC_CTYPE of its own into the environment (PEP 538), in which libraries may leave their settings, too.  Whoever executes
something of another takes the environment from `environment`, and has these signals do what they do by default.
"""

from __future__ import annotations

import posix
import sys

#: SIGPIPE and SIGXFSZ.
IGNORED = (13, 25)

_GIVEN = "/proc/self/environ"
_LOCALE = b"LC_CTYPE"


def environment() -> dict[bytes, bytes]:
    """The variables that we were given, and those that we have set by os.environ since."""
    restore_locale()
    os = sys.modules.get("os")
    return dict(posix.environ if os is None else os.environb)


def restore_locale() -> None:
    """Have LC_CTYPE as we were given it, in all that our children may get their environment from.

    Nothing without a /proc to see that in.
    """
    if _LOCALE not in posix.environ:
        return
    try:
        fd = posix.open(_GIVEN, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    with open(fd, "rb") as file:
        given = file.read().split(b"\0")
    value = next((word[len(_LOCALE) + 1 :] for word in given if word.startswith(_LOCALE + b"=")), None)
    environments = [posix.environ]
    if "os" in sys.modules:
        environments.append(sys.modules["os"].environb)
    for each in environments:
        if value is None:
            each.pop(_LOCALE, None)
        else:
            each[_LOCALE] = value
    if value is None:
        posix.unsetenv(_LOCALE)
    else:
        posix.putenv(_LOCALE, value)
