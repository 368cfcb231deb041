"""Whether inotify has something to tell of configuration.

What is always true here: nothing is taken from an inotify instance while a child reads, for the child does that; what
is taken when none does, and is for the next one to look at, the `Watch` keeps.  Where others write all the time beside
what is watched for, that wakes init every `PAUSE` seconds and no oftener.
"""

from __future__ import annotations

import select

from upstart.base.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.conf.watch import Watch


#: Seconds.
PAUSE = 0.1


class Hearing:
    """The inotify instance of one daemon, if it has any; ``told`` () is called while there is something to read."""

    __slots__ = ("_loop", "_poll", "_timer", "_told", "_watch", "_watched")

    def __init__(self, loop: Loop, told: Callable[[], object]) -> None:
        self._loop = loop
        self._told = told
        self._watch: Watch | None = None
        self._watched = self._timer = -1
        self._poll = select.poll()

    def begin(self, watch: Watch) -> None:
        """Hear of this from now on."""
        self._watch = watch
        self._hear(watch, READ)

    def _hear(self, watch: Watch, events: int) -> None:
        self._poll = select.poll()
        self._poll.register(watch.fd, select.POLLIN)
        self._watched = self._loop.add_fd(watch.fd, events, lambda events: self._told())

    @property
    def fd(self) -> int:
        """Its descriptor, -1 where there is none."""
        return self._watch.fd if self._watch is not None else -1

    def listen(self, listens: bool) -> None:
        """Be told of what there is to read, or not."""
        self._loop.remove(self._timer)
        if self._watched >= 0:
            self._loop.modify(self._watched, READ if listens else 0)

    def pause(self) -> None:
        """Be told of nothing for a moment."""
        timer = self._loop.call_later(PAUSE, lambda: self.listen(True))
        self.listen(False)
        self._timer = timer

    def unread(self) -> bool:
        """Whether there is something to read."""
        return bool(self._poll.poll(0))

    def hear(self) -> bool | None:
        """Take what there is to read: whether it may concern configuration, as of `Watch.hear`.

        To be called while no child reads.
        """
        try:
            return self._watch.hear() if self._watch is not None else False
        except (OSError, MemoryError):
            return True  # for a child to find out

    def replace(self) -> None:
        """Have another inotify instance in place of one from which a child has taken without telling; not listened to.

        Raises OSError.
        """
        if self._watch is not None:
            self._loop.remove(self._watched)
            self._watched = -1
            self._watch.renew()
            self._hear(self._watch, 0)

