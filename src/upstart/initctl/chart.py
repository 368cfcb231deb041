"""A period as a picture: a row for each instance with bars by state, events as marks, processor and disks beneath.

What is always true here: it is SVG 1.1 without scripts or fonts, which any browser shows; text of a job or an
event is escaped.  What was used is known of processes that have ended, with the children that they waited for, and is
shown as if each had used it evenly while it lived, which is said in the picture.
"""

from __future__ import annotations

from upstart.client.words import duration, event_name
from upstart.initctl.boots import states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from upstart.client.story import Emitted, Life
    from upstart.initctl.boots import Period

#: Pixels: of the names at the left, of the time, of a row, and of each of the two graphs.
NAMES = 230
WIDTH = 1100
ROW = 14
GRAPH = 60
#: Letters of a name, marks with a name, rows of those, and steps of the graphs.
LETTERS = 34
MARKS = 40
MARK_ROWS = 6
BINS = 220

#: The states, how each is shown, and what the legend says of it.
COLOURS = {
    "starting": ("#c9c9c9", "waits for its event"),
    "security": ("#e7b85c", "pre-start"),
    "pre-start": ("#e7b85c", "pre-start"),
    "spawned": ("#5b8fd9", "is not ready yet"),
    "post-start": ("#9a79c9", "post-start"),
    "running": ("#79b779", "runs"),
    "pre-stop": ("#e8946a", "pre-stop, is killed"),
    "stopping": ("#c9c9c9", "waits for its event"),
    "killed": ("#e8946a", "pre-stop, is killed"),
    "post-stop": ("#e7b85c", "pre-start"),
}
_LEGEND = dict(reversed([(text, colour) for colour, text in COLOURS.values()]))


def draw(period: Period) -> str:
    """The picture."""
    return "\n".join(_Chart(period).lines()) + "\n"


