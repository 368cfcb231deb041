#!/usr/bin/python3
"""`make vm-all`: machines that boot, end and are rescued in every way, on one release; prints a table of the rows.

A row that fails is tried once more, since under emulation one may be late, and what was wrong at first is told in any
case; what the machines of either attempt said is in build/vm. The exit status is 0 if every row held in the end. ROWS
names rows to try, for which `ends` stands for all ends, `rescue`, `storage` and `headless` for all of theirs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import archive
import root
import vm_ends
import vm_events
import vm_headless
import vm_held
import vm_image
import vm_rescue
import vm_storage
from machine import MachineError
from machine_monitor import MonitorError
from vm_lab import Lab

#: What goes wrong in a machine, as opposed to in a row.
FAILURES = (MachineError, MonitorError, RuntimeError, OSError)


#: The rows by their kind; all but those of rescue are tried on a server's machine.
KINDS = {
    "rescue": vm_rescue.ROWS | vm_held.ROWS,
    "storage": vm_storage.ROWS,
    "headless": vm_headless.ROWS,
    "event": vm_events.ROWS,
}
ROWS = {name: row for rows in KINDS.values() for name, row in rows.items()}


class Table:
    """Prints each row as it is known, and keeps which failed."""

    def __init__(self, release: str) -> None:
        self.release = release
        self.failed: dict[str, str] = {}
        self.count = 0

    def row(self, name: str, problem: str, seconds: float, failed: bool = True) -> None:
        """A row, what was wrong with it, and whether that was so in the end."""
        self.count += 1
        failed = failed and bool(problem)
        word = "FAILED" if failed else "ok, at the second attempt" if problem else "ok"
        print(f"{self.release:9} {name:30} {seconds:6.0f} s  {word}", flush=True)
        if failed:
            self.failed[name] = problem
        if problem:
            first, _, rest = problem.partition("\n")
            print("    " + f"{first}\n{rest[-1500:]}".replace("\n", "\n    "), flush=True)

    def close(self) -> int:
        """The last line; the exit status."""
        print(f"{self.count} rows, {len(self.failed)} failed{': ' if self.failed else ''}{', '.join(self.failed)}")
        return 1 if self.failed else 0


def log(init: str, release: str, name: str, again: bool) -> Path:
    """Where it is kept what the machines said."""
    return root.BUILD / "vm" / f"{init}-{release}-{name}{'-again' if again else ''}.log"


def attempt(
    row: Callable[[Lab], None],
    init: str,
    release: str,
    name: str,
    table: Table,
    parts: vm_image.Parts | None = None,
) -> None:
    """One row, twice if need be; `parts` are those of its machines, if they are no others'."""
    began = time.monotonic()
    problem, failed = "", False
    for again in (False, True):
        try:
            with Lab(init, release, log(init, release, name, again), parts) as lab:
                row(lab)
            failed = False
            break
        except FAILURES as error:
            problem, failed = str(error) or type(error).__name__, True
    table.row(name, problem, time.monotonic() - began, failed)


def ends(init: str, release: str, wanted: list[str], table: Table) -> None:
    """All ends, or those of `wanted`, in one go, and once more those that failed."""
    left = wanted
    before: dict[str, str] = {}
    for again in (False, True):
        failed: list[tuple[str, str, float]] = []
        began = time.monotonic()
        try:
            with Lab(init, release, log(init, release, "ends", again)) as lab:
                for name, problem in vm_ends.all_ends(lab, left):
                    seconds, began = time.monotonic() - began, time.monotonic()
                    if problem:
                        failed.append((name, problem, seconds))
                    else:
                        table.row(name, before.pop(name, ""), seconds, False)
        except FAILURES as error:
            failed.append(("a machine to end", str(error), time.monotonic() - began))
        before = {name: problem for name, problem, _ in failed}
        # What comes before the ends, and after them, takes one.
        left = [name for name in before if name in vm_ends.NAMES] or ["poweroff"]
        if not failed:
            return
    for name, problem, seconds in failed:
        table.row(name, problem, seconds)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Boot, end and rescue virtual machines.")
    parser.add_argument("--init", choices=("upstart", "sysvinit"), default="upstart")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=", ".join(["ends", *vm_ends.NAMES, *KINDS, *ROWS]))
    options = parser.parse_args(argv[1:])
    wanted = [name for word in options.rows or ["ends", *KINDS] for name in KINDS.get(word, {word: None})]
    unknown = [name for name in wanted if name not in ("ends", *vm_ends.NAMES, *ROWS)]
    if unknown:
        parser.error(f"unknown rows: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table = Table(options.release)
    for name in wanted:
        if name in KINDS["rescue"]:
            attempt(ROWS[name], options.init, options.release, name, table)
        elif name in ROWS:
            server = vm_image.parts(options.init, options.release, True)
            attempt(ROWS[name], options.init, options.release, name, table, server)
    some = [name for name in wanted if name in vm_ends.NAMES]
    if some or "ends" in wanted:
        ends(options.init, options.release, [] if "ends" in wanted else some, table)
    return table.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
