#!/usr/bin/python3
"""`make vm-cloud`: machines that cloud-init configures, and that do without it; prints a table of the rows.

Data comes by a directory of the root (NoCloud), or by a disk of its own.  What machines said is in build/vm.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from itertools import pairwise

import archive
import vm_cloud_image
import vm_disk
import vm_suite
from machine import Machine
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, require, switch_off

SEED = "/var/lib/cloud/seed/nocloud"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Fo3zX8zX1YQw1ZbQ9Jq6hZ6z1bqkT9mW8x7qk2cJd somebody"
META = "instance-id: iid-{number}\nlocal-hostname: cloudy\n"
USER = f"""#cloud-config
locale: C.UTF-8
users:
  - name: somebody
    shell: /bin/sh
    ssh_authorized_keys:
      - {KEY}
write_files:
  - path: /etc/written
    content: by cloud-init
bootcmd:
  - echo boot >>/var/bootcmd
runcmd:
  - echo run >>/var/runcmd
"""
#: What sees the file systems announced, and when.
PROBE = """start on filesystem
task
exec sh -c 'date +%s.%N >/run/probe.filesystem'
"""
#: New files, and a re-exec, while a stage runs.
UPGRADE = """start on started cloud-init-local or started cloud-init or started cloud-config or started cloud-final
instance $JOB
task
script
    cd /usr/lib/python3/dist-packages
    cp -a upstart upstart.$JOB
    mv upstart /opt/upstart.$JOB
    mv upstart.$JOB upstart
    cksum </proc/1/auxv >/opt/before.$JOB
    telinit u
    while cksum </proc/1/auxv | cmp -s - /opt/before.$JOB; do sleep 0.2; done
    echo $JOB >>/opt/upgraded
