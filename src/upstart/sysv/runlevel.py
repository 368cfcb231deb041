"""runlevel(8): the previous and the current runlevel, from the environment or from the records of utmp(5)."""

from __future__ import annotations

from upstart.base import utmp
from upstart.base.errors import ClientError
from upstart.base.options import Option
from upstart.sysv.program import COMMON, Common, Program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.context import Context

OPTIONS: tuple[tuple[Option, str], ...] = COMMON


def main(argv: list[str]) -> int:
    """Print the levels of the file named by the first argument, by default /var/run/utmp; 1 if there are none.

    Without that file, as where another init runs that keeps none, the runlevel is just unknown.
    """
    return run(PROGRAM, argv, Common(), _show)


def _show(context: Context, settings: Common, args: list[str]) -> int:
    path = args[0] if args else utmp.UTMP
    try:
        levels = utmp.get_runlevel(path)
    except FileNotFoundError as error:
        if args:
            raise ClientError(f"{path}: {error.strerror}")
        levels = None
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}")
    if levels is None or levels[0] == "N":
        context.message("unknown")
        return 1
    context.message(f"{levels[1]} {levels[0]}")
    return 0


PROGRAM = Program(
    "[UTMP]",
    "Output previous and current runlevel.",
    OPTIONS,
    "The system /var/run/utmp file is used unless the alternate file UTMP is given.\n",
)
