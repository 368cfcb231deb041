"""Where the machines of `make vm-all` are put together: one release, one init, and disks of their own to write to.

A `Lab` is a context manager; its disks are gone afterwards. What a machine said is in a file of its own, so that
nobody has to read it unless something went wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import machine
import root
import vm_disk
import vm_image
from machine import Machine, MachineError

#: Seconds for a boot, and for an end, on a machine that emulates and has other things to do.
PATIENCE = 300
DATA = "LABEL=data /srv ext4 defaults,nofail 0 2\n"
SWAP = "LABEL=swap none swap sw 0 0\n"


class Lab:
    """The parts of a machine, and copies of its disk."""

    def __init__(self, init: str, release: str, log: Path, parts: vm_image.Parts | None = None) -> None:
        self.init, self.release = init, release
        self.parts = parts or vm_image.parts(init, release)
        self.directory = Path(tempfile.mkdtemp(prefix="vm-", dir=root.BUILD))
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log.open("wb", buffering=0)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def note(self, text: str) -> None:
        """A line in the log between what machines say."""
        self._log.write(f"\n---- {text}\n".encode())

    def disk(self) -> vm_disk.Disk:
        """A disk with the system, to be written to."""
        return vm_disk.Disk(vm_disk.copy(self.parts.disk, self.directory / "root.img"))

    def data_disk(self, disk: vm_disk.Disk, line: str = DATA) -> vm_disk.Disk:
        """A second one, which `disk` has in its fstab, as `line`."""
        disk.write("/etc/fstab", disk.read("/etc/fstab") + line)
        return vm_disk.Disk(vm_disk.make(self.directory / "data.img", "data"))

    def swap_disk(self, disk: vm_disk.Disk) -> vm_disk.Disk:
        """One of swap space, which `disk` has in its fstab."""
        disk.write("/etc/fstab", disk.read("/etc/fstab") + SWAP)
        return vm_disk.Disk(vm_disk.make_swap(self.directory / "swap.img", "swap"))

    def machine(
        self,
        disks: Sequence[vm_disk.Disk] = (),
        append: str = "",
        *,
        initrd: bool = False,
        root_mode: str = "ro",
        resumed: Path | None = None,
        network: bool = False,
        nic: Sequence[str] = (),
    ) -> Machine:
        """A machine that starts with `disks` and keeps what is written to them; without, with a disk that keeps
        nothing. `resumed`, `network` and `nic` are as in Machine; a server has a network by itself, and its interfaces
        the kernel's names."""
        paths = [disk.path for disk in disks] or [self.parts.disk]
        where = f"UUID={vm_disk.Disk(paths[0]).uuid()}" if initrd else "/dev/nvme0n1"
        self.note(f"a machine: {'initrd ' if initrd else ''}{root_mode} {append}")
        return Machine(
            self.parts.kernel,
            paths[0],
            self._log.write,
            append,
            initrd=self.parts.initrd if initrd else None,
            more_disks=paths[1:],
            keep=bool(disks),
            command_line=f"console=ttyS0 root={where} {root_mode} panic=-1{' net.ifnames=0' * self.parts.server}",
            resumed=resumed,
            network=network or self.parts.server,
            nic=nic,
        )


def require(condition: object, text: str) -> None:
    """MachineError with `text` unless `condition` holds."""
    if not condition:
        raise MachineError(text)


def maintenance_shell(vm: Machine, seconds: float = PATIENCE) -> None:
    """Gives sulogin(8) root's password on the console, again if it threw away what came before it listened."""
    vm.expect(rb"(?i)(give root password for|enter root password for system) maintenance[^:]*: ", seconds)
    for _ in range(3):
        vm.type(machine.PASSWORD)
        try:
            vm.take_shell(40)
            return
        except MachineError:
            continue
    raise MachineError(f"no root shell for the password:\n{vm.said[-1000:].decode(errors='replace')}")


def switch_off(vm: Machine, disks: Sequence[vm_disk.Disk] = ()) -> None:
    """Ends the machine by poweroff; its disks must be clean then."""
    vm.type("poweroff")
    vm.wait(PATIENCE)
    require(vm.monitor.ending() == "guest-shutdown", "poweroff did not switch the machine off")
    for disk in disks:
        must_be_clean(disk)


def must_be_clean(disk: vm_disk.Disk) -> None:
    """MachineError if a file system was not properly unmounted."""
    state, recovery = disk.state()
    require(state == "clean" and not recovery, f"{os.path.basename(disk.path)} is {state}, {recovery=}")
    disk.check()
