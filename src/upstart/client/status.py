"""How an instance stands, as a value."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Status:
    """How an instance stood at one moment: names, goal, state, and its processes as (name, pid), main first.

    A job without instances has one with an empty ``instance``, ``stop`` and ``waiting``.
    """

    __slots__ = ("goal", "instance", "job", "processes", "state")

    def __init__(
        self,
        job: str,
        instance: str = "",
        goal: str = "stop",
        state: str = "waiting",
        processes: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.job = job
        self.instance = instance
        self.goal = goal
        self.state = state
        self.processes = processes
