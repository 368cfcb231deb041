"""The packages of the services: fetched once by an apt of its own, and given to a root without a network as an archive.

This apt has the settings and the archive of the machine it runs on, but the package lists of the release to test and
the installed packages of the root. Its state lies below build/services; nothing of the machine's own is touched.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import time
from pathlib import Path

import archive
import root

#: Where a root finds its archive, and the line of sources.list(5) for it.
INSIDE = "srv/archive"
SOURCE = f"deb [trusted=yes] file:/{INSIDE} ./\n"
#: Age in seconds at which package lists are fetched anew.
STALE = 86400


class Store:
    """The packages fetched for one release, on top of what `base`, a root directory, has installed."""

    def __init__(self, release: str, base: Path) -> None:
        self.directory = root.BUILD / "services" / release
        self.debs = self.directory / "archives"
        settings = {
            "Dir::Etc::SourceList": self.directory / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": self.directory / "lists",
            "Dir::State::Status": base / "var/lib/dpkg/status",
            "Dir::State::extended_states": self.directory / "extended_states",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        self.options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        for path in (self.debs / "partial", self.directory / "none/partial", self.directory / "lists"):
            path.mkdir(parents=True, exist_ok=True)
        (self.directory / "sources.list").write_text(archive.sources(release))
        mark = self.directory / "updated"
        if not mark.exists() or mark.stat().st_mtime < time.time() - STALE:
            self._apt_get(self.debs, "update")
            mark.touch()

    def _apt_get(self, archives: Path, *arguments: str) -> str:
        """apt-get with our state; its output, or RuntimeError with that."""
        command = ["apt-get", "-q", "-y", *self.options, "-o", f"Dir::Cache::Archives={archives}", *arguments]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {' '.join(arguments)} failed:\n{done.stdout}")
        return done.stdout

    def known(self, packages: list[str]) -> set[str]:
        """Those of `packages` that the release has."""
        text = archive.command_output("apt-cache", *self.options, "policy", *packages)
        found = re.findall(r"^(\S+):\n.*\n  Candidate: (?!\(none\))", text, re.MULTILINE)
        return set(found)

    def fetch(self, packages: list[str]) -> list[Path]:
        """The .deb files of `packages`, and of what they need beside the base."""
        wanted = ("--no-remove", "install", *packages)
        listed = self._apt_get(self.directory / "none", "--print-uris", *wanted)
        names = [line.split()[1] for line in listed.splitlines() if line.startswith("'")]
        if not all((self.debs / name).exists() for name in names):
            with (self.directory / "lock").open("w") as lock:  # another group may fetch, too
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._apt_get(self.debs, "--download-only", *wanted)
        return [self.debs / name for name in names]


def offer(debs: list[Path], upper: Path) -> None:
    """Makes `debs` the only archive of the root whose writable layer is `upper`; on the same file system, as links."""
    directory = upper / INSIDE
    directory.mkdir(parents=True)
    for deb in debs:
        os.link(deb, directory / deb.name.replace("%3a", "."))  # apt would take that for a colon
    with (directory / "Packages").open("wb") as index:
        subprocess.run(
            ["dpkg-scanpackages", "--multiversion", "."],
            cwd=directory, check=True, stdout=index, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    sources = upper / "etc/apt/sources.list"
    sources.parent.mkdir(parents=True)
    sources.write_text(SOURCE)
