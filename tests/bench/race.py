"""What the programs have in common that boot machines with several inits in turns and write tables of it.

None is a test: how long anything takes never makes one fail, only an init that does not boot at all. Set in the
environment: ROUNDS (3), INITS (all that the program has), RELEASE, and WRITE=1 (record the tables in
docs/boot-times.md).
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import archive
import boot_tables
from boot_systems import ATTEMPTS
from machine import MachineError

T = TypeVar("T")
Timed = TypeVar("Timed", bound=boot_tables.Timed)
#: Release, inits and number of rounds to the tables, and whether every init has booted.
Race = Callable[[str, list[str], int], tuple[str, bool]]


def attempt(name: str, boot: Callable[[], T]) -> T | None:
    """What `boot` gives, tried again where emulation let it down; None if it comes to no end at all."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return boot()
        except (MachineError, ValueError) as error:
            lines = str(error).strip().splitlines()
            print(f"{name}, attempt {number}: {lines[0]}\n  {lines[-1].strip()}", flush=True)
    return None


def tell(where: str, figures: dict[str, float]) -> None:
    """A line about a boot."""
    told = ", ".join(f"{key} {value:.1f}" for key, value in figures.items())
    print(f"{where}: {told} (load {os.getloadavg()[0]:.1f})", flush=True)


def in_turns(
    systems: Mapping[str, tuple[Path, Path]], rounds: int, boot: Callable[[Path, Path], Timed]
) -> dict[str, list[Timed]]:
    """What `boot` gives for the kernel and the disk of each init, each booted once in every round."""
    samples: dict[str, list[Timed]] = {init: [] for init in systems}
    for number in range(1, rounds + 1):
        for init, taken in samples.items():
            one = attempt(init, functools.partial(boot, *systems[init]))
            if one is not None:
                taken.append(one)
                tell(f"round {number}, {init}", one.figures)
    return samples


def main(program: str, known: Sequence[str], race: Race, part: str = "{}") -> int:
    """Runs `race` as the environment says, and prints its tables; the exit status.

    `part` is the part of the document that WRITE=1 writes, with the release in it.
    """
    if os.geteuid():
        print(f"{program}: must be root, to make the disks of the machines", file=sys.stderr)
        return 1
    release = os.environ.get("RELEASE") or archive.host_release()
    rounds = int(os.environ.get("ROUNDS") or 3)
    inits = os.environ.get("INITS", "").split() or list(known)
    unknown = [init for init in inits if init not in known]
    if unknown:
        print(f"{program}: no init {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, lambda signum, _: sys.exit(128 + signum))
    try:
        text, booted = race(release, inits, rounds)
    except RuntimeError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{release}\n\n{text}")
    if os.environ.get("WRITE", "0") not in ("", "0"):
        boot_tables.write(part.format(release), text)
    return 0 if booted else 1
