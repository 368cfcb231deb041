"""The figures: what is started, what is measured, and what the result should be. One function a figure or group of it.

Every function takes the sides to measure, ours and perhaps a peer, and the sizes. It starts a cell for each side with
the same jobs, and lets them take turns, so that what else the machine does meets all alike. A side that fails has no
value.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jobfiles
from cell import Cell, CellError

TASK = "task\nexec /bin/true\n"
SERVICE = "start on bench-up\nstop on bench-down\nexec /bin/sleep 100000\n"
#: Begins the names of what the tasks of a re-execution leave, each time that they run.
RAN = "/run/bench-ran"
BARE_PYTHON = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]


class Side:
    """An init to measure, and the initctl that goes with it."""

    __slots__ = ("name", "init", "initctl")

    def __init__(self, name: str, init: str, initctl: str) -> None:
        self.name, self.init, self.initctl = name, init, initctl


class Sizes:
    """How much of everything: the numbers of the wanted figures, or few enough to be done within a minute."""

    def __init__(self, quick: bool) -> None:
        self.loaded = (200, 1000) if quick else (200, 2000, 10000)
        self.tasks = 50 if quick else 200
        self.burst, self.burst_loaded, self.burst_rounds = (200, 400, 2) if quick else (1000, 2000, 3)
        self.events, self.events_loaded, self.events_rounds = (2000, 400, 3) if quick else (16000, 2000, 5)
        self.services, self.services_rounds = (50, 3) if quick else (200, 5)
        self.respawns = 20 if quick else 60
        self.files, self.file_rounds = (400, 2) if quick else (2200, 5)
        self.starts = 3 if quick else 10
        self.idle = (200, 1200) if quick else (200, 2200)
        self.listed = 200 if quick else 1000
        self.commands = 10 if quick else 40
        self.restarts, self.restart_tasks = (20, 200) if quick else (200, 600)
        self.worst_loaded = 400 if quick else 2000
        self.crowd = 500 if quick else 4000


class Figure:
    """A line of the table: samples of each side, in what the unit says; those in "/s" are the better the greater."""

    __slots__ = ("title", "unit", "wanted", "samples")

    def __init__(self, title: str, unit: str, wanted: str) -> None:
        self.title, self.unit, self.wanted = title, unit, wanted
        self.samples: dict[str, list[float]] = {}

    def add(self, side: str, value: float) -> None:
        self.samples.setdefault(side, []).append(value)

    def value(self, side: str) -> float | None:
        """The median of a side's samples; None where there are none."""
        samples = self.samples.get(side)
        return statistics.median(samples) if samples else None

    def best(self, side: str) -> float:
        """A side's best sample: what it comes to when nothing else runs meanwhile."""
        return max(self.samples[side]) if self.unit.startswith("/") else min(self.samples[side])


class Cells:
    """A cell of every side with the same jobs, as a context manager; sides that do not start are named and left out."""

    def __init__(self, sides: list[Side], jobs: Mapping[str, str]) -> None:
        self._sides, self._jobs = sides, jobs
        self._cells: dict[str, Cell] = {}

    def __enter__(self) -> Cells:
        try:
            for side in self._sides:
                with Reported():
                    cell = Cell(side.init, self._jobs)
                    self._cells[side.name] = cell.__enter__()
                    cell.settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def turns(self, rounds: int) -> Iterator[tuple[str, Cell]]:
        """Each cell once in every round."""
        for _ in range(rounds):
            yield from list(self._cells.items())

    def measure(
        self, figure: Figure, rounds: int, function: Callable[[Cell], float], scale: float = 1.0, times: int = 1
    ) -> None:
        """Adds `times` samples for each cell in every round; a cell that fails drops out, and the reason is printed."""
        for name, cell in self.turns(rounds):
            with Reported() as attempt:
                for _ in range(times):
                    figure.add(name, function(cell) * scale)
            if attempt.failed:
                self.drop(name)

    def drop(self, name: str) -> None:
        """Go on without a side."""
        self._cells.pop(name).__exit__()

    def __exit__(self, *_: object) -> None:
        for cell in self._cells.values():
            cell.__exit__()


class Reported:
    """Context manager that prints a CellError instead of passing it on, and remembers that there was one."""

    def __init__(self) -> None:
        self.failed = False

    def __enter__(self) -> Reported:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.failed = isinstance(error, CellError)
        if self.failed:
            print(f"bench: {error}", file=sys.stderr, flush=True)
        return self.failed


