"""The layer of mountall's reducer that decides what is not waited for any more, and tells what is waited for.

What is always true here:

- Nothing but an answer of init, or a limit of 0, can keep an event of all file systems waiting for ever: a device that
  is missing, a check or a mount that has failed, a server that does not answer does so for a time, and is then left
  out, if it is not essential.
- Time counts from when udev could have begun, or from the failure: `USUAL` seconds, or fewer (`CALM`) once udev has
  had nothing to do for as long, except for a device that has only to be unlocked.
- Whatever is waited for is told after `PATIENCE` seconds in which nothing moved, and again every `REMINDER` seconds.
"""

from __future__ import annotations

from upstart.mounts.arrivals import Arrivals
from upstart.mounts.flow import REPEATED
from upstart.mounts.state import AGAIN, BROKEN, BUSY, CHECKED, DAMAGED, FAILED, MOUNTING, UNCHECKED, WAITING, State
from upstart.mounts.values import Cancel, Prompt

USUAL, CALM = 60.0, 30.0
PATIENCE, REMINDER = 3.0, 30.0
#: Exit statuses: a shell is wanted and mountall again after it, or a restart after it.
SHELL, SHELL_AND_RESTART = 2, 3
#: As many are named in one message.
NAMED = 8
TEXTS = {
    "missing": ("The disk drive for {} is not ready yet or not present.", "SM",
                "Continue to wait, or Press S to skip mounting or M for manual recovery"),
    "unmounted": ("The file system for {} is not there yet.", "SM",
                  "Continue to wait, or Press S to skip mounting or M for manual recovery"),
    "damaged": ("Errors were found while checking the disk drive for {}.", "FISM",
                "Press F to attempt to fix the errors, I to ignore, S to skip mounting, or M for manual recovery"),
    "broken": ("Serious errors were found while checking the disk drive for {}.", "ISM",
               "Press I to ignore, S to skip mounting, or M for manual recovery"),
    "failed": ("An error occurred while mounting {}.", "SM", "Press S to skip mounting or M for manual recovery"),
    "checking": ("Checking disk drives for errors. This may take several minutes.", "C",
                 "Press C to cancel all checks in progress"),
}  # fmt: skip


