"""The packages come out of a clean root of their release, byte by byte the same whoever builds them.

What they are built from is this tree; RELEASES, a variable of the environment, names the releases; by
default it is this machine's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import archive
import cleanroot
import pytest
import root

RELEASES = os.environ.get("RELEASES", archive.host_release()).split()
#: Another place on the earth, language, umask, host, directory and number of processors, and files of other dates.
ELSEWHERE = """
find . -exec touch -h -d '2001-02-03 04:05:06' {} +
chmod -R g+w .
umask 077
hostname elsewhere
export TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 HOME=/nowhere DEB_BUILD_OPTIONS=parallel=1 PYTHONHASHSEED=7
mv /tmp/tree /tmp/another-tree
cd /tmp/another-tree
"""
#: Two builds of the release at the same time, neither of which disturbs the other.
SIDE_BY_SIDE = """
build-aux/build-deb {0} >/dev/null &
build-aux/build-deb {0} >/dev/null
wait $!
"""


def contents(directory: Path) -> dict[str, bytes]:
    """The packages and the source; what records the building itself (.buildinfo, .changes) may differ."""
    kinds = (".deb", ".dsc", ".tar.xz")
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name.endswith(kinds)}


@pytest.mark.parametrize("release", RELEASES)
def test_two_builders_get_the_same_bytes(tmp_path: Path, release: str) -> None:
    tree = tmp_path / "tree.tar"
    cleanroot.pack_tree(tree)
    built = []
    for name, before in (("here", ""), ("elsewhere", ELSEWHERE + SIDE_BY_SIDE.format(release))):
        (tmp_path / name).mkdir()
        built.append(contents(cleanroot.build(release, tmp_path / name, tree, before)))
    here, elsewhere = built
    assert sorted(here) == sorted(elsewhere) and len(here) >= 5
    assert [name for name in here if here[name] != elsewhere[name]] == []


@pytest.mark.parametrize(
    ("release", "directory"),
    [
        *((release, "/sbin") for release in ("bookworm", "focal", "jammy")),
        *((release, "/usr/sbin") for release in ("trixie", "forky", "sid", "noble", "questing", "resolute")),
    ],
)
def test_each_release_of_debian_and_ubuntu_has_the_init_where_its_own_is(release: str, directory: str) -> None:
    # Another path for the same file, and the removal of the init that was there takes ours along.
    command = ["make", "--no-print-directory", "-f", "debian/rules", "--eval=where: ; @echo $(SBIN)", "where"]
    done = subprocess.run(
        [*command, f"UPSTART_RELEASE={release}"], cwd=root.TREE, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == f"{directory}\n"
