"""halt(8), poweroff(8) and reboot(8): the machine's end, by way of shutdown(8) unless that already happened.

In the runlevels 0 and 6, where the services are down, and with --force, the record is written and reboot(2) called;
otherwise this program becomes shutdown, which takes the system down in order and calls this one at the end.  In a
container that may not call reboot(2) the init daemon is asked to exit.
"""

from __future__ import annotations

import os

from upstart.base import utmp
from upstart.base.errors import ClientError
from upstart.base.options import Option
from upstart.base.signals import ENDS_AT_ONCE
from upstart.sysv import machine
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.context import Context

SHUTDOWN = "/sbin/shutdown"


class Settings(Common):
    """What the options say."""

    __slots__ = ("force", "ignored", "no_sync", "poweroff", "wtmp_only")

    def __init__(self) -> None:
        super().__init__()
        self.no_sync = False
        self.force = False
        self.poweroff = False
        self.wtmp_only = False
        self.ignored = False


OPTIONS = (
    (Option("n", "no-sync", "no_sync"), "don't sync before reboot or halt"),
    (Option("f", "force", "force"), "force reboot or halt, don't call shutdown(8)"),
    (Option("p", "poweroff", "poweroff"), "switch off the power when called as halt"),
    (Option("w", "wtmp-only", "wtmp_only"), "don't actually reboot or halt, just write wtmp record"),
    (Option("d", "", "ignored"), ""),
    (Option("i", "", "ignored"), ""),
    (Option("h", "", "ignored"), ""),
    *COMMON,
)

# By the name of the program: its synopsis, the options of shutdown, the command of reboot(2) and what --verbose says.
_MODES = {
    "halt": ("Halt the system.", ("-h", "-H"), machine.HALT, "Halting"),
    "poweroff": ("Power off the system.", ("-h", "-P"), machine.POWER_OFF, "Powering off"),
    "reboot": ("Reboot the system.", ("-r",), machine.RESTART, "Rebooting"),
}

_HELP = ("This command is intended to instruct the kernel to reboot or halt the system; when run without the -f "
         "option, or when in a system runlevel other than 0 or 6, it will actually execute /sbin/shutdown.\n")


def main(argv: list[str]) -> int:
    """Do what the name the program was called by says (any unknown name means reboot)."""
    name = argv[0].rpartition("/")[2]
    mode = name if name in _MODES else "reboot"
    program = Program("", _MODES[mode][0], OPTIONS, _HELP)
    return run(program, argv, Settings(), lambda context, settings, args: _end(context, settings, args, mode))


def _end(context: Context, settings: Settings, args: list[str], mode: str) -> int:
    need_root(context)
    try:
        levels = utmp.get_runlevel()
    except OSError:
        levels = None
    services_down = levels is not None and levels[0] in "06"
    force = settings.force or services_down
    if mode == "halt" and settings.poweroff:
        mode = "poweroff"
    _, how, _, progress = _MODES[mode]
    if not force and not settings.wtmp_only:
        context.info("Calling shutdown")
        context.flush()
        try:
            machine.execute(SHUTDOWN, [SHUTDOWN, *how, "now"])
        except OSError as error:
            raise ClientError(f"Unable to execute shutdown: {error.strerror}")
    try:
        utmp.write_shutdown()
    except OSError:
        pass
    if not services_down:  # else wtmpdb's own init script has done it, and the disk may be read-only by now
        machine.tell_wtmpdb("shutdown")
    if settings.wtmp_only:
        return 0
    if not settings.no_sync:
        os.sync()
    argument = args[0] if mode == "reboot" and args else None
    context.info(progress if argument is None else f"Rebooting with {argument}")
    context.flush()
    try:
        end_now(mode, argument)
    except OSError as error:
        raise ClientError(str(error.strerror))
    return 0


def end_now(mode: str, argument: str | None = None) -> None:
    """Halt, switch off ("poweroff") or restart the machine ("reboot", with *argument* for the firmware).

    Returns in a container, whose init ends then.  Raises OSError where that cannot be told.
    """
    command = _MODES[mode][2]
    # Should the kernel hang on the way down, Control-Alt-Delete is the last resort.
    machine.reboot(machine.CAD_ON)
    if not machine.reboot(command, argument):
        # The container ends with PID 1.
        machine.signal_init(next(number for number, (what, _) in ENDS_AT_ONCE.items() if what == command))
    machine.reboot(machine.CAD_OFF)