class Waiting(Arrivals):
    """Limits, failures, prompts and keys."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        if self.facts.started is not None and not self.facts.ended:
            self.causes.update(number for number in range(len(self.entries)) if self.is_cause(number))
        #: Of the causes those that somebody may decide about.
        self.failed = {number for number in self.causes if self.items[number].phase == FAILED}

    def is_cause(self, number: int) -> bool:
        """Whether an entry is waited for by its own fault."""
        item, entry = self.items[number], self.entries[number]
        if not self.is_counted(number):
            return False
        if item.phase in (FAILED, AGAIN):
            return True
        if item.phase == WAITING and item.link_to < 0 and entry.needs and not item.path and not item.there:
            return True
        return entry.retry in REPEATED and item.phase in (MOUNTING, BUSY)

    # Failures

    def fail(self, number: int, words: str) -> None:
        item, entry = self.items[number], self.entries[number]
        item.words = words
        item.since = self.now
        failed_check = item.check in (DAMAGED, BROKEN)
        if not failed_check and entry.retry in REPEATED:
            self.try_later(number)
            self.add_cause(number)
            if item.delay == 1.0:
                self.tell(f"{self.title(number)} is not mounted yet: {words}")
            return
        item.phase = FAILED
        self.failed.add(number)
        if not self.is_counted(number):
            self.tell(self.failure(number), True)
            return
        self.add_cause(number)
        self.stale = True
        self.tell(self.failure(number), True)
        if not failed_check and (entry.essential or entry.kind == "virtual"):
            self.give_up(number)

    def failure(self, number: int) -> str:
        """What has failed, in a sentence, with the program's words."""
        text = TEXTS[self.trouble(number)][0].format(self.title(number))
        return f"{text} {self.items[number].words}".rstrip()

    def trouble(self, number: int) -> str:
        """Which of the texts is about an entry that is waited for by its own fault."""
        item = self.items[number]
        if item.check in (DAMAGED, BROKEN):
            return item.check
        if item.phase == FAILED:
            return "failed"
        return "missing" if self.entries[number].needs and not item.path else "unmounted"

    # Limits

    def deadline(self, number: int) -> float | None:
        """Until when a cause may keep events waiting; ``None`` for ever, or as long as nothing can have come of it."""
        item, entry = self.items[number], self.entries[number]
        virtual = self.facts.virtual_at
        if item.phase == FAILED:
            start = item.since or 0.0
        elif virtual is None:
            return None
        elif entry.needs and not item.path:
            start = max(virtual, item.since or 0.0)
        else:
            start = max(virtual, item.first or 0.0)
        if entry.limit is not None:
            return start + entry.limit if entry.limit else None
        settled = self.facts.settled_at
        if settled is None or (entry.retry == "network" and item.phase != FAILED):
            return start + USUAL
        if item.phase == WAITING and entry.holder and entry.holder in self.facts.names:
            # Somebody may be about to type a passphrase.
            return start + USUAL
        return min(start + USUAL, max(start, settled) + CALM)

    def look_at_limits(self) -> None:
        """Give up what has kept events waiting for long enough."""
        for number in sorted(self.causes):
            limit = self.deadline(number)
            if limit is not None and limit <= self.now and self.facts.ending is None:
                self.give_up(number)

    def give_up(self, number: int) -> None:
        """An entry is not waited for any more: the boot goes on without it, if it can."""
        item, entry = self.items[number], self.entries[number]
        reason = self.reason(number)
        if entry.essential and not self.settings.skip:
            failed_check = item.check in (DAMAGED, BROKEN)
            self.facts.ending = SHELL_AND_RESTART if failed_check and entry.mountpoint == "/" else SHELL
            self.tell(f"The system cannot start without {self.title(number)} ({entry.origin}): {reason}", True)
            return
        self.tell(f"Skipping {self.title(number)} ({entry.origin}): {reason}", True)
        if item.phase == WAITING and entry.needs and not item.path:
            self.emit("device-not-ready", number, f"device-not-ready {self.key(number)} {self.facts.started}", False)
        self.leave_out(number)

    def leave_out(self, number: int) -> None:
        """Nothing waits for an entry any more. A root that is mounted is all the same there, if only to be read."""
        item = self.items[number]
        self.causes.discard(number)
        self.moved()
        if item.there and item.phase in (WAITING, FAILED, AGAIN):
            item.short = True
            self.announce(number)
        else:
            self.skip(number)

    def reason(self, number: int) -> str:
        """Why an entry is not mounted."""
        item, entry = self.items[number], self.entries[number]
        trouble = self.trouble(number)
        if trouble in ("damaged", "broken"):
            return item.words or "its check found errors"
        if trouble == "missing":
            if not entry.holder:
                return f"{entry.needs} is missing"
            if entry.holder in self.facts.names:
                return f"{entry.needs} has to be unlocked; {entry.holder}, which holds it, is there"
            return f"{entry.needs} is missing, and so is {entry.holder}, which holds it"
        return item.words or f"{entry.device} does not answer"

    # Telling

    def bored(self) -> bool:
        """Whether what is missing is to be told: nothing has moved for a while, and no check runs."""
        facts = self.facts
        if not self.causes or self.running or facts.late or facts.ending is not None:
            facts.told_at = None
            return False
        return facts.told_at is not None or self.now >= facts.quiet_at + PATIENCE

    def show(self) -> None:
        """Show what there is to be shown, if that is something else than before, or it is time to say it again."""
        facts = self.facts
        bored = self.bored()
        self.failed = {number for number in self.failed if number in self.causes and self.items[number].phase == FAILED}
        showing, text, keys, about, events = self.message(bored)
        again = bored and (facts.told_at is None or self.now >= facts.told_at + REMINDER)
        # How much time is left changes all the time, and is worth telling now and then.
        if showing == facts.showing and about == facts.about and not again:
            if showing != "checking" or text == facts.prompt[0]:
                return
        if again:
            facts.told_at = self.now
        self.stale = True
        if (text, keys) != facts.prompt[:2]:
            self.do(Prompt(text, keys, events))
        facts.prompt = (text, keys, events)
        facts.about = about
        facts.showing = showing

    def message(self, bored: bool) -> tuple[str, str, str, tuple[int, ...], tuple[str, ...]]:
        """What to show: its kind, the text, the keys, the entries that these are for, and the events that wait."""
        failed = sorted(self.failed) if self.facts.ending is None and not self.facts.late else []
        for trouble in ("failed", "broken", "damaged"):
            for number in failed:
                if self.trouble(number) == trouble:
                    text, keys, help = TEXTS[trouble]
                    lines = [text.format(self.title(number)), *self.items[number].words.splitlines()[:NAMED]]
                    lines += [self.time_left((number,)), help]
                    text = "\n".join(line for line in lines if line)
                    return trouble, text, keys, (number,), self.held_by((number,))
        checks = sorted(self.moving)
        if checks:
            text, keys, help = TEXTS["checking"]
            lines = [f"{self.title(number)}: {self.items[number].progress} %" for number in checks[:NAMED]]
            return "checking", "\n".join([text, *lines, help]), keys, tuple(checks), self.held_by(tuple(checks))
        missing = tuple(sorted(self.causes)) if bored else ()
        if not missing:
            return "", "", "", (), ()
        lines = []
        for number in missing[:NAMED]:
            text, keys, help = TEXTS[self.trouble(number)]
            lines += [text.format(self.title(number)), f"  {self.reason(number)} ({self.entries[number].origin})."]
            dependants = self.dependants(number)
            if dependants:
                lines.append(f"  Waiting for it as well: {listed(dependants)}.")
        if len(missing) > NAMED:
            lines.append(f"And {len(missing) - NAMED} more.")
        text = "\n".join(line for line in (*lines, self.time_left(missing), help) if line)
        return "missing", text, keys, missing, self.held_by(missing)

    def dependants(self, number: int) -> list[str]:
        """What cannot be mounted without an entry, and is waited for."""
        found: set[int] = set()
        left = [number]
        while left:
            for other in self.followers[left.pop()]:
                if other not in found and self.is_counted(other):
                    found.add(other)
                    left.append(other)
        return [self.title(other) for other in sorted(found)]

    def time_left(self, numbers: tuple[int, ...]) -> str:
        """For how long these may still be waited for."""
        limits = [limit for number in numbers if (limit := self.deadline(number)) is not None]
        if not limits:
            return ""
        seconds = max(0, round(max(limits) - self.now))
        after = "a shell follows" if self.ends_in_shell(numbers) else "the system starts without"
        return f"In {seconds} seconds {after}."

    def ends_in_shell(self, numbers: tuple[int, ...]) -> bool:
        return not self.settings.skip and any(self.entries[number].essential for number in numbers)

    def held_by(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        """The events of all file systems that come no sooner than these entries, or what depends on them."""
        kinds = {self.entries[number].kind for number in numbers}
        names = [f"{kind}-filesystems" for kind in ("virtual", "local", "remote") if kind in kinds]
        if names:
            names.append("filesystem")
        if "swap" in kinds:
            names.append("all-swaps")
        return tuple(names)

    # Keys

    def press(self, key: str) -> None:
        key = key.upper()
        if key not in self.facts.prompt[1] or not key:
            return
        about = self.facts.about
        if key == "C":
            self.cancel_checks(about)
        elif key == "M":
            self.give_shell(about)
        elif key == "S":
            for number in about:
                if self.is_counted(number):
                    self.tell(f"Skipping {self.title(number)} at user request")
                    self.leave_out(number)
        elif key in "FI":
            for number in about:
                self.answer_check(number, key == "F")

    def answer_check(self, number: int, mend: bool) -> None:
        """What somebody has decided about a file system with errors."""
        item = self.items[number]
        if item.check not in (DAMAGED, BROKEN):
            return
        item.phase = WAITING
        item.words = ""
        item.since = None
        self.causes.discard(number)
        if mend:
            self.tell(f"Attempting to fix {self.title(number)} filesystem")
            item.fix = True
            item.check = UNCHECKED
        else:
            self.tell(f"Ignoring errors with {self.title(number)} at user request")
            item.check = CHECKED
        self.advance(number)
        for other in self.guarded.get(number, ()):
            self.advance(other)

    def cancel_checks(self, numbers: tuple[int, ...]) -> None:
        self.tell("User cancelled filesystem checks")
        for number in numbers:
            if self.items[number].checker:
                self.do(Cancel(self.items[number].checker))

    def give_shell(self, about: tuple[int, ...]) -> None:
        """Somebody wants to see to it by hand."""
        self.tell("Spawning maintenance shell", True)
        failed_root = any(
            self.entries[number].mountpoint == "/" and self.items[number].check in (DAMAGED, BROKEN) for number in about
        )
        self.facts.ending = SHELL_AND_RESTART if failed_root else SHELL
        for number in sorted(self.running):
            self.do(Cancel(self.items[number].checker))

    # Time

    def tick(self) -> None:
        self.stale = True
        for number, item in enumerate(self.items):
            if item.phase == AGAIN and item.retry_at is not None and item.retry_at <= self.now:
                self.try_now(number)
        self.look_at_limits()

    def next_wake(self) -> float | None:
        """When something happens by itself, at the earliest."""
        times: list[float] = []
        facts = self.facts
        for item in self.items:
            if item.phase == AGAIN and item.retry_at is not None:
                times.append(item.retry_at)
        if not facts.late and facts.ending is None:
            times += [limit for number in self.causes if (limit := self.deadline(number)) is not None]
            if self.causes and not self.running:
                times.append(facts.quiet_at + PATIENCE if facts.told_at is None else facts.told_at + REMINDER)
        return min(times, default=None)


def listed(names: list[str]) -> str:
    """Some names, as a list in a sentence."""
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
