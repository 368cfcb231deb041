"""Events that are emitted once, whoever asks again: each has a key, by which init knows it for as long as it runs.

A program that emits events in an order, and may be killed and started again in the middle of it, or outlives a re-exec
of init, cannot know which of them were heard. It asks for all again, by the same keys: what was emitted is not emitted
again, and is answered as it was, at once or when it is finished.

What is always true here: there is at most one event of a key, and who asks for a key is answered when that event has
finished, with what it came to; the keys outlive a re-exec. They are bounded: of more than `MOST` the oldest whose event
has finished is forgotten.
"""

from __future__ import annotations

from upstart.engine.core import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.daemon.call import Call
    from upstart.engine.engine import Engine

#: Keys, and characters of one.
MOST = 32768
LONGEST = 512


class Keyed:
    """What the engine is given as the request of an event with a key, and who waits for that."""

    __slots__ = ("calls", "failed", "finished", "serial")
    #: Events come to no instance (`Call.returns_path`).
    returns_path = False

    def __init__(self, serial: int = 0) -> None:
        self.serial = serial
        self.calls: list[Call] = []
        self.finished = False
        self.failed: tuple[str, str] | None = None

    def ask(self, call: Call) -> None:
        """Answer a call with what the event came to, when it has."""
        if self.finished:
            self._tell(call)
        else:
            self.calls.append(call)

    def reply(self) -> None:
        """The event has finished."""
        self.finished = True
        calls, self.calls = self.calls, []
        for call in calls:
            self._tell(call)

    def error(self, name: str, text: str) -> None:
        """The event has finished, and something failed over it."""
        self.failed = (name, text)
        self.reply()

    def _tell(self, call: Call) -> None:
        if self.failed is None:
            call.reply()
        else:
            call.error(*self.failed)


class Once:
    """The events with keys, of the system and of each chroot session."""

    __slots__ = ("_engine", "_events")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._events: dict[tuple[str | None, str], Keyed] = {}

    def emit(
        self, call: Call, name: str, env: dict[str, str], key: str, session: str | None, last: bool, by: object = None
    ) -> None:
        """Emit an event unless that was done by its key, and answer the call when it is finished; ``by`` is who asks.

        CommandError where the key is none, or there are `MOST` of events that have not finished.
        """
        if not 0 < len(key) <= LONGEST:
            raise CommandError("InvalidKey", f"A key has 1 to {LONGEST} characters")
        known = self._events.get((session, key))
        if known is None:
            self._make_room()
            known = Keyed()
            event = self._engine.emit(name, env, known, session=session, last=last, by=by)
            known.serial = event.serial
            self._events[session, key] = known
        known.ask(call)

    def _make_room(self) -> None:
        if len(self._events) < MOST:
            return
        for place, keyed in self._events.items():
            if keyed.finished:
                del self._events[place]
                return
        raise CommandError("LimitsExceeded", f"There are {MOST} events with keys that have not finished")

    def dump(self) -> list[list[Any]]:
        """Each key: session, key, serial of its event, whether that has finished, and how it failed."""
        return [
            [*place, keyed.serial, keyed.finished, list(keyed.failed) if keyed.failed else None]
            for place, keyed in self._events.items()
        ]

    def restore(self, saved: list[list[Any]]) -> None:
        """Take over what `dump` gave; who waited has to ask again."""
        for session, key, serial, finished, failed in saved:
            keyed = self._events[session, key] = Keyed(serial)
            keyed.failed = (failed[0], failed[1]) if failed else None
            keyed.finished = finished or not self._engine.await_event(serial, keyed)
