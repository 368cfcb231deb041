"""stop-rest: at the end of the machine, have init stop the jobs that no event has stopped, and wait for them.

The scripts of runlevels 0 and 6 end processes that belong to nobody; what belongs to a job they leave to init.  So this
comes before them.  What is always true here: whoever is named in sendsigs.omit or sendsigs.omit.d goes on; jobs that
take long are named; it ends, whatever jobs do, when each has had its time.  An init that re-executes itself meanwhile
is waited for, and asked again.
"""

from __future__ import annotations

import posix
import time

from upstart.base.errors import DBusError
from upstart.base.names import DISCONNECTED, NO_EXTENSION, NO_REPLY, listed
from upstart.sysv import change
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.init import Init
    from upstart.initctl.context import Context

#: Files of pids, and directories of such files, as initscripts' sendsigs has them.
OMIT_FILE, OMIT_DIRECTORY = "/run/sendsigs.omit", "/run/sendsigs.omit.d"
#: Seconds: between two questions, until jobs are named and named again, and in all; init gives a process 60.
INTERVAL = 0.1
NAMED_AFTER = 10.0
PATIENCE = 65.0


def main(argv: list[str]) -> int:
    """Stop what is left of the jobs; 1 where init cannot be asked, or jobs are left."""
    return run(PROGRAM, argv, Common(), _stop)


def spared() -> list[int]:
    """The pids of processes that are to outlive the others."""
    paths = [OMIT_FILE]
    try:
        paths += [f"{OMIT_DIRECTORY}/{name}" for name in posix.listdir(OMIT_DIRECTORY)]
    except OSError:
        pass
    pids = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                pids += [int(word) for word in file.read(4096).split() if word.isdigit()]
        except OSError:
            pass  # a directory, or gone
    return [pid for pid in pids if 0 < pid < 1 << 32]


def _ask(init: Init) -> tuple[Init, list[str]]:
    """What is yet to stop, and the connection, which may have been made anew."""
    while True:
        try:
            return init, init.stop_rest(spared())
        except DBusError as error:
            if error.name not in (DISCONNECTED, NO_REPLY):
                raise
        init.close()
        init = change.reconnect()


def _stop(context: Context, settings: Common, args: list[str]) -> int:
    need_root(context)
    began = time.monotonic()
    named = began + NAMED_AFTER
    try:
        init, jobs = _ask(change.reconnect())
        init.quiet()
        while jobs:
            now = time.monotonic()
            if now - began >= PATIENCE:
                context.message(f"Jobs that do not stop: {listed(jobs)}")
                return 1
            if now >= named:
                named = now + NAMED_AFTER
                left = int(PATIENCE - (now - began))
                context.message(f"Waiting for jobs to stop, for at most {left} seconds more: {listed(jobs)}")
            time.sleep(INTERVAL)
            init, jobs = _ask(init)
    except DBusError as error:
        if error.name in NO_EXTENSION:
            return 0
        raise
    return 0


PROGRAM = Program(
    "",
    "Stop the jobs that nothing has stopped yet, at the end of the machine.",
    COMMON,
    "Processes whose numbers are in /run/sendsigs.omit or in files of /run/sendsigs.omit.d are left alone.\n",
)
