#!/usr/bin/python3
"""`make bench-cloud`: the same image and data for cloud-init with Upstart and with systemd, booted in turns; says when
each stage of cloud-init began and ended.

A round has each init boot twice from a fresh disk: the first boot, which does all that the data asks for, and the
second, which finds it done. One machine with one processor runs at a time, and nobody logs in before cloud-init is
through. race.py explains what is set in the environment.
"""

from __future__ import annotations

import functools
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))

import boot_tables  # noqa: E402
import cloud_tables  # noqa: E402
import race  # noqa: E402
import root  # noqa: E402
import vm_cloud  # noqa: E402
import vm_cloud_image  # noqa: E402
from machine import Machine, MachineError  # noqa: E402
from vm_disk import Disk  # noqa: E402
from vm_lab import Lab  # noqa: E402

INITS = ("upstart", "systemd")
BOOTS = ("first", "second")
SECONDS = 600.0
EXECUTED = rb"\[ *([0-9.]+)\] Run /sbin/init as init process"
#: In the data: no keys that are made of primes, for how long these are looked for is a matter of chance (5 to 40 s).
KEYS = "ssh_genkeytypes: [ecdsa, ed25519]\n"
#: What the last stage says on the console, and what a login does.
MARKS = {"through": rb"Cloud-init v[^\n]* finished at ", "login": rb" login: "}
#: What a machine is asked once cloud-init has said so: its clocks, how long it had nothing to do, its processes.
LOOK = "date +%s.%N; cat /proc/uptime; grep ^processes /proc/stat"


def boot(lab: Lab, disk: Disk) -> boot_tables.Timed:
    """One boot from `disk`, a look at what cloud-init says of itself, and a power-off; MachineError if it does not
    get that far."""
    figures: dict[str, float] = {}
    with lab.machine([disk], network=True) as vm:
        began = float(vm.expect(EXECUTED, SECONDS)[1])
        executed, used, withheld = time.monotonic(), vm.processor(), vm.withheld()
        while missing := [name for name in MARKS if name not in figures]:
            found = vm.expect(b"|".join(b"(%s)" % MARKS[name] for name in missing), SECONDS)
            name = missing[(found.lastindex or 1) - 1]
            figures[name] = time.monotonic() - executed
            figures[f"{name} cpu"] = vm.processor() - used
            figures[f"{name} own"] = figures[name] - (vm.withheld() - withheld)
        vm.look_again()
        vm.log_in(SECONDS)
        clock, uptime, idle, processes, told = look(vm)
        for name, (begin, end) in cloud_tables.stages(told, clock - uptime).items():
            figures[f"{name} begin"] = begin - began
            figures[f"{name} end"] = end - began
        figures |= {"idle": idle, "processes": processes}
        vm.type("poweroff")
        vm.wait(SECONDS)
    return boot_tables.Timed(figures)


def look(vm: Machine) -> tuple[float, float, float, float, str]:
    """The machine's time of day, its age, for how long of that it had nothing to do, how many processes there were,
    and status.json."""
    text = vm.command(LOOK, SECONDS)
    found = re.match(r"(\S+)\n(\S+) (\S+)\nprocesses (\d+)\n", text)
    if found is None:
        raise MachineError(f"the machine says {text!r}")
    # The last stage goes on for a moment after it has said so.
    vm.command("cloud-init status --wait >/dev/null || :", SECONDS)
    told = vm.command("cat /run/cloud-init/status.json", SECONDS)
    clock, uptime, idle, processes = map(float, found.groups())
    return clock, uptime, idle, processes, told


def twice(lab: Lab) -> dict[str, boot_tables.Timed]:
    """A first and a second boot from a fresh disk."""
    disk = lab.disk()
    vm_cloud.seed(disk, vm_cloud.USER + KEYS)
    return {name: boot(lab, disk) for name in BOOTS}


def sample(init: str, release: str, number: int) -> dict[str, boot_tables.Timed]:
    """Both boots of `init`."""
    log = root.BUILD / "vm" / f"{init}-{release}-bench-cloud-{number}.log"
    with Lab(init, release, log, vm_cloud_image.parts(init, release)) as lab:
        return twice(lab)


def run_race(release: str, inits: list[str], rounds: int) -> tuple[str, bool]:
    """The tables of the samples by boot and init, taken in turns."""
    samples: dict[str, dict[str, list[boot_tables.Timed]]] = {name: {init: [] for init in inits} for name in BOOTS}
    for number in range(1, rounds + 1):
        for init in inits:
            both = race.attempt(init, functools.partial(sample, init, release, number))
            for name, one in (both or {}).items():
                samples[name][init].append(one)
                race.tell(f"round {number}, {init}, {name} boot", one.figures)
    return cloud_tables.report(samples), all(taken for of_boot in samples.values() for taken in of_boot.values())


if __name__ == "__main__":
    sys.exit(race.main("bench-cloud", INITS, run_race, "cloud-init on {}"))
