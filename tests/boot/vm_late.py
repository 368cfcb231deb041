#!/usr/bin/python3
"""One boot with what is wrong with fstab most often: a disk that comes late, one that never comes, a swap file, a bind
mount of what is late, and a line that is none. The boot waits for the one, and says so, and goes on without the other.

It is the machine of `make vm` without an initrd, whose kernel knows NVMe disks by itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import archive
import machine
import root
import run
import vm_disk
from vm_lab import require, switch_off
from vm_storage import (
    add_lines,
    make_directories,
    must_be_at_rest,
    must_be_mounted,
    must_be_told_once,
    record,
    recorded,
)

LINES = (
    "LABEL=late /srv/late ext4 defaults 0 2",
    "/srv/late /srv/seen none bind 0 0",
    "LABEL=gone /srv/gone ext4 x-upstart.timeout=15 0 2",
    "/swapfile none swap sw 0 0",
    "tmpfs",
)


def make(release: str, directory: Path) -> tuple[Path, vm_disk.Disk, vm_disk.Disk]:
    """A kernel, the disk of the system and the late one."""
    base, packages, files = run.prepare("upstart", release)
    files[str(run.HERE / "jobs" / "ttyS0.conf")] = "/etc/init/ttyS0.conf"
    image = machine.disk(base, packages, files, f"upstart-{release}")
    disk = vm_disk.Disk(vm_disk.copy(image, directory / "root.img"))
    add_lines(disk, *LINES)
    make_directories(disk, "/srv/late", "/srv/seen", "/srv/gone")
    record(disk)
    swap = directory / "swap.img"
    # Of zeros debugfs makes holes, which swapon does not take.
    swap.write_bytes(os.urandom(8 << 20))
    vm_disk.run("mkswap", "-q", str(swap))
    vm_disk.run("debugfs", "-w", "-R", f"write {swap} /swapfile", str(disk.path))
    return machine.kernel(base), disk, vm_disk.Disk(vm_disk.make(directory / "late.img", "late"))


def boot(release: str, seconds: float) -> None:
    """The boot; MachineError if anything is not as it must be."""
    with tempfile.TemporaryDirectory(prefix="vm-", dir=root.BUILD) as name:
        kernel, disk, late = make(release, Path(name))
        with machine.Machine(kernel, disk.path, run.show, keep=True) as vm:
            vm.expect(rb"/etc/fstab:\d+: ", seconds)
            vm.expect(rb"The disk drive for /srv/late is not ready yet or not present\.", seconds)
            vm.expect(rb"LABEL=late is missing \(/etc/fstab:2\)\.\s+Waiting for it as well: /srv/seen\.", seconds)
            vm.expect(rb"Skipping /srv/gone \(/etc/fstab:4\): LABEL=gone is missing", seconds)
            require(b" login: " not in vm.said, "a login without the late disk")
            vm.plug(late.path, "nvme")
            vm.log_in(seconds)
            must_be_at_rest(vm)
            must_be_mounted(vm, "/srv/late", "/srv/seen")
            events = recorded(vm)
            must_be_told_once(events)
            require(events.index("mounted /srv/seen") < events.index("local-filesystems"), f"the order was {events}")
            require("/swapfile" in vm.command("cat /proc/swaps"), "the swap file is not in use")
            switch_off(vm, [disk, late])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Boot the packages with disks that are late, and missing.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--seconds", type=float, default=240, help="how long booting may take")
    options = parser.parse_args(argv[1:])
    try:
        boot(options.release, options.seconds)
    except (machine.MachineError, run.BootError, RuntimeError) as error:
        print(f"vm_late: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
