"""The figures of bridges: from what happens to the job's process, beside the original's bridge, and what they cost.

A side's bridges stand beside its initctl; one without `upstart-file-bridge` there has no value.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from cell import Cell, CellError
from figures import Figure, Reported, Side, Sizes

BRIDGE = "upstart-file-bridge"
#: All that the system's bridges wait for, for the memory of the process that hosts them.
WAITED_FOR = (
    "foo-device-added", "file FILE=/srv/*", "mounted MOUNTPOINT=/srv/x", "socket PROTO=unix PATH=/run/bench.sock",
)  # fmt: skip
HOSTED = ("udev", "file", "mount", "socket")
#: Seconds in which a job must have been started.
PATIENCE = 10.0


def bridges(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    """A file that is moved into place, until the process of a task that waits for it says so; memory; wake-ups."""
    with tempfile.TemporaryDirectory(prefix="upstart-bench-") as directory:
        yield from _change(sides, sizes, directory)
    yield from _cost(sides[:1], sizes)


def _change(sides: list[Side], sizes: Sizes, directory: str) -> Iterator[Figure]:
    figure = Figure("a file's change to its job's process", "ms", "5 ms")
    places = {}
    cells: dict[str, Cell] = {}
    with ExitStack() as stack:
        for side in sides:
            program = Path(side.initctl).with_name(BRIDGE)
            if program.exists():
                place = places[side.name] = Place(f"{directory}/{side.name}")
                stack.callback(place.close)
                bridge = f"start on bench-up\nexpect daemon\nexec {program} --daemon\n"
                cell = Cell(side.init, {"bridge.conf": bridge, "hear.conf": place.job()})
                with Reported():
                    cells[side.name] = stack.enter_context(cell)
                    cell.ask("emit", "bench-up")
        time.sleep(1)
        for number in range(4 * sizes.starts):
            for name in list(cells):
                with Reported() as attempt:
                    took = places[name].sample()
                    if number:
                        figure.add(name, took * 1000)
                if attempt.failed:
                    del cells[name]
    yield figure


class Place:
    """Where a file comes and goes, and how the task that waits for it says that it runs."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.mkdir(directory)
        os.mkdir(f"{directory}/here")
        self._fifo = f"{directory}/told"
        os.mkfifo(self._fifo)
        self._told = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)

    def job(self) -> str:
        """The task; for every event, since the original's bridge goes deaf where only `create` is waited for."""
        say = f"exec /bin/dd if=/dev/zero of={self._fifo} count=1\n"
        return f"start on file FILE={self._directory}/here/f\ntask\nconsole none\n{say}"

    def sample(self) -> float:
        """Seconds from a file's coming to the process; it goes again, which has a process, too."""
        new = Path(self._directory, "new")
        new.touch()
        began = time.monotonic()
        new.rename(f"{self._directory}/here/f")
        took = self._heard() - began
        os.unlink(f"{self._directory}/here/f")
        self._heard()
        return took

    def _heard(self) -> float:
        if not select.select([self._told], [], [], PATIENCE)[0]:
            raise CellError("a file bridge told nothing")
        at = time.monotonic()
        # Until the task has ended, and all that it said was read.
        time.sleep(0.03)
        os.read(self._told, 65536)
        return at

    def close(self) -> None:
        """Give back what was opened."""
        os.close(self._told)


def _cost(sides: list[Side], sizes: Sizes) -> Iterator[Figure]:
    memory = Figure(f"bridges {', '.join(HOSTED)} in one process, proportional", "MB", "18 MB")
    seconds = 10 if sizes.starts < 10 else 60
    waking = Figure(f"the same: wake-ups in {seconds} s", "", "0")
    for side in sides:
        program = Path(side.initctl).with_name("upstart-bridges")
        jobs = {f"wait{number}.conf": f"start on {words}\nexec true\n" for number, words in enumerate(WAITED_FOR)}
        jobs["host.conf"] = f"start on bench-up\nexpect daemon\nexec {program} --daemon {' '.join(HOSTED)}\n"
        with Reported(), Cell(side.init, jobs) as cell:
            cell.ask("emit", "bench-up")
            # That it is a daemon, and has told what there is to tell.
            time.sleep(4)
            pid = _child(cell.pid, "upstart-bridges")
            if not pid:
                raise CellError("the bridges did not start")
            memory.add(side.name, _proportional(pid))
            before = _sleeps(pid)
            time.sleep(seconds)
            waking.add(side.name, _sleeps(pid) - before)
    yield memory
    yield waking


def _child(init: int, name: str) -> int:
    for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split():
        if Path(f"/proc/{pid}/comm").read_text().rstrip() == name[:15]:
            return int(pid)
    return 0


def _proportional(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    return 0.0


def _sleeps(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("voluntary_ctxt_switches:")[2].split()[0])
