"""Which jobs have yet to start for want of an event: for people who see that something is waited for, and wonder what.

What is always true here: init is asked when there is something to be told, and nothing waits for its answer; what it
cannot tell is not told.  A job counts whose ``start on`` names the event, wherever in it.
"""

from __future__ import annotations

from upstart.base import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from upstart.mounts.events import Events


def ask(events: Events, wanted: Collection[str], then: Callable[[list[str]], object]) -> None:
    """Ask init; ``then`` gets the names of the jobs, in the order of the alphabet, at some later time."""
    found: list[str] = []
    left = 0

    def jobs(answer: tuple[Any, ...] | None) -> None:
        nonlocal left
        for path in answer[0] if answer is not None else ():
            left += 1
            events.ask(path, names.PROPERTIES, "GetAll", job, "s", names.JOB)

    def job(answer: tuple[Any, ...] | None) -> None:
        nonlocal left
        left -= 1
        known = dict(answer[0]) if answer is not None else {}
        if any(operator[0] in wanted for operator in known.get("start_on", ()) if operator):
            found.append(str(known["name"]))
        if not left:
            then(sorted(found))

    events.ask(names.PATH, names.MANAGER, "GetAllJobs", jobs)
