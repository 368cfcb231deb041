"""A record led through an engine again, input by input: `Replay`.

What is always true here: the engine is the real one, and is told what the record has and nothing else; the same record
leads to the same states on any machine.  Where a state is not the one that the record says, that is kept in
``differences``.  What an engine is asked for is given to whoever looks on, and performed by nobody.  The
engine's history is of the whole replay.
"""

from __future__ import annotations

import json

from upstart.engine import snapshot
from upstart.engine.cleaning import essence, revealed
from upstart.engine.engine import Engine
from upstart.engine.journal import perform
from upstart.engine.record import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.engine.data import Event
    from upstart.engine.journal import Input
    from upstart.engine.recorded import Record

#: Why an engine goes on from another state than the one that its inputs have led to: an input was cut short.
FAULT = "fault"


class Replay:
    """The replay of ``record``; ``number`` inputs have been told, the last at ``now`` of init's clock.

    ``emitted`` is told of every event as it comes into being, ``told`` of every input once the engine has acted on it.
    Until `step` has come to the first state the engine is empty.
    """

    def __init__(
        self,
        record: Record,
        emitted: Callable[[Event], object] = lambda event: None,
        told: Callable[[Input], object] = lambda given: None,
    ) -> None:
        self.record = record
        self.number = 0
        self.checks = 0
        self.differences: list[str] = []
        self.notes: list[str] = []
        self._emitted = emitted
        self._told = told
        self._place = 0
        self.now = record.at
        self.engine = Engine(self._clock)
        self._began = False
        self._go_on()

    def _clock(self) -> float:
        return self.now

    @property
    def seconds(self) -> float:
        """Since the record begins."""
        return self.now - self.record.at

    def following(self) -> Input | None:
        """The input that is next."""
        return next((entry[1] for entry in self.record.entries[self._place :] if entry[0] == "in"), None)

    def step(self) -> bool:
        """Tell the engine the next input, and see to what the record says behind it; false where there is none."""
        entries = self.record.entries
        if self._place >= len(entries):
            return False
        kind, *rest = entries[self._place]
        if kind != "in":
            return False
        self._place += 1
        given: Input = rest[0]
        self.now = given.at
        self.number += 1
        try:
            perform(self.engine, given)
        except Exception as error:
            # An engine of its own kind refuses nothing that it was told then.
            self.differences.append(
                f"Input {self.number} ({given.name}) cannot be told: {type(error).__name__}: {error}"
            )
        self.engine.take_effects()
        self._told(given)
        self._go_on()
        return True

    def _go_on(self) -> None:
        """See to all that stands before the next input."""
        entries = self.record.entries
        while self._place < len(entries) and entries[self._place][0] != "in":
            kind, *rest = entries[self._place]
            self._place += 1
            if kind == "from":
                self._begin(*rest)
            elif kind == "values":
                self._load(revealed(self._taken(), rest[0]))
            elif kind == "check":
                self._check(*rest)
            elif kind == "note":
                self.notes.append(rest[0])

    def _taken(self) -> dict[str, Any]:
        self.engine.take_effects()
        return snapshot.take(self.engine)

    def _load(self, saved: dict[str, Any]) -> None:
        engine = snapshot.load(saved, self._clock)
        emit = engine.emit

        def emit_and_tell(*args: Any, **named: Any) -> Event:
            event = emit(*args, **named)
            self._emitted(event)
            return event

        vars(engine)["emit"] = emit_and_tell
        if self._began:
            engine.history = self.engine.history
        else:
            engine.note_program("anew")
            # The time of day less the clock: what is known of it.
            engine.note_clock(0.0, self.record.time - self.record.at)
        self.engine = engine

    def _begin(self, at: float, why: str, saved: dict[str, Any]) -> None:
        """Go on from a state: at the beginning, after a re-exec, or after a fault."""
        if self._began and why != FAULT:
            mine, other = (
                json.dumps(essence(each, not self.record.values)["state"]) for each in (self._taken(), saved)
            )
            self.checks += 1
            if mine != other:
                self._differs(f"after the {why}")
        self.now = at
        if self._began:
            self.notes.append(f"{self.seconds:.3f} s: init went on after a {why}")
        self._load(saved)
        self._began = True

    def _check(self, at: float, expected: str) -> None:
        self.now = max(self.now, at)
        self.checks += 1
        if digest(self._taken(), not self.record.values) != expected:
            self._differs("at a check")

    def _differs(self, where: str) -> None:
        self.differences.append(
            f"{self.seconds:.3f} s, {where} behind input {self.number}: the state is not the recorded one"
        )
