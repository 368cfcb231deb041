"""A command in a root without booting it: in a writable layer in memory, which goes when the command ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: Everything it mounts is in a mount name space of its own, and everything it starts in a PID name space.
ENTER = r"""
set -e
lower=$1 work=$2 text=$3
shift 3
mkdir "$work/layer" "$work/out"
mount -t tmpfs layer "$work/layer"
cd "$work/layer"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mkdir root/in root/out
mount --bind "$work/out" root/out
cp -L /etc/resolv.conf root/etc/resolv.conf
printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d
chmod +x root/usr/sbin/policy-rc.d
[ $# = 0 ] || cp "$@" root/in
exec chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive sh -ec "$text"
"""


def run_in_layer(root: Path, work: Path, files: list[Path], text: str, network: bool = True) -> tuple[int, str]:
    """Runs shell text in `root`, with `files` in its /in; its status, and output and errors together.

    No service is started there. What the text leaves in /out is afterwards in the directory `out` of `work`, which is
    made if it is missing.
    """
    work.mkdir(exist_ok=True)
    command = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"]
    if not network:
        command.append("--net")
    command += ["sh", "-c", ENTER, "enter", str(root), str(work), text, *map(str, files)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout
