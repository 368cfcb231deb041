"""What the commands of all bridges have in common: options, the log, and how one becomes a daemon.

With ``--daemon`` the command returns when the bridge watches all that is awaited, or has failed to, so that a job with
``expect daemon`` is running when it is of use.
"""

from __future__ import annotations

import os

from upstart.base.errors import ClientError
from upstart.base.loop import Loop
from upstart.base.names import ADDRESS
from upstart.base.options import Option, parse
from upstart.bridges.host import RUN, Host
from upstart.bridges.status import Server
from upstart.sysv.program import COMMON, Common, Program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import Any

    from upstart.bridges.kinds import Bridge
    from upstart.initctl.context import Context

    Log = Callable[[int, str], object]
else:
    import _signal as signal

#: Levels of syslog(3) for our priorities, debug first.
_LEVELS = (7, 6, 5, 4, 3, 2)


class Settings(Common):
    """The settings that every bridge has; its own are added to them."""

    def __init__(self, defaults: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.daemon = False
        self.user = False
        self.always = False
        for name, value in (defaults or {}).items():
            setattr(self, name, list(value) if isinstance(value, list) else value)


DAEMON = (Option("", "daemon", "daemon"), "go to the background once everything is watched")
USER = (Option("", "user", "user"), "run in user mode (as used for user sessions)")
ALWAYS = (Option("", "always", "always"), "tell every event, whether or not a job waits for it")


class Place:
    """Where the init of a bridge is, where it leaves its state, and its log."""

    __slots__ = ("address", "directory", "log", "pid_file", "program", "settings", "writer")

    def __init__(self, context: Context, settings: Settings) -> None:
        self.program = context.program
        self.settings = settings
        self.address, self.directory = place(settings.user)
        # initctl's scale, which options speak, begins one higher than that of logs.
        priority = settings.priority - 1
        self.writer = -1
        self.pid_file = ""
        self.log = _standard_log(self.program, priority)
        if settings.daemon:
            context.flush()
            self.writer = _become_daemon()
            self.log = _syslog(self.program, priority)

    def ready(self) -> None:
        """A daemon is ready."""
        writer, self.writer = self.writer, -1
        if writer < 0:
            return
        if self.settings.user:
            # As of the original's, for whoever looks for it.
            path = f"{_own_directory()}/{self.program}.{os.getpid()}.pid"
            try:
                with open(path, "w") as file:
                    file.write(f"{os.getpid()}\n")
                self.pid_file = path
            except OSError:
                pass
        os.write(writer, b".")
        os.close(writer)

    def end(self) -> None:
        """It runs no more."""
        if self.pid_file:
            try:
                os.unlink(self.pid_file)
            except OSError:
                pass


def main(argv: list[str], name: str, bridge: Bridge) -> int:
    """Run one bridge, in a process of its own; the exit status."""
    program = Program("", bridge.synopsis, (DAEMON, *bridge.options, USER, *COMMON), bridge.text)
    settings = Settings(bridge.defaults)

    def carry_out(context: Context, own: Settings, args: list[str]) -> int:
        bridge.check(own)
        return _run(context, own, {name: (bridge, own)})

    return run(program, argv, settings, carry_out)


def settings_of(bridge: Bridge, words: Sequence[str]) -> Settings:
    """The settings of a bridge whose own options these words are.  Raises UsageError."""
    settings = Settings(bridge.defaults)
    parse(["", *words], [option for option, _ in bridge.options], settings)
    bridge.check(settings)
    return settings


def run_together(context: Context, settings: Settings, bridges: dict[str, Bridge]) -> int:
    """Run bridges in one process, for as long as all of them go on; the exit status."""
    return _run(context, settings, {name: (bridge, settings_of(bridge, ())) for name, bridge in bridges.items()})


def _run(context: Context, settings: Settings, bridges: dict[str, tuple[Bridge, Settings]]) -> int:
    place = Place(context, settings)
    loop = Loop()
    hosts: list[Host] = []
    server = Server(loop, place.directory, lambda: hosts, place.log)
    missing = set(bridges)
    failed: list[str] = []

    def ready(name: str) -> None:
        missing.discard(name)
        if not missing:
            server.begin()
            place.ready()

    def fail(name: str) -> None:
        # Whoever has started us does so again.
        failed.append(name)
        loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.watch_signal(number, loop.stop)
    for name, (bridge, own) in bridges.items():
        host = Host(
            name, loop, place.address, place.directory, place.log, lambda name=name: ready(name),  # type: ignore[misc]
            lambda name=name: fail(name),  # type: ignore[misc]
        )  # fmt: skip
        hosts.append(host)
        host.begin(lambda host, bridge=bridge, own=own: bridge.make(host, own))  # type: ignore[misc]
    if not failed:
        loop.run()
    for host in hosts:
        host.end()
    server.end()
    place.end()
    return 1 if failed else 0


def place(user: bool) -> tuple[str, str]:
    """The address of init, and where a bridge of its leaves state."""
    if not user:
        return ADDRESS, RUN
    session = os.environ.get("UPSTART_SESSION")
    if session is None:
        raise ClientError("UPSTART_SESSION isn't set in the environment. Unable to locate the Upstart instance.")
    return session, f"{_own_directory()}/upstart/bridges/{session.rpartition('/')[2]}"


def _own_directory() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("HOME") or "/nonexistent"


def _standard_log(program: str, priority: int) -> Log:
    def log(level: int, text: str) -> None:
        if level >= priority:
            os.write(2, f"{program}: {text}\n".encode("utf-8", "backslashreplace"))

    return log


def _syslog(program: str, priority: int) -> Log:
    import syslog

    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)

    def log(level: int, text: str) -> None:
        if level >= priority:
            syslog.syslog(_LEVELS[level], text)

    return log


def _become_daemon() -> int:
    """Go on as a daemon, of which init is to know as soon as somebody writes to the descriptor that is given.

    The process in the middle stays until then as well: one two forks away whose parent has ended is taken for a daemon
    that is ready.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    if middle := os.fork():
        os.close(reader)
        os.close(writer)
        os._exit(1 if os.waitpid(middle, 0)[1] else 0)
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
    return writer
