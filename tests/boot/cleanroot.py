#!/usr/bin/python3
"""Building and examining the packages where nothing of this machine can help: in a root of their release, offline.

    cleanroot.py build RELEASE          into build/deb/RELEASE
    cleanroot.py lintian RELEASE        what that release's lintian says of the packages in build/deb/RELEASE

The root of a build has what is essential, build-essential, and what debian/control asks for; that of lintian has
lintian. Both are made once and kept; what runs in them writes to memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import root
from layer import run_in_layer

PASSED_ON = ("build", ".git", "__pycache__", ".*_cache", ".hypothesis")
#: The shell text that builds in a copy of the tree.
BUILD = """
mkdir /tmp/tree
tar -C /tmp/tree -xf /in/tree.tar
cd /tmp/tree
{before}
build-aux/build-deb {release}
cp -a build/deb/{release} /out/
"""
#: Run by a user of no rights, as lintian wishes; what it may not override or ignore is shown as well.
LINTIAN = """
cd /in
chmod 644 *
exec setpriv --reuid=nobody --regid=nogroup --clear-groups \
    env HOME=/tmp lintian --fail-on error,warning --display-info --pedantic --tag-display-limit 0 *.changes
"""


class CleanRootError(Exception):
    """A build or an examination failed; the text is what it said."""


def build_dependencies() -> list[str]:
    """Names of the packages that debian/control wants for a build, beside those that every build may expect."""
    control = (root.TREE / "debian/control").read_text()
    (field,) = re.findall(r"^Build-Depends:((?:.*\n)(?:[ \t].*\n)*)", control, re.MULTILINE)
    return ["build-essential", *(part.split()[0] for part in field.split(","))]


def pack_tree(target: Path) -> None:
    """The tree as build-deb copies it, as one archive."""
    command = ["tar", *(f"--exclude=./{name}" if name == "build" else f"--exclude={name}" for name in PASSED_ON)]
    subprocess.run([*command, "-C", str(root.TREE), "-cf", str(target), "."], check=True)


def build(release: str, work: Path, tree: Path, before: str = "") -> Path:
    """Builds a packed `tree` for `release` in a root of it, after the shell text `before`.

    Gives the directory of what came out, below `work`, which must exist. CleanRootError if the build fails.
    """
    base = root.build("build-root", release, build_dependencies(), "\n")
    text = BUILD.format(before=before, release=release)
    status, output = run_in_layer(base, work / "layer", [tree], text, network=False)
    if status:
        raise CleanRootError(f"the build for {release} failed:\n{output}")
    return work / "layer/out" / release


def build_in_place(release: str) -> None:
    """Builds for `release` and puts the result where the packages of that release are looked for."""
    place = root.BUILD / "deb" / release
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{release}.", dir=place.parent) as work:
        started = time.time()
        tree = Path(work) / "tree.tar"
        pack_tree(tree)
        built = {path.name: path for path in build(release, Path(work), tree).iterdir()}
        os.utime(built["done"], (started, started))  # what changes during the build calls for another one
        for path in place.iterdir():
            if path.name not in built:
                path.unlink(missing_ok=True)
        # One by one and "done" last, so that whoever looks for a package finds the old one or the new one.
        for name in sorted(built, key=lambda name: (name == "done", name)):
            built[name].rename(place / name)
    for path in sorted(place.glob("*.deb")):
        print(path)


def lintian(release: str) -> str:
    """What lintian of `release` says of the packages built for it; CleanRootError on errors and warnings."""
    base = root.build("lintian-root", release, ["lintian"], "\n")
    files = [path for path in (root.BUILD / "deb" / release).iterdir() if path.name != "done"]
    with tempfile.TemporaryDirectory(prefix="upstart-lintian-") as work:
        status, output = run_in_layer(base, Path(work), files, LINTIAN, network=False)
    if status:
        raise CleanRootError(f"lintian of {release}:\n{output}")
    return output


def main(argv: list[str]) -> int:
    if len(argv) != 3 or argv[1] not in ("build", "lintian"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if argv[1] == "build":
            build_in_place(argv[2])
        else:
            print(lintian(argv[2]), end="")
    except (CleanRootError, RuntimeError) as error:
        print(f"cleanroot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
