"""Ends of a machine that something would hold for ever: rows of `make vm-all` beside those of vm_rescue.py."""

from __future__ import annotations

from collections.abc import Callable

from vm_lab import PATIENCE, Lab, must_be_clean, require

#: Seconds that such an end may take, on a machine that emulates and has other things to do.
LIMIT = 90.0
#: What a script may take, since one writes to that disk.
OVERRIDE = "env STOP_TIMEOUT=3\n"
#: Waits for the disk, and no signal ends it.
STUCK = "script\necho after >/srv/by-job\nend script\n"


def held_end(lab: Lab) -> None:
    """A process that heeds no signal, one that waits for a disk that does not answer, a job whose process does so, and
    that disk itself, which cannot be unmounted: the console names them, and the machine switches itself off, its root
    clean."""
    disk = lab.disk()
    data = lab.data_disk(disk)
    disk.write("/etc/init/rc.override", OVERRIDE)
    disk.write("/etc/init/stuck.conf", STUCK)
    with lab.machine([disk, data]) as vm:
        vm.log_in(PATIENCE)
        # A login does not wait for it, and without it the root would be frozen.
        vm.command("until mountpoint -q /srv; do sleep 0.3; done", PATIENCE)
        vm.command("(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &)")
        vm.command("echo before >/srv/before; sync; fsfreeze -f /srv")
        vm.command("(setsid sh -c 'echo after >/srv/after' >/dev/null 2>&1 </dev/null &)")
        vm.command("start stuck && sleep 2")
        began = vm.age()
        vm.type("poweroff")
        vm.expect(rb"umountall: The machine is switched off", PATIENCE)
        took = vm.age() - began
        vm.wait(PATIENCE)
        require(vm.monitor.ending() == "guest-shutdown", "poweroff did not switch the machine off")
        said = vm.said.decode(errors="replace")
    must_be_clean(disk)
    require("Waiting for processes to end, for" in said, "the processes were not named")
    require("which waits for a device" in said, "the process that waits for the disk was not named")
    require("No longer waiting for jobs: " in said and "stuck" in said, "the job was not left")
    require("/srv" in said.partition("All processes are asked to end")[2], "the disk was not named")
    require(took < LIMIT, f"it took {took:.0f} s")


ROWS: dict[str, Callable[[Lab], None]] = {"held-end": held_end}
