#!/usr/bin/python3
"""`make vm-recovery`: machines that are booted into the recovery mode, repaired from its menu, and go on; prints a
table of the rows.

The menu is that of a serial line. What machines said is in build/vm.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable

import archive
import machine
import root
import run
import vm_image
import vm_suite
from machine import Machine, MachineError
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, must_be_clean, require, switch_off

#: Nobody gets past it.
HANG = "description \"a job that never ends\"\nstart on mounted MOUNTPOINT=/\ntask\nexec sleep 100000\n"
PROMPT = rb"Number, or Enter to go back: "


def parts(release: str) -> vm_image.Parts:
    """As those of `make vm-all`, with the package of the menu."""
    base = root.build("vm-root", release, vm_image.packages(release), vm_image.CONFIGURE)
    files = {str(run.HERE / "jobs" / name): f"/etc/init/{name}" for name in ("ttyS0.conf",)}
    files[str(run.HERE / "jobs" / "marked-script")] = "/etc/init.d/marked-script"
    debs = [*run.packages(release), *(root.BUILD / "deb" / release).glob("upstart-recovery_*.deb")]
    image = machine.disk(base, debs, files, f"vm-recovery-{release}", vm_image.COMMANDS)
    (kernel,) = (base / "boot").glob("vmlinuz-*")
    (initrd,) = (base / "boot").glob("initrd.img-*")
    return vm_image.Parts(kernel, initrd, image)


def password(vm: Machine, text: str = machine.PASSWORD) -> None:
    """Root's, or what else is typed there, on the console."""
    vm.expect(rb"(?i)(give root password for|enter root password for system) maintenance[^:]*: ", PATIENCE)
    vm.fall_silent(3, 60)
    vm.type(text)


def menu(vm: Machine) -> None:
    """Waits for the menu, after the password."""
    password(vm)
    for _ in range(2):
        try:
            vm.expect(PROMPT, 60)
            return
        except MachineError:
            # What is typed before sulogin listens is thrown away.
            vm.type(machine.PASSWORD)
    vm.expect(PROMPT, 60)


def services(vm: Machine, runlevel: str = "N 2") -> None:
    """A login, and everything that runs after a usual boot."""
    vm.log_in(PATIENCE)
    vm.command("until [ ! -e /run/nologin ]; do sleep 1; done", 120)
    told = vm.command("runlevel").strip()
    require(told == runlevel, f"runlevel says {told!r}, not {runlevel!r}")
    for name in ("cron", "rsyslogd", "acpid", "dbus-daemon", "systemd-udevd"):
        require(vm.command(f"pidof {name} || :").strip(), f"{name} does not run")
    # A login waits for no device that it does not need.
    vm.command("until status udev-finish | grep -q start/running; do sleep 1; done", 120)
    jobs = vm.command("initctl list")
    for name in ("networking start/running", "udev-finish start/running", "recovery stop/waiting"):
        require(name in jobs, f"{name} is not in\n{jobs}")
    require(" / ext4 rw" in vm.command("cat /proc/mounts"), "the root is not writable")


def resume(lab: Lab) -> None:
    """The menu, after an initrd, with nothing running beside it; its entries; and on to a login with all services."""
    disk = lab.disk()
    with lab.machine([disk], "recovery", initrd=True) as vm:
        menu(vm)
        vm.type("root")
        vm.take_shell(PATIENCE)
        require(" / ext4 ro" in vm.command("cat /proc/mounts"), "the root is not read-only")
        running = set(re.findall(r"^(\S+) start/running", vm.command("initctl list"), re.M))
        beside = {"recovery", "udev", "acpid", "upstart-udev-bridge", "upstart-bridges"}
        require(running <= beside, f"these run: {running}")
        require(vm.command("runlevel || :").strip() == "unknown", "a runlevel was entered")
        vm.type("exit")
        for entry, words in (
            ("summary", rb"root file system: ro"),
            ("failed", rb"What init has said of jobs"),
            ("log", rb"Press Enter"),
        ):
            vm.expect(PROMPT, 60)
            vm.type(entry)
            vm.expect(words, 120)
            if b"Enter" not in words:
                vm.expect(rb"Press Enter", 120)
            vm.type("")
        vm.expect(PROMPT, 60)
        vm.type("resume")
        services(vm)
        switch_off(vm, [disk])


