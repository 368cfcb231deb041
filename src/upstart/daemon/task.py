"""What one pass over configuration is to do, and what it needs of whoever knows the configuration.

Plain data and an interface; `passes` has the passes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from upstart.conf.disk import Disk
    from upstart.conf.known import Change
    from upstart.conf.sources import Steps

    class Work(Protocol):
        """What is done in a pass."""

        def steps(self, task: Pass) -> Steps:
            """Its steps, taken by the child and by us."""

        def read_by(self, disk: Disk, silent: bool) -> None:
            """Touch the disk by this from now on, and say nothing of it where ``silent``."""

        def apply(self, change: Change) -> None:
            """Act upon what a step gave."""

        def lacks(self) -> bool:
            """Whether there was something that could not be read for now."""

        def watch_again(self, again: bool) -> None:
            """Have all be watched, and looked at, by the next pass, if anything can be; ``again`` as of `Pass`."""


class Pass:
    """What one pass is to do beside taking what inotify tells: look at everything, have sessions known.

    ``again`` says that it only tries what could not be read before, and need not say the same once more.  ``told`` are
    called with what is wrong when it is done, "" if nothing is.
    """

    __slots__ = ("again", "everything", "told", "wanted")

    def __init__(self) -> None:
        self.again = False
        self.everything = False
        self.wanted: list[str] = []
        self.told: list[Callable[[str], object]] = []
