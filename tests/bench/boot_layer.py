"""Makes the disk image of one system: `boot_layer.py PLAN`, started in mount and PID namespaces of its own.

The plan is a JSON object: `root`, `work` (an empty directory), `debs` (a directory of the root, or ""), `ours` (further
.deb files), `files` (source to path below the root), `commands` (shell text for the root), `image` and `size` in MiB;
it may have `words`, further ones for `apt-get install`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "boot"))

import image
import inside

#: No service starts while packages are installed. What apt would have to remove is a stand-in of the base.
INSTALL = """
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends install {debs} {words}
rm /usr/sbin/policy-rc.d
"""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def main(argv: list[str]) -> int:
    plan = json.loads(argv[1])
    root = inside.overlay(plan["root"], Path(plan["work"]))
    inside.mount("-t", "proc", "proc", str(root / "proc"))
    inside.mount("--rbind", "/dev", str(root / "dev"))
    debs = f"{plan['debs']}/*.deb" if plan["debs"] else ""
    for path in map(Path, plan["ours"]):
        shutil.copy(path, root / "opt")
        debs += f" /opt/{path.name}"

    def chroot(text: str) -> None:
        subprocess.run(["chroot", str(root), "/bin/sh", "-ec", text], env=ENVIRONMENT, check=True)

    chroot(INSTALL.format(debs=debs, words=plan.get("words", "")))
    inside.install(root, [], plan["files"])
    chroot(plan["commands"])
    for name in ("proc", "dev"):
        subprocess.run(["umount", "--recursive", "--lazy", str(root / name)], check=True)
    for name in image.UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    image.write_disk(root, Path(plan["image"]), plan["size"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
