#!/usr/bin/python3
"""`make vm`: boots our packages in a virtual machine, logs in on the serial line, looks around, switches it off.

Without an initrd the kernel mounts the root of `make run`, with all its daemons; with --initrd it is a smaller one, as
initramfs-tools finds, checks and mounts it. Either way the disk must be clean in the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import archive
import machine
import root
import run
import vm_disk
import vm_image
import vm_lab
import vm_truth


def start(init: str, release: str, initrd: bool, directory: Path) -> tuple[machine.Machine, vm_disk.Disk]:
    """A machine, and its disk in `directory`."""
    if initrd:
        parts = vm_image.parts(init, release)
        disk = vm_disk.Disk(vm_disk.copy(parts.disk, directory / "root.img"))
        command_line = f"console=ttyS0 root=UUID={disk.uuid()} ro panic=-1"
        return machine.Machine(
            parts.kernel, disk.path, run.show, initrd=parts.initrd, keep=True, command_line=command_line
        ), disk
    base, packages, files = run.prepare(init, release)
    if init == "upstart":
        files[str(run.HERE / "jobs" / "ttyS0.conf")] = "/etc/init/ttyS0.conf"
    image = machine.disk(base, packages, files, f"{init}-{release}")
    disk = vm_disk.Disk(vm_disk.copy(image, directory / "root.img"))
    return machine.Machine(machine.kernel(base), disk.path, run.show, keep=True), disk


def boot(init: str, release: str, initrd: bool, seconds: float) -> None:
    """One boot; MachineError if the login, what it is told, the power-off or the disk is not as it must be."""
    with tempfile.TemporaryDirectory(prefix="vm-", dir=root.BUILD) as directory:
        vm, disk = start(init, release, initrd, Path(directory))
        with vm:
            vm.log_in(seconds)
            print(f"\n-- logged in {time.monotonic() - vm.started:.1f} s after power-on", flush=True)
            vm_truth.must_tell_the_truth(vm, init)
            switched = time.monotonic()
            vm.type("poweroff")
            if vm.wait(seconds) != 0 or vm.monitor.ending() != "guest-shutdown":
                raise machine.MachineError("the machine did not switch itself off")
            print(f"\n-- switched off {time.monotonic() - switched:.1f} s after poweroff", flush=True)
        vm_lab.must_be_clean(disk)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Boot the packages in a virtual machine.")
    parser.add_argument("--init", choices=("upstart", "sysvinit"), default="upstart")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--initrd", action="store_true", help="have an initrd mount the root")
    parser.add_argument("--seconds", type=float, default=240, help="how long booting, and switching off, may take")
    options = parser.parse_args(argv[1:])
    try:
        boot(options.init, options.release, options.initrd, options.seconds)
    except (machine.MachineError, run.BootError, RuntimeError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
