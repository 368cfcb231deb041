"""The running init: it owns the parts, feeds the engine, and has the engine's effects performed.

What is always true here: the engine settles once a turn, after all inputs of the turn; performing its effects is cut
into slices of `SLICE` seconds, so that a thousand jobs on one event leave room for clients in between.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from upstart.base.logger import Logger
from upstart.base.loop import Loop
from upstart.base.priority import WARN
from upstart.daemon import xdg
from upstart.daemon.chroots import Chroots
from upstart.daemon.configuration import Configuration
from upstart.daemon.faults import Faults
from upstart.daemon.listening import Listening
from upstart.daemon.performer import Performer
from upstart.daemon.quiesce import Quiesce
from upstart.engine import environ as tables
from upstart.engine import state
from upstart.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from upstart.daemon.endpoints import Endpoints
    from upstart.daemon.options import Options
    from upstart.daemon.restart import Restarter
else:
    import _signal as signal

#: Seconds.
SLICE = 0.02
FIRST_SECONDS = 1.0
#: What is loaded once the first jobs are started.
REST = ("upstart.daemon.endpoints", "upstart.daemon.restart")
#: Layout of the state document; the engine's part has a version of its own.
VERSION = 1


class Daemon:
    """All that a running init consists of.

    ``argv`` is the command line with the absolute path of the program, ``saved`` the state document of the program
    before us, ``None`` at a first start.  ``pid`` is init's where another process builds this to see whether it can
    be: making one changes nothing outside of the process.  Any exception where the state cannot be read.

    ``endpoints`` and ``restarter`` are there once all of us is loaded (`load_rest`), before the loop runs.
    """

    endpoints: Endpoints
    restarter: Restarter

    def __init__(
        self,
        options: Options,
        argv: list[str],
        environ: dict[str, str],
        saved: dict[str, Any] | None = None,
        pid: int = 0,
    ) -> None:
        if saved is not None and saved["version"] > VERSION:
            raise ValueError(f"state of version {saved['version']}, newest known is {VERSION}")
        self.pid = pid or os.getpid()
        self.options = options
        self.argv = argv
        self.environ = environ
        self.version = options.version
        self.loop = Loop()
        self.logger = Logger(options.program, options.priority)
        self.logger.to_kernel = options.system
        self.logdir = options.logdir or (xdg.log_dir(environ) if options.user else None)
        self.engine = state.load(saved["engine"], time.monotonic) if saved is not None else Engine(time.monotonic)
        self.engine.set_priority(options.priority)
        self.engine.set_environ(environ)
        self.engine.set_announcing(False)
        if saved is None:
            self.engine.reset_job_environ(self.initial_job_environ())
        self.chroots = Chroots(options.chroot_sessions)
        self.configuration = Configuration(options, environ, self.engine, self.chroots, self.loop, self.log)
        self.faults = Faults(self.loop, self.log, self._restart_when_settled)
        self.listening = Listening()
        self.performer = Performer(self, original_umask())
        self.quiescer = Quiesce(self.engine, self.loop, self.log, self.loop.stop)
        self.restarted = saved is not None
        self.loop.each_turn = self.settle
        self.loop.fault = self.faults.handle
        if saved is not None:
            self.load_rest()
            self._restore(saved)

    def load_rest(self) -> None:
        """Load what serves clients and what re-executes us: all that is not needed to start the first jobs.

        A boot does not wait for it, then, and nothing is loaded any later.
        """
        try:
            for name in REST:
                __import__(name)
        except Exception:
            # As in the script that starts us: without the compiled modules, which a full disk may have cut short.
            sys.pycache_prefix = "/dev/null"
            for name in REST:
                __import__(name)
        from upstart.daemon.endpoints import Endpoints
        from upstart.daemon.restart import Restarter

        self.endpoints = Endpoints(self)
        self.restarter = Restarter(self, self.argv)

    # Log

    def log(self, priority: int, text: str) -> None:
        """A line for init's own log."""
        self.logger.write(priority, text)

    def set_priority(self, priority: int) -> None:
        """Log from this priority on."""
        self.logger.priority = priority
        self.engine.set_priority(priority)

    # The engine

    def settle_first(self) -> None:
        """Start what the first events start, for at most `FIRST_SECONDS`: jobs may go on starting each other."""
        deadline = time.monotonic() + FIRST_SECONDS
        try:
            while self.settle() and time.monotonic() < deadline:
                pass
        except Exception as error:
            self.faults.handle(error)

    def settle(self) -> bool:
        """Run the engine and perform its effects for at most a slice of time; true if there is more to do."""
        engine = self.engine
        perform = self.performer.perform
        deadline = 0.0
        while True:
            more = engine.run()
            effects = engine.take_effects()
            if not effects and not more:
                break
            deadline = deadline or time.monotonic() + SLICE
            for done, effect in enumerate(effects, 1):
                try:
                    perform(effect)
                except Exception as error:
                    self.faults.handle(error)
                if not done & 15 and time.monotonic() > deadline:
                    engine.put_back(effects[done:])
                    return True
            if more and time.monotonic() > deadline:
                return True
        return self.quiescer.settled()

    def perform_all(self) -> None:
        """Perform all that the engine asks for, with no more events handled: jobs that start each other in a circle
        never settle, and their events can go on in the next program."""
        engine = self.engine
        while engine.effects:
            for effect in engine.take_effects():
                try:
                    self.performer.perform(effect)
                except Exception as error:
                    self.faults.handle(error)

    def initial_job_environ(self) -> dict[str, str]:
        """The environment that jobs begin with: PATH and TERM, and in a session all of init's own."""
        table: dict[str, str] = {}
        tables.append(table, ("PATH", "TERM"), self.environ)
        if self.options.user and self.options.inherit_env:
            table.update(self.environ)
        return table

    # The end, and the next beginning

    def quiesce(self, reason: str) -> None:
        """End the session."""
        self.quiescer.begin(reason)

    def close(self) -> None:
        """Give up what others can see of us."""
        self.listening.close()
        self.endpoints.close()
        self.performer.close()

    def dump(self) -> dict[str, Any]:
        """The state document."""
        return {
            "version": VERSION,
            "engine": state.dump(self.engine),
            "performer": self.performer.dump(),
            "endpoints": self.endpoints.dump(),
            "chroots": self.chroots.roots,
            "priority": self.engine.priority,
            "last_fault": self.faults.dump(),
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.set_priority(saved.get("priority", self.engine.priority))
        if "last_fault" in saved:
            self.faults.restore(saved["last_fault"])
        for fd in self._event_fds():
            os.set_inheritable(fd, False)
        self.performer.restore(saved["performer"])
        self.configuration.restore_chroots(saved.get("chroots", []))
        self.endpoints.restore(saved["endpoints"])

    def _event_fds(self) -> set[int]:
        fds = {event.fd for event in self.engine.events.values() if event.fd >= 0}
        for job in self.engine.jobs.values():
            for instance in job.instances.values():
                fds.update(instance.fds)
        return fds

    def keep_open(self, kept: bool) -> None:
        """Have the descriptors that the next program needs cross an exec, or not (again)."""
        self.performer.children.keep_open(kept)
        for fd in self._event_fds():
            os.set_inheritable(fd, kept)
        self.listening.keep_open(kept)

    # Signals

    def catch_signals(self) -> None:
        """Have signals come to the loop; those that arrive together are handled in this order, TERM last."""
        watch = self.loop.watch_signal
        watch(signal.SIGCHLD, self.performer.children.reap, repeated=True)
        watch(signal.SIGHUP, self.configuration.reload)
        watch(signal.SIGALRM, lambda: None)
        if not self.options.user:
            watch(signal.SIGUSR1, lambda: self.endpoints.reconnect_bus())

    def catch_term(self) -> None:
        """The last of the signals: end the session, or re-execute."""
        self.loop.watch_signal(signal.SIGTERM, self._terminated)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _terminated(self) -> None:
        if self.options.user:
            self.quiesce("shutdown")
        else:
            self.log(WARN, f"Re-executing {self.argv[0]}")
            self._restart_when_settled()

    def _restart_when_settled(self) -> None:
        """Re-execute when the effects of what came with it are performed; before, the state is that of no moment."""
        self.loop.before_wait(lambda: self.restarter.begin())


def original_umask() -> int:
    """The file mode mask that we were started with."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def settle_memory() -> None:
    """After the start, during which the garbage collector was off: what is there now stays, and need not be looked at
    by it again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)
