#!/usr/bin/python3
"""`make bench-boot`: boots the same minimal system with each init of the release in turn, and says how long each took.

One machine runs at a time, in rounds (each init once, then each again), so that whatever else the host does meets all
of them. Beside the time on the clock stands the processor time that QEMU used, which a busy host changes less. Set in
the environment: BREAKDOWN=0 (not where the time goes), and what race.py explains; the inits are those of
boot_systems.py.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))

import boot_memory  # noqa: E402
import boot_systems  # noqa: E402
import boot_tables  # noqa: E402
import boot_trace  # noqa: E402
import machine  # noqa: E402
import race  # noqa: E402
from boot_systems import APPEND, EXECUTED, SECONDS  # noqa: E402


def ended_children() -> float:
    """Seconds of processor time that all ended children of this process have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def boot(kernel: Path, image: Path) -> boot_tables.Sample:
    """One boot, a look around and a power-off; MachineError if it does not get that far."""
    figures: dict[str, float] = {}
    before = ended_children()
    vm = machine.Machine(kernel, image, lambda _: None, APPEND, processors=2)
    with vm:
        vm.expect(EXECUTED, SECONDS)
        executed, used = time.monotonic(), vm.processor()
        figures["kernel"] = executed - vm.started
        vm.expect(rb" login: ", SECONDS)
        figures["login"] = time.monotonic() - executed
        figures["login cpu"] = vm.processor() - used
        vm.look_again()
        vm.log_in(SECONDS)
        memory = boot_memory.settled(vm, boot_systems.SERVICES, SECONDS)
        figures["getty"] = memory.getty() - executed_by_kernel(vm)
        figures["services"] = memory.last_service(boot_systems.SERVICES) - executed_by_kernel(vm)
        used = vm.processor()
        asked = time.monotonic()
        vm.type("poweroff")
        vm.wait(SECONDS)
        figures["off"] = time.monotonic() - asked
    figures["off cpu"] = ended_children() - before - used
    return boot_tables.Sample(figures, memory)


def executed_by_kernel(vm: machine.Machine) -> float:
    """When init was executed, in seconds of the kernel's clock."""
    match = re.search(rb"\[ *([0-9.]+)\] " + EXECUTED, vm.said)
    if match is None:
        raise machine.MachineError("the kernel did not say when it executed init")
    return float(match[1])


def traced(init: str, kernel: Path, image: Path) -> list[boot_trace.Step]:
    """Where one boot spends its time; [] where that cannot be told."""

    def watched() -> list[boot_trace.Step]:
        with machine.Machine(kernel, image, lambda _: None, f"{APPEND} {boot_trace.APPEND}", processors=2) as vm:
            vm.log_in(SECONDS)
            return boot_trace.steps(boot_trace.spans(vm, SECONDS))

    return race.attempt(f"{init}, traced", watched) or []


def prepare(release: str, inits: list[str]) -> dict[str, tuple[Path, Path]]:
    """The kernel and the disk of every init that the release has."""
    systems = {}
    for init in inits:
        try:
            systems[init] = boot_systems.image(release, init)
        except boot_systems.Unavailable as reason:
            print(reason, flush=True)
    return systems


def run_race(release: str, inits: list[str], rounds: int) -> tuple[str, bool]:
    """The tables of the samples of every system, taken in turns."""
    systems = prepare(release, inits)
    samples = race.in_turns(systems, rounds, boot)
    breakdown = {}
    if os.environ.get("BREAKDOWN", "1") != "0":
        breakdown = {init: traced(init, *systems[init]) for init in ("upstart", "sysvinit") if samples.get(init)}
    return boot_tables.report(samples, breakdown), all(samples.values())


if __name__ == "__main__":
    sys.exit(race.main("bench-boot", tuple(boot_systems.INITS), run_race))
