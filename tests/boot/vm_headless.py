"""A machine whose console nobody reads: whatever is wrong with fstab or the network, as long as the root is whole, ssh
answers within two minutes of power-on, but for the time in which a busy host does not run it.

Each fault is a boot of its own, of a server with an interface of a fixed address; nobody types anything. Where the
fault leaves no network at all, ssh is asked from inside.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import vm_disk
from machine import Machine, MachineError
from vm_disk import Disk
from vm_lab import PATIENCE, Lab, require
from vm_storage import BY_ID, add_lines, make_directories

#: Seconds from power-on to the answer.
LIMIT = 120
ROOT = "LABEL=root / ext4 errors=remount-ro 0 1\n"
INTERFACES = "/etc/network/interfaces"


def free_port() -> int:
    """A TCP port of the loopback's that nobody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def answers(port: int) -> bool:
    """Whether ssh says what it is; QEMU accepts a connection before there is anybody to serve it."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as made:
            return made.recv(16).startswith(b"SSH-2.0-")
    except OSError:
        return False


def must_answer(vm: Machine, port: int) -> None:
    """MachineError unless ssh answers from outside in time."""
    while not answers(port):
        vm.stay(1)
        if vm.age() > LIMIT:
            raise MachineError(f"ssh does not answer within {LIMIT} s:\n{vm.said[-2500:].decode(errors='replace')}")


def must_answer_inside(vm: Machine) -> None:
    """The same where there is no network but the loopback."""
    vm.log_in(PATIENCE)
    vm.command("until ssh-keyscan 127.0.0.1 2>/dev/null | grep -q ssh-; do sleep 0.5; done", PATIENCE)
    if vm.age() > LIMIT + 10:
        raise MachineError(f"ssh does not answer within {LIMIT} s")


#: What is put into fstab after the line of the root.
LINES: dict[str, tuple[str, ...]] = {
    "missing-disk": ("LABEL=gone /mnt ext4 defaults 0 2",),
    "missing-and-below": (
        "/dev/sdx1 /srv ext4 defaults 0 2", "/dev/sdx2 /srv/below ext4 defaults 0 2", "/srv/below /opt none bind 0 0",
        "/srv/image /media ext4 loop 0 0",
    ),
    "missing-var": ("PARTUUID=00000000-01 /var ext4 defaults 0 2",),
    "missing-swap": ("UUID=12345678-1234-1234-1234-123456789abc none swap sw 0 0", "/nofile none swap sw 0 0"),
    "unknown-type": ("none /mnt nosuchfs defaults 0 0", "/dev/vda /srv reiser9 defaults 0 2"),
    "bad-options": ("tmpfs /mnt tmpfs nosuchoption 0 0", "tmpfs /srv tmpfs size=lots 0 0"),
    "bad-mount-points": (
        "tmpfs /etc/passwd tmpfs defaults 0 0", "tmpfs /etc/passwd/below tmpfs defaults 0 0",
        "tmpfs relative tmpfs defaults 0 0", "tmpfs /proc/no/such tmpfs defaults 0 0",
    ),
    "circle": ("/mnt/a /mnt/b none bind 0 0", "/mnt/b /mnt/a none bind 0 0", "/mnt/a/x /mnt/a none bind 0 0"),
    "thrice": ("tmpfs /mnt tmpfs size=1m 0 0",) * 3,
    "garbage": (
        "tmpfs", "\u2603 \x01\x02 \x7f", "LABEL=\"no end /mnt ext4", "a b c d e f g h", "\\012 \\777 ext4 x", "# fine",
        "LABEL=gone\t/mnt",
    ),
    "nfs-nobody": ("10.0.2.99:/export /home nfs4 bootwait 0 0", "192.0.2.1:/export /srv nfs bootwait 0 0"),
    "crypt-missing": ("/dev/mapper/vault /mnt ext4 defaults 0 2", "/dev/mapper/other /srv ext4 defaults 0 2"),
    "efi-missing": ("UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1",),
}  # fmt: skip


def with_lines(name: str) -> Callable[[Lab, Disk], list[Disk]]:
    """The fault of that name in fstab."""

    def spoil(lab: Lab, disk: Disk) -> list[Disk]:
        add_lines(disk, *LINES[name])
        if name == "crypt-missing":
            add_lines(disk, f"vault {BY_ID}gone none luks", "other /dev/sdx /no/key luks", "half", path="/etc/crypttab")
        return []

    return spoil


def with_fstab(text: str) -> Callable[[Lab, Disk], list[Disk]]:
    """That text as the whole of fstab."""

    def spoil(lab: Lab, disk: Disk) -> list[Disk]:
        disk.write("/etc/fstab", text)
        return []

    return spoil


def no_fstab(lab: Lab, disk: Disk) -> list[Disk]:
    disk.remove("/etc/fstab")
    return []


def directory(lab: Lab, disk: Disk) -> list[Disk]:
    disk.remove("/etc/fstab")
    make_directories(disk, "/etc/fstab")
    return []


def damaged(lab: Lab, disk: Disk) -> list[Disk]:
    """A disk with errors that need a decision, and one with no file system."""
    data = lab.data_disk(disk, "LABEL=data /srv ext4 defaults 0 2\n")
    data.damage()
    empty = lab.directory / "empty.img"
    with empty.open("wb") as file:
        file.truncate(16 << 20)
    add_lines(disk, f"{BY_ID}empty /mnt ext4 defaults 0 2")
    return [data, Disk(empty)]


def passphrase(lab: Lab, disk: Disk) -> list[Disk]:
    """A disk whose passphrase nobody types."""
    path = lab.directory / "secret.img"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    key = lab.directory / "key"
    key.write_text("secret")
    vm_disk.run("cryptsetup", "-q", "luksFormat", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", str(path),
                str(key))
    add_lines(disk, f"secret {BY_ID}secret none luks", path="/etc/crypttab")
    add_lines(disk, "/dev/mapper/secret /srv ext4 defaults 0 2")
    return [Disk(path)]


def with_interfaces(*lines: str) -> Callable[[Lab, Disk], list[Disk]]:
    """These lines after those of the interface that works."""

    def spoil(lab: Lab, disk: Disk) -> list[Disk]:
        add_lines(disk, *lines, path=INTERFACES)
        return []

    return spoil


def with_hook(text: str) -> Callable[[Lab, Disk], list[Disk]]:
    """A hook of ifup(8)."""

    def spoil(lab: Lab, disk: Disk) -> list[Disk]:
        disk.write("/etc/network/if-up.d/mine", f"#!/bin/sh\n{text}\n", 0o755)
        return []

    return spoil


def plugged(lab: Lab, disk: Disk) -> list[Disk]:
    """No fault, but what Debian's installer writes: an interface that comes up when it is plugged in, by DHCP."""
    disk.write(INTERFACES, "auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n")
    return []


