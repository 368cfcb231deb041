"""mountall as a reducer: it is told what happens, one thing after the other, and answers with what is to be done.

What is always true here:

- There is no input or output, and no clock: the same state and the same inputs at the same times give the same actions.
- What `dump` writes between any two inputs, `load` reads, and goes on as if nothing had been in between, once what was
  asked for and has no answer is done again, under the numbers and keys that it had.
- The end (`End`) comes once, and last: 0, or 5 if some entry is left out, when nothing that is counted is waited for
  and nothing is under way; 2 or 3 if an essential entry cannot be had or somebody wants a shell, 4 if a check wants the
  system restarted, once no check and no mount of a disk runs any more.

The layers below it are `core`, `checks`, `flow` and `waiting`.
"""

from __future__ import annotations

from upstart.mounts import state as states
from upstart.mounts.core import EVENTS
from upstart.mounts.flow import RESIZED
from upstart.mounts.state import BUSY, DONE, OVER, WAITING
from upstart.mounts.values import (
    NOWAIT,
    Answered,
    Appeared,
    End,
    Ended,
    Gone,
    Key,
    Mount,
    Mounts,
    Network,
    Progress,
    Prompt,
    Ready,
    Settled,
    Tick,
    Wake,
    Watch,
)  # fmt: skip
from upstart.mounts.waiting import Waiting, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from upstart.mounts.plan import Plan
    from upstart.mounts.values import Action, Input

#: Exit status: all went well, but for entries that were left out.
SKIPPED = 5


class Reducer(Waiting):
    """The state of mountall, from the plan to the end."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(states.begin(plan))

    @classmethod
    def load(cls, data: dict[str, Any], late: bool = False) -> Self:
        """One that goes on where another has written ``data``; ValueError and the like if that is something else.

        ``late``: for what was left over when that other came to its end, and only for that.
        """
        loaded = states.load(data)
        late = late and not loaded.facts.late
        if late:
            loaded.begin_late(tuple(name for name, _, _ in EVENTS))
        made = cls.__new__(cls)
        Waiting.__init__(made, loaded)
        made.stale = late
        return made

    def dump(self) -> dict[str, Any]:
        """All that it knows, as JSON has it."""
        return self.state.dump()

    def look_again_late(self) -> None:
        """The first look of one that was started for what is left over."""
        for number, item in enumerate(self.items):
            if item.by_others and item.phase == WAITING:
                self.announce(number)
            else:
                self.advance(number)
        if any(self.is_watched_for(self.entries[number]) for number in self.remaining()):
            self.do(Watch())

    def step(self, now: float, input: Input) -> list[Action]:
        """Take an input at a time of CLOCK_BOOTTIME; what is to be done now, in this order."""
        self.now = now
        self.actions = []
        if not self.facts.ended:
            self.take(input)
            self.settle()
        return self.actions

    def take(self, input: Input) -> None:
        """Do what follows from an input by itself."""
        if isinstance(input, Answered):
            if input.number in self.facts.under_way:
                self.answered(*self.facts.under_way.pop(input.number))
        elif isinstance(input, Ended):
            if input.number in self.facts.under_way:
                self.ended(*self.facts.under_way.pop(input.number), input)
        elif isinstance(input, Mounts):
            if self.facts.started is None:
                self.begin()
            elif self.facts.late and not self.facts.watching:
                self.facts.watching = True
                self.look_again_late()
            self.look(input.table)
        elif isinstance(input, Ready):
            self.ready(input.device)
        elif isinstance(input, Gone):
            self.gone(input.path)
        elif isinstance(input, Progress):
            self.progress(input.number, input.percent)
        elif isinstance(input, Network):
            self.try_all("network")
        elif isinstance(input, Appeared):
            self.appeared(input.path)
        elif isinstance(input, Settled):
            self.facts.settled_at = (self.facts.settled_at or self.now) if input.settled else None
            self.stale = True
        elif isinstance(input, Key):
            self.press(input.key)
        elif isinstance(input, Tick):
            self.facts.wake = None
            self.tick()

    def ended(self, what: str, number: int, input: Ended) -> None:
        if what == "check":
            self.check_ended(number, input)
        elif what == "swap":
            self.swap_ended(number, input)
        elif what != "resize":
            self.mount_ended(what, number, input)
            self.look_again()

    def progress(self, number: int, percent: int) -> None:
        what, entry = self.facts.under_way.get(number, ("", -1))
        if what == "check":
            self.items[entry].progress = max(0, min(percent, 100))
            self.moving.add(entry)

    # What follows from the state as it has become

    def settle(self) -> None:
        """Events, messages, the time to wake up at, and the end."""
        facts = self.facts
        if facts.started is None:
            return
        if facts.ending is None and not facts.late:
            self.emit_all()
            self.resize()
        self.show()
        if facts.late:
            if not self.remaining() and not facts.under_way:
                self.end(0)
        elif facts.ending is not None:
            if self.may_end_early():
                self.end(facts.ending)
        elif len(facts.sent) == len(EVENTS) and not facts.under_way and not any(self.counts.values()):
            self.end(SKIPPED if any(self.is_left_out(number) for number in range(len(self.items))) else 0)
        self.set_wake()

    def resize(self) -> None:
        """What is measured by memory and swap together is measured again once there is swap."""
        if self.facts.resized or "all-swaps" not in self.facts.sent:
            return
        self.facts.resized = True
        if not any(entry.type == "swap" and item.type for entry, item in zip(self.entries, self.items, strict=True)):
            return
        for entry in self.entries:
            item = self.items[entry.number]
            # What was there and has been left as it is stays so.
            if RESIZED in entry.given and item.phase == DONE and item.attempts:
                number = self.take_number("resize", entry.number)
                options = f"remount,{entry.given}"
                self.do(Mount(number, self.source(entry.number), entry.mountpoint, entry.type, options))

    def remaining(self) -> list[int]:
        """The entries that may still come: the business of who is started with ``late``."""
        return [
            entry.number
            for entry in self.entries
            if self.items[entry.number].phase not in OVER and entry.retry != "directory"
        ]

    def is_left_out(self, number: int) -> bool:
        """Whether an entry that was waited for is not mounted at the end."""
        item, entry = self.items[number], self.entries[number]
        return entry.kind != NOWAIT and (item.short or (item.skipped and item.phase not in OVER))

    def may_end_early(self) -> bool:
        """Whether nothing runs that must not be cut off; what comes by the network may never end."""
        if self.running:
            return False
        return not any(
            item.phase == BUSY and self.entries[number].retry != "network" for number, item in enumerate(self.items)
        )

    def end(self, status: int) -> None:
        facts = self.facts
        if facts.prompt[0]:
            facts.prompt, facts.about, facts.showing = ("", "", ()), (), ""
            self.do(Prompt())
        left = [self.title(number) for number in self.remaining()] if status in (0, SKIPPED) else []
        if left:
            self.tell(f"Not mounted yet: {listed(left)}")
        facts.ended = True
        self.causes.clear()
        self.do(End(status))

    def set_wake(self) -> None:
        """Have the time to wake up at told; to wake up too early does no harm, and saves telling it each time."""
        facts = self.facts
        if facts.ended or not self.stale:
            return
        self.stale = False
        when = self.next_wake()
        if when is None or (facts.wake is not None and facts.wake <= when):
            return
        facts.wake = when
        self.do(Wake(when))
