"""GRUB's own entries for the recovery mode lead to the menu of upstart-recovery, and to a single user without it.

update-grub of each release writes them, in a root with our packages; there is no disk for it to look at, so what it
asks of that is answered for it. RELEASES, a variable of the environment, names the releases, as `make check-packages`
sets it; without it nothing is run here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import archive
import pytest
import root
import run
from layer import Layer

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
pytestmark = pytest.mark.skipif("RELEASES" not in os.environ, reason="make check-packages runs it")
INSTALL = r"""
apt-get -q update
apt-get -q -y install --no-install-recommends --allow-remove-essential --allow-downgrades \
    grub2-common /in/*.deb systemd-sysv-
mkdir -p /boot/grub /lib/modules/6.1.0-1-amd64
: >/boot/vmlinuz-6.1.0-1-amd64
: >/boot/initrd.img-6.1.0-1-amd64
cat >/usr/sbin/grub-probe <<'PROBE'
#!/bin/sh
case "$*" in
    *fs_uuid*) echo 11111111-2222 ;;
    *fs*) echo ext2 ;;
    *partmap*) echo gpt ;;
    *device*) echo /dev/vda1 ;;
    *) echo hd0 ;;
esac
PROBE
chmod +x /usr/sbin/grub-probe
update-grub
"""


def recovery_lines(layer: Layer) -> list[str]:
    """The kernel's command line in each entry for the recovery mode."""
    text = layer.path("/boot/grub/grub.cfg").read_text()
    entries = re.findall(r"^\s*menuentry '[^']*\(recovery mode\)'.*?^\s*}", text, re.M | re.S)
    return [line for entry in entries for line in re.findall(r"^\s*linux\s+(.*)$", entry, re.M)]


@pytest.mark.parametrize("release", RELEASES)
def test_an_entry_of_the_boot_loader_leads_to_the_menu_as_long_as_there_is_one(release: str, tmp_path: Path) -> None:
    debs = [*run.packages(release), *(root.BUILD / "deb" / release).glob("upstart-recovery_*.deb")]
    with Layer(root.ready(release), tmp_path / "layer", debs) as layer:
        status, said = layer.run(INSTALL)
        assert status == 0, said
        lines = recovery_lines(layer)
        assert lines and all("recovery" in line.split() and "single" not in line.split() for line in lines), lines
        # Whoever removes the package has entries that lead somewhere.
        status, said = layer.run("apt-get -q -y remove upstart-recovery")
        assert status == 0, said
        lines = recovery_lines(layer)
        assert lines and all("single" in line.split() and "recovery" not in line.split() for line in lines), lines
        # And who installs it again has no more to do.
        status, said = layer.run("apt-get -q -y install --allow-downgrades /in/upstart-recovery_*.deb")
        assert status == 0, said
        assert all("recovery" in line.split() for line in recovery_lines(layer))