FAULTS: dict[str, Callable[[Lab, Disk], list[Disk]]] = {
    **{name: with_lines(name) for name in LINES},
    "no-fstab": no_fstab,
    "empty-fstab": with_fstab(""),
    "fstab-directory": directory,
    "other-root": with_fstab("LABEL=other / ext4 errors=remount-ro 0 1\n"),
    "root-of-another-type": with_fstab("LABEL=root / xfs defaults 0 1\n"),
    "root-with-bad-option": with_fstab("LABEL=root / ext4 errors=remount-ro,nosuchoption 0 1\n"),
    "damaged-disks": damaged,
    "passphrase": passphrase,
    "hotplug": plugged,
    "no-such-interface": with_interfaces("auto eth7", "iface eth7 inet static", "address 192.0.2.7/24"),
    "no-dhcp": with_interfaces("auto eth1", "iface eth1 inet dhcp"),
    "no-bridge-ports": with_interfaces("auto br0", "iface br0 inet static", "address 192.0.2.8/24",
                                       "bridge_ports eth8 eth9"),
    "failing-hook": with_hook('[ "$IFACE" = lo ] || exit 1'),
    "hanging-hook": with_hook('[ "$IFACE" = lo ] || exec sleep 1000'),
    "interfaces-garbage": with_interfaces("iface eth0 inet static", "\x01 nonsense {", "auto"),
}  # fmt: skip
#: There is no network but the loopback.
INSIDE = ("interfaces-garbage",)


def stopped_console(lab: Lab) -> None:
    """Somebody stops the console (Control-S) while mountall asks there about two disks, and goes away: ssh answers all
    the same, the machine comes to its runlevel, and there is a login, which has the console go on."""
    disk = lab.disk()
    add_lines(disk, "LABEL=gone /mnt ext4 defaults 0 2", "LABEL=lost /srv ext4 defaults,x-upstart.timeout=50 0 2")
    port = free_port()
    with lab.machine([disk], nic=[nic_to(port)]) as vm:
        vm.expect(rb"Press S to skip", PATIENCE)
        vm.press("\x13")
        vm.stay(2)
        said = len(vm.said)
        must_answer(vm, port)
        require(b"Skipping" not in vm.said[said:], "the console was not stopped")
        vm.log_in(PATIENCE)
        vm.command("until runlevel | grep -q ' 2$' && status rc | grep -q stop/; do sleep 0.3; done", 60)
        left = vm.command("initctl list | grep -v 'start/running\\|stop/waiting' || :")
        require(not left.strip(), f"these are on their way: {left}")


def nothing_goes_first(vm: Machine) -> None:
    """What the boot has hurried, udev and an interface with its client of DHCP, is as all else in the end."""
    vm.log_in(PATIENCE)
    for job, state in (("network-interface INTERFACE=eth0", "start/running"), ("udevtrigger", "stop/waiting")):
        vm.command(f"until status {job} | grep -q {state}; do sleep 0.3; done", 120)
    # But for threads of the kernel's, and the job of the bridges, which says so.
    usual = '$1 == 0 || $1 == "NI" || $1 == "-" || $2 == 2 || $2 == 0 || $3 == "upstart-bridges"'
    left = vm.command(f"ps -eLo ni,ppid,comm | awk '!({usual})'")
    require(not left.strip(), f"these have a priority of their own: {left}")


def nic_to(port: int) -> str:
    """An interface behind which ssh is reached by that port of the loopback's."""
    return f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22"


def row(name: str) -> Callable[[Lab], None]:
    """The boot with a fault."""

    def boot(lab: Lab) -> None:
        disk = lab.disk()
        more = FAULTS[name](lab, disk)
        port = free_port()
        nic = [nic_to(port)]
        if name == "no-dhcp":
            nic.append("hubport,hubid=7,model=virtio-net-pci")
        with lab.machine([disk, *more], nic=nic) as vm:
            if name in INSIDE:
                must_answer_inside(vm)
            else:
                must_answer(vm, port)
            lab.note(f"ssh answers {vm.age():.0f} s after power-on, {time.monotonic() - vm.started:.0f} s by the clock")
            if name == "hotplug":
                nothing_goes_first(vm)

    boot.__doc__ = FAULTS[name].__doc__
    return boot


#: Rows in the order in which they are tried.
ROWS: dict[str, Callable[[Lab], None]] = {
    **{f"headless-{name}": row(name) for name in FAULTS},
    "headless-stopped-console": stopped_console,
}
