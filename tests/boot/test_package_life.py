"""Our packages installed, installed again, removed and purged in a Debian root: what they leave is what they found."""

from __future__ import annotations

from pathlib import Path

import archive
import run
from layer import run_in_layer

#: Prints every path with its kind, mode and link, after each step; what dpkg itself keeps is left out.
LIFE = r"""
state() {
    echo "== $1"
    find / -xdev \( -path /in -o -path /out -o -path /run -o -path /tmp -o -path /var/cache -o -path /var/lib/dpkg \
        -o -path /var/log/dpkg.log \) -prune -o -printf '%p %y %m %l\n'
}
state before
for package in $ORDER; do
    dpkg --install /in/${package}_*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
done
state installed
for package in $ORDER; do dpkg --install /in/${package}_*.deb >/dev/null 2>&1; done
state again
echo kept >/var/log/upstart/rc.log
dpkg --force-remove-protected --remove upstart-sysv upstart >/dev/null 2>&1
state removed
dpkg --force-remove-protected --purge upstart-sysv upstart >/dev/null 2>&1
state purged
"""


def test_a_purge_leaves_no_trace(tmp_path: Path) -> None:
    lower, packages, _ = run.prepare("upstart", archive.host_release())
    order = " ".join(path.name.partition("_")[0] for path in packages)
    status, output = run_in_layer(lower, tmp_path / "work", packages, f"ORDER='{order}'\n{LIFE}")
    assert status == 0, output[-2000:]
    states: dict[str, set[str]] = {}
    for part in output.split("== ")[1:]:
        name, _, text = part.partition("\n")
        states[name] = set(text.splitlines())
    assert states["installed"] == states["again"]
    # What is left by a removal is configuration and logs, nothing that would run.
    left = states["removed"] - states["before"]
    assert left and all(line.startswith(("/etc/", "/var/log/upstart")) for line in left)
    assert states["purged"] == states["before"]
