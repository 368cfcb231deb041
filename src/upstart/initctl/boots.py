"""A boot, or the end of a machine, as the history has it: what belongs to it, and how long each thing took.

What is always true here: a boot is what began when init did, and went on until nothing was on its way for `QUIET`
seconds, or until the machine was to end; the end of the machine is what came since.
"""

from __future__ import annotations

from upstart.client.story import all_lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.client.story import Life, Story

#: Seconds.
QUIET = 5.0


class Took:
    """How long an instance took to come up, or, as a task, to do its work: from ``began`` to ``settled``, which is None
    while it has not."""

    __slots__ = ("began", "life", "settled", "task")

    def __init__(self, life: Life, story: Story) -> None:
        self.life = life
        self.began = life.began if life.began is not None else story.beginning
        self.task = _is_task(life, story)
        if self.task:
            self.settled = life.ended
        else:
            self.settled = life.up if life.up is not None else life.ended

    def seconds(self, now: float) -> float:
        """How long; up to now where it is not over."""
        return (self.settled if self.settled is not None else now) - self.began


def _is_task(life: Life, story: Story) -> bool:
    """Whether its work was waited for: the events that started it were held until it had ended."""
    if life.stop is None or life.stop.cause not in ("ended", "failed"):
        return False
    if life.up is None or life.start is None or not isinstance(life.start.cause, list):
        return False
    events = [story.events[serial] for serial in life.start.cause if serial in story.events]
    held = [event.done for event in events if event.done is not None]
    return bool(held) and max(held) >= life.stop.at


class Period:
    """A time with what was on its way in it."""

    __slots__ = ("ended", "began", "name", "story", "took")

    def __init__(self, story: Story, name: str, began: float, ended: float, took: list[Took]) -> None:
        self.story = story
        self.name = name
        self.began = began
        self.ended = ended
        self.took = took


def boot(story: Story) -> Period | None:
    """The boot; None where the history does not go back to it."""
    begins = [at for at, what in story.begins if what in ("boot", "session")]
    if not begins:
        return None
    began = ended = begins[0]
    over = next((at for at, ends in story.ending if ends and at >= began), None)
    found: list[Took] = []
    lives = sorted((life for life in all_lives(story) if life.began is not None), key=lambda life: life.began or 0.0)
    for life in lives:
        took = Took(life, story)
        if took.began > ended + QUIET or (over is not None and took.began >= over):
            break
        found.append(took)
        settled = took.settled if took.settled is not None else story.history.clock
        ended = max(ended, settled if over is None else min(settled, over))
    return Period(story, "boot", began, ended, found)


def end(story: Story) -> Period | None:
    """The end of the machine, as far as it has come; None where it does not end."""
    if not story.ending or not story.ending[-1][1]:
        return None
    began = story.ending[-1][0]
    last = story.history.entries[-1][1][0]
    found = []
    for life in all_lives(story):
        if life.ended is None or life.ended > began:
            took = Took(life, story)
            if life.stop is not None and life.stop.at >= began:
                # Of what stops it is the time from that it was to.
                took.began, took.settled, took.task = life.stop.at, life.ended, True
                found.append(took)
            elif took.began >= began:
                found.append(took)
    return Period(story, "end", began, last, sorted(found, key=lambda each: each.began))


def states(life: Life, now: float) -> list[tuple[float, float, str]]:
    """When it was in which state: from, to, state."""
    found = []
    for place, (at, state) in enumerate(life.states):
        following = life.states[place + 1][0] if place + 1 < len(life.states) else life.ended or now
        if state != "waiting":
            found.append((at, following, state))
    return found
