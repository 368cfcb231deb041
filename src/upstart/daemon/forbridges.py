"""What bridges ask of the manager: who waits for their events, events with words for conditions only, connections, and
descriptors that are kept for jobs.

What is always true here: as in `manager`, of which this is a part.
"""

from __future__ import annotations

from upstart.base.names import INVALID_ARGS
from upstart.daemon.callers import who_asks
from upstart.daemon.environment import environment
from upstart.dbus import wire
from upstart.engine.awaited import by_job
from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.call import Call
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.ending import Ending
    from upstart.daemon.keeping import Keeping
    from upstart.dbus.connection import Work
    from upstart.dbus.wire import UnixFd
    from upstart.engine.engine import Engine

DENIED = "PermissionDenied"
EMPTY_NAME = "Name may not be empty string"


class ForBridges:
    """These methods of the manager."""

    __slots__ = ()
    if TYPE_CHECKING:
        _chroots: Chroots
        _ending: Ending
        _engine: Engine
        _keeping: Keeping

        def _check(self, call: Call, action: str) -> None: ...

    def do_AwaitedBy(self, call: Call, events: list[str]) -> Work:
        jobs = list(self._engine.jobs.values()) if self._chroots.session_of(call.pid) is None else []
        classes = (job.job_class for job in jobs)
        return call.reply_array("(sbsas)", by_job(classes, self._engine.environ, events))

    def do_EmitTested(self, call: Call, name: str, env: list[str], tested: list[str], wait: bool) -> None:
        self._check_event(call, name)
        session = self._chroots.session_of(call.pid)
        last = self._ending.belongs(call.pid)
        request = call if wait else None
        by = who_asks(self._engine, call)
        self._engine.emit(name, environment(env), request, -1, session, last, environment(tested), by=by)
        if not wait:
            call.reply()

    def do_EmitConnection(
        self, call: Call, name: str, env: list[str], tested: list[str], key: str, connection: UnixFd
    ) -> None:
        self._check_event(call, name)
        table, more = environment(env), environment(tested)
        fd = call.take_fd(connection)
        if self._keeping.connected(key, fd):
            session = self._chroots.session_of(call.pid)
            last = self._ending.belongs(call.pid)
            by = who_asks(self._engine, call)
            self._engine.emit(name, table, None, fd, session, last, more, connection=True, by=by)
        call.reply()

    def _check_event(self, call: Call, name: str) -> None:
        self._check(call, "emit an event")
        if not name:
            raise CommandError(INVALID_ARGS, EMPTY_NAME)

    # Descriptors that are kept

    def _check_keeping(self, call: Call) -> None:
        self._check(call, "keep descriptors")
        if self._chroots.session_of(call.pid) is not None:
            raise CommandError(DENIED, "Not permissible from a chroot session")

    def do_KeepDescriptor(self, call: Call, job: str, key: str, name: str, file: UnixFd) -> None:
        self._check_keeping(call)
        self._keeping.keep(job, key, name, call.take_fd(file))
        call.reply()

    def do_ArrangeDescriptors(self, call: Call, job: str, event: str, given: list[str], others: list[str]) -> None:
        self._check_keeping(call)
        call.reply("b", self._keeping.arrange(job, event, given, others))

    def do_KeptDescriptors(self, call: Call, job: str) -> None:
        self._check_keeping(call)
        if call.connection.uid < 0:
            raise CommandError(DENIED, "Descriptors are given back by a private connection only")
        kept = self._keeping.of(job)
        fds = [fd for _, _, fd in kept]
        call.reply_body("a(ssh)", wire.pack("a(ssh)", [(key, name, at) for at, (key, name, _) in enumerate(kept)]), fds)

    def do_KeptFor(self, call: Call) -> None:
        self._check_keeping(call)
        call.reply("asas", self._keeping.jobs, self._keeping.connections)
