"""What the parts stand on that configuration and clients come to.

What is always true here: this is made once, and none of it is ever replaced.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.base.loop import Loop
    from upstart.daemon.options import Options
    from upstart.engine.engine import Engine


class Basis:
    """The command line and environment that init was started with, its engine and its loop; ``log`` (priority, text)
    writes to its own log."""

    __slots__ = ("engine", "environ", "log", "loop", "options")

    def __init__(
        self,
        options: Options,
        environ: dict[str, str],
        engine: Engine,
        loop: Loop,
        log: Callable[[int, str], None],
    ) -> None:
        self.options = options
        self.environ = environ
        self.engine = engine
        self.loop = loop
        self.log = log
