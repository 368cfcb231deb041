"""What somebody who logs in on the serial line is told: users, runlevel, times, and what went before.

On trixie login(1) writes no utmp record, so that uptime(1) and w(1) do not know of it, and who(1) asks a login manager
alone: what is left there are the times, and last(1).
"""

from __future__ import annotations

import re

from machine import Machine
from vm_lab import require

#: How far, in seconds, a record of the boot may be from the moment that the kernel tells.
TOLERANCE = 120


def must_tell_the_truth(vm: Machine, init: str = "upstart") -> None:
    """MachineError if a command tells anything that is not so; root is logged in on ttyS0 and nobody else."""
    if init == "upstart":
        must_come_up(vm)
    runlevel = vm.command("runlevel").strip()
    require(runlevel == "N 2", f"runlevel says {runlevel!r}, not 'N 2'")
    if init == "upstart":
        version, jobs = vm.command("initctl version").strip(), vm.command("initctl list")
        require("init (upstart" in version, f"initctl version says {version}")
        require("ttyS0 start/running, process" in jobs, f"no login on ttyS0:\n{jobs}")
        controllers = vm.command("cat /sys/fs/cgroup/cgroup.subtree_control").split()
        require(sorted(controllers) == ["cpu", "io", "memory", "pids"], f"groups are limited by {controllers} alone")
    uptime = vm.command("uptime")
    minutes = int(vm.command("cut -d. -f1 /proc/uptime")) // 60
    up = re.search(r"up +(?:(\d+) min|(\d+):(\d+))", uptime)
    told = -1 if up is None else int(up[1]) if up[1] else int(up[2]) * 60 + int(up[3])
    require(0 <= minutes - told <= 1, f"after {minutes} minutes uptime says {uptime!r}")
    boot_is_told(vm)
    if vm.command("grep -c pututxline $(command -v login) || :").strip() != "0":
        require(re.search(r"\b1 user\b", uptime), f"uptime says {uptime!r}, not 1 user")
        users_are_told(vm)
    if vm.command("command -v last || :").strip():
        last_tells(vm)


def must_come_up(vm: Machine, seconds: float = 240) -> None:
    """Wait until the scripts of the runlevel have run: a login does not wait for them."""
    vm.command("until runlevel | grep -q '[2-5]$' && status rc | grep -q stop/; do sleep 0.3; done", seconds)


def kernel_boot(vm: Machine) -> int:
    """When the kernel started, in seconds since the epoch."""
    return int(vm.command("sed -n 's/^btime //p' /proc/stat"))


def boot_is_told(vm: Machine) -> None:
    """The time of the boot."""
    boot = vm.command("who -b")
    found = re.search(r"system boot +(.*\S)", boot)
    require(found, f"who -b says {boot!r}")
    assert found is not None
    moment = int(vm.command(f"date -d '{found[1]}' +%s"))
    require(abs(moment - kernel_boot(vm)) <= TOLERANCE, f"who -b says {boot!r}")


def users_are_told(vm: Machine) -> None:
    """Root on ttyS0 and nobody else, and the runlevel."""
    for command in ("w -h", "who"):
        users = vm.command(command)
        require(re.match(r"root +ttyS0 ", users) and users.count("\n") == 1, f"{command} says {users!r}")
    require("run-level 2" in vm.command("who -r"), "who -r does not say run-level 2")


def last_tells(vm: Machine) -> None:
    """This login, and this boot by its kernel."""
    text = vm.command("last -x")
    release = vm.command("uname -r").strip()
    require(re.search(r"^root +ttyS0 .*still logged in", text, re.MULTILINE), f"no login in last -x:\n{text}")
    require(re.search(rf"^reboot +system boot +{re.escape(release[:16])}.*still running", text, re.MULTILINE),
            f"no boot of {release} in last -x:\n{text}")
    if "wtmpdb" not in vm.command("readlink -f $(command -v last)"):
        require(re.search(r"^runlevel +\(to lvl 2\)", text, re.MULTILINE), f"no runlevel in last -x:\n{text}")


def last_boots(vm: Machine) -> list[str]:
    """How the boots before this one ended as last(1) tells it, the latest first: "down" at a moment, or "crash"."""
    lines = [line for line in vm.command("last -x reboot").splitlines() if line.startswith("reboot ")]
    return ["crash" if "crash" in line else "down" for line in lines if "still running" not in line]
