"""The running init: which parts it consists of, and what each of them is given.

What is always true here: this is composition and nothing else.  A part is given what it needs, never all of this, and
nobody but `main` has it; what a part keeps across a re-exec is registered with the document here.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from upstart.base import xdg
from upstart.base.bundle import forget
from upstart.base.logger import Logger
from upstart.base.loop import Loop
from upstart.base.priority import ERROR, WARN
from upstart.daemon.basis import Basis
from upstart.daemon.boot import CONSOLE
from upstart.daemon.chroots import Chroots
from upstart.daemon.clocks import Clocks
from upstart.daemon.configuration import Configuration
from upstart.daemon.document import Document
from upstart.daemon.faults import Faults
from upstart.daemon.keeping import Keeping
from upstart.daemon.listening import Listening
from upstart.daemon.options import RECOVERY
from upstart.daemon.performer import Performer
from upstart.daemon.quiesce import Quiesce
from upstart.daemon.report import Reporter
from upstart.daemon.rescue import Boot
from upstart.daemon.system import System
from upstart.daemon.turn import Turn
from upstart.engine import environ as tables
from upstart.engine import state
from upstart.engine.engine import Engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any

    from upstart.daemon.endpoints import Endpoints
    from upstart.daemon.options import Options
    from upstart.daemon.recorder import Recorder
    from upstart.daemon.restart import Restarter
    from upstart.engine import effects
else:
    import _signal as signal

#: Seconds for which the end of a session waits for the last of its record.
LAST_WORDS = 1.0
#: What is loaded once the first jobs are started.
REST = (
    "upstart.daemon.manager",
    "upstart.daemon.endpoints",
    "upstart.daemon.restart",
    "upstart.daemon.recorder",
    "upstart.daemon.reading",
    "upstart.process.guard",
)


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
        self.options = options
        self.argv = argv
        self.environ = environ
        self.restarted = saved is not None
        self.loop = Loop()
        self.logger = Logger(options.program, options.priority)
        self.logger.to_kernel = options.system
        self.logdir = options.logdir or (xdg.log_dir(environ, make=not self.restarted) if options.user else None)
        self.engine = state.load(saved["engine"], time.monotonic) if saved is not None else Engine(time.monotonic)
        self.engine.set_priority(options.priority)
        self.engine.set_environ(environ)
        self.engine.set_announcing(False)
        self.clocks = Clocks(self.engine)
        if saved is None:
            self.engine.reset_job_environ(self.initial_job_environ())
        engine, loop, log = self.engine, self.loop, self.log
        self.chroots = Chroots(options.chroot_sessions)
        self.basis = Basis(options, environ, engine, loop, log)
        self.configuration = Configuration(self.basis, self.chroots)
        self.faults = Faults(loop, log, self._restart_soon)
        self.listening = Listening(self.basis)
        self.keeping = Keeping(engine, self._announce)
        self.reporter = Reporter(engine, loop, environ, CONSOLE if options.system else "")
        pid = pid or os.getpid()
        self.performer = Performer(
            options, engine, loop, self.logdir, pid, original_umask(), log, self._announce, self.keeping,
            self.reporter.perform,
        )  # fmt: skip
        self.quiescer = Quiesce(engine, loop, log, loop.stop)
        self.turn = Turn(engine, self.performer.perform, self.faults.handle, self.quiescer.settled)
        self.system = System(argv[0], engine, loop, self._reconnect_bus, log)
        self.boot = Boot(engine, loop, self.configuration, options.program, self.announce_surroundings, log)
        self.document = Document(self.turn.leave_processes)
        #: Made when all of us is loaded, or when a record is to begin before that.
        self.recorder: Recorder | None = None
        loop.each_turn = self._settle
        loop.fault = self.faults.handle
        self._register()
        if saved is not None:
            self.load_rest()
            self.document.restore(saved)

    def _register(self) -> None:
        """What is kept across a re-exec, in the order in which it is taken over."""
        engine, keep = self.engine, self.document.register
        # Taken over where it is made, for all others are given it.
        keep("engine", lambda: state.dump(engine), lambda saved: None, lambda: descriptors_of(engine))
        keep("history", engine.history.dump, engine.history.restore)
        keep("clocks", self.clocks.dump, self.clocks.restore)
        keep("priority", lambda: engine.priority, self.set_priority)
        keep("last_fault", self.faults.dump, self.faults.restore)
        performer = self.performer
        keep("performer", performer.dump, performer.restore, performer.children.descriptors)
        keep("warden", lambda: None, lambda saved: None, performer.children.leashes)
        keep("turn", self.turn.dump, lambda saved: self.turn.restore(saved, performer.find), self.turn.descriptors)
        keep("keeping", self.keeping.dump, self.keeping.restore, self.keeping.descriptors)
        keep("chroots", lambda: self.chroots.roots, self.configuration.restore_chroots)
        keep("adoption", self.configuration.adoption.dump, self.configuration.adoption.restore)
        keep("quiesce", self.quiescer.dump, self.quiescer.restore)
        keep("reporter", self.reporter.dump, self.reporter.restore, self.reporter.descriptors)
        keep("boot", self.boot.dump, self.boot.restore, self.boot.descriptors)
        keep("initctl", self.system.fifo.dump, self.system.fifo.restore, self.system.fifo.descriptors)
        events = self.system.events
        keep("events", events.dump, events.restore, events.descriptors)
        keep("signals", self.loop.dump_signals, self.loop.restore_signals)

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
        from upstart.daemon.manager import Manager
        from upstart.daemon.restart import Restarter

        forget()
        self.performer.guard()
        engine, loop, log = self.engine, self.loop, self.log
        recorder = self.make_recorder()
        manager = Manager(
            self.options.version,
            engine,
            self.chroots,
            self.configuration,
            self.performer,
            self.quiescer,
            self.document,
            self.keeping,
            recorder,
            loop,
            self.initial_job_environ,
            self.set_priority,
            log,
        )
        manager.service.fault = self.faults.in_call
        self.endpoints = Endpoints(self.basis, self.listening, manager.service, self.restarted)
        self.listening.opened = self.endpoints.serve
        self.restarter = Restarter(
            self.argv,
            loop,
            engine,
            self.turn,
            self.document,
            self._hold,
            self.endpoints.flush_clients,
            self.endpoints.part,
            log,
        )
        manager.connect(self.endpoints, self.restarter)
        self.document.register("once", manager.once.dump, manager.once.restore)
        self.document.register("record", recorder.dump, recorder.restore, recorder.descriptors)
        self.document.register(
            "endpoints", self.endpoints.dump, self.endpoints.restore, self.listening.descriptors
        )

    def _settle(self) -> bool:
        """What each turn of the loop begins with; true if there is more to do."""
        if self.faults.torn:
            try:
                self._mend()
            except MemoryError:
                raise
            except Exception:
                # It would fail again: what there is may do, until we begin anew.
                self.faults.mended()
                raise
            self.faults.mended()
        self.faults.check()
        self.clocks.look()
        more = self.turn.settle()
        if self.recorder is not None and self.recorder.on:
            self.recorder.flush(not self.faults.torn)
        return more

    def make_recorder(self) -> Recorder:
        """The record of the engine; made at the first call."""
        if self.recorder is None:
            from upstart.daemon.recorder import Recorder

            self.recorder = Recorder(self.engine, self.loop, self.options.version, self.log)
        return self.recorder

    def record(self, path: str) -> None:
        """Record from the start."""
        try:
            self.make_recorder().begin(-1, path)
        except Exception as error:
            self.log(ERROR, f"Unable to record to {path}: {error}")

    def _mend(self) -> None:
        """Bring to an end what an exception has cut short."""
        self.turn.recover()
        self.performer.mend(self.turn.waiting())
        self.configuration.passes.look_again()
        self.performer.children.reap()
        self.restarter.mend()

    # What parts are given that is no part

    def log(self, priority: int, text: str) -> None:
        """A line for init's own log."""
        self.logger.write(priority, text)

    def set_priority(self, priority: int) -> None:
        """Log from this priority on."""
        self.logger.priority = priority
        self.engine.set_priority(priority)

    def initial_job_environ(self) -> dict[str, str]:
        """The environment that jobs begin with: PATH and TERM, and in a session all of init's own."""
        table: dict[str, str] = {}
        tables.append(table, ("PATH", "TERM"), self.environ)
        if self.options.user and self.options.inherit_env:
            table.update(self.environ)
        return table

    def note_beginning(self) -> None:
        """Have the history begin, or go on, with this program."""
        if self.options.restart:
            what = "re-executed" if self.restarted else "anew"
        else:
            what = "session" if self.options.user else "boot"
        self.engine.note_program(what)
        self.clocks.look()

    def announce_surroundings(self) -> None:
        """What the first event of a system is followed by; who goes on from a recovery tells of it after startup."""
        if self.options.system:
            self.system.announce(self.environ, self.options.startup_event != RECOVERY)

    # These come to what is loaded last.

    def _announce(self, effect: effects.Announce) -> None:
        self.endpoints.announce(effect)
        if effect.signal == "AwaitedChanged":
            self.keeping.sweep()

    def _reconnect_bus(self) -> None:
        self.endpoints.reconnect_bus()

    def _hold(self, held: bool) -> None:
        """Do nothing any more that the document would not tell, before the next program comes; or go on."""
        self.performer.children.hold_logs(held)
        if held:
            self.configuration.passes.end_readers()

    def _restart_soon(self) -> None:
        self.loop.before_wait(lambda: self.restarter.begin())

    # Signals

    def _reap(self) -> None:
        """A child has changed; what is cut short has to be mended first, which then comes to this as well."""
        if not self.faults.torn:
            self.performer.children.reap()

    def catch_signals(self) -> None:
        """Have signals come to the loop; those that arrive together are handled in this order, TERM last."""
        watch = self.loop.watch_signal
        watch(signal.SIGCHLD, self._reap, repeated=True)
        watch(signal.SIGHUP, self.configuration.reload)
        watch(signal.SIGALRM, lambda: None)
        # The system's init does more then.
        if not (self.options.user or self.options.system):
            watch(signal.SIGUSR1, self._reconnect_bus)

    def catch_term(self) -> None:
        """The last of the signals: end the session, or re-execute."""
        blocked: tuple[int, ...] = ()
        if self.options.system:
            blocked = self.system.catch_term(self._terminated)
        else:
            self.loop.watch_signal(signal.SIGTERM, self._terminated)
        self.loop.keep_blocked(blocked)

    def _terminated(self) -> None:
        if self.options.user:
            self.quiescer.begin("shutdown")
        else:
            self.log(WARN, f"Re-executing {self.argv[0]}")
            self._restart_soon()

    def close(self) -> None:
        """Give up what others can see of us."""
        if self.recorder is not None:
            self.recorder.finish(LAST_WORDS)
        self.listening.close()
        self.endpoints.close()
        self.performer.close()
        self.system.close()


def descriptors_of(engine: Engine) -> set[int]:
    """The descriptors that came with events."""
    fds = {event.fd for event in engine.events.values() if event.fd >= 0}
    for job in engine.jobs.values():
        for instance in job.instances.values():
            fds.update(instance.fds)
    return fds


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
