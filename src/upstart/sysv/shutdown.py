"""shutdown(8): bring the system down at a given time, after telling everybody who is logged in.

While it waits there is exactly one of it, known by its pid file; SIGINT, SIGQUIT and SIGTERM cancel it, which is also
what ``shutdown -c`` sends.  Within the last five minutes /etc/nologin keeps new users out; the file is gone again once
the shutdown has begun or been cancelled.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names, a third of all that this program loads.
import _signal as signal  # type: ignore[import-not-found]
import os
import time

from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.names import NO_SERVER
from upstart.base.options import Option
from upstart.sysv import change, otherinit, pidfile
from upstart.sysv.program import COMMON, Common, Program, need_root, run, warn
from upstart.sysv.wall import wall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.initctl.context import Context

NOLOGIN = "/etc/nologin"

#: Seconds of a minute, the step in which the delay is counted down.
MINUTE = 60.0

#: Minutes before the end from which on nobody may log in any more.
NOLOGIN_DELAY = 5

_CANCELLING = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_IGNORED = (signal.SIGCHLD, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)

_LONGEST = (1 << 31) - 1


class Settings(Common):
    """What the options say; `goal` is the runlevel and the value of INIT_HALT, if any."""

    __slots__ = ("cancel", "goal", "ignored", "warn_only", "when")

    def __init__(self) -> None:
        super().__init__()
        self.goal: tuple[str, str] = ("1", "")
        self.cancel = False
        self.warn_only = False
        self.when: str | None = None
        self.ignored: object = None


OPTIONS = (
    (Option("r", "", "goal", ("6", "")), "reboot after shutdown"),
    (Option("h", "", "goal", ("0", "")), "halt or power off after shutdown"),
    (Option("H", "", "goal", ("0", "HALT")), "halt after shutdown (implies -h)"),
    (Option("P", "", "goal", ("0", "POWEROFF")), "power off after shutdown (implies -h)"),
    (Option("c", "", "cancel"), "cancel a running shutdown"),
    (Option("k", "", "warn_only"), "only send warnings, don't shutdown"),
    (Option("g", "", "when", argument="TIME"), ""),
    *((Option(letter, "", "ignored"), "") for letter in "anfF"),
    (Option("i", "", "ignored", argument="LEVEL"), ""),
    (Option("t", "", "ignored", argument="SECS"), ""),
    (Option("y", "", "ignored"), ""),
    *COMMON,
)


def main(argv: list[str]) -> int:
    """Shut the system down, warn only, or cancel a shutdown that waits, as the options and arguments say."""
    return run(PROGRAM, argv, Settings(), _shutdown)


def minutes_until(when: str, now: time.struct_time) -> int:
    """The delay in minutes that a TIME argument means at the local time *now*.  Raises UsageError if it means none."""
    if when == "now":
        return 0
    if ":" in when:
        hours, rest = leading_number(when)
        if not 0 <= hours <= 23 or rest[:1] != ":":
            raise UsageError("illegal hour value")
        minutes, rest = leading_number(rest[1:])
        if not 0 <= minutes <= 59 or rest:
            raise UsageError("illegal minute value")
        return (hours * 60 + minutes - now.tm_hour * 60 - now.tm_min) % 1440
    delay, rest = leading_number(when)
    if not 0 <= delay <= _LONGEST or rest:
        raise UsageError("illegal time value")
    return delay


def leading_number(text: str) -> tuple[int, str]:
    """The decimal number at the start of *text*, as strtol(3) sees it (0 if there is none), and what follows it."""
    number = text.lstrip(" \t\n\v\f\r")
    sign = number[:1] if number[:1] in ("+", "-") else ""
    digits = number[len(sign):]
    rest = digits.lstrip("0123456789")
    digits = digits[:len(digits) - len(rest)]
    # Numbers this long are out of every range, and Python would refuse to convert the longest.
    if len(digits) > 20:
        return _LONGEST + 1, rest
    return (int(sign + digits), rest) if digits else (0, text)


def warning(goal: tuple[str, str], delay: int, message: str) -> str:
    """The text that tells users what will happen in *delay* minutes, followed by the administrator's *message*."""
    runlevel, init_halt = goal
    what = {"0": "power off" if init_halt == "POWEROFF" else "halt", "1": "maintenance", "6": "reboot"}[runlevel]
    if delay:
        when = f"in {delay} minute{'' if delay == 1 else 's'}!"
    else:
        when = "NOW!"
    return f"\rThe system is going down for {what} {when}\r\n{message}"


def warning_is_due(delay: int) -> bool:
    """Whether users are told again with *delay* minutes left: more often as the end comes nearer."""
    if delay < 10:
        return True
    if delay < 60:
        return delay % 15 == 0
    return delay % (30 if delay < 180 else 60) == 0


