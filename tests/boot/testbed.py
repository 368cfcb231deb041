"""The machine that autopkgtest boots: a minimal Debian whose init is systemd, with a boot loader on its disk.

It is what a distribution's own test machines are: autopkgtest's set-up script has been run in it, its kernel has an
initrd, and its command line comes from GRUB, which a test may change. Nothing of ours is in it. An image is built
without loop devices or mounts, kept under build/ by a hash of what it was made from, and never written to afterwards.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import root

SETUP = Path("/usr/share/autopkgtest/setup-commands/setup-testbed")
#: What such a machine has: an init and a login session, a kernel, a boot loader, a network, and what autopkgtest and
#: its set-up script would install one by one.
PACKAGES = (
    "systemd-sysv init udev dbus libpam-systemd dbus-user-session linux-image-amd64 initramfs-tools grub2-common"
    " grub-pc-bin ifupdown iproute2 e2fsprogs procps kmod login cron python3 apt-utils dpkg-dev eatmydata rng-tools5"
)
#: Each release's own client of DHCP for ifupdown.
DHCP = {"bookworm": "isc-dhcp-client", "trixie": "dhcpcd-base"}
#: In MiB. Only what is used takes place on the disk of the builder.
SIZE = 6000
PARTITION = 2048  # first sector of the only partition; the loader's core lies before it

#: Root without a password, as in the images of autopkgtest-build-qemu; a small initrd, as emulation unpacks it slowly.
#: The menu is only for the first boot: in the machine update-grub writes a complete one.
CONFIGURE = root.named("testbed") + r"""
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >etc/fstab
chroot . passwd --delete root
chroot . useradd --create-home --shell /bin/bash user
sed -i 's/127\.0\.0\.1\|localhost/10.0.2.2/' etc/apt/apt.conf.d/99mmdebstrap
ln -s /dev/null etc/udev/rules.d/80-net-setup-link.rules
printf 'MODULES=list\n' >etc/initramfs-tools/conf.d/testbed
printf '%s\n' virtio_pci virtio_blk virtio_console ext4 >>etc/initramfs-tools/modules
mkdir -p etc/default/grub.d
echo GRUB_TIMEOUT=0 >etc/default/grub.d/10-testbed.cfg
AUTOPKGTEST_KEEP_APT_SOURCES=1 AUTOPKGTEST_SETUP_VM_UPGRADE=false @SETUP@ "$PWD"
chroot . update-initramfs -u
mkdir -p boot/grub
rm -f boot/grub/grub.cfg*
cp -r usr/lib/grub/i386-pc boot/grub/
cat >boot/grub/grub.cfg <<'MENU'
linux /vmlinuz root=LABEL=root ro console=tty0 console=hvc0 console=ttyS0
initrd /initrd.img
boot
MENU
chroot . grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img biosdisk part_msdos ext2 normal
rm -f etc/resolv.conf etc/machine-id
: >etc/machine-id
"""


def ready(release: str) -> Path:
    """The image (qcow2) of `release`; built where it is missing, which takes some minutes."""
    names = [*PACKAGES.split(), DHCP.get(release, "isc-dhcp-client")]
    configure = CONFIGURE.replace("@SETUP@", str(SETUP))
    made_of = "\n".join([release, configure, str(SIZE), SETUP.read_text(), *names])
    path = root.BUILD / f"testbed-{release}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.qcow2"
    if path.exists():
        return path
    for old in root.BUILD.glob(f"testbed-{release}-*.qcow2"):
        old.unlink()
    base = root.build("testbed-root", release, names, configure, ["--skip=cleanup/apt/lists"])
    try:
        assemble(base, path)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return path


def assemble(base: Path, path: Path) -> None:
    """A bootable disk of the root `base`: its file system in one partition, and GRUB before it."""
    disk, partial = path.with_suffix(".raw"), path.with_suffix(".part")
    try:
        with disk.open("wb") as image:
            image.truncate(SIZE << 20)
        # GRUB of an older release than the builder's reads none of the newer features.
        features = ["-O", "^metadata_csum_seed,^orphan_file", "-L", "root", "-d", str(base)]
        place = ["-E", f"offset={PARTITION * 512},lazy_itable_init=1,lazy_journal_init=1", str(disk), f"{SIZE - 1}M"]
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *features, *place], check=True)
        grub = base / "boot/grub"
        loader = (grub / "i386-pc/boot.img").read_bytes()[:440]
        core = (grub / "core.img").read_bytes()
        if len(core) > (PARTITION - 1) * 512:
            raise RuntimeError(f"the core of GRUB ({len(core)} bytes) does not fit before the first partition")
        # Active, of type Linux, addressed by sector alone (the six bytes of cylinders, heads and sectors are not used).
        table = struct.pack("<B3sB3sII", 0x80, b"\0\0\0", 0x83, b"\0\0\0", PARTITION, (SIZE << 11) - PARTITION)
        with disk.open("r+b") as image:
            image.write(loader.ljust(446, b"\0") + table + bytes(48) + b"\x55\xaa" + core)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk), str(partial)], check=True)
        partial.rename(path)
    finally:
        for left in (disk, partial):
            left.unlink(missing_ok=True)
