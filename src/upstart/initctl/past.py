"""What init remembers of an instance: since when it is in its state, how often it was respawned, how it last ended.

What is always true here: the history is asked for once, and not before somebody wants to know. What it has forgotten,
and what an init without one never knew, is not known.
"""

from __future__ import annotations

from upstart.base.errors import DBusError
from upstart.base.names import NO_EXTENSION
from upstart.base.signals import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from upstart.client.init import Init

_MAIN = "main"


class Life:
    """Of one instance. Times are seconds of the epoch; ``None`` is not known."""

    __slots__ = ("ended", "lived", "respawns", "started", "status", "waiting")

    def __init__(self) -> None:
        #: When it came into the state that it is in.
        self.waiting: float | None = None
        #: When its goal last became start, and how often its main process was respawned since.
        self.started: float | None = None
        self.respawns: int | None = None
        #: When its main process last ended, its exit status or its signal shifted left by 8, and seconds that it lived.
        self.ended: float | None = None
        self.status: int | None = None
        self.lived: float | None = None

    @property
    def end(self) -> str:
        """How its main process last ended; empty where that is not known."""
        if self.ended is None:
            return ""
        if self.status is None:
            text = "status not known"
        elif self.status >> 8:
            text = f"killed by {signal_name(self.status >> 8)}"
        else:
            text = f"status {self.status}"
        return text if self.lived is None else f"{text}, after {self.lived:.1f} s"


class Past:
    """What an init remembers, by instance."""

    __slots__ = ("_init", "_lives")

    def __init__(self, init: Init | None) -> None:
        self._init = init
        self._lives: dict[tuple[str, str], Life] | None = None

    def life(self, job: str, instance: str) -> Life:
        """Of one instance. Raises DBusError."""
        if self._lives is None:
            self._lives = {}
            self._read(self._lives)
        return self._lives.get((job, instance)) or Life()

    def _read(self, lives: dict[tuple[str, str], Life]) -> None:
        if self._init is None:
            return
        try:
            history = self._init.history()
        except DBusError as error:
            if error.name not in NO_EXTENSION:
                raise
            return
        suspended = 0.0
        for _, (clock, word, *rest) in history.entries:
            if word == "clock":
                suspended = float(rest[0])
            elif word in _NOTED and rest[0][0] is None and rest[0][2] is not None:
                _, job, instance = rest[0]
                life = lives.setdefault((str(job), str(instance)), Life())
                _note(life, word, clock + suspended + history.wall, rest[1:])


_NOTED = frozenset(("ended", "goal", "respawn", "state"))


def _note(life: Life, word: str, moment: float, rest: list[Any]) -> None:
    if word == "state":
        life.waiting = moment
    elif word == "goal" and rest[0] == "start":
        life.started, life.respawns = moment, 0
    elif word == "respawn":
        life.respawns = int(rest[0])
    elif word == "ended" and rest[0] == _MAIN:
        life.ended, life.status, life.lived = moment, rest[2], rest[3]
