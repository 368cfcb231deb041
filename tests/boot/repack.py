"""Other versions of our packages, made from those that were built: with other maintainer scripts, or other files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Sort before and after every version that is built, whatever it is.
OLDER, NEWER = "0.1", "1000"


def repacked(
    package: Path, version: str, directory: Path,
    scripts: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    """`package` as `version`, in `directory`; with these maintainer scripts, and contents of files by their path.

    What it needs of our other packages it then needs in that version.
    """
    tree = directory / f"{package.name}-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    text = control.read_text()
    (own,) = re.findall(r"^Version: (.*)$", text, re.MULTILINE)
    control.write_text(text.replace(own, version))
    for name, script in (scripts or {}).items():
        (tree / "DEBIAN" / name).write_text(script)
        (tree / "DEBIAN" / name).chmod(0o755)
    for path, contents in (files or {}).items():
        (tree / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tree / path.lstrip("/")).write_text(contents)
    target = directory / f"{package.name.partition('_')[0]}_{version}_all.deb"
    build: list[str | Path] = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, target]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return target
