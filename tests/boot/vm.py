#!/usr/bin/python3
"""`make vm`: boots our packages in a virtual machine, logs in on the serial line, looks around, switches it off."""

from __future__ import annotations

import argparse
import sys
import time

import archive
import machine
import run

HERE = run.HERE


def boot(init: str, release: str, seconds: float) -> None:
    """One boot; MachineError if the login, the runlevel, the job list or the power-off is not as it must be."""
    base, packages, files = run.prepare(init, release)
    if init == "upstart":
        files[str(HERE / "jobs" / "ttyS0.conf")] = "/etc/init/ttyS0.conf"
    image = machine.disk(base, packages, files, f"{init}-{release}")
    with machine.Machine(machine.kernel(base), image, run.show) as vm:
        vm.log_in(seconds)
        print(f"\n-- logged in {time.monotonic() - vm.started:.1f} s after power-on", flush=True)
        runlevel = vm.command("runlevel").strip()
        if runlevel != "N 2":
            raise machine.MachineError(f"runlevel says {runlevel!r}, not 'N 2'")
        if init == "upstart":
            version = vm.command("initctl version").strip()
            jobs = vm.command("initctl list")
            if "init (upstart" not in version or "ttyS0 start/running, process" not in jobs:
                raise machine.MachineError(f"unexpected answers of initctl: {version}\n{jobs}")
        switched = time.monotonic()
        vm.type("poweroff")
        if vm.wait(seconds) != 0:
            raise machine.MachineError("QEMU failed")
        print(f"\n-- switched off {time.monotonic() - switched:.1f} s after poweroff", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Boot the packages in a virtual machine.")
    parser.add_argument("--init", choices=("upstart", "sysvinit"), default="upstart")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--seconds", type=float, default=180, help="how long booting, and switching off, may take")
    options = parser.parse_args(argv[1:])
    try:
        boot(options.init, options.release, options.seconds)
    except (machine.MachineError, run.BootError, RuntimeError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
