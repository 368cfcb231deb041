"""upstart-socket-bridge(8): sockets of jobs, made here and kept by init, for `upstart.bridges.sockets`.

What is always true here: init keeps each socket before anybody is told of it, so that it listens whatever becomes of
us; what cannot be made is tried again every `RETRY` seconds.  While init is away nothing is accepted.
"""

from __future__ import annotations

import errno
import os
import select
import time

from upstart.base.loop import READ
from upstart.base.priority import ERROR, INFO, WARN
from upstart.base.socketwords import EVENT, port_of
from upstart.bridges import socketmaker
from upstart.bridges.kinds import Bridge
from upstart.bridges.socketconnections import Connections, words_of
from upstart.bridges.socketqueue import empty, pending
from upstart.bridges.sockets import SECONDS, TRIES, Pending, Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.socketwords import Wanted
    from upstart.bridges.host import Host
    from upstart.bridges.link import Leaves
    from upstart.bridges.sockets import Job
    from upstart.dbus.wire import Message

#: Seconds before what could not be made is tried again.
RETRY = 1.0
_ONCE = READ | select.EPOLLET


class SocketSource:
    """The source of one bridge."""

    patterns: tuple[str, ...] = (EVENT,)

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sockets = Sockets(time.monotonic)
        #: By key: what has been made, as it was wanted, and what is wrong with what could not be.
        self._made: dict[str, int] = {}
        self._as: dict[str, Wanted] = {}
        self._failed: dict[str, str] = {}
        self._problems: set[str] = set()
        #: What init keeps: for each job keys and names.
        self._kept: dict[str, dict[str, str]] = {}
        self._watches: dict[str, int] = {}
        #: Where each arrival is told: a descriptor and its watch, and whether an event is under way, or due after it.
        self._once: dict[str, tuple[int, int]] = {}
        self._telling: dict[str, bool] = {}
        self._connections = Connections(host, self._sockets, self._update)
        #: What is under way with init: an older one is of no interest.
        self._round = 0
        self._unarranged = 0
        self._connection = -1
        self._retry = -1
        self._watching = host.postpone()
        host.hear("DescriptorsFree", self._free)

    # What is wanted, and what init keeps already

    def want(self, leaves: Leaves) -> None:
        """Have the sockets that are awaited."""
        if leaves is None:
            raise OSError(errno.ENOSYS, "This init keeps no sockets")
        self._round += 1
        if self._connection != self._host.connection:
            self._connection = self._host.connection
            self._sockets.lost()
            self._telling.clear()
        self._ask("AwaitedBy", self._awaited, "as", [EVENT])

    def _ask(self, member: str, then: Callable[[Message], object], signature: str = "", *args: Any) -> None:
        """Call init, and go on with what it says if that is still of interest."""
        asked = self._round

        def answered(message: Message, problem: str) -> None:
            if problem:
                self._host.log(ERROR, f"{member}: {problem}")
            elif asked == self._round:
                then(message)

        self._host.call(member, answered, signature, *args)

    def _awaited(self, message: Message) -> None:
        leaves = [(job, starts, event, tests) for job, starts, event, tests in message.args()[0]]
        problems = self._sockets.want(leaves, port_of)
        for problem in problems:
            if problem not in self._problems:
                self._host.log(WARN, problem)
        self._problems = set(problems)
        self._ask("KeptFor", self._kept_for)

    def _kept_for(self, message: Message) -> None:
        jobs, connections = message.args()
        self._connections.known(connections)
        self._kept = {}
        self._ask_kept(list(jobs))

    def _ask_kept(self, jobs: list[str]) -> None:
        if not jobs:
            self._make()
            return
        job = jobs.pop()

        def answered(message: Message) -> None:
            wanted = self._sockets.wanted()
            of_job = self._kept[job] = {}
            for key, name, at in message.args()[0]:
                of_job[key] = name
                if key in wanted and key not in self._made:
                    self._made[key], message.fds[at] = message.fds[at], -1
            self._ask_kept(jobs)

        self._ask("KeptDescriptors", answered, "s", job)

    # Making them, and having init keep them

    def _make(self) -> None:
        self._host.loop.remove(self._retry)
        failed: dict[str, str] = {}
        for key, wanted in self._sockets.wanted().items():
            try:
                self._make_one(key, wanted)
            except OSError as error:
                failed[key] = error.strerror or str(error)
                if self._failed.get(key) != failed[key]:
                    jobs = ", ".join(self._jobs_of(key))
                    self._host.log(WARN, f"{jobs}: Unable to make {key}: {failed[key]}; trying again every second")
        self._failed = failed
        if failed:
            self._retry = self._host.loop.call_later(RETRY, self._make)
        self._arrange()

    def _make_one(self, key: str, wanted: Wanted) -> None:
        fd = self._made.get(key)
        if fd is not None and self._as.get(key) is not wanted and not socketmaker.adapt(wanted, fd):
            self._drop(key)
            fd = None
        if fd is None:
            fd = self._made[key] = socketmaker.make(wanted)
            self._host.log(INFO, f"Made {key} for {', '.join(self._jobs_of(key))}")
        was = self._as.get(key)
        if wanted.accept or (was is not None and was.accept):
            # Of others a service that runs may have made it what it is.
            os.set_blocking(fd, not wanted.accept)
        self._as[key] = wanted

    def _jobs_of(self, key: str) -> list[str]:
        return [
            job.name
            for job in self._sockets.jobs.values()
            if key in job.given or key in job.accepted or key in job.stopping
        ]

    def _arrange(self) -> None:
        """Have init keep what has been made, and give jobs what is theirs."""
        jobs = self._sockets.jobs
        self._unarranged = 0
        for name in [*jobs, *(name for name in self._kept if name not in jobs)]:
            job = jobs.get(name)
            if job is not None:
                self._keep(job)
            elif not self._kept[name]:
                continue
            self._unarranged += 1
            self._arrange_one(name, lambda busy, job=job, asked=self._round: self._arranged(job, busy, asked))  # type: ignore[misc]
        if not self._unarranged:
            self._done()

    def _keep(self, job: Job) -> None:
        kept = self._kept.setdefault(job.name, {})
        for key, wanted in {**job.stopping, **job.accepted, **job.given}.items():
            name = (wanted.name or job.name).replace(":", "_")
            if key in self._made and kept.get(key) != name:
                fds = [self._made[key]]
                self._host.call("KeepDescriptor", self._checked, "sssh", job.name, key, name, 0, fds=fds)
                kept[key] = name

    def _checked(self, _message: Message, problem: str) -> None:
        if problem:
            self._host.log(ERROR, problem)

    def _arrange_one(self, name: str, then: Callable[[bool], object]) -> None:
        """Have a job given what it is to have; tells whether it has an instance, as one has that is not to be told."""

        def answered(message: Message, problem: str) -> None:
            if problem:
                self._host.log(WARN, problem)
            then(bool(problem) or message.args()[0])

        job = self._sockets.jobs.get(name)
        given = [key for key in job.given if key in self._made] if job is not None else []
        others = [key for key in job.others if key in self._made] if job is not None else []
        self._host.call("ArrangeDescriptors", answered, "ssasas", name, EVENT, given, others)

    def _arranged(self, job: Job | None, busy: bool, asked: int) -> None:
        if asked != self._round:
            return
        if job is not None:
            self._sockets.known(job, busy)
        self._unarranged -= 1
        if not self._unarranged:
            self._done()

    def _done(self) -> None:
        """Init keeps all that there is to be, and nothing else."""
        wanted = self._sockets.wanted()
        for name in [name for name in self._kept if name not in self._sockets.jobs]:
            del self._kept[name]
        for key in [key for key in self._made if key not in wanted]:
            self._drop(key, True)
        self._update()
        self._watching()

    def _drop(self, key: str, leave_nothing: bool = False) -> None:
        """Have one no more, and leave no file of it that nobody has."""
        self._unwatch(key)
        was = self._as.pop(key, None)
        os.close(self._made.pop(key))
        for of_job in self._kept.values():
            of_job.pop(key, None)
        try:
            if was is not None and leave_nothing:
                socketmaker.remove(was)
        except OSError as error:
            self._host.log(WARN, f"{key}: {error.strerror}")

    # Watching them

    def _update(self) -> None:
        """Watch what is to be watched now."""
        watched = self._sockets.awaited()
        for key in [key for key in self._watches if key not in watched]:
            self._host.loop.remove(self._watches.pop(key))
        for key in watched:
            if key in self._made and key not in self._watches:
                tell = lambda _, key=key: self._readable(key)  # noqa: E731
                self._watches[key] = self._host.loop.add_fd(self._made[key], READ, tell)
        once = self._sockets.told_of_once()
        for key in [key for key in self._once if key not in once]:
            self._unwatch_once(key)
        for key in once:
            if key in self._made and key not in self._once:
                # Of its own: the other may be watched as well.
                fd = os.dup(self._made[key])
                tell = lambda _, key=key: self._arrived(key)  # noqa: E731
                self._once[key] = fd, self._host.loop.add_fd(fd, _ONCE, tell)

    def _unwatch(self, key: str) -> None:
        if key in self._watches:
            self._host.loop.remove(self._watches.pop(key))
        if key in self._once:
            self._unwatch_once(key)

    def _unwatch_once(self, key: str) -> None:
        fd, watch = self._once.pop(key)
        self._host.loop.remove(watch)
        os.close(fd)

    def _pending(self, key: str, closely: bool) -> Pending:
        fd, wanted = self._made.get(key), self._as.get(key)
        return pending(wanted, fd, closely) if fd is not None and wanted is not None else Pending(0)

    def _readable(self, key: str) -> None:
        if not self._host.up:
            # Until init is there again, and has said what it has.
            for each in list(self._watches):
                self._host.loop.remove(self._watches.pop(each))
            return
        self._connections.accept(key, self._made[key])
        for job, wanted in self._sockets.readable(key, self._pending):
            self._tell(job.name, wanted)
        self._update()

    def _tell(self, name: str, wanted: Wanted) -> None:
        """Tell of what waits, and go on when that has had its effect."""

        def finished(_message: Message, _problem: str) -> None:
            # That something failed over it init has said.
            self._arrange_one(name, settled)

        def settled(busy: bool) -> None:
            job = self._sockets.jobs.get(name)
            if job is not None:
                self._give_up(job, self._sockets.settled(job, wanted.key, busy, self._pending))
                self._update()

        self._emit(wanted, True, finished)

    def _emit(self, wanted: Wanted, wait: bool, then: Callable[[Message, str], object]) -> None:
        self._host.call("EmitTested", then, "sasasb", EVENT, words_of(wanted.env), words_of(wanted.tested), wait)

    def _arrived(self, key: str) -> None:
        if key in self._telling:
            self._telling[key] = True
            return
        for wanted in self._sockets.arrived(key):
            self._telling[key] = False
            self._emit(wanted, False, lambda _message, _problem: self._was_told(key))

    def _was_told(self, key: str) -> None:
        if self._telling.pop(key, False):
            self._arrived(key)

    def _free(self, name: str) -> None:
        job = self._sockets.jobs.get(name)
        for key in job.given if job is not None else ():
            if key in self._as and self._jobs_of(key) == [name]:
                socketmaker.renew(self._as[key], self._made[key])
        self._give_up(job, self._sockets.free(name, self._pending))
        self._update()

    def _give_up(self, job: Job | None, keys: list[str]) -> None:
        """Close what waits for a job that does not take it."""
        dropped = sum([empty(self._as[key], self._made[key]) for key in keys if key in self._made])
        if job is not None and keys and self._sockets.first_told(job):
            self._host.log(
                ERROR,
                f"{job.name}: Ended {TRIES} times within {SECONDS:.0f} seconds and took nothing from "
                f"{', '.join(keys)}: closed what waited there ({dropped})",
            )

    # What every source has

    def told(self) -> None:
        """All that is to outlive us init keeps."""

    def watched(self) -> list[str]:
        """The sockets, with what is wrong with them."""
        found = []
        for key in self._sockets.wanted():
            state = self._failed.get(key) or ("watched" if key in self._watches else "handed over")
            found.append(f"{key} for {', '.join(self._jobs_of(key))}: {state}")
        return found + sorted(self._problems)

    def close(self) -> None:
        """Close our copies; init has its own, unless nobody waits any more."""
        for key in list(self._made):
            self._drop(key, True)
        self._connections.close()


BRIDGE = Bridge("Bridge socket events into Upstart.", lambda host, settings: SocketSource(host))
