"""Where packages come from: the archive that apt itself is set up with.

No mirror, key or proxy stands in this tree. Addresses are those of the running system's apt, for another release of the
distribution too, and so are the settings without which apt could not reach them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path


def command_output(*argv: str) -> str:
    """Standard output of a command; CalledProcessError if it fails."""
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def host_release() -> str:
    """Code name of the system this runs on (os-release(5)), such as "bookworm"."""
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise RuntimeError("/etc/os-release names no VERSION_CODENAME")


def index_targets() -> list[dict[str, str]]:
    """The Packages indices that apt knows, each as its fields (apt-get indextargets)."""
    text = command_output("apt-get", "indextargets", "Created-By: Packages")
    return [
        dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        for stanza in text.split("\n\n")
        if stanza.strip()
    ]


def sources(release: str) -> str:
    """sources.list(5) lines for `release`, taken from those of the running release.

    RuntimeError if apt knows no index of the distribution, as on a machine where `apt-get update` never ran.
    """
    host = host_release()
    suites: dict[tuple[str, str, str], list[str]] = {}
    for target in index_targets():
        suite = target.get("Codename", "")
        if target.get("Origin") not in ("Debian", "Ubuntu") or suite.split("-")[0] != host:
            continue
        options = f"[signed-by={target['Signed-By']}] " if target.get("Signed-By", "").startswith("/") else ""
        key = (options, target["Repo-URI"], release + suite[len(host) :])
        components = suites.setdefault(key, [])
        if target["Component"] not in components:
            components.append(target["Component"])
    if not suites:
        raise RuntimeError(f"apt knows no package index of {host}: run apt-get update")
    return "".join(f"deb {options}{uri} {suite} {' '.join(parts)}\n" for (options, uri, suite), parts in suites.items())


def transport_options() -> list[str]:
    """The settings of the running apt that say how an archive is reached and checked, as lines of apt.conf(5)."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-")
    return [line for line in command_output("apt-config", "dump").splitlines() if line.startswith(wanted)]
