"""Makes a disk image of the root with an init installed: `image.py PLAN`, started in a mount namespace of its own.

The plan is a JSON object: `root`, `work` (an empty directory), `packages`, `files` (see inside.py), `commands` (shell
text run in the root), `image` (the file to write) and `size` in MiB.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import inside

#: What nobody looks at in a machine that lives for a minute, and that would cost time to copy.
UNUSED = ("opt", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/postgresql/15/man", "var/cache/apt")


def write_disk(root: Path, image: Path, megabytes: int) -> None:
    """An ext4 file system with what is in `root`, as the file `image`, which is there only when it is complete."""
    partial = image.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with partial.open("wb") as disk:
        disk.truncate(megabytes << 20)
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
    subprocess.run([*command, "-d", str(root), str(partial)], check=True)
    partial.rename(image)


def main(argv: list[str]) -> int:
    plan = json.loads(argv[1])
    root = inside.overlay(plan["root"], Path(plan["work"]))
    inside.install(root, plan["packages"], plan["files"])
    for name in UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
    subprocess.run(["chroot", str(root), "/bin/sh", "-ec", plan["commands"]], check=True)
    write_disk(root, Path(plan["image"]), plan["size"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
