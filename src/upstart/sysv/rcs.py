"""rcS: run the scripts of /etc/rcS.d that no job stands in for.

The jobs rcS-first and rcS-scripts run this; how it is done is `upstart.sysv.bootscripts`.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix

from upstart.base.errors import UsageError
from upstart.base.options import Option
from upstart.sysv import bootscripts
from upstart.sysv.bootorder import BootOrder
from upstart.sysv.bootscripts import FIRST_JOB, BootScripts
from upstart.sysv.program import COMMON, Common, Program, need_root, run
from upstart.sysv.standins import job_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from upstart.initctl.context import Context


def main(argv: list[str]) -> int:
    """Run the scripts that no job stands in for."""
    return run(PROGRAM, argv, Settings(), _boot)


class Settings(Common):
    """What the options say."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        super().__init__()
        self.first = False


def _boot(context: Context, settings: Settings, args: list[str]) -> int:
    if args:
        raise UsageError(f"unexpected argument: {args[0]}")
    need_root(context)
    try:
        order = bootscripts.boot_order()
    except OSError as error:
        context.error(f"Unable to read {bootscripts.LINKS}: {error.strerror}")
        order = BootOrder(())
    first = bootscripts.first_scripts(order)
    if settings.first:
        if not bootscripts.claim_first():
            return 0
        order.keep(first)
    boot = BootScripts(order, context.error)
    if not settings.first and job_of(FIRST_JOB) is not None:
        boot.leave(first)

    def stop(number: int, frame: object) -> NoReturn:
        # The job is stopped: the machine goes down, or to another runlevel, meanwhile.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        boot.terminate()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        posix.kill(posix.getpid(), signal.SIGTERM)
        posix._exit(1)  # not reached

    signal.signal(signal.SIGTERM, stop)
    # As of startpar: scripts are not to be interrupted by who plays with the keyboard.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    boot.run()
    return 0


PROGRAM = Program(
    "",
    "Run the scripts of /etc/rcS.d that no job stands in for.",
    ((Option("", "first", "first"), "run those alone that come before the check of the root file system"), *COMMON),
    "The jobs rcS-first and rcS-scripts run this at boot.\n",
)
