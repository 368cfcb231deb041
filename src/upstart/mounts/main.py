"""mountall(8): mount what fstab(5) wants as it becomes possible, and tell init of it.

What is always true here: without init, without root's file system or without /proc nothing is begun (status 1).
SIGUSR1 is caught before anybody is told that we run, for it says that a network interface came up, and would end us.
Neither --plan nor --status changes anything, or needs init.
"""

from __future__ import annotations

import gc
import os
import time

from upstart.base.errors import ClientError, UsageError
from upstart.base.loop import Loop
from upstart.base.names import ADDRESS
from upstart.base.options import Option, ShowHelp, parse
from upstart.initctl.context import DEBUG, ERROR, INFO, MESSAGE, Context, carry_out, getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from upstart.mounts.events import Events
    from upstart.mounts.plan import Plan
else:
    import _signal as signal

#: The longest time that --dev-wait-time can be, and the usual, in seconds.
LONGEST_WAIT = 2147483647
USUAL_WAIT = 30
#: What the state of a mountall depends on: it is of no use to another fstab.
_INPUTS = ("/etc/fstab", "/etc/fstab.d", "/etc/crypttab")

OPTIONS = (
    (Option("", "daemon", "daemon"), "detach and run in the background"),
    (Option("", "force-fsck", "force"), "force check of all filesystems"),
    (Option("", "fsck-fix", "fix"), "attempt to fix all fsck errors"),
    (Option("", "no-events", "silent"), "do not emit events after mounting filesystems"),
    (
        Option("", "dev-wait-time", "device_wait", argument="SECONDS"),
        "seconds to wait for the device of a line with the option timeout (1 to 2147483647; default: 30)",
    ),
    (Option("", "late", "late"), "mount what an earlier mountall has left out, as it becomes possible"),
    (Option("", "plan", "plan"), "print what would be mounted, and what waits for what, and do nothing"),
    (Option("", "status", "status"), "print what a running mountall waits for"),
    (Option("", "json", "json"), "print that as JSON"),
    (Option("", "fstab", "fstabs", argument="FILE"), "with --plan: read FILE in place of /etc/fstab"),
    (Option("", "root", "root", argument="DIR"), "with --plan: read the files below DIR"),
    (Option("q", "quiet", "priority", ERROR), "reduce output to errors only"),
    (Option("v", "verbose", "priority", INFO), "increase output to include informational messages"),
    (Option("", "debug", "priority", DEBUG), ""),
    (Option("", "help", ""), "display this help and exit"),
    (Option("", "version", ""), "output version information and exit"),
)
SYNOPSIS = "Mount filesystems on boot"
HELP = (
    "By default, mountall does not detach from the console and remains in the foreground.  Use the --daemon option to "
    "have it detach.\n"
)


