"""`make check-ways`: ten sets of packages on a Debian that runs systemd, to Upstart and back, and what became of them.

Each set is installed with and without what it recommends, by apt, into a root that is not booted. Then the machine is
led to Upstart as README.md says, and back by upstart-way-back. What was installed and enabled before has to be so after
both ways, or was named before anything was done: by init-checkunits or in README.md on the way in, by upstart-way-back
--dry-run on the way back. With --write the table becomes that release's part of docs/ways.md; the exit status is 0 if
nothing was lost unnamed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import archive
import root
import run
from layer import Layer

DOCUMENT = root.TREE / "docs" / "ways.md"
#: A minimal machine that runs systemd.
SYSTEM = "systemd-sysv init udev dbus libpam-systemd dbus-user-session ifupdown iproute2 netbase procps kmod login cron"
#: The sets, beside what every machine has.
SETS = {
    "minimal": "",
    "server": "openssh-server rsyslog logrotate chrony nftables unattended-upgrades fail2ban",
    "web": "nginx mariadb-server redis-server memcached haproxy",
    "mail": "postfix dovecot-imapd spamd opendkim",
    "files": "samba nfs-kernel-server rsync smartmontools mdadm",
    "docker": "docker.io",
    "libvirt": "libvirt-daemon-system libvirt-clients dnsmasq-base",
    "cloud": "cloud-init openssh-server netplan.io systemd-resolved systemd-timesyncd unattended-upgrades",
    "laptop": "network-manager modemmanager bluez wpasupplicant cups avahi-daemon tlp",
    "desktop": "xfce4 lightdm network-manager-gnome pulseaudio cups",
}
#: What the way in takes away, as README.Debian says, and what besides where libpam-elogind is named.
SAID = {"dbus-user-session", "libpam-systemd", "systemd-sysv"}
SAID_WITH_ELOGIND = SAID | {"libsystemd0", "systemd"}
SESSIONS = re.compile(r"^Removed with .* names (.*) as well:\n((?:    .*\n)*)", re.MULTILINE)
#: Words that let apt remove the init of a release: trixie's is protected.
NAMED = {"bookworm": "", "trixie": "--allow-remove-essential systemd-sysv-"}
APT = "apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io"
#: Every link that enables something, one a line.
ENABLED = r"""
find /etc/systemd/system -type l ! -lname /dev/null -printf '%P\n'
find /etc/rc?.d -name 'S*' -type l | sed 's:/S[0-9][0-9]:/:'
"""


class Lost(Exception):
    """Something went that nobody had named, or a way could not be gone."""


class Way:
    """One set of packages in a root of its own, and what is known of it at each station."""

    def __init__(self, layer: Layer, release: str, recommends: bool) -> None:
        self.layer, self.release = layer, release
        self.options = f"-o APT::Install-Recommends={str(recommends).lower()}"

    def need(self, text: str) -> str:
        """Runs shell text, which must succeed; what it printed."""
        status, output = self.layer.run(text)
        if status:
            raise Lost(f"{text[:80]!r}: status {status}: {' / '.join(output.strip().splitlines()[-8:])}")
        return output

    def install(self, words: str) -> None:
        self.need(f"{APT} {self.options} install {words}")

    def packages(self) -> set[str]:
        lines = self.need("dpkg-query -W -f '${db:Status-Status} ${Package}\\n'").splitlines()
        return {name for status, name in map(str.split, lines) if status == "installed"}

    def enabled(self) -> set[str]:
        return set(self.need(ENABLED).split())

    def unstarted(self) -> set[str]:
        """The units that init-checkunits names, and the packages."""
        return set(self.layer.run("init-checkunits --quiet")[1].split())

    def go(self, words: str) -> list[str]:
        """Goes both ways; the cells of the table. Lost if something went unnamed."""
        if words:
            self.install(words)
        before, enabled = self.packages(), self.enabled()
        ours = {path.name.partition("_")[0]: f"/in/{path.name}" for path in run.recommended(self.release)}
        self.install(f"{ours['upstart-core']} {ours['upstart-jobs']}")
        said = self.layer.run("init-checkunits")[1]
        named = self.unstarted()
        # What goes with systemd's session manager is kept, as that list says, but for what has no other use.
        found = SESSIONS.search(said)
        session = re.sub(r" and |, ", " ", found[1]) if found and set(found[2].split()) - SAID else ""
        expected = SAID_WITH_ELOGIND if session else SAID
        self.install(f"{' '.join(ours.values())} {session} {NAMED[self.release]}")
        between = self.packages()
        gone = before - between - expected
        unnamed = [name for name in gone if not re.search(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-])", said)]
        if unnamed:
            raise Lost(f"the way in removed {' '.join(sorted(unnamed))}, which nobody had named")
        more = self.unstarted() - named
        if more:
            raise Lost(f"enabled, and not started nor named before: {' '.join(sorted(more))}")
        plan = self.need(f"upstart-way-back --dry-run {self.options}")
        self.need(f"upstart-way-back --yes {self.options} -o Dpkg::Use-Pty=0")
        self.need('apt-get check; test -z "$(dpkg --audit)"; readlink /sbin/init | grep -q systemd')
        after = self.packages()
        told = set(plan.split())
        missing = before - after
        if missing - told - gone - expected:
            raise Lost(f"missing after both ways, and not named: {' '.join(sorted(missing - told - gone - expected))}")
        links = enabled - self.enabled()
        kept = {link for link in links if not self.of_missing(link, missing)}
        if kept:
            raise Lost(f"not enabled any more after both ways: {' '.join(sorted(kept))}")
        units = sorted(name for name in named if "." in name)
        return [str(len(before)), session or "-", show(gone), show(units), show(missing)]

    def of_missing(self, link: str, missing: set[str]) -> bool:
        """Whether what a link enables went with a package that is missing."""
        name = link.rpartition("/")[2].rpartition(".")[0] or link.rpartition("/")[2]
        return bool(missing) and any(name.startswith(package) or package.startswith(name) for package in missing)


def show(names: set[str] | list[str]) -> str:
    return " ".join(sorted(names)) or "-"


def live(release: str, name: str, recommends: bool) -> list[str]:
    """The row of one set."""
    base = root.build("ways-root", release, SYSTEM.split(), '\nset -e\ncd "$1"\n: >etc/fstab\n')
    work = Path(tempfile.mkdtemp(prefix="ways-", dir=root.BUILD))
    try:
        with Layer(base, work / "work", run.recommended(release), size="8g") as layer:
            way = Way(layer, release, recommends)
            way.need("apt-get -qq update")
            return way.go(SETS[name])
    finally:
        shutil.rmtree(work, ignore_errors=True)


Rows = dict[tuple[str, str], list[str]]
HEAD = [
    "set", "recommended packages", "packages", "named besides", "removed on the way in",
    "enabled, and not started by Upstart", "missing after both ways",
]  # fmt: skip
KINDS = {False: "without", True: "with"}


def table(rows: Rows) -> str:
    """The rows in Markdown, in the order of the sets."""
    ordered = [[*key, *rows[key]] for name in SETS for key in ((name, kind) for kind in KINDS.values()) if key in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [HEAD, ["---"] * len(HEAD), *ordered]) + "\n"


def write(release: str, rows: Rows) -> None:
    """Puts rows into the release's table of the document, in the place of earlier ones of the same sets."""
    head = f"\n## {release}\n"
    before, _, after = DOCUMENT.read_text().partition(head)
    section, following, rest = after.partition("\n## ")
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "|" in line]
    earlier = {(row[0], row[1]): row[2:] for row in cells if row[0] in SETS}
    text = table(earlier | rows)
    DOCUMENT.write_text(f"{before.rstrip()}\n{head}\n{text}{following}{rest}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make check-ways", description="Sets of packages to Upstart and back.")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--write", action="store_true", help="record what was found in docs/ways.md")
    parser.add_argument("sets", nargs="*", help="only these of: " + " ".join(SETS))
    options = parser.parse_args(argv[1:])
    failed: list[str] = []
    rows: Rows = {}
    for recommends, kind in KINDS.items():
        for name in options.sets or SETS:
            started = time.monotonic()
            try:
                row = live(options.release, name, recommends)
            except (Lost, RuntimeError) as error:
                failed.append(f"{name}, {kind}: {error}")
                row = ["-", "-", "-", "-", f"failed: {error}"]
            rows[name, kind] = row
            print(f"{name}, {kind}: {time.monotonic() - started:.0f} s: {' | '.join(row)}", flush=True)
            if options.write:
                write(options.release, {(name, kind): row})
    print("\n" + table(rows))
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