class _Chart:
    def __init__(self, period: Period) -> None:
        self.period = period
        self.began = period.began
        self.length = max(period.ended - period.began, 0.001)
        rows: dict[str, list[Life]] = {}
        for took in period.took:
            rows.setdefault(took.life.name, []).append(took.life)
        self.rows = rows
        self.marks = self._marks()
        self.head = 46 + 11 * min(MARK_ROWS, len(self.marks) or 1)
        self.foot = self.head + ROW * len(rows)

    def x(self, at: float) -> float:
        return NAMES + WIDTH * min(max((at - self.began) / self.length, 0.0), 1.0)

    def lines(self) -> Iterator[str]:
        height = self.foot + 2 * (GRAPH + 24) + 40
        width = NAMES + WIDTH + 20
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="10">'
        )
        yield f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        title = "The boot" if self.period.name == "boot" else "The end of the machine"
        title += f": {duration(self.length)}, {len(self.rows)} jobs"
        yield f'<text x="8" y="16" font-size="14">{_escape(title)}</text>'
        yield from self._legend()
        yield from self._axis()
        yield from self._events()
        for number, (name, lives) in enumerate(self.rows.items()):
            yield from self._row(number, name, lives)
        yield from self._graphs()
        yield "</svg>"

    def _legend(self) -> Iterator[str]:
        x = NAMES + 150
        for text, colour in _LEGEND.items():
            yield f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>'
            yield f'<text x="{x + 14}" y="17">{text}</text>'
            x += 24 + 6 * len(text)
        yield f'<text x="{x}" y="17" fill="#c00000">x failed</text>'

    def _axis(self) -> Iterator[str]:
        step = _step(self.length)
        count = int(self.length / step)
        for number in range(count + 1):
            x = self.x(self.began + number * step)
            yield f'<line x1="{x:.1f}" y1="{self.head}" x2="{x:.1f}" y2="{self.foot}" stroke="#e4e4e4"/>'
            yield f'<text x="{x:.1f}" y="{self.foot + 12}" text-anchor="middle">{number * step:g} s</text>'

    def _marks(self) -> list[Emitted]:
        """Events that are no job's own and from which something came, of each name the first."""
        story = self.period.story
        found: dict[str, Emitted] = {}
        caused = {serial for goal in story.all_goals if isinstance(goal.cause, list) for serial in goal.cause
                  if isinstance(serial, int)}  # fmt: skip
        for event in story.events.values():
            if event.by != "job" and event.serial in caused and self.period.began <= event.at <= self.period.ended:
                found.setdefault(event.name, event)
        return list(found.values())[:MARKS]

    def _events(self) -> Iterator[str]:
        for number, event in enumerate(self.marks):
            x, y = self.x(event.at), 40 + 11 * (number % MARK_ROWS)
            text = event_name(event.name, event.env)
            yield (
                f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{self.foot}" stroke="#b04a4a" stroke-dasharray="2,3"/>'
            )
            anchor = "end" if x > NAMES + WIDTH - 100 else "start"
            yield (
                f'<text x="{x + (2 if anchor == "start" else -2):.1f}" y="{y}" font-size="9" fill="#b04a4a" '
                f'text-anchor="{anchor}">{_escape(event.name)}<title>{_escape(text)}</title></text>'
            )

    def _row(self, number: int, name: str, lives: list[Life]) -> Iterator[str]:
        y = self.head + ROW * number
        if number % 2:
            yield f'<rect x="0" y="{y}" width="{NAMES + WIDTH + 20}" height="{ROW}" fill="#000000" opacity="0.03"/>'
        shown = name if len(name) <= LETTERS else name[: LETTERS - 1] + "\u2026"
        yield (
            f'<text x="{NAMES - 6}" y="{y + ROW - 4}" text-anchor="end">{_escape(shown)}<title>{_escape(name)}</title>'
            "</text>"
        )
        for life in lives:
            for began, ended, state in states(life, self.period.story.history.clock):
                if ended < self.began or began > self.period.ended:
                    continue
                x = self.x(began)
                width = max(self.x(ended) - x, 1.0)
                colour = COLOURS.get(state, ("#888888", ""))[0]
                told = f"{name} {state}: from {began - self.began:.3f} s, for {duration(ended - began)}"
                yield (
                    f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}" fill="{colour}">'
                    f"<title>{_escape(told)}</title></rect>"
                )
            if life.failure and life.stop is not None:
                yield (
                    f'<text x="{self.x(life.stop.at):.1f}" y="{y + ROW - 4}" fill="#c00000">x'
                    f"<title>{_escape(life.failure)}</title></text>"
                )

    # What was used

    def _graphs(self) -> Iterator[str]:
        width = self.length / BINS
        processor, disks = [0.0] * BINS, [0.0] * BINS
        for took in self.period.took:
            for process in took.life.processes:
                if process.began is None or process.ended is None or process.processor is None:
                    continue
                lived = max(process.ended - process.began, 1e-6)
                moved = (process.read or 0) + (process.written or 0)
                first = max(0, int((process.began - self.began) / width))
                last = min(BINS - 1, int((process.ended - self.began) / width))
                for place in range(first, last + 1):
                    start = max(process.began, self.began + place * width)
                    share = max(0.0, min(process.ended, self.began + (place + 1) * width) - start) / lived
                    processor[place] += process.processor * share / width
                    disks[place] += moved * share / width
        yield from self._graph(self.foot + 24, "processors", processor, "#5b8fd9", lambda most: f"{most:.2f}")
        yield from self._graph(
            self.foot + 48 + GRAPH, "disks", disks, "#e7b85c", lambda most: f"{most / 1048576:.1f} MiB/s"
        )
        yield (
            f'<text x="{NAMES}" y="{self.foot + 2 * (GRAPH + 24) + 22}" fill="#666666">Of processes of jobs that have '
            "ended, with the children that they waited for, spread evenly over the time that each lived.</text>"
        )

    def _graph(self, top: int, name: str, values: list[float], colour: str, text: object) -> Iterator[str]:
        most = max(values)
        bottom = top + GRAPH
        label = text(most) if callable(text) else ""
        yield f'<text x="{NAMES - 6}" y="{top + 10}" text-anchor="end">{name}, at most {label}</text>'
        yield f'<line x1="{NAMES}" y1="{bottom}" x2="{NAMES + WIDTH}" y2="{bottom}" stroke="#888888"/>'
        if most <= 0:
            return
        step = WIDTH / BINS
        points = [f"{NAMES},{bottom}"]
        for place, value in enumerate(values):
            y = bottom - GRAPH * value / most
            points += [f"{NAMES + place * step:.1f},{y:.1f}", f"{NAMES + (place + 1) * step:.1f},{y:.1f}"]
        points.append(f"{NAMES + WIDTH},{bottom}")
        yield f'<polygon points="{" ".join(points)}" fill="{colour}" opacity="0.8"/>'


def _step(length: float) -> float:
    """Seconds between two lines, so that there are about ten."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if length / (step * factor) <= 12:
                return step * factor
        step *= 10


def _escape(text: str) -> str:
    """Text as it may stand in XML."""
    text = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
