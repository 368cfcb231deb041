"""The ends of a machine: each way to switch off, halt or restart it, on disks that are looked at afterwards.

One machine boots, and somebody logs in; from there each end is tried by itself, on copies of the disks as they were at
that moment. The last one's disks are booted once more, to see what a next boot makes of them.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence

import vm_disk
import vm_truth
from machine import Machine, MachineError
from machine_monitor import MonitorError
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, must_be_clean, require


def typed(command: str) -> Callable[[Machine], None]:
    """A command that ends the machine."""
    return lambda vm: vm.type(command)


def power_button(vm: Machine) -> None:
    """With acpid, as soon as that listens; without it nothing must happen."""
    vm.command("service acpid stop")
    vm.monitor.command("system_powerdown")
    vm.command("sleep 5; initctl status rc | grep stop/waiting && runlevel | grep ' 2$'")
    vm.command("service acpid start")
    for _ in range(6):
        vm.monitor.command("system_powerdown")
        with contextlib.suppress(MachineError):
            vm.expect(rb"All processes are asked to end", 20)
            return
    raise MachineError("nobody heard the power button")


#: What is done, and what must come of it: the machine is "off" or "reset" (it restarts), or it is "halted" and on.
ENDS: tuple[tuple[str, Callable[[Machine], None], str], ...] = (
    ("poweroff", typed("poweroff"), "off"),
    ("halt", typed("halt"), "halted"),
    ("halt-p", typed("halt -p"), "off"),
    ("reboot", typed("reboot"), "reset"),
    ("shutdown-h", typed("shutdown -h now"), "off"),
    ("shutdown-P", typed("shutdown -P +0"), "off"),
    ("shutdown-H", typed("shutdown -H now"), "halted"),
    ("shutdown-r", typed("shutdown -r now"), "reset"),
    ("telinit-0", typed("telinit 0"), "off"),
    ("telinit-6", typed("telinit 6"), "reset"),
    ("control-alt-delete", lambda vm: vm.monitor.press("ctrl", "alt", "delete"), "reset"),
    ("power-button", power_button, "off"),
    ("sigpwr", typed("kill -PWR 1"), "off"),
)
NAMES = tuple(how for how, _, _ in ENDS)
_QEMU = {"off": "guest-shutdown", "reset": "guest-reset"}
#: Where the end of a machine leaves init's history, for who asks in the next boot.
HISTORY = "/var/log/upstart/last-boot.history"


def end(vm: Machine, how: str, act: Callable[[Machine], None], wanted: str) -> None:
    """Ends a machine in one way; MachineError if it ends otherwise."""
    act(vm)
    if wanted == "halted":
        vm.expect(rb"reboot: System halted", PATIENCE)
        status = vm.monitor.command("query-status")["status"]
        require(status == "running", f"{how}: QEMU is {status}")
        vm.monitor.command("quit")
    vm.wait(PATIENCE)
    ending = vm.monitor.ending()
    require(ending == _QEMU.get(wanted, "host-qmp-quit"), f"{how}: the machine ended by {ending}")
    require(b"Kernel panic" not in vm.said, f"{how}: the kernel panicked")


def all_ends(lab: Lab, only: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Tries each end, or those named; yields its name and what was wrong, "" if nothing was."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    state = lab.directory / "state"
    with lab.machine([disk, data], initrd=True) as vm:
        vm.log_in(PATIENCE)
        try:
            vm_truth.must_tell_the_truth(vm, lab.init)
            checked_once(vm)
        except MachineError as error:
            yield "login-with-initrd", str(error)
        else:
            yield "login-with-initrd", ""
        vm.suspend(state)
    saved = [vm_disk.copy(each.path, each.path.with_suffix(".saved")) for each in (disk, data)]
    for how, act, wanted in ENDS:
        if only and how not in only:
            continue
        lab.note(how)
        for source, each in zip(saved, (disk, data), strict=True):
            vm_disk.copy(source, each.path)
        try:
            with lab.machine([disk, data], initrd=True, resumed=state) as vm:
                end(vm, how, act, wanted)
            left_in_order(lab, disk, data, "6" if wanted == "reset" else "0")
        except (MachineError, MonitorError, RuntimeError) as error:
            yield how, str(error)
        else:
            yield how, ""
    lab.note("the boot after that")
    with lab.machine([disk, data], initrd=True) as vm:
        vm.log_in(PATIENCE)
        try:
            next_boot(vm, lab.init)
        except MachineError as error:
            yield "next-boot", str(error)
        else:
            yield "next-boot", ""


def checked_once(vm: Machine) -> None:
    """The initrd has checked the root; the boot leaves it at that, and keeps what was said."""
    require(vm.said.count(b"root: clean") == 1, "the root was not checked once")
    require("root: clean" in vm.command("cat /var/log/fsck/mountall"), "the initrd's check is not in /var/log/fsck")


def left_in_order(lab: Lab, disk: Disk, data: Disk, level: str) -> None:
    """Both file systems are clean, each service has been stopped, and the end is on record."""
    must_be_clean(disk)
    must_be_clean(data)
    kinds = ("job", "script") if lab.init == "upstart" else ("script",)
    for text in (disk.read("/var/log/marks"), data.read("/marks")):
        require(sorted(text.splitlines()) == [f"{kind} {level}" for kind in kinds], f"services left the marks {text!r}")
    if lab.init == "upstart":
        kept = disk.mode(HISTORY) == 0o600 and f'"RUNLEVEL":"{level}"' in disk.read(HISTORY)
        require(kept, f"no history of this end is kept: {disk.read(HISTORY)[-500:]}")
    wtmp = disk.dump("/var/log/wtmp", lab.directory / "wtmp")
    # The last of the records is the shutdown's: runlevel (1) with pid 0.
    require(struct.unpack_from("=hxxi", wtmp.read_bytes()[-384:]) == (1, 0), "wtmp does not end with a shutdown")
    if "wtmp.db" in disk.names("/var/log"):
        database = disk.dump("/var/log/wtmp.db", lab.directory / "wtmp.db")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            boots = connection.execute("SELECT Logout FROM wtmp WHERE User = 'reboot' ORDER BY ID").fetchall()
        require(boots and boots[-1][0], f"wtmpdb has no end of the boot: {boots}")


def next_boot(vm: Machine, init: str) -> None:
    """It finds nothing to mend, and tells how the boot before it began and ended."""
    if init == "upstart":
        # What is said of scripts until then is between the answers.
        vm_truth.must_come_up(vm)
    said = vm.command("dmesg")
    require(not re.search(r"recover(y|ing)|orphan cleanup", said), f"something was to be mended:\n{said[-3000:]}")
    vm.command("grep ' /srv ext4 rw' /proc/mounts")
    ended = vm_truth.last_boots(vm)
    require(ended == ["down"], f"last tells of the boots before that they ended {ended}\n{vm.command('last -x')}")
    if init == "upstart":
        history_is_told(vm)


def history_is_told(vm: Machine) -> None:
    """What init did in the boot before: what came and went, how long each job took to come up and to stop, and beside
    the same in this boot."""
    entries = vm.command(f"initctl history --from {HISTORY}").splitlines()
    for words in ("startup", "mountall", "umountall"):
        found = any(words in line for line in entries)
        require(found, f"the history has no {words}: {entries[:5]} ... {entries[-5:]}")
    took = vm.command(f"initctl blame --from {HISTORY}")
    for name in ("mountall", "rc", "ttyS0"):
        require(re.search(rf" {name}$", took, re.MULTILINE), f"the boot before was without {name}:\n{took}")
    ended = vm.command(f"initctl blame --shutdown --from {HISTORY}")
    for name in ("marked", "umountall"):
        require(re.search(rf" {name}\b", ended), f"the end was without {name}:\n{ended}")
    chain = vm.command(f"initctl critical-chain --from {HISTORY} rc")
    require("rc-sysinit" in chain, f"rc was led to by\n{chain}")
    compared = vm.command("initctl compare")
    require(re.match(r"The boot took \S+ .*and now ", compared), f"compare says\n{compared}")