def task(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """One task from its event's emission to its end, with few and with many jobs loaded."""
    for count in sizes.loaded:
        figure = Figure(f"one task, {count:,} jobs loaded", "ms", "1.2 ms")
        jobs = jobfiles.generated(count - 1) | {"bench.conf": "start on bench-task\n" + TASK}
        with Cells(sides, jobs) as cells:
            for _, cell in cells.turns(3):
                cell.ask("emit", "bench-task")
            # Several in a turn, so that what the other side did meanwhile has little to do with it.
            cells.measure(figure, sizes.tasks // 10, lambda cell: float(cell.ask("emit", "bench-task")), 1000, 10)
        yield figure


def burst(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """Many tasks that wait for the same event: with the default console, whose output is logged, and with none."""
    title = f"{sizes.burst:,} tasks on one event, {sizes.burst_loaded:,} jobs loaded"
    others = jobfiles.generated(sizes.burst_loaded - sizes.burst)
    for what, stanza, rounds in (("", "", sizes.burst_rounds), (", console none", "console none\n", 1)):
        figure = Figure(title + what, "ms a task", "0.9 ms")
        tasks = {f"bench-{number}.conf": f"start on bench-burst\n{stanza}{TASK}" for number in range(sizes.burst)}
        with Cells(sides, others | tasks) as cells:
            cells.measure(figure, rounds, lambda cell: float(cell.ask("emit", "bench-burst")), 1000 / sizes.burst)
        yield figure


def events(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """Events that no job waits for, many calls under way at once."""
    figure = Figure(f"events nobody waits for, {sizes.events_loaded:,} jobs loaded", "/s", "8,000 /s")
    with Cells(sides, jobfiles.generated(sizes.events_loaded)) as cells:
        cells.measure(
            figure, sizes.events_rounds,
            lambda cell: sizes.events / float(cell.ask("emit_many", "bench-nobody", sizes.events)),
        )  # fmt: skip
    yield figure


def services(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """Services that start on one event, until all of them run."""
    figure = Figure(f"{sizes.services:,} services up on one event", "ms each", "0.9 ms")

    def up(cell: Cell) -> float:
        took = float(cell.ask("emit", "bench-up"))
        cell.ask("emit", "bench-down")
        return took

    with Cells(sides, {f"bench-{number}.conf": SERVICE for number in range(sizes.services)}) as cells:
        cells.measure(figure, sizes.services_rounds, up, 1000 / sizes.services)
    yield figure


def respawn(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """From the death of a daemon to the exec of its successor."""
    figure = Figure("a daemon's death to its successor's exec", "ms", "1.0 ms")
    with tempfile.TemporaryDirectory(prefix="upstart-bench-") as directory:
        program = shutil.copy("/bin/sleep", f"{directory}/daemon")
        job = f"start on bench-up\nrespawn\nrespawn limit unlimited\nexec {program} 100000\n"
        with Cells(sides, {"bench.conf": job}) as cells:
            for _, cell in cells.turns(1):
                cell.ask("emit", "bench-up")
            cells.measure(figure, sizes.respawns, lambda cell: float(cell.ask("respawn", "bench", program)), 1000)
    yield figure


def files(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """From exec to the list of all jobs, with many files; those of JOBS_DIR where it is set."""
    directory = os.environ.get("JOBS_DIR")
    jobs = jobfiles.existing(Path(directory)) if directory else jobfiles.generated(sizes.files)
    figure = Figure(f"{len(jobs):,} job files loaded, from exec to their list", "s", "0.8 s")
    known: dict[str, int] = {}
    for _ in range(sizes.file_rounds):
        for side in sides:
            with Reported(), Cell(side.init, jobs) as cell:
                figure.add(side.name, cell.loaded)
                known[side.name] = cell.known
    for name, count in known.items():
        if count != len(jobs):
            print(f"bench: {name} has {count:,} jobs of {len(jobs):,} files", file=sys.stderr, flush=True)
    yield figure


def ready(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """From exec to the first answer on D-Bus."""
    figure = Figure("exec to answering on D-Bus, 100 jobs", "ms", "120 ms")
    for _ in range(sizes.starts):
        for side in sides:
            with Reported(), Cell(side.init, jobfiles.generated(100)) as cell:
                figure.add(side.name, cell.ready * 1000)
    yield figure


def memory(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """Resident memory at rest, and what a further job adds."""
    few, many = sizes.idle
    resident = Figure(f"VmRSS, {few:,} jobs idle", "MB", "14.0 MB")
    growth = Figure(f"growth a further job, up to {many:,}", "kB", "2.6 kB")
    for side in sides:
        with Reported():
            sizes_found = []
            for count in sizes.idle:
                with Cell(side.init, jobfiles.generated(count)) as cell:
                    cell.settle()
                    sizes_found.append(cell.resident())
            resident.add(side.name, sizes_found[0] / 1024)
            growth.add(side.name, (sizes_found[1] - sizes_found[0]) / (many - few))
    yield resident
    yield growth


def commands(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """initctl, as a shell would wait for it, beside an interpreter that does nothing."""
    version = Figure("initctl version", "ms", "9.5 ms")
    bare = Figure("bare python3 -I -S", "ms", "")
    bare_times = Figure("initctl version, times bare python3 -I -S", "times", "1.6 times")
    listed = Figure(f"initctl list of {sizes.listed:,} jobs", "ms", "40 ms")
    initctl = {side.name: side.initctl for side in sides}
    with Cells(sides, jobfiles.generated(sizes.listed)) as cells:
        for name, cell in cells.turns(sizes.commands):
            with Reported():
                version.add(name, float(cell.ask("command", [initctl[name], "version"])) * 1000)
                bare.add(name, float(cell.ask("command", BARE_PYTHON)) * 1000)
        for name, cell in cells.turns(sizes.commands):
            with Reported():
                listed.add(name, float(cell.ask("command", [initctl[name], "list"])) * 1000)
    for name, samples in version.samples.items():
        bare_times.add(name, statistics.median(samples) / statistics.median(bare.samples[name]))
    yield from (version, bare, bare_times, listed)


def reexec(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """Re-execution: at rest, and right after events that start many tasks each; how often it is refused, and how many
    of these tasks have not run, or twice."""
    quiet = Figure("re-exec at rest, to the first answer", "ms", "160 ms")
    loaded = Figure(f"re-exec while {sizes.restart_tasks} tasks start, to the first answer", "ms", "500 ms")
    longest = Figure("the same, the longest", "ms", "500 ms")
    refused = Figure(f"refused, of {sizes.restarts}", "times", "0")
    lost = Figure(f"lost, of {sizes.restarts * sizes.restart_tasks:,} tasks", "tasks", "0")
    doubled = Figure("the same, run twice", "tasks", "0")
    tasks = {
        f"bench-{number}.conf": f"start on bench-burst\ntask\nexec /bin/cp --backup=t /dev/null {RAN}-{number}-\n"
        for number in range(sizes.restart_tasks)
    }
    chance = random.Random(0)
    with Cells(sides, tasks) as cells:
        cells.measure(quiet, sizes.restarts // 10, lambda cell: float(cell.ask("restart", "", 0)), 1000)
        counts: dict[str, list[int]] = {}
        for name, cell in cells.turns(sizes.restarts):
            count = counts.setdefault(name, [0, 0, 0])
            try:
                loaded.add(name, float(cell.ask("restart", "bench-burst", chance.random() * 0.3)) * 1000)
            except CellError as error:
                if cell.has_ended():
                    print(f"bench: {error}", file=sys.stderr, flush=True)
                    counts.pop(name)
                    cells.drop(name)
                    continue
                count[0] += 1
            with Reported():
                cell.ask("at_rest", "bench")
            with Reported():
                ran = int(cell.ask("has_run", RAN, sizes.restart_tasks))
                count[1] += max(0, sizes.restart_tasks - ran)
                count[2] += max(0, ran - sizes.restart_tasks)
        for name, count in counts.items():
            for figure, value in zip((refused, lost, doubled), count, strict=True):
                figure.add(name, value)
            if name in loaded.samples:
                longest.add(name, max(loaded.samples[name]))
    yield from (quiet, loaded, longest, refused, lost, doubled)


def worst(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """The longest that a client waits for an answer while another, or a job, a directory or a user asks much of init.

    What processes do is measured where there are no control groups to tell whose they are.
    """
    jobs = jobfiles.generated(sizes.worst_loaded) | {
        "bench-pattern.conf": f"start on bench-pattern X=*{'a*' * 6}b\n{TASK}",
        "bench-deaf.conf": "kill timeout 2592000\nexec /bin/sh -c 'trap : TERM; while :; do sleep 1; done'\n",
        "bench-daemon.conf": "expect daemon\nsetuid nobody\nexec /bin/sh -c '(sleep 100000 &); true'\n",
    }
    jobs |= {f"bench-{number}.conf": f"start on bench-burst\n{TASK}" for number in range(sizes.burst)}
    troubles: tuple[tuple[str, bool, tuple[object, ...]], ...] = (
        ("tasks", True, ("bench-burst",)),
        ("large_call", True, ("bench-deaf", 450_000)),
        ("large_state", True, (9,)),
        ("reload", True, ()),
        ("directories", True, (None, 1000)),
        ("kill_timeout", True, ("bench-deaf",)),
        ("pattern", True, ("bench-pattern",)),
        ("processes_of_a_user", False, ("bench-daemon", sizes.crowd)),
        ("processes_that_end_at_once", False, ("bench-daemon", sizes.crowd)),
        ("storm_of_forks", False, ("bench-daemon", 4)),
    )
    for what, cgroups, arguments in troubles:
        figure = Figure(f"worst answer while: {what.replace('_', ' ')}", "ms", "50 ms")
        for side in sides:
            with Reported(), Cell(side.init, jobs, cgroups=cgroups) as cell:
                cell.settle()
                given = [str(cell.work / "conf") if each is None else each for each in arguments]
                figure.add(side.name, float(cell.ask("worst_answer", what, *given)) * 1000)
        yield figure


#: Name for PARTS, and the function.
PARTS: dict[str, Callable[[list[Side], Sizes], Iterator[Figure]]] = {
    "task": task,
    "burst": burst,
    "events": events,
    "services": services,
    "respawn": respawn,
    "files": files,
    "ready": ready,
    "memory": memory,
    "commands": commands,
    "reexec": reexec,
    "worst": worst,
}
