"""The tables of `make bench-boot` in Markdown, and the document that keeps those of the last run for each release."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence

import root
from boot_memory import Memory
from boot_trace import Step

DOCUMENT = root.TREE / "docs" / "boot-times.md"
#: What every other init is compared with.
REFERENCES = ("systemd", "sysvinit")
#: Key of a sample's figure, and what it is.
TIMES = (
    ("kernel", "power-on to init"),
    ("getty", "init to getty"),
    ("login", "init to login"),
    ("services", "init to last service"),
    ("off", "power-off"),
)
PROCESSOR = (("login cpu", "init to login"), ("off cpu", "power-off"))


class Timed:
    """One boot: its figures by their keys, in seconds for the most part."""

    def __init__(self, figures: dict[str, float]) -> None:
        self.figures = figures


class Sample(Timed):
    """One boot: its figures by the keys above, in seconds, and what ran at its end."""

    def __init__(self, figures: dict[str, float], memory: Memory) -> None:
        super().__init__(figures)
        self.memory = memory


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def values(samples: Sequence[Timed], key: str) -> list[float]:
    return [sample.figures[key] for sample in samples]


def times(
    samples: Mapping[str, Sequence[Timed]], columns: Sequence[tuple[str, str]], *compared: tuple[str, str]
) -> str:
    """Seconds, median and best, and the medians of the figures `compared` as multiples of the references'."""
    references = [name for name in REFERENCES if samples.get(name)]
    rows = []
    for init, taken in samples.items():
        row = [init]
        for key, _ in columns:
            found = values(taken, key)
            row.append(f"{statistics.median(found):.1f} ({min(found):.1f})" if found else "did not boot")
        for key, _ in compared:
            for name in references:
                of_reference = statistics.median(values(samples[name], key))
                row.append(f"{statistics.median(values(taken, key)) / of_reference:.2f}" if taken else "")
        rows.append(row)
    multiples = [f"{title}, multiple of {name}" for _, title in compared for name in references]
    return table(["init", *(title for _, title in columns), *multiples], rows)


def mib(kib: float) -> str:
    return f"{kib / 1024:.1f}"


def memory(samples: dict[str, list[Sample]]) -> str:
    """MiB after the boot, of the median boot by what PID 1 and its helpers take together."""
    rows = []
    for init, taken in samples.items():
        if not taken:
            continue

        def together(looked: Memory) -> int:
            return looked.processes[1].pss + sum(process.pss for process in looked.helpers())

        looked = sorted((sample.memory for sample in taken), key=together)[len(taken) // 2]
        first = looked.processes[1]
        helpers = looked.helpers()
        names: dict[str, list[int]] = {}
        for process in helpers:
            names.setdefault(process.name, []).append(process.pss)
        beside = ", ".join(
            f"{len(sizes)} {name} {mib(sum(sizes))}" if len(sizes) > 1 else f"{name} {mib(sizes[0])}"
            for name, sizes in names.items()
        )
        rows.append(
            [
                init,
                mib(first.rss),
                mib(first.pss),
                beside or "nothing",
                mib(first.rss + sum(process.rss for process in helpers)),
                mib(together(looked)),
                mib(looked.udevd()),
                mib(looked.login()) if looked.login() else "nothing",
                str(len(helpers) + 1),
            ]
        )
    head = ["init", "PID 1 resident", "PID 1 proportional", "beside it, proportional", "together resident"]
    head += ["together proportional", "udevd, everywhere", "with a login", "processes of the init"]
    return table(head, rows)


def steps(breakdown: dict[str, list[Step]]) -> str:
    """One boot of each, step by step: when it begins, how long it takes, how many processes it starts."""
    chosen = {init: found for init, found in breakdown.items() if found}
    head = ["step"]
    for init in chosen:
        head += [f"{init}: at", "takes", "processes"]
    names = list(dict.fromkeys(step.name for found in chosen.values() for step in found))
    rows = []
    for name in names:
        row = [name]
        for found in chosen.values():
            step = next((step for step in found if step.name == name), None)
            row += ["", "", ""] if step is None else [f"{step.begin:.1f}", f"{step.length:.1f}", str(step.processes)]
        rows.append(row)
    return table(head, rows)


def circumstances(rounds: int) -> str:
    """A line on the measurement that has just ended."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return f"{now} UTC, {rounds} rounds, {os.cpu_count()} processors, load at the end {load}."


def report(samples: dict[str, list[Sample]], breakdown: dict[str, list[Step]]) -> str:
    """All of it."""
    text = circumstances(max(map(len, samples.values()), default=0))
    text += "\n\nSeconds on the clock, median (best):\n\n"
    text += times(samples, TIMES, ("getty", "getty"), ("login", "login"))
    text += "\nSeconds of the host's processors for the same:\n\n" + times(samples, PROCESSOR, ("login cpu", "login"))
    text += "\nMemory in MiB:\n\n" + memory(samples)
    if any(breakdown.values()):
        text += "\nWhere the time goes, in seconds since the exec of init, of one boot each:\n\n" + steps(breakdown)
    return text


def write(release: str, text: str) -> None:
    """Puts the tables in place of the release's last ones."""
    document = DOCUMENT.read_text()
    head = f"## {release}\n"
    if head not in document:
        document = document.rstrip("\n") + f"\n\n{head}"
    begin = document.index(head) + len(head)
    following = re.search(r"^## ", document[begin:], re.MULTILINE)
    rest = document[begin + following.start() :] if following else ""
    DOCUMENT.write_text(document[:begin] + "\n" + text + ("\n" + rest if rest else ""))
