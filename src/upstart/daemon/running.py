"""What init holds for one process of a job.

What is always true here: it is data; whoever opens, watches or arms something for the process keeps it here, and
`Children.drop` gives all of it back.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.engine.data import Instance
    from upstart.process.following import Following
    from upstart.process.held import Held
    from upstart.process.log import JobLog
    from upstart.process.members import Members


class Running:
    """A process of a job, and what init holds for it; watches and timers are ids of the loop or -1."""

    __slots__ = (
        "ended", "error_fd", "error_watch", "feed", "feed_watch", "follow_timer", "following", "held", "kills", "log",
        "log_timer", "log_watch", "looks", "members", "told", "ward_timer",
    )  # fmt: skip

    def __init__(self, members: Members) -> None:
        self.members = members
        #: The engine knows of it.
        self.told = False
        #: Tells whether the program was executed; closed, and -1, once that is known.
        self.error_fd = -1
        self.error_watch = -1
        self.log: JobLog | None = None
        self.log_watch = -1
        #: Pid and status of a process that has ended while its output is being written, or while it cannot be seen what
        #: it has left; and how often that was looked at.
        self.ended: tuple[int, int | None] | None = None
        self.looks = 0
        self.log_timer = -1
        #: Descriptor of a script's pipe, and what must still be written to it.
        self.feed: tuple[int, bytes] | None = None
        self.feed_watch = -1
        self.following: Following | None = None
        self.follow_timer = -1
        self.held: Held | None = None
        #: When its warden is dismissed.
        self.ward_timer = -1
        #: How often SIGKILL was sent to it.
        self.kills = 0

    def descriptors(self) -> list[int]:
        """All that are open."""
        fds = [
            self.error_fd,
            self.log.fd if self.log is not None else -1,
            self.feed[0] if self.feed is not None else -1,
        ]
        return [fd for fd in fds if fd >= 0]


def others(instance: Instance, process: str) -> list[int]:
    """The pids of the other processes of an instance."""
    return [pid for name, pid in instance.pids.items() if name != process]


def name_of(instance: Instance) -> tuple[str | None, str, str]:
    """Session, job and name of an instance."""
    return instance.job.session, instance.job.name, instance.name
