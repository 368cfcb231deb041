"""What init tells, made into rows: events as they are, and states with the goal that belongs to them.

What is always true here: nothing is asked; who has just connected says how everything stands, and from then on the
signals do.
"""

from __future__ import annotations

from upstart.client.signals import (
    EventEmitted,
    Failed,
    GoalChanged,
    InstanceRemoved,
    StateChanged,
    names_of,
)
from upstart.monitor.rows import EVENT, FAILED, STATE, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from upstart.client.signals import Signal
    from upstart.client.status import Status

#: The signals that are needed for events alone, and for job states too.
OF_EVENTS = ("EventEmitted",)
OF_STATES = (*OF_EVENTS, "GoalChanged", "StateChanged", "Failed", "InstanceRemoved")


class Story:
    """Goals of the instances that there are."""

    __slots__ = ("_goals", "states")

    def __init__(self) -> None:
        self._goals: dict[tuple[str, str], str] = {}
        #: The goal and the state of each instance that is known, by job and instance.
        self.states: dict[tuple[str, str], tuple[str, str]] = {}

    def begin(self, statuses: Iterable[Status]) -> None:
        """All is as these say, and nothing else is known."""
        self._goals = {}
        self.states = {}
        for each in statuses:
            if (each.goal, each.state) != ("stop", "waiting"):
                key = str(each.job), str(each.instance)
                self._goals[key] = str(each.goal)
                self.states[key] = str(each.goal), str(each.state)

    def take(self, signal: Signal, time: float) -> Row | None:
        """The row that a signal makes, if it makes one."""
        if isinstance(signal, EventEmitted):
            return Row(time, EVENT, signal.name, "", signal.env)
        if isinstance(signal, InstanceRemoved):
            key = names_of(signal.instance)
            if key is not None:
                self._goals.pop(key, None)
                self.states.pop(key, None)
            return None
        key = names_of(signal.path)
        if key is None:
            return None
        if isinstance(signal, GoalChanged):
            self._goals[key] = signal.goal
        elif isinstance(signal, StateChanged):
            # One that has stopped, and is about to go, is told of by its last state.
            goal = self._goals.setdefault(key, "stop" if signal.state in ("waiting", "stopping") else "start")
            self.states[key] = goal, signal.state
            return Row(time, STATE, *key, (goal, signal.state))
        elif isinstance(signal, Failed):
            return Row(time, FAILED, *key, (str(signal.status),))
        return None
