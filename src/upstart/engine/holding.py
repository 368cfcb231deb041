"""Which events are worked on: who holds whom, followed to its end.

An event is worked on where it may yet finish without help: its turn is still to come, nothing holds it, or some
instance that holds it is not itself held by an event that nobody works on.  What a half-met condition alone holds, or
jobs that wait for each other in a circle, is not.  Each instance and event is looked at once, however they hold each
other.
"""

from __future__ import annotations

from upstart.engine.data import PENDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.engine.data import Event, Instance


class WorkedOn:
    """The events that are worked on among ``events``, all that there are, by ``instances``, all that there are."""

    __slots__ = ("_serials",)

    def __init__(self, events: Iterable[Event], instances: Iterable[Instance]) -> None:
        self._serials: set[int] = set()
        for event in events:
            if event.progress == PENDING or not event.blockers:
                self._add(event)
        for instance in instances:
            if instance.blocker is None:
                self.add(instance)

    def __contains__(self, event: Event) -> bool:
        # An event may have come up, or have been let go, since the others were looked at.
        return event.serial in self._serials or event.progress == PENDING or not event.blockers

    def add(self, instance: Instance) -> None:
        """The instance is held by nothing: what it holds is worked on."""
        for blocked in instance.blocking:
            if blocked.event is not None:
                self._add(blocked.event)

    def _add(self, event: Event) -> None:
        todo = [event]
        while todo:
            event = todo.pop()
            if event.serial not in self._serials:
                self._serials.add(event.serial)
                if event.waiting is not None:
                    todo += [held.event for held in event.waiting.blocking if held.event is not None]
