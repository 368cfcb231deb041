"""What the machines of `make vm-cloud` are made of: the root of vm_image with cloud-init and ssh; and the same with
systemd, to compare with.

It is an image as a cloud has them: no keys of its own, and interfaces(5) has what cloud-init will write.
"""

from __future__ import annotations

from pathlib import Path

import machine
import root
import run
import vm_image

ADDED = "cloud-init openssh-server sudo dosfstools"

CONFIGURE = root.named("template") + r"""
printf 'source /etc/network/interfaces.d/*\n' >>etc/network/interfaces
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >etc/fstab
echo FSTYPE=ext4 >etc/initramfs-tools/conf.d/fstype  # it cannot look at a disk that is not there yet
chroot . sh -c 'insserv && update-initramfs -u'
rm -f etc/ssh/ssh_host_*
"""

#: A password to log in with on the serial line, and a place for the data of cloud-init.
COMMANDS = f"""
echo root:{machine.PASSWORD} | chpasswd
mkdir -p /var/lib/cloud/seed/nocloud /opt
"""


#: What systemd has in the place of the programs around scripts.
SCRIPTS = ("initscripts", "sysv-rc", "insserv", "startpar", "orphan-sysvinit-scripts")
SYSTEMD = "systemd-sysv libpam-systemd"


def packages(init: str, release: str) -> list[str]:
    """Names of the packages of the root, as `release` calls them."""
    words = vm_image.packages(release) + ADDED.split()
    if init == "systemd":
        words = [name for name in words if name not in (*SCRIPTS, "systemd-standalone-sysusers")] + SYSTEMD.split()
    return words


def parts(init: str, release: str) -> vm_image.Parts:
    """Kernel, initrd and disk with "upstart" or "systemd", built where they are missing."""
    if init == "systemd":
        base = root.build("vm-cloud-systemd", release, packages(init, release), CONFIGURE.replace("insserv && ", ""))
        image = machine.disk(base, [], {}, f"vm-cloud-systemd-{release}", COMMANDS)
    else:
        # On trixie scripts of cloud-init need one that there is no more, of which insserv complains.
        configure = CONFIGURE if release == "bookworm" else CONFIGURE.replace("insserv &&", "insserv;")
        base = root.build("vm-cloud-root", release, packages(init, release), configure)
        files = {str(run.HERE / "jobs" / "ttyS0.conf"): "/etc/init/ttyS0.conf"}
        image = machine.disk(base, run.packages(release), files, f"vm-cloud-{release}", COMMANDS)
    (kernel,) = Path(base / "boot").glob("vmlinuz-*")
    (initrd,) = Path(base / "boot").glob("initrd.img-*")
    return vm_image.Parts(kernel, initrd, image)
