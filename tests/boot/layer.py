"""A root that is not booted, to run commands in: below a writable layer in memory, which goes when it is left.

Everything that is mounted is in a mount name space of its own, and everything that is started in a PID name space, so
whichever way this ends, nothing is left. No service is started in it: policy-rc.d forbids that. Names are looked up as
on this machine, also where systemd-resolved is installed, which leads /etc/resolv.conf to what it would have in /run.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

#: Lays out the root, says so, and holds the name spaces until its standard input ends.
ENTER = r"""
set -e
lower=$1 work=$2 size=$3
shift 3
mkdir "$work/layer" "$work/out"
mount -t tmpfs -o "size=$size" layer "$work/layer"
cd "$work/layer"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=upper,workdir=work" root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mkdir root/in root/out
mount --bind "$work/out" root/out
cp -L /etc/resolv.conf root/etc/resolv.conf
mkdir -p root/run/systemd/resolve
for name in resolv.conf stub-resolv.conf; do cp -L /etc/resolv.conf "root/run/systemd/resolve/$name"; done
printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d
chmod +x root/usr/sbin/policy-rc.d
[ $# = 0 ] || cp "$@" root/in
exec chroot root sh -c 'echo ready; exec cat'
"""
ENVIRONMENT = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")


class Layer:
    """A root with a layer. `work` is made if it is missing; `files` are copied to /in, and /out is `work`/out.

    What is written is limited to `size`, as tmpfs(5) takes it. Without `network` there is none but an unused loopback.
    """

    def __init__(self, root: Path, work: Path, files: list[Path], network: bool = True, size: str = "2g") -> None:
        work.mkdir(exist_ok=True)
        self.work = work
        self._enter = ["nsenter", "--mount", "--uts", "--pid"]
        command = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"]
        if not network:
            command.append("--net")
            self._enter.append("--net")
        self._command = [*command, "sh", "-c", ENTER, "enter", str(root), str(work), size, *map(str, files)]
        self._holder: subprocess.Popen[str] | None = None
        #: Process id of the first process inside, as this machine sees it.
        self.pid = 0

    def __enter__(self) -> Layer:
        holder = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._holder = holder
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            self.__exit__()
            raise RuntimeError("the layer could not be laid out")
        pid = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        assert not Path(f"/proc/{pid}/root").samefile("/")  # or this machine would be worked on
        self.pid = pid
        return self

    def run(self, text: str) -> tuple[int, str]:
        """Runs shell text inside, which ends at the first command that fails: its status, and all that it printed."""
        command = [*self._enter, "--target", str(self.pid), "--root", "--wd", "--", "env", "-i", *ENVIRONMENT]
        done = subprocess.run(
            [*command, "sh", "-ec", text],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout

    def path(self, inside: str) -> Path:
        """A path of the root as this machine reaches it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def __exit__(self, *_: object) -> None:
        if self._holder is not None:
            self._holder.communicate()


def run_in_layer(root: Path, work: Path, files: list[Path], text: str, network: bool = True) -> tuple[int, str]:
    """Runs shell text in a layer of its own: its status, and output and errors together.

    What the text leaves in /out is afterwards in the directory `out` of `work`.
    """
    with Layer(root, work, files, network) as layer:
        return layer.run(text)
