"""upstart-bridges(8), and the commands of all bridges, which are names of it."""

from __future__ import annotations

import os
import sys

from upstart.base import starting
from upstart.base.errors import ClientError, DBusError, UsageError
from upstart.base.loop import Loop
from upstart.base.options import Option
from upstart.base.priority import ERROR
from upstart.bridges import program
from upstart.bridges.kinds import MODULES, PREFIX, SUFFIX, command, find
from upstart.bridges.program import DAEMON, USER, Place, Settings, run_together
from upstart.sysv.program import COMMON, Program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from upstart.bridges.status import Condition
    from upstart.initctl.context import Context
else:
    import _signal as signal

PROGRAM = Program(
    "[NAME]...",
    "Run bridges, which tell init of what happens elsewhere, in one process.",
    (
        DAEMON,
        (Option("", "separate", "separate"), "run each in a process of its own"),
        (Option("", "status", "status"), "say what the bridges that run watch, for which jobs, and have told"),
        (Option("", "json", "json"), "with --status: as JSON"),
        USER,
        *COMMON,
    ),
    f"NAME is one of {', '.join(sorted(MODULES))}.  Without any, those are run that jobs have asked for.",
)


class Choices(Settings):
    """The settings of upstart-bridges."""

    def __init__(self) -> None:
        super().__init__()
        self.separate = False
        self.status = False
        self.json = False


def main(argv: list[str]) -> int:
    """The command, by whichever of its names."""
    called = argv[0].rpartition("/")[2]
    name = called.removeprefix(PREFIX).removesuffix(SUFFIX)
    if called == command(name) and name in MODULES:
        return program.main(argv, name, find(name))
    return run(PROGRAM, argv, Choices(), _carry_out)


def _carry_out(context: Context, settings: Choices, names: list[str]) -> int:
    if settings.json and not settings.status:
        raise UsageError("--json given without --status")
    if settings.status:
        return _show(context, settings)
    bridges = {name: find(name) for name in names}
    if settings.separate:
        if not names:
            raise UsageError("--separate given without a name")
        return _run_separately(settings, list(bridges))
    if bridges:
        return run_together(context, settings, bridges)
    return _host(context, settings)


def _host(context: Context, settings: Choices) -> int:
    """Run those that jobs ask for, until none does."""
    from upstart.bridges.hosting import Busy, Hosting
    from upstart.bridges.status import Server

    place = Place(context, settings)
    loop = Loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.watch_signal(number, loop.stop)
    try:
        hosting = Hosting(loop, place)
    except Busy:
        place.log(ERROR, "Another process runs the bridges already")
        return 1
    except OSError as error:
        place.log(ERROR, f"{error.filename}: {error.strerror}")
        return 1
    server = Server(loop, place.directory, hosting.hosts, place.log)
    server.begin()
    hosting.run()
    server.end()
    place.end()
    return 0


def _run_separately(settings: Choices, names: list[str]) -> int:
    """Run each in a process of its own, and end all with the first that ends: its status.  Daemons are let go."""
    directory = os.path.dirname(os.path.abspath(sys.argv[0]))
    words = [f"--{word}" for word in ("daemon", "user") if getattr(settings, word)]
    children = []
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(number))
    for name in names:
        path = f"{directory}/{command(name)}"
        children.append(starting.start(path, [path, *words], os.environ))
    status = 0
    while children:
        try:
            pid, ended = os.waitpid(-1, 0)
        except InterruptedError:
            pid, ended = 0, 0
        if pid in children:
            children.remove(pid)
            status = status or (1 if ended else 0)
        if asked or (pid and not settings.daemon):
            for child in children:
                os.kill(child, signal.SIGTERM)
    return status


def _show(context: Context, settings: Choices) -> int:
    """Say what the bridges do that run."""
    import json
    import time

    from upstart.bridges.status import ask, lines

    try:
        answers = ask(program.place(settings.user)[1])
    except OSError as error:
        raise ClientError(f"{error.filename or 'bridges'}: {error.strerror}") from None
    conditions: list[Condition] = []
    try:
        context.settings.user = settings.user
        init = context.open()
        for job in init.jobs():
            conditions += [(job.name, items) for items in (job.start_on, job.stop_on)]
        init.close()
    except (ClientError, DBusError) as error:
        context.error(f"Jobs are not known: {error}")
    if settings.json:
        from upstart.bridges.status import waiting_for

        for answer in answers:
            for bridge in answer["bridges"]:
                if bridge["awaited"] is not None:
                    bridge["awaited"] = [
                        {"event": leaf[0], "tests": leaf[1:], "jobs": waiting_for(leaf, conditions)}
                        for leaf in bridge["awaited"]
                    ]
        context.message(json.dumps(answers, indent=2))
        return 0
    found = lines(answers, conditions, time.time())
    for line in found:
        context.message(line)
    if not found:
        context.message("No bridges run")
    return 0