class Settings:
    """What the options say."""

    __slots__ = (
        "daemon", "device_wait", "fix", "force", "fstabs", "json", "late", "plan", "priority", "root", "silent",
        "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.daemon = False
        self.force = False
        self.fix = False
        self.silent = False
        self.late = False
        self.device_wait: object = USUAL_WAIT
        self.plan = False
        self.status = False
        self.json = False
        self.fstabs: list[str] = []
        self.root = "/"
        self.priority = MESSAGE


def main(argv: list[str]) -> int:
    """The exit statuses of mountall(8): 0, 1 for an error, and 2 to 5 as the mounts went."""
    return carry_out(argv, _carry_out)


def _carry_out(context: Context, argv: list[str]) -> int:
    settings = Settings()
    try:
        args = parse(argv, [option for option, _ in OPTIONS], settings)
    except ShowHelp:
        from upstart.sysv.program import Program, show_help

        show_help(context, Program("", SYNOPSIS, OPTIONS, HELP))
        return 0
    context.settings.priority = settings.priority
    if args:
        raise UsageError(f"unexpected argument: {args[0]}")
    wait = _seconds(settings.device_wait)
    if settings.plan:
        return _print_plan(context, settings, wait)
    if settings.fstabs or settings.root != "/":
        raise UsageError("--fstab and --root are given with --plan")
    if settings.status:
        return _print_status(context, settings)
    if settings.json:
        raise UsageError("--json is given with --plan or --status")
    return _mount(context, settings, wait)


def _seconds(given: object) -> float:
    text = str(given)
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_WAIT:
        raise UsageError(f"Legal values of dev-wait-time lie between 1 and {LONGEST_WAIT} seconds: {text}")
    return float(text)


def _print_plan(context: Context, settings: Settings, wait: float) -> int:
    from upstart.mounts import report

    plan = _gather(settings, wait)
    context.write(report.plan_json(plan) if settings.json else report.plan_text(plan))
    return 0


def _gather(settings: Settings, wait: float) -> Plan:
    from upstart.mounts.files import gather

    # Whoever names a file that is not there is told so; of those that are read anyway, any may be missing.
    paths = [os.path.abspath(path) if settings.root == "/" else f"/{path.lstrip('/')}" for path in settings.fstabs]
    for path in paths:
        try:
            os.stat(settings.root.rstrip("/") + path)
        except OSError as error:
            raise ClientError(f"{settings.root.rstrip('/')}{path}: {error.strerror}")
    return gather(
        settings.root, paths or None, settings.force, settings.fix, wait, skip=os.environ.get("SKIP") == "all"
    )


def _print_status(context: Context, settings: Settings) -> int:
    from upstart.mounts import report, statefile

    try:
        document = statefile.read()
    except PermissionError:
        raise ClientError("Only root may see what mountall does")
    if document is None:
        raise ClientError("mountall has not run since the system was started")
    show = report.status_json if settings.json else report.status_text
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        context.write(show(document["state"], now, _is_running(document)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClientError(f"{statefile.PATH}: not understood: {error!r}")
    return 0


def _is_running(document: dict[str, Any]) -> bool:
    """Whether the mountall that wrote this is still there."""
    from upstart.mounts.processes import start_time

    return not document["ended"] and start_time(document["pid"]) == document["started"]


# A run


def _mount(context: Context, settings: Settings, wait: float) -> int:
    if os.geteuid():
        raise ClientError("Need to be root")
    os.umask(0o022)
    # Until there is something to be tried again.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    events = None if settings.silent else _connect()
    table = _open_table()
    if events is not None and not settings.late:
        from upstart.mounts import first
        from upstart.mounts.files import Reader

        first.have_done(events, first.needs(Reader(), time.time()))
    plan = _gather(settings, wait)
    if "/" not in [entry.mountpoint for entry in table.read()]:
        raise ClientError("root filesystem isn't mounted")
    loop = Loop()
    try:
        return _run(context, settings, events, table, plan, loop)
    finally:
        loop.close()


def _connect() -> Events:
    from upstart.mounts.events import Events

    events = Events(getenv("UPSTART_SESSION") or ADDRESS)
    try:
        events.open()
    except OSError as error:
        raise ClientError(f"Could not connect to Upstart: {error.strerror or error}")
    return events


def _open_table() -> Any:
    from upstart.mounts.tablewatch import Table

    try:
        return Table()
    except OSError:
        pass
    from upstart.base.syscalls import mount
    from upstart.mounts.mountflags import NODEV, NOEXEC, NOSUID

    try:
        mount("proc", "/proc", NODEV | NOEXEC | NOSUID, None, "proc")
        return Table()
    except OSError as error:
        raise ClientError(f"/proc: {error.strerror}")


def _run(
    context: Context, settings: Settings, events: Events | None, table: Any, plan: Plan, loop: Loop
) -> int:
    from upstart.mounts import statefile
    from upstart.mounts.console import Console
    from upstart.mounts.devices import Devices
    from upstart.mounts.perform import Performer
    from upstart.mounts.processes import start_time
    from upstart.mounts.reducer import Reducer

    stamp = None
    document = None
    if events is not None:
        stamp = statefile.stamp(events.pid, start_time(events.pid), _inputs())
        document = _earlier(stamp, settings.late)
    if settings.late and document is None:
        return 0
    usr1: list[Callable[[], object]] = []
    loop.watch_signal(signal.SIGUSR1, lambda: [each() for each in usr1])
    if settings.daemon:
        _become_daemon()
    if settings.daemon or getenv("UPSTART_JOB") is not None:
        _heed_kernel(context)

    def performer(reducer: Reducer) -> Performer:
        return Performer(
            loop, reducer, table, events,
            lambda key: Console(loop, key, lambda text, urgent: _log(context, text, urgent), _is_quiet(settings)),
            lambda processes, feed: Devices(loop, processes, feed), stamp,
            late=settings.late, trace=lambda priority, text: _trace(context, priority, text),
        )  # fmt: skip

    loop.fault = lambda error: _fault(context, error)
    run = None
    if document is not None:
        try:
            begins = settings.late and not document["late"]
            reducer = Reducer.load(document["state"], settings.late)
            if reducer.facts.ended:
                return 0
            run = performer(reducer)
            run.resume(document, begins)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            context.error(f"{statefile.PATH}: not understood: {error!r}")
            return 1
    else:
        run = performer(Reducer(plan))
        run.begin()
    usr1.append(run.network)
    loop.watch_signal(signal.SIGTERM, run.terminate)
    if not settings.daemon:
        loop.watch_signal(signal.SIGINT, run.terminate)
    # Short runs do without (build-aux/programs.py); this one may take as long as a disk is away.
    gc.enable()
    loop.run()
    return run.status


def _earlier(stamp: list[str], late: bool) -> dict[str, Any] | None:
    """What was written by a mountall of our kind that was killed, or, if we are ``late``, by one that has left
    something; else ``None``.  Raises ClientError if one runs.
    """
    from upstart.mounts import statefile

    document = statefile.read()
    if document is None:
        return None
    if _is_running(document):
        raise ClientError(f"mountall runs already, as process {document['pid']}")
    if late:
        # What is left over is what it is, whatever has been written to fstab since.
        same = document["stamp"][:3] == stamp[:3]
        return document if same and (document["late"] or document["ended"]) else None
    return document if document["stamp"] == stamp and not document["late"] and not document["ended"] else None


def _inputs() -> str:
    """What tells one state of the files that are read at the start from another."""
    found = []
    for path in _INPUTS:
        try:
            status = os.stat(path)
            found.append(f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}")
        except OSError:
            found.append("")
    return " ".join(found)


def _is_quiet(settings: Settings) -> bool:
    """Whether the console is to have only what is urgent: by --quiet, or the kernel's word ``quiet``."""
    return settings.priority >= ERROR or "quiet" in _kernel_words()


def _heed_kernel(context: Context) -> None:
    """Say as much as the kernel's words ask for, which are the options."""
    for word in _kernel_words():
        for option, _ in OPTIONS:
            if option.target == "priority" and word in (f"-{option.short}", f"--{option.long}"):
                option.apply(context.settings, option.value)


def _kernel_words() -> list[str]:
    try:
        with open("/proc/cmdline", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().split()
    except OSError:
        return []


def _log(context: Context, text: str, urgent: bool) -> None:
    if urgent or context.settings.priority <= MESSAGE:
        _say(context, text)


def _fault(context: Context, error: BaseException) -> None:
    import traceback

    context.error("".join(traceback.format_exception(error)).rstrip())


def _trace(context: Context, priority: int, text: str) -> None:
    if context.settings.priority <= priority:
        _say(context, text)


def _say(context: Context, text: str) -> None:
    context.write(f"{text}\n")
    context.flush()


def _become_daemon() -> None:
    """Detach, as ``expect daemon`` of init(5) follows it: two forks, with a session of our own between them."""
    try:
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
    except OSError as error:
        raise ClientError(f"Unable to become daemon: {error.strerror}")
    os.chdir("/")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