def startup_event(lab: Lab) -> None:
    """`--startup-event recovery` in the place of the word, and root's password is not given: Ctrl-D goes on."""
    with lab.machine(append="--startup-event recovery") as vm:
        password(vm, "\x04")
        services(vm)


def no_menu(lab: Lab) -> None:
    """The word, and no job that starts on it: the boot goes on."""
    disk = lab.disk()
    disk.remove("/etc/init/recovery.conf")
    with lab.machine([disk], "recovery") as vm:
        vm.expect(rb"No job starts on recovery: going on with startup", PATIENCE)
        services_but_recovery(vm)


def services_but_recovery(vm: Machine) -> None:
    vm.log_in(PATIENCE)
    vm.command("until [ ! -e /run/nologin ]; do sleep 1; done", 120)
    require(vm.command("runlevel").strip() == "N 2", "the boot did not come to its runlevel")


def damaged_root(lab: Lab) -> None:
    """Damage of the root that needs a decision is repaired by the menu, which restarts the machine."""
    disk = lab.disk()
    share_blocks(disk)
    with lab.machine([disk], "recovery") as vm:
        menu(vm)
        vm.type("fsck")
        vm.expect(rb"Damage is left that is repaired only when somebody wants it.*\[y/N\] ", PATIENCE)
        vm.type("y")
        vm.expect(rb"Something was repaired: the machine has to restart.\s+Press Enter", PATIENCE)
        vm.type("")
        vm.wait(PATIENCE)
        require(vm.monitor.ending() == "guest-reset", "the machine did not restart")
    must_be_clean(disk)
    with lab.machine([disk]) as vm:
        services_but_recovery(vm)
        switch_off(vm, [disk])


def share_blocks(disk: Disk) -> None:
    """Two files claim the same blocks."""
    disk.write("/first", "first\n" * 3000)
    disk.write("/second", "second\n" * 3000)
    disk.share_blocks("/first", "/second")


def hanging_job(lab: Lab) -> None:
    """A job holds up the boot: nobody can log in; it is switched off by the menu, and the boot comes to its end."""
    disk = lab.disk()
    disk.write("/etc/init/hang.conf", HANG)
    with lab.machine([disk]) as vm:
        vm.expect(rb"Run /sbin/init as init process", PATIENCE)
        vm.fall_silent(40, PATIENCE)
        require(b" login: " not in vm.said, "the job does not hold up the boot")
    with lab.machine([disk], "recovery") as vm:
        menu(vm)
        vm.type("disable")
        vm.expect(rb"makes the root file system writable.*\[y/N\] ", 60)
        vm.type("y")
        vm.expect(rb"(?s)Which job\?.*a job that never ends.*" + PROMPT, PATIENCE)
        vm.type("hang")
        vm.expect(rb"(?s)No event starts hang any more.*Press Enter", 60)
        vm.type("")
        vm.expect(PROMPT, 60)
        vm.type("resume")
        services(vm)
        require("hang stop/waiting" in vm.command("initctl list"), "the job was started")
        switch_off(vm, [disk])
    require("manual" in disk.read("/etc/init/hang.override"), "the job is not switched off for good")


def ways_out(lab: Lab) -> None:
    """The end of the machine from the menu: by Control-Alt-Delete, by the power button, by its own entries."""
    disk = lab.disk()
    for what, ending in (("keys", "reset"), ("button", "shutdown"), ("restart", "reset"), ("poweroff", "shutdown")):
        with lab.machine([disk], "recovery") as vm:
            menu(vm)
            if what == "keys":
                vm.monitor.press("ctrl", "alt", "delete")
            elif what == "button":
                vm.monitor.command("system_powerdown")
            else:
                vm.type(what)
            vm.wait(PATIENCE)
            require(vm.monitor.ending() == f"guest-{ending}", f"{what}: the machine ended otherwise")
        must_be_clean(disk)


#: Rows in the order in which they are tried.
ROWS: dict[str, Callable[[Lab], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (resume, startup_event, no_menu, damaged_root, hanging_job, ways_out)
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Repair virtual machines in the recovery mode.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=", ".join(ROWS))
    options = parser.parse_args(argv[1:])
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"unknown rows: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table = vm_suite.Table(options.release)
    own = parts(options.release)
    for name in options.rows or ROWS:
        vm_suite.attempt(ROWS[name], "upstart", options.release, f"recovery-{name}", table, own)
    return table.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
