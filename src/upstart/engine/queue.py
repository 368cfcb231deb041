"""The queue of events that move through the engine.

Events are handled in passes, oldest first, as the original does: within a pass each event that is pending is handled,
and each that nothing blocks any more is finished; what is emitted meanwhile joins the pass at its end, and an older
event that becomes free waits for the next pass.  Nothing recurses: handling an event may queue others, never handle
them.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from upstart.engine.awaited import AWAITED, JOB, NONE, told
from upstart.engine.core import Core
from upstart.engine.data import FINISHED, HANDLING, PENDING, Event
from upstart.engine.door import an_input
from upstart.engine.effects import Announce, Reply, ReplyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.conf.jobclass import JobClass
    from upstart.engine.awaited import Leaf
    from upstart.engine.data import Instance

#: Runs in a row that used up their limit before that is worth a warning, and before a pass that goes on is cut short.
RESTLESS_RUNS = 40
LONGEST_PASS = 4


class Queue(Core):
    """The layer that knows of events: how they come, are handled, and finish."""

    @property
    def eventful(self) -> bool:
        """Whether `run` has anything to do."""
        return bool(self._pass or self._next_pass or self._moved)

    @an_input
    def emit(
        self,
        name: str,
        env: dict[str, str],
        request: object = None,
        fd: int = -1,
        session: str | None = None,
        last: bool = False,
        tested: dict[str, str] | None = None,
        connection: bool = False,
        by: object = None,
    ) -> Event:
        """Queue an event; ``request`` is answered when it has finished, ``fd`` is closed when nothing needs it.

        ``last``: it is part of the machine's end (`Engine.set_ending`).  ``tested`` are variables for conditions only,
        which count there before those of ``env``.  ``connection``: ``fd`` is for the standard input and output.
        ``by`` is who emits it, for the history.
        """
        self._serial += 1
        event = Event(self._serial, name, env, session)
        event.request = request
        event.last = last
        event.connection = connection
        if tested:
            event.values = env | tested
        if fd >= 0:
            event.fd = fd
            self.hold_fd(fd)
        event.at = self.clock()
        self.events[event.serial] = event
        if by != "job":
            self.note_event(event, by)
        self.debug("Pending %s event", name)
        self._queue(event)
        if name == self.awaits and session is None:
            self.tell_awaited()
        return event

    def note_event(self, event: Event, by: object) -> None:
        """Have the history know of an event: of a job's own once something comes of it, of any other at once."""
        event.noted = True
        self.history.note_event(event.serial, event.name, event.env, by)

    @an_input
    def await_event(self, serial: int, request: object) -> bool:
        """Have ``request`` answered when an event of an earlier program has finished; false if there is none."""
        event = self.events.get(serial)
        if event is None:
            return False
        event.request = request
        return True

    def block(self, event: Event) -> None:
        """Keep ``event`` from finishing."""
        event.blockers += 1

    def unblock(self, event: Event) -> None:
        """Undo one `block`; the last one lets the event finish."""
        event.blockers -= 1
        if event.blockers == 0 and event.progress == HANDLING:
            self._queue(event)

    @an_input
    def run(self, limit: int = 500) -> bool:
        """Handle events until each of them is blocked or gone, or ``limit`` of them were handled.

        Returns whether there are more.  Jobs that start each other in a circle go on for ever; the caller then
        performs the effects and serves others in between, so that such jobs can be stopped.
        """
        while self._pass or self._next_pass:
            if limit <= 0:
                self._note_moved()
                self._note_restless()
                return True
            limit -= 1
            if not self._pass:
                self._pass, self._next_pass = self._next_pass, self._pass
                heapify(self._pass)
                self._cursor = 0
            serial, event = heappop(self._pass)
            self._cursor = serial
            event.queued = False
            if event.progress == HANDLING and not event.blockers:
                self.history.note("done", serial, event.failed)
            if event.progress == PENDING:
                self.info("Handling %s event", event.name)
                # Pending until it is handled as a whole: where that is cut short, it is handled again (`mend`).
                if self.serving is not event:
                    self.served.clear()
                    self.serving = event
                    self.tries = 0
                self._handle(event)
                event.progress = HANDLING
            if event.progress == HANDLING and not event.blockers:
                self._finish(event)
        self._cursor = 0
        self._restless = 0
        if self._moved:
            self._note_moved()
        return False

    def _note_moved(self) -> None:
        """Have the history know of the states that instances have come to wait in."""
        moved, self._moved = self._moved, {}
        for instance in moved:
            if instance.noted != instance.state:
                instance.noted = instance.state
                instance.since = self.clock()
                self.history.note("state", instance.key, instance.state)

    def _note_restless(self) -> None:
        self._restless += 1
        if not self._restless % LONGEST_PASS:
            # A pass that jobs keep alive has no next one: what waits for that would only become more.
            self._pass += self._next_pass
            self._next_pass.clear()
            heapify(self._pass)
            self._cursor = 0
        if self._restless == RESTLESS_RUNS:
            names = sorted({event.name for _, event in self._pass + self._next_pass})
            self.warn(
                "Events do not come to rest, some jobs seem to start each other in a circle; in progress now: %s",
                " ".join(names[:8]),
            )

    def _queue(self, event: Event) -> None:
        if event.queued:
            return
        event.queued = True
        if event.serial > self._cursor:
            heappush(self._pass, (event.serial, event))
        else:
            self._next_pass.append((event.serial, event))

    def _handle(self, event: Event) -> None:
        raise NotImplementedError

    def _unblocked(self, instance: Instance) -> None:
        raise NotImplementedError

    def _finish(self, event: Event) -> None:
        self.debug("Finished %s event", event.name)
        event.progress = FINISHED
        if event.waiting is not None:
            instance, event.waiting = event.waiting, None
            instance.blocker = None
            self._unblocked(instance)
        if event.request is not None:
            if event.failed:
                self.effects.append(ReplyError(event.request, "EventFailed", "Event failed"))
            else:
                self.effects.append(Reply(event.request))
            event.request = None
        if event.fd >= 0:
            self.release_fd(event.fd)
            event.fd = -1
        if event.failed and not event.name.endswith("/failed"):
            self.emit(event.name + "/failed", event.env, session=event.session, last=event.last, by=event.serial)
            event.failed = False
        # Known until all has been done that its end asks for.
        del self.events[event.serial]
        if self.announcing:
            # Last, after all that its end lets go on: whoever listens finds it done.
            self.effects.append(Announce("EventEmitted", None, (event.name, event.env)))

    # What is awaited

    @an_input
    def tell_awaited(self) -> None:
        """From now on tell who waits for it which events are awaited; and of those that are so already."""
        self.tells_awaited = True
        self.awaits = ""
        self._tell_awaited(self.awaited.listened_for())

    @an_input
    def tell_awaited_after(self, name: str) -> None:
        """Do so once there is an event of that name, and not before."""
        self.awaits = name

    def note_definition(self, old: JobClass | None, new: JobClass | None) -> None:
        """A definition has taken the place of another, so that other events may be awaited."""
        change = self.awaited.change(old, new, self.environ)
        if not self.tells_awaited:
            return
        if change.names:
            self.effects.append(Announce("AwaitedChanged", None, tuple(change.names)))
        self._tell_awaited(change.news)
        if NONE in self.awaited.names:
            for job in change.left:
                self.emit(NONE, {JOB: job})

    def _tell_awaited(self, leaves: Iterable[Leaf]) -> None:
        for leaf in leaves:
            self.emit(AWAITED, told(leaf))
