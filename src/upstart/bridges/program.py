"""What the commands of all bridges have in common: options, the log, and how one becomes a daemon.

With ``--daemon`` the command returns when the bridge watches all that is awaited, or has failed to, so that a job with
``expect daemon`` is running when it is of use.
"""

from __future__ import annotations

import os

from upstart.base.errors import ClientError
from upstart.base.names import ADDRESS
from upstart.base.options import Option
from upstart.base.priority import ERROR
from upstart.bridges.host import RUN, Host
from upstart.sysv.program import COMMON, Common, Program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.bridges.host import Source
    from upstart.initctl.context import Context

#: Levels of syslog(3) for our priorities, debug first.
_LEVELS = (7, 6, 5, 4, 3, 2)


class Settings(Common):
    """The settings that every bridge has."""

    __slots__ = ("always", "daemon", "strip", "user")

    def __init__(self) -> None:
        super().__init__()
        self.daemon = False
        self.user = False
        self.always = False
        self.strip = True


DAEMON = (Option("", "daemon", "daemon"), "go to the background once everything is watched")
USER = (Option("", "user", "user"), "run in user mode (as used for user sessions)")
ALWAYS = (Option("", "always", "always"), "tell every event, whether or not a job waits for it")


def main(
    argv: list[str],
    synopsis: str,
    own: tuple[tuple[Option, str], ...],
    make: Callable[[Host, Settings], Source],
    text: str,
) -> int:
    """Run the bridge that ``make`` makes; the exit status."""
    settings = Settings()
    program = Program("", synopsis, (DAEMON, *own, USER, *COMMON), text)
    return run(program, argv, settings, lambda context, settings, args: _begin(context, settings, make))


def _begin(context: Context, settings: Settings, make: Callable[[Host, Settings], Source]) -> int:
    program = context.program
    address, directory = _place(settings)
    writer = -1
    # initctl's scale, which options speak, begins one higher than that of logs.
    priority = settings.priority - 1
    log = _standard_log(program, priority)
    if settings.daemon:
        context.flush()
        writer = _become_daemon()
        log = _syslog(program, priority)
    name = program.removeprefix("upstart-").removesuffix("-bridge")
    host = Host(name, address, directory, log, lambda: _tell(writer, program, settings))
    try:
        return host.run(make(host, settings))
    except Exception as error:
        # Nobody may be looking but at the log; whoever has started us does so again.
        log(ERROR, f"{type(error).__name__}: {error}")
        return 1


def _place(settings: Settings) -> tuple[str, str]:
    """The address of init, and where a bridge of its leaves state."""
    if not settings.user:
        return ADDRESS, RUN
    session = os.environ.get("UPSTART_SESSION")
    if session is None:
        raise ClientError("UPSTART_SESSION isn't set in the environment. Unable to locate the Upstart instance.")
    return session, f"{_own_directory()}/upstart/bridges/{session.rpartition('/')[2]}"


def _own_directory() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("HOME") or "/nonexistent"


def _standard_log(program: str, priority: int) -> Callable[[int, str], object]:
    def log(level: int, text: str) -> None:
        if level >= priority:
            os.write(2, f"{program}: {text}\n".encode("utf-8", "backslashreplace"))

    return log


def _syslog(program: str, priority: int) -> Callable[[int, str], object]:
    import syslog

    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)

    def log(level: int, text: str) -> None:
        if level >= priority:
            syslog.syslog(_LEVELS[level], text)

    return log


def _become_daemon() -> int:
    """Go on as a daemon, of which init is to know as soon as somebody writes to the descriptor that is given."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
    return writer


def _tell(writer: int, program: str, settings: Settings) -> None:
    """A daemon is ready."""
    if writer < 0:
        return
    if settings.user:
        # As of the original's, for whoever looks for it.
        try:
            with open(f"{_own_directory()}/{program}.{os.getpid()}.pid", "w") as file:
                file.write(f"{os.getpid()}\n")
        except OSError:
            pass
    os.write(writer, b".")
    os.close(writer)

