"""What programs for whoever writes jobs have in common on their command lines.

What is always true here: help and version are printed and are no failure; what is wrong with the command line, or with
what it names, is said on standard error, and the status is 2.
"""

from __future__ import annotations

import sys

from upstart import VERSION
from upstart.base.errors import UsageError
from upstart.base.inherited import restore_locale
from upstart.base.options import ShowHelp, ShowVersion
from upstart.base.output import printing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: The exit status where nothing came of it.
TROUBLE = 2


class Unusable(Exception):
    """What the command line names cannot be gone by; ``str()`` says why."""


def command(name: str, usage: str, work: Callable[[], int]) -> int:
    """Do the work of the program ``name``; its exit status.

    ``work`` reads the command line, prints, gives the status, and raises ShowHelp, ShowVersion, `UsageError` or
    `Unusable`.
    """
    restore_locale()
    return printing(name, TROUBLE, lambda: _guarded(name, usage, work))


def _guarded(name: str, usage: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except ShowHelp:
        print(usage, end="")
        return 0
    except ShowVersion:
        print(f"{name} (upstart {VERSION})")
        return 0
    except Unusable as error:
        print(f"{name}: {error}", file=sys.stderr)
    except UsageError as error:
        print(f"{name}: {error}\nTry `{name} --help' for more information.", file=sys.stderr)
    return TROUBLE
