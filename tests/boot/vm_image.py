"""What the machines of `make vm` are made of: a root with a kernel, its modules, an initrd and few daemons to wait for.

The initrd is what initramfs-tools makes by default; the root is found by its label or UUID, as on an installed
system. Root and disk are kept below build/, and made anew when what they were made from changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import machine
import root
import run

#: Beside the system itself: two services with init.d scripts, the power button, a kernel, and on trixie what last(1)
#: reads.
ADDED = "cron rsyslog acpid acpi-support-base initramfs-tools linux-image-cloud-amd64"
OF_RELEASE = {"bookworm": "", "trixie": "wtmpdb libpam-wtmpdb"}
UNUSED = ("ssl-cert",)
#: What a server has: disks on disks, file systems of others, and a way in over the network.
SERVER = "lvm2 cryptsetup mdadm btrfs-progs openssh-server nfs-common nfs-kernel-server rpcbind"
OF_SERVERS = {"bookworm": "isc-dhcp-client", "trixie": "dhcpcd-base"}

CONFIGURE = root.named("upstart-test") + r"""
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >etc/fstab
echo FSTYPE=ext4 >etc/initramfs-tools/conf.d/fstype  # it cannot look at a disk that is not there yet
chroot . sh -c 'cd /opt && apt-get -q download sysvinit-core && insserv && update-initramfs -u'
"""

#: A password to log in with, a login on the serial line for sysvinit too, and the script that leaves marks.
COMMANDS = f"""
echo root:{machine.PASSWORD} | chpasswd
if [ -e /etc/inittab ]; then echo 'S0:2345:respawn:/sbin/getty -L 115200 ttyS0 vt100' >>/etc/inittab; fi
update-rc.d marked-script defaults
"""
#: A network of QEMU's, by a fixed address, and keys for ssh.
NETWORK = r"""
printf 'auto eth0\niface eth0 inet static\naddress 10.0.2.15/24\n' >>etc/network/interfaces
rm -f etc/ssh/ssh_host_*
chroot . ssh-keygen -q -A
"""


@dataclass(frozen=True)
class Parts:
    """What a machine boots: kernel, initrd and disk image; a `server` has what servers have beside the system."""

    kernel: Path
    initrd: Path
    disk: Path
    server: bool = False


def packages(release: str, server: bool = False) -> list[str]:
    """Names of the packages of the root, as `release` calls them."""
    words = [name for name in root.SYSTEM.split() if name not in UNUSED] + ADDED.split()
    if server:
        words += SERVER.split() + OF_SERVERS.get(release, "").split()
    return root.called(release, words) + OF_RELEASE.get(release, "").split()


def parts(init: str, release: str, server: bool = False) -> Parts:
    """Kernel, initrd and disk with `init` ("upstart" or "sysvinit"), built where they are missing."""
    kind = "server" if server else "vm"
    base = root.build(f"{kind}-root", release, packages(release, server), CONFIGURE + NETWORK * server)
    jobs = run.HERE / "jobs"
    files = {str(jobs / "marked-script"): "/etc/init.d/marked-script"}
    if init == "upstart":
        files.update({str(jobs / f"{name}.conf"): f"/etc/init/{name}.conf" for name in ("ttyS0", "marked")})
        debs = run.packages(release)
    else:
        debs = sorted((base / "opt").glob("sysvinit-core_*.deb"))
    image = machine.disk(base, debs, files, f"{kind}-{init}-{release}", COMMANDS)
    (kernel,) = (base / "boot").glob("vmlinuz-*")
    (initrd,) = (base / "boot").glob("initrd.img-*")
    return Parts(kernel, initrd, image, server)