def _shutdown(context: Context, settings: Settings, args: list[str]) -> int:
    when = settings.when
    if when is None and not settings.cancel:
        if not args:
            raise UsageError("time expected")
        when, *args = args
    delay = 0 if when is None else minutes_until(when, time.localtime())
    message = "".join(word + " " for word in args)
    if message:
        message += "\r\n"
    need_root(context)
    pid = pidfile.read(context.program)
    running = pid is not None and pidfile.runs(context.program, pid)
    if settings.cancel:
        if pid is None:
            raise ClientError("Cannot find pid of running shutdown")
        if not running or not _send(pid, signal.SIGINT):
            raise ClientError("Shutdown is not running")
        if message:
            _broadcast(context, message)
        return 0
    if pid is not None and running and _send(pid, 0):
        raise ClientError("Another shutdown is already running")
    _broadcast(context, warning(settings.goal, delay, message))
    if settings.warn_only:
        return 0
    try:
        os.chdir("/")
    except OSError as error:
        warn(context, f"Unable to change directory: {error.strerror}")
    os.umask(0o022)
    if delay and _wait(context, settings.goal, delay, message):
        context.error("Shutdown cancelled")
        _clean_up(context)
        return 0
    return _begin(context, settings.goal)


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
        return True
    except (OSError, OverflowError):
        return False


def _broadcast(context: Context, text: str) -> None:
    try:
        wall(text)
    except OSError as error:
        warn(context, f"Unable to fork child-process to warn users: {error.strerror}")


def _wait(context: Context, goal: tuple[str, str], delay: int, message: str) -> bool:
    """Wait *delay* minutes, repeating the warning; whether the shutdown was cancelled."""
    # Blocked, these signals interrupt nothing but the wait between two warnings.
    signal.pthread_sigmask(signal.SIG_BLOCK, _CANCELLING)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        pidfile.write(context.program, os.getpid())
    except OSError as error:
        warn(context, f"{pidfile.path(context.program)}: Unable to write pid file: {error.strerror}")
    if delay <= NOLOGIN_DELAY:
        _bar_logins(warning(goal, delay, message))
    deadline = time.monotonic()
    while delay:
        deadline += MINUTE
        if signal.sigtimedwait(_CANCELLING, max(0.0, deadline - time.monotonic())) is not None:
            return True
        delay -= 1
        text = warning(goal, delay, message)
        if delay <= NOLOGIN_DELAY:
            _bar_logins(text)
        if warning_is_due(delay):
            _broadcast(context, text)
    return False


def _bar_logins(text: str) -> None:
    try:
        fd = os.open(NOLOGIN, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError:
        return
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    except OSError:
        pass
    os.close(fd)


def _begin(context: Context, goal: tuple[str, str]) -> int:
    """Have init bring the system down now; the exit status of the program."""
    runlevel, init_halt = goal
    env = [f"INIT_HALT={init_halt}"] if init_halt else []
    try:
        change.change_runlevel(runlevel, env)
    except DBusError as error:
        _clean_up(context)
        if error.name != NO_SERVER:
            raise
        _restore_signals()
        if otherinit.change_runlevel(runlevel, env):
            return 0
        raise ClientError("Unable to shutdown system")
    _clean_up(context)
    return 0


def _restore_signals() -> None:
    """What another program in our place would inherit as it was when we started."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CANCELLING)


def _clean_up(context: Context) -> None:
    try:
        os.unlink(NOLOGIN)
    except OSError:
        pass
    pidfile.remove(context.program)


PROGRAM = Program(
    "TIME [MESSAGE]",
    "Bring the system down.",
    OPTIONS,
    "TIME may have different formats, the most common is simply the word 'now' which will bring the system down "
    "immediately.  Other valid formats are +m, where m is the number of minutes to wait until shutting down and hh:mm "
    "which specifies the time on the 24hr clock.\n"
    "\n"
    "Logged in users are warned by a message sent to their terminal, you may include an optional MESSAGE included "
    "with this.  Messages can be sent without actually bringing the system down by using the -k option.\n"
    "\n"
    "If TIME is given, the command will remain in the foreground until the shutdown occurs.  It can be cancelled by "
    "Control-C, or by another user using the -c option.\n"
    "\n"
    "The system is brought down into maintenance (single-user) mode by default, you can change this with either the -r "
    "or -h option which specify a reboot or system halt respectively.  The -h option can be further modified with -H "
    "or -P to specify whether to halt the system, or to power it off afterwards.  The default is left up to the "
    "shutdown scripts.",
)
