"""telinit(8): change the runlevel, or have init read its configuration again or re-execute itself."""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names, a third of all that this program loads.
import _signal as signal  # type: ignore[import-not-found]

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import DISCONNECTED, NO_REPLY, NO_SERVER, TIMEOUT
from upstart.base.options import Option
from upstart.client.init import Init
from upstart.initctl.context import DEBUG
from upstart.sysv import change, machine, otherinit
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.context import Context

#: Seconds that init may take to say no: it tries the new program for a minute at most.
TRIAL_PATIENCE = 75.0

# How a call looks from the outside when init drops its connections in the middle of it.
_CUT_OFF = (DISCONNECTED, NO_REPLY, TIMEOUT)


class Settings(Common):
    """What the options say."""

    __slots__ = ("env", "ignored")

    def __init__(self) -> None:
        super().__init__()
        self.env: list[str] = []
        self.ignored: list[str] = []


OPTIONS = (
    (Option("e", "", "env", argument="KEY=VALUE"), "set environment variable in the runlevel event"),
    (Option("t", "", "ignored", argument="SECONDS"), ""),
    *COMMON,
)


def main(argv: list[str]) -> int:
    """Carry out the request for init that the first argument names; 1 if that was not possible."""
    return run(PROGRAM, argv, Settings(), _tell_init)


def _tell_init(context: Context, settings: Settings, args: list[str]) -> int:
    if not args:
        raise UsageError("missing runlevel")
    request = args[0]
    if len(request) != 1 or request not in "0123456SsQqUu":
        raise UsageError(f"illegal runlevel: {request}")
    need_root(context)
    request = request.upper()
    if request == "Q":
        try:
            machine.signal_init(signal.SIGHUP)
        except OSError as error:
            raise ClientError(str(error.strerror))
        return 0
    try:
        if request == "U":
            _restart(context, settings)
        else:
            change.change_runlevel(request, settings.env)
    except DBusError as error:
        if error.name == NO_SERVER and otherinit.change_runlevel(request, settings.env):
            return 0
        raise
    return 0


def _restart(context: Context, settings: Settings) -> None:
    """Have Upstart re-execute itself, and return once it answers again.  Raises DBusError.

    The reply may be lost with the connection, which is no error; a refusal is one.
    """
    init = Init.open()
    try:
        init.restart(TRIAL_PATIENCE)
    except DBusError as error:
        if error.name not in _CUT_OFF:
            raise
    init.close()
    if settings.priority <= DEBUG:
        context.write("Waiting for upstart to finish re-exec\n")
    change.reconnect().close()


PROGRAM = Program(
    "RUNLEVEL",
    "Change runlevel.",
    OPTIONS,
    "RUNLEVEL should be one of 0123456sS, where s and S are considered identical.\n"
    "\n"
    "RUNLEVEL may also be Q or q to instruct the init daemon to reload its configuration, this is rarely necessary "
    "since the daemon watches its configuration for changes.\n"
    "\n"
    "RUNLEVEL may be U or u to instruct the init daemon to re-execute itself, which keeps its state and the processes "
    "of all jobs.\n",
)
