"""What is asked of the manager about the past.

What is always true here: as in `manager`, of which this is a part; and an answer is made in steps.
"""

from __future__ import annotations

import time

from upstart.base.glob import match
from upstart.daemon.statefile import compact
from upstart.dbus import wire
from upstart.engine import account
from upstart.engine.history import unpacked
from upstart.engine.public import Public

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.daemon.call import Call
    from upstart.daemon.chroots import Chroots
    from upstart.daemon.configuration import Configuration
    from upstart.daemon.service import Service
    from upstart.dbus.connection import Steps, Work
    from upstart.engine.data import Job
    from upstart.engine.engine import Engine
    from upstart.engine.history import Chunk

#: Texts of the history in one answer.
MOST = 64


class ForHistory:
    """These methods of the manager."""

    __slots__ = ()
    if TYPE_CHECKING:
        _chroots: Chroots
        _configuration: Configuration
        _engine: Engine
        service: Service

        def _job_by_name(self, call: Call, name: str) -> Job: ...

    def do_History(self, call: Call, since: int) -> Steps:
        engine = self._engine
        chunks: list[Chunk] = []
        texts: list[tuple[int, str]] = []
        following, unfinished = engine.history.next, []
        # Events are told of all sessions together.
        if self._chroots.session_of(call.pid) is None:
            chunks, following = engine.history.chunks(since, MOST)
            unfinished = list(engine.events)
        public = Public(engine.awaited) if chunks and not self.service.may_change(call) else None
        for first, packed in chunks:
            entries = unpacked(packed)
            texts.append((first, compact(public.entries(entries) if public is not None else entries)))
            yield None
        now = time.monotonic()
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        body = yield from wire.pack_in_steps("(ts)", texts)
        body += bytes(-len(body) % 8)
        body += wire.pack("(ddd)tat", (now, boot - now, time.time() - boot), following, unfinished)
        call.reply_body("a(ts)(ddd)tat", body)

    def do_Explain(self, call: Call, name: str) -> Steps:
        engine = self._engine
        public = None if self.service.may_change(call) else Public(engine.awaited)
        if name:
            told = yield from account.of_job(engine, self._job_by_name(call, name), public)
        else:
            told = yield from account.of_all(engine, public)
        session = self._chroots.session_of(call.pid)
        if not name and session is not None:
            # Of others there is nothing to be told there.
            told = {"ending": engine.ending, "moving": [], "half": [], "failures": [], "events": {}}
        now = time.monotonic()
        boot = time.clock_gettime(time.CLOCK_BOOTTIME)
        told["clocks"] = [now, boot - now, time.time() - boot]
        call.reply("s", compact(told))

    def do_Emitters(self, call: Call, event: str) -> Work:
        session = self._chroots.session_of(call.pid)
        jobs = [job for job in self._engine.jobs.values() if job.session == session and job.job_class.emits]
        names = (job.name for job in jobs if any(match(each, event) for each in job.job_class.emits))
        return call.reply_array("s", names)
