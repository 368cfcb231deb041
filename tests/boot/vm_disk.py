"""A disk of a machine, looked at and changed from outside while the machine is off.

It is done with the programs of e2fsprogs, without mounting anything. A file system that needs its journal replayed is
not changed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path


def run(*argv: str, status: int = 0) -> str:
    """Output of a program, its messages included; RuntimeError if it fails."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode > status:
        raise RuntimeError(f"{' '.join(argv)} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def copy(source: Path, target: Path) -> Path:
    """A copy with the holes of the original."""
    run("cp", "--sparse=always", "--reflink=auto", str(source), str(target))
    return target


def make(path: Path, label: str, megabytes: int = 64) -> Path:
    """An empty ext4 file system."""
    with path.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, str(path))
    return path


def make_swap(path: Path, label: str, megabytes: int = 64) -> Path:
    """Empty swap space."""
    with path.open("wb") as file:
        file.truncate(megabytes << 20)
    path.chmod(0o600)
    run("mkswap", "-q", "-L", label, str(path))
    return path


class Disk:
    """The ext4 file system that fills a disk image."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _debugfs(self, *requests: str) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
            script.write("".join(f"{request}\n" for request in requests))
            script.flush()
            return run("debugfs", "-w", "-f", script.name, str(self.path))

    def read(self, path: str) -> str:
        """The text of a file, "" if there is none."""
        done = subprocess.run(
            ["debugfs", "-R", f"cat {path}", str(self.path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        return done.stdout.decode(errors="replace")

    def dump(self, path: str, target: Path) -> Path:
        """Copies a file out; RuntimeError if there is none."""
        run("debugfs", "-R", f"dump {path} {target}", str(self.path))
        if not target.exists():
            raise RuntimeError(f"there is no {path}")
        return target

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Puts a file there, in a directory that exists, in place of one that may be there."""
        with tempfile.NamedTemporaryFile("w") as source:
            source.write(text)
            source.flush()
            directory, _, name = path.rpartition("/")
            self._debugfs(
                f"cd {directory or '/'}",
                f"rm {name}",
                f"write {source.name} {name}",
                f"sif {name} mode 0{0o100000 | mode:o}",
                f"sif {name} uid 0",
                f"sif {name} gid 0",
            )
        if self.read(path) != text:
            raise RuntimeError(f"debugfs did not write {path}")

    def mode(self, path: str) -> int:
        """The permissions of a file."""
        found = re.search(r"Mode: +(\d+)", run("debugfs", "-R", f"stat {path}", str(self.path)))
        if not found:
            raise RuntimeError(f"there is no {path}")
        return int(found[1], 8)

    def remove(self, path: str) -> None:
        """Removes a file or a node."""
        self._debugfs(f"rm {path}")

    def names(self, path: str) -> list[str]:
        """What is in a directory."""
        listing = run("debugfs", "-R", f"ls -p {path}", str(self.path))
        fields = [line.split("/") for line in listing.splitlines() if line.startswith("/")]
        return [words[5] for words in fields if words[5] not in ("", ".", "..")]

    def state(self) -> tuple[str, bool]:
        """What the superblock says of the file system ("clean", "not clean"), and whether its journal is to be
        replayed."""
        return self._told("Filesystem state"), "needs_recovery" in self._told("Filesystem features")

    def last_check(self) -> str:
        """When it was last checked from one end to the other, or made."""
        return self._told("Last checked")

    def _told(self, name: str) -> str:
        found = re.search(rf"^{name}: +(.*)$", run("dumpe2fs", "-h", str(self.path)), re.MULTILINE)
        return found[1].strip() if found else "unknown"

    def uuid(self) -> str:
        """Its UUID, as root=UUID= takes it."""
        return run("blkid", "-p", "-s", "UUID", "-o", "value", str(self.path)).strip()

    def check(self) -> None:
        """RuntimeError unless e2fsck, which changes nothing, finds nothing to mend."""
        run("e2fsck", "-f", "-n", str(self.path))

    def mend(self) -> None:
        """Leaves nothing for a check to mend, nor to put in a better order."""
        run("e2fsck", "-f", "-p", str(self.path), status=1)

    def link_target(self, path: str) -> str:
        """Where a symbolic link leads."""
        found = re.search(r'Fast link dest: "(.*)"', run("debugfs", "-R", f"stat {path}", str(self.path)))
        if not found:
            raise RuntimeError(f"{path} is no short symbolic link")
        return found[1]

    def share_blocks(self, first: str, second: str) -> None:
        """Has the first file claim the blocks of the second, which fsck does not mend without being told to."""
        self._debugfs(f"copy_inode {second} {first}", "ssv state 2")

    def damage(self) -> None:
        """Damage that needs a decision: two files claim the same blocks."""
        self.write("/first", "first\n" * 3000)
        self.write("/second", "second\n" * 3000)
        self.share_blocks("/first", "/second")

    def set_unclean(self) -> None:
        """Marks the file system as one with errors, which fsck must look at."""
        self._debugfs("ssv state 2")
