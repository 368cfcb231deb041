"""Our packages installed, installed again, removed and purged in a Debian root: what they leave is what they found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import archive
import run

#: Lays a writable layer in memory over the root, and runs the rest in it; all of it is gone with the name space.
ENTER = r"""
set -e
lower=$1 work=$2 packages=$3
mount -t tmpfs layer "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount -t proc proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
mkdir "$work/root/packages"
cp $packages "$work/root/packages"
exec chroot "$work/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive sh -c "$4"
"""
#: Prints every path with its kind, mode and link, after each step; what dpkg itself keeps is left out.
LIFE = r"""
set -e
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
state() {
    echo "== $1"
    find / -xdev \( -path /packages -o -path /run -o -path /tmp -o -path /var/cache -o -path /var/lib/dpkg \
        -o -path /var/log/dpkg.log \) -prune -o -printf '%p %y %m %l\n'
}
state before
for package in $ORDER; do
    dpkg --install /packages/${package}_*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
done
state installed
for package in $ORDER; do dpkg --install /packages/${package}_*.deb >/dev/null 2>&1; done
state again
echo kept >/var/log/upstart/rc.log
dpkg --force-remove-protected --remove upstart-sysv upstart >/dev/null 2>&1
state removed
dpkg --force-remove-protected --purge upstart-sysv upstart >/dev/null 2>&1
state purged
"""


def test_a_purge_leaves_no_trace(tmp_path: Path) -> None:
    lower, packages, _ = run.prepare("upstart", archive.host_release())
    work = tmp_path / "work"
    work.mkdir()
    order = " ".join(path.name.partition("_")[0] for path in packages)
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation=private", "sh", "-c", ENTER,
         "enter", str(lower), str(work), " ".join(map(str, packages)), f"ORDER='{order}'\n{LIFE}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    states: dict[str, set[str]] = {}
    for part in done.stdout.split("== ")[1:]:
        name, _, text = part.partition("\n")
        states[name] = set(text.splitlines())
    assert states["installed"] == states["again"]
    # What is left by a removal is configuration and logs, nothing that would run.
    left = states["removed"] - states["before"]
    assert left and all(line.startswith(("/etc/", "/var/log/upstart")) for line in left)
    assert states["purged"] == states["before"]
