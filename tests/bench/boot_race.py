#!/usr/bin/python3
"""`make bench-boot`: boots the same minimal system with each init of the release in turn, and says how long each took.

One machine runs at a time, in rounds (each init once, then each again), so that whatever else the host does meets all
of them. Beside the time on the clock stands the processor time that QEMU used, which a busy host changes less. It is no
test: how long anything takes never makes it fail, only an init that does not boot at all. Set in the environment:
ROUNDS (3), INITS (a list of those of boot_systems.py; all), RELEASE, BREAKDOWN=0 (not where the time goes), and WRITE=1
(record the tables in docs/boot-times.md).
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))

import archive  # noqa: E402
import boot_memory  # noqa: E402
import boot_systems  # noqa: E402
import boot_tables  # noqa: E402
import boot_trace  # noqa: E402
import machine  # noqa: E402
from boot_systems import APPEND, ATTEMPTS, SECONDS  # noqa: E402

EXECUTED = rb"Run /sbin/init as init process"
#: The figures of a boot, in seconds.
FIGURES = ("kernel", "getty", "login", "login cpu", "services", "off", "off cpu")


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


def sample(init: str, kernel: Path, image: Path) -> boot_tables.Sample | None:
    """One boot of `init`, tried again where emulation let it down; None if it does not boot at all."""
    for attempt in range(ATTEMPTS):
        try:
            return boot(kernel, image)
        except machine.MachineError as error:
            lines = str(error).strip().splitlines()
            print(f"{init}, attempt {attempt + 1}: {lines[0]}\n  {lines[-1].strip()}", flush=True)
    return None


def traced(init: str, kernel: Path, image: Path) -> list[boot_trace.Step]:
    """Where one boot spends its time; [] where that cannot be told."""
    for _ in range(ATTEMPTS):
        try:
            with machine.Machine(kernel, image, lambda _: None, f"{APPEND} {boot_trace.APPEND}", processors=2) as vm:
                vm.log_in(SECONDS)
                return boot_trace.steps(boot_trace.spans(vm, SECONDS))
        except machine.MachineError as error:
            print(f"{init}, traced: {str(error).splitlines()[0]}", flush=True)
    return []


def prepare(release: str, inits: list[str]) -> dict[str, tuple[Path, Path]]:
    """The kernel and the disk of every init that the release has."""
    systems = {}
    for init in inits:
        try:
            systems[init] = boot_systems.image(release, init)
        except boot_systems.Unavailable as reason:
            print(reason, flush=True)
    return systems


def race(systems: dict[str, tuple[Path, Path]], rounds: int) -> dict[str, list[boot_tables.Sample]]:
    """The samples of every system, taken in turns."""
    samples: dict[str, list[boot_tables.Sample]] = {init: [] for init in systems}
    for number in range(rounds):
        for init, taken in samples.items():
            one = sample(init, *systems[init])
            if one is not None:
                taken.append(one)
                figures = ", ".join(f"{key} {one.figures[key]:.1f}" for key in FIGURES)
                print(f"round {number + 1}, {init}: {figures} (load {os.getloadavg()[0]:.1f})", flush=True)
    return samples


def main() -> int:
    if os.geteuid():
        print("bench-boot: must be root, to make the disks of the machines", file=sys.stderr)
        return 1
    release = os.environ.get("RELEASE") or archive.host_release()
    rounds = int(os.environ.get("ROUNDS") or 3)
    inits = os.environ.get("INITS", "").split() or list(boot_systems.INITS)
    unknown = [init for init in inits if init not in boot_systems.INITS]
    if unknown:
        print(f"bench-boot: no init {', '.join(unknown)}; there are {', '.join(boot_systems.INITS)}", file=sys.stderr)
        return 2
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, lambda signum, _: sys.exit(128 + signum))
    try:
        systems = prepare(release, inits)
        samples = race(systems, rounds)
        breakdown = {}
        if os.environ.get("BREAKDOWN", "1") != "0":
            breakdown = {init: traced(init, *systems[init]) for init in ("upstart", "sysvinit") if samples.get(init)}
    except RuntimeError as error:
        print(f"bench-boot: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    text = boot_tables.report(samples, breakdown)
    print(f"\n{release}\n\n{text}")
    if os.environ.get("WRITE", "0") not in ("", "0"):
        boot_tables.write(release, text)
    return 0 if all(samples.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