end script
"""
STAGES = ("init-local", "init", "modules-config", "modules-final")


def seed(disk: Disk, user: str = USER, number: int = 1) -> None:
    """Has the root bring the data along."""
    disk.write(f"{SEED}/meta-data", META.format(number=number))
    disk.write(f"{SEED}/user-data", user)


def status(vm: Machine) -> dict[str, dict[str, float]]:
    """What cloud-init says of its stages, once it is done."""
    told = vm.command("cloud-init status --wait || :", PATIENCE)
    require("status: done" in told, f"cloud-init says {told!r}")
    stages: dict[str, dict[str, float]] = json.loads(vm.command("cat /run/cloud-init/status.json"))["v1"]
    for name in STAGES:
        require(stages[name]["finished"], f"the stage {name} has no end: {stages}")
        require(not stages[name].get("errors"), f"the stage {name} says {stages[name]}")
    for earlier, later in pairwise(STAGES):
        require(stages[earlier]["finished"] <= stages[later]["start"], f"{later} began before the end of {earlier}")
    return stages


def lines(vm: Machine, path: str) -> int:
    return int(vm.command(f"wc -l <{path}"))


def must_be_configured(vm: Machine, interface: bool = True) -> None:
    """All that the data asks for is there."""
    require(vm.command("hostname").strip() == "cloudy", "the name is another")
    require(KEY in vm.command("cat ~somebody/.ssh/authorized_keys"), "the key is not there")
    require("by cloud-init" in vm.command("cat /etc/written"), "the file was not written")
    require(vm.command("ls /etc/ssh/ssh_host_ed25519_key"), "there are no host keys")
    require("sshd" in vm.command("ps -C sshd -o comm= || :"), "sshd does not run")
    if interface:
        require("10.0.2." in vm.command("ip -4 -o address show"), "the interface has no address")
        require("iface" in vm.command("cat /etc/network/interfaces.d/50-cloud-init"), "no interface is configured")


def twice(lab: Lab) -> None:
    """Two boots from a seed directory: all is done in its order at the first, nothing again at the second."""
    disk = lab.disk()
    seed(disk)
    disk.write("/etc/init/probe.conf", PROBE)
    with lab.machine([disk], network=True) as vm:
        vm.log_in(PATIENCE)
        stages = status(vm)
        lab.note(f"stages: {stages}, uptime and clock: {vm.command('cat /proc/uptime; date +%s.%N')}")
        must_be_configured(vm)
        told = float(vm.command("cat /run/probe.filesystem"))
        require(told >= stages["init"]["finished"], "the file systems were announced before the network stage was over")
        require((lines(vm, "/var/bootcmd"), lines(vm, "/var/runcmd")) == (1, 1), "commands ran more or less than once")
        keys = vm.command("cat /etc/ssh/ssh_host_ed25519_key.pub")
        vm.command("! initctl list | grep '^cloud.*start/'")
        switch_off(vm, [disk])
    with lab.machine([disk], network=True) as vm:
        vm.log_in(PATIENCE)
        stages = status(vm)
        lab.note(f"second boot: {stages}")
        must_be_configured(vm)
        require((lines(vm, "/var/bootcmd"), lines(vm, "/var/runcmd")) == (2, 1), "runcmd was repeated")
        require(keys == vm.command("cat /etc/ssh/ssh_host_ed25519_key.pub"), "the host has other keys")
        switch_off(vm, [disk])


def must_not_have_run(vm: Machine) -> None:
    vm.log_in(PATIENCE)
    vm.command("until [ -e /run/cloud-init/disabled ]; do sleep 1; done", 60)
    require(vm.command("hostname").strip() == "template", "the name was changed")
    vm.command("test ! -e /run/cloud-init/status.json && test ! -e /run/cloud-init/enabled")
    vm.command("! initctl list | grep '^cloud.*start/'")


def disabled(lab: Lab) -> None:
    """`cloud-init=disabled`, with data; and no data: nothing runs, and there is a login."""
    disk = lab.disk()
    seed(disk)
    with lab.machine([disk], "cloud-init=disabled", network=True) as vm:
        must_not_have_run(vm)
    with lab.machine(network=True) as vm:
        must_not_have_run(vm)


def seed_disk(lab: Lab) -> None:
    """Data on a disk of its own that udev brings, with a file system whose module the root has."""
    disk = lab.disk()
    path = lab.directory / "seed.img"
    with path.open("wb") as file:
        file.truncate(4 << 20)
    vm_disk.run("mkfs.vfat", "-n", "CIDATA", str(path))
    for name, text in (("meta-data", META.format(number=7)), ("user-data", USER)):
        source = lab.directory / name
        source.write_text(text)
        vm_disk.run("mcopy", "-i", str(path), str(source), f"::{name}")
    with lab.machine([disk, Disk(path)], network=True) as vm:
        vm.log_in(PATIENCE)
        status(vm)
        must_be_configured(vm)
        switch_off(vm, [disk])


def upgrade(lab: Lab) -> None:
    """New files and a re-exec of init in each of the stages, with a mount that is still waited for."""
    disk = lab.disk()
    seed(disk)
    disk.write("/etc/init/upgrades.conf", UPGRADE)
    disk.write("/etc/fstab", disk.read("/etc/fstab") + "LABEL=missing /mnt ext4 defaults,x-upstart.timeout=100 0 2\n")
    with lab.machine([disk], network=True) as vm:
        vm.log_in(PATIENCE)
        status(vm)
        must_be_configured(vm)
        told = vm.command("cat /opt/upgraded").split()
        require(told == ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"], f"upgraded in {told}")
        require((lines(vm, "/var/bootcmd"), lines(vm, "/var/runcmd")) == (1, 1), "commands ran more or less than once")
        require(vm.command("runlevel").strip() == "N 2", "another runlevel was entered")
        vm.command("! initctl list | grep '^cloud.*start/'")
        switch_off(vm, [disk])


def power_state(lab: Lab) -> None:
    """The data has the machine switched off at the end."""
    disk = lab.disk()
    seed(disk, USER + "power_state:\n  mode: poweroff\n  timeout: 60\n")
    with lab.machine([disk], network=True) as vm:
        vm.wait(2 * PATIENCE)
        require(vm.monitor.ending() == "guest-shutdown", "the machine did not switch itself off")
    require(disk.read("/var/runcmd") == "run\n", "the last stage did not run")


#: Rows in the order in which they are tried.
ROWS: dict[str, Callable[[Lab], None]] = {
    each.__name__.replace("_", "-"): each for each in (twice, disabled, seed_disk, upgrade, power_state)
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Have cloud-init configure virtual machines.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=", ".join(ROWS))
    options = parser.parse_args(argv[1:])
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"unknown rows: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    table = vm_suite.Table(options.release)
    for name in options.rows or ROWS:
        parts = vm_cloud_image.parts("upstart", options.release)
        vm_suite.attempt(ROWS[name], "upstart", options.release, f"cloud-{name}", table, parts)
    return table.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
