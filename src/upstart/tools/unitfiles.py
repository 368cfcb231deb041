"""What packages have beside a unit of systemd: scripts, files of cron, and services of the system bus.

What is always true here: dpkg's lists of files are read once, and say what a package brings, not what an administrator
has put there.
"""

from __future__ import annotations

import re

from upstart.tools.units import names, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.tools.units import Unit

_LISTS = "var/lib/dpkg/info"
_ORPHANS = "usr/lib/orphan-sysvinit-scripts/mapping"
_BUS = "usr/share/dbus-1/system-services"
#: The units for which orphan-sysvinit-scripts of Debian 12 or 13 has a script, where it is not installed to be asked.
_ORPHANED = frozenset((
    "NetworkManager", "avahi-daemon", "avahi-dnsconfd", "dirsrv", "dnscrypt-proxy", "firewalld", "gpsd", "nftables",
    "pdns", "rsyslog", "tomcat9", "tomcat10",
))  # fmt: skip
#: What may stand before a command, systemd.service(5).
_PREFIXES = "-@:+!|"


class Package:
    """The files of a package that matter here: names of scripts, paths of what cron reads, and the text of that."""

    __slots__ = ("cron", "cron_text", "scripts")

    def __init__(self, root: str, scripts: list[str], cron: list[str]) -> None:
        self.scripts = scripts
        self.cron = cron
        self.cron_text = "\n".join(read(root, path) or "" for path in cron)


class Packages:
    """The packages that are installed below ``root``; ``orphans``: the scripts that orphan-sysvinit-scripts, where it
    is installed, has for units."""

    def __init__(self, root: str) -> None:
        self._by_unit: dict[str, Package] = {}
        for name in names(root, _LISTS):
            text = read(root, f"{_LISTS}/{name}") if name.endswith(".list") else None
            if text is not None and "/systemd/system/" in text:
                self._add(root, text)
        mapping = read(root, _ORPHANS)
        self._has_orphans = mapping is not None
        words = [line.split() for line in (mapping or "").splitlines() if not line.startswith("#")]
        self.orphans = {each[0]: each[1] for each in words if len(each) > 1}

    def _add(self, root: str, text: str) -> None:
        paths = text.splitlines()
        package = Package(
            root,
            [path.rpartition("/")[2] for path in paths if path.startswith("/etc/init.d/")],
            [path for path in paths if re.match(r"/etc/cron\.[a-z]+/[^.]", path)],
        )
        for path in paths:
            if "/systemd/system/" in path:
                self._by_unit.setdefault(path.rpartition("/")[2], package)

    def of(self, unit: Unit) -> Package | None:
        """The package that has brought a unit."""
        return self._by_unit.get(unit.path.rpartition("/")[2])

    def orphans_missing(self, name: str) -> bool:
        """Whether orphan-sysvinit-scripts would have a script for a unit, and is not there."""
        return not self._has_orphans and name.removesuffix(".service") in _ORPHANED


def bus_starts(root: str, name: str) -> bool:
    """Whether the system bus starts a program that has that name there when somebody asks for it."""
    text = read(root, f"{_BUS}/{name}.service") if name else None
    found = re.search(r"^Exec=(\S+)", text or "", re.M)
    return found is not None and found[1] not in ("/bin/false", "/usr/bin/false")


def command(text: str) -> str:
    """A command line of a unit without what stands before it."""
    return text.lstrip(_PREFIXES).strip()
