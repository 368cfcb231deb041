"""An event on its way through the system.

An event is pending until its turn comes, then handled once: every condition that it matches is updated.  It stays in
handling for as long as something blocks it (a half-met condition, an instance that it started or stopped and that
has not come to rest), and is finished when the last blocker lets go; then whoever waited for it goes on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.instance import Instance

PENDING = "pending"
HANDLING = "handling"
FINISHED = "finished"


class Event:
    """``serial`` orders events by emission; ``blockers`` counts what holds this one; ``waiting`` is who it holds.

    ``waiting`` is the instance whose ``starting`` or ``stopping`` event this is, ``request`` the emitter who wants to
    be told the end.  ``fd`` is a descriptor that came with the event, or -1.
    """

    __slots__ = (
        "blockers", "env", "failed", "fd", "name", "progress", "queued", "request", "serial", "session", "waiting",
    )  # fmt: skip

    def __init__(self, serial: int, name: str, env: dict[str, str], session: str | None = None) -> None:
        self.serial = serial
        self.name = name
        self.env = env
        self.session = session
        self.progress = PENDING
        self.failed = False
        self.blockers = 0
        self.queued = False
        self.waiting: Instance | None = None
        self.request: object = None
        self.fd = -1

    def __repr__(self) -> str:
        return f"<Event {self.serial} {self.name} {self.progress}>"
