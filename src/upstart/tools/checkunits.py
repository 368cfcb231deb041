"""``init-checkunits``: tell which units of systemd are enabled and will not be started by Upstart, and what to do.

What is always true here: it looks at files alone, those of packages' scripts and jobs among them, and changes nothing;
it can be asked before Upstart becomes the init, and at any time after, with or without systemd.  What is told of is a
unit for which nothing is found that does its work: no job that an event starts, no script that a runlevel starts, no
cron file of the same package for a timer, and no bus that starts it when it is asked for.
"""

from __future__ import annotations

import os
import re

from upstart.base.errors import UsageError
from upstart.base.options import Option, parse
from upstart.conf.parse import ParseError, parse_job
from upstart.tools import unitfiles
from upstart.tools.command import command
from upstart.tools.sessionmanager import leaving
from upstart.tools.units import Unit, enabled, names, read, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass

OPTIONS = (
    Option("", "root", "root", argument="DIR"),
    Option("q", "quiet", "quiet"),
    Option("", "help", ""),
    Option("", "version", ""),
)
USAGE = """\
Usage: init-checkunits [OPTION]...
Tell which units of systemd are enabled and will not be started by Upstart.

Options:
      --root=DIR              look at the system below DIR
  -q, --quiet                 names only, one a line
      --help                  display this help and exit
      --version               output version information and exit

The exit status is 1 if there are any.
"""

#: What runs cron's files.
_CRON = ("cron", "cronie", "bcron-run", "systemd-cron", "anacron")
#: Units whose work is done by what has another name, or by nothing that anybody misses: jobs, scripts or "".
_SAME: dict[str, str] = {
    "cloud-init-network": "cloud-init",
    "console-setup": "console-setup.sh", "getty": "tty1", "keyboard-setup": "keyboard-setup.sh",
    "networkmanager-dispatcher": "network-manager", "nfs-client": "nfs-common", "nfs-server": "nfs-kernel-server",
    "NetworkManager": "network-manager", "NetworkManager-dispatcher": "network-manager",
    "serial-getty": "serial-gettys", "rpc-statd-notify": "nfs-common",
    "smartmontools": "smartmontools", "systemd-udevd": "udev", "lvm2-monitor": "lvm2", "mdmonitor": "mdadm",
}  # fmt: skip
#: Units that nothing but systemd's own order of a boot needs.
_OWN = (
    "NetworkManager-wait-online", "systemd-boot-system-token", "systemd-boot-update", "systemd-journald",
    "systemd-network-generator", "systemd-networkd-wait-online", "systemd-oomd", "systemd-pcrlock", "systemd-pstore",
    "systemd-sysext", "systemd-confext", "systemd-homed", "systemd-homed-activate", "systemd-userdbd",
    "systemd-tmpfiles-clean",
)  # fmt: skip
#: Services of another kind that do the same.
_INSTEAD = {
    "systemd-networkd": ("NetworkManager", "network-manager", "connman", "dhcpcd"),
    "systemd-timesyncd": ("ntpsec", "chrony", "chronyd", "ntp", "openntpd"),
}
#: Units for which there is a better answer than a job.
_ADVICE = {
    "fstrim.timer": (
        "printf '#!/bin/sh\\nexec fstrim --listed-in /etc/fstab --quiet-unsupported\\n' >/etc/cron.weekly/fstrim",
        "chmod 755 /etc/cron.weekly/fstrim",
    ),
    "systemd-networkd.service": (
        "it configures the network: before you reboot, write /etc/network/interfaces (ifupdown), or install",
        "network-manager",
    ),
    "systemd-resolved.service": (
        "it resolves names: before you reboot, let /etc/resolv.conf be a file that names a server, and no link",
    ),
    "systemd-timesyncd.service": ("apt install ntpsec    (or chrony: both set the clock, and have a script)",),
    "tmp.mount": ("echo RAMTMP=yes >>/etc/default/tmpfs",),
}


SESSIONS = "Removed with libpam-systemd, unless the command that installs upstart-sysv names {} as well:"
WITH_ELOGIND = "Removed with the package systemd if it is:"
#: What takes the place of a package that goes.
_NAMED = {"dconf-service": "dbus-x11", "libvirt-daemon-system-systemd": "libvirt-daemon-system-sysv"}


class Settings:
    """What the command line says."""

    def __init__(self) -> None:
        self.root = "/"
        self.quiet = False


class System:
    """What starts services below ``root`` when Upstart is the init."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.packages = unitfiles.Packages(root)
        self._jobs: dict[str, JobClass | None] = {}
        links = [name for level in "S123456" for name in names(root, f"etc/rc{level}.d")]
        self._links = {name[3:] for name in links}
        self._starting = {name[3:] for name in links if name.startswith("S")}
        self.cron = any(self.starts(name) for name in _CRON)

    def job(self, name: str) -> JobClass | None:
        """The job of that name, with its override; ``None`` where there is none that can be read."""
        if name not in self._jobs:
            self._jobs[name] = self._read_job(name)
        return self._jobs[name]

    def _read_job(self, name: str) -> JobClass | None:
        text = read(self.root, f"etc/init/{name}.conf")
        if text is None:
            return None
        try:
            job = parse_job(name, text, name)
            override = read(self.root, f"etc/init/{name}.override")
            return job if override is None else parse_job(name, override, name, base=job)
        except ParseError:
            return None

    def script_advice(self, name: str) -> str:
        """How to have the script of that name started, "" if there is none."""
        if not os.path.lexists(os.path.join(self.root, "etc/init.d", name)):
            return ""
        action = "enable" if name in self._links else "defaults"
        return f"update-rc.d {name} {action}    (its script is there, but no runlevel starts it)"

    def starts(self, name: str) -> bool:
        """Whether a service of that name is started at boot: its job by events, or its script by a runlevel."""
        job = self.job(name)
        if job is not None:
            return job.start_on is not None
        return name in self._starting and os.access(os.path.join(self.root, "etc/init.d", name), os.X_OK)


def candidates(system: System, unit: Unit) -> list[str]:
    """The names that a job or script for a unit may have, the likeliest first."""
    found = [unit.base]
    for alias in unit.all("Install", "Alias"):
        found += [word.rpartition(".")[0] for word in alias.split()]
    source = unit.get("Unit", "SourcePath")
    if source.startswith("/etc/init.d/"):
        found.append(os.path.basename(source))
    found += [name for name in (_SAME.get(unit.base, ""), system.packages.orphans.get(unit.name, "")) if name]
    found += [name + ".sh" for name in list(found)]
    return list(dict.fromkeys(found))


def done_otherwise(system: System, unit: Unit) -> bool:
    """Whether something starts that does the work of an enabled unit, or nobody needs it."""
    if unit.base in _OWN:
        return True
    if any(system.starts(name) for name in (*candidates(system, unit), *_INSTEAD.get(unit.base, ()))):
        return True
    if unit.name in _ADVICE:
        return _advice_was_taken(system, unit)
    package = system.packages.of(unit)
    if unit.kind == "timer":
        return system.cron and (_has_cron_file(system, unit) or (package is not None and bool(package.cron)))
    if unit.kind == "service":
        return (
            _does_nothing(unit)
            or unitfiles.bus_starts(system.root, unit.get("Service", "BusName"))
            or (package is not None and any(system.starts(name) for name in package.scripts))
            or (package is not None and system.cron and _in_cron(unit, package.cron_text))
        )
    if unit.kind in ("socket", "path"):
        other = unit.get("Socket" if unit.kind == "socket" else "Path", "Service" if unit.kind == "socket" else "Unit")
        return bool(other) and system.starts(other.rpartition(".")[0].partition("@")[0])
    # Targets and slices start nothing themselves.
    return unit.kind not in ("mount", "automount", "swap")


def _has_cron_file(system: System, unit: Unit) -> bool:
    """Whether somebody has written a file of that name for cron."""
    directories = ("hourly", "daily", "weekly", "monthly", "d")
    return any(unit.base in names(system.root, f"etc/cron.{each}") for each in directories)


def _advice_was_taken(system: System, unit: Unit) -> bool:
    if unit.name == "tmp.mount":
        return re.search("^RAMTMP=[\"']?yes", read(system.root, "etc/default/tmpfs") or "", re.M) is not None
    if unit.base == "systemd-resolved":
        return not resolve(system.root, "etc/resolv.conf").startswith("run/systemd/")
    if unit.base == "systemd-networkd":
        more = [f"etc/network/interfaces.d/{name}" for name in names(system.root, "etc/network/interfaces.d")]
        text = "\n".join(read(system.root, file) or "" for file in ("etc/network/interfaces", *more))
        return system.starts("networking") and re.search(r"^\s*iface\s+(?!lo\b)\S", text, re.M) is not None
    return unit.kind == "timer" and system.cron and _has_cron_file(system, unit)


def _does_nothing(unit: Unit) -> bool:
    """As the unit that stands for several others."""
    return all(os.path.basename(command) == "true" for command in unit.all("Service", "ExecStart"))


def _in_cron(unit: Unit, text: str) -> bool:
    """Whether cron runs the very commands of a service."""
    commands = [unitfiles.command(each) for each in unit.all("Service", "ExecStart")]
    return bool(commands) and all(each in text for each in commands)


def advice(system: System, unit: Unit) -> list[str]:
    """What to do about a unit that nothing stands in for: lines for people."""
    if unit.name in _ADVICE:
        return list(_ADVICE[unit.name])
    for name in candidates(system, unit):
        if system.job(name) is not None:
            return [f"the job {name} is there, but no event starts it: see /etc/init/{name}.override"]
        told = system.script_advice(name)
        if told:
            return [told]
    if system.packages.orphans_missing(unit.name):
        return ["apt install orphan-sysvinit-scripts    (it has the script)"]
    if unit.kind == "timer":
        return _timer(system, unit)
    if unit.kind == "socket":
        return [f"nothing listens for it: let its service run all the time, {unit.base} by a job, or use inetd"]
    if unit.kind == "path":
        return ["nothing watches for it: run its service by cron, or all the time"]
    if unit.kind in ("mount", "automount", "swap"):
        return [f"write it into /etc/fstab: {unit.get('Mount', 'What')} {unit.get('Mount', 'Where')}".rstrip()]
    return [f"write /etc/init/{unit.base}.conf:", *("    " + line for line in job_lines(unit))]


def _timer(system: System, unit: Unit) -> list[str]:
    package = system.packages.of(unit)
    if package is not None and package.cron:
        return [f"install cron: {package.cron[0]} does it, and nothing runs that"]
    when = ", ".join(unit.all("Timer", "OnCalendar")) or "see the timer"
    service = unit.get("Timer", "Unit", unit.base + ".service")
    text = read(system.root, unit.path.rpartition("/")[0] + "/" + service)
    commands = Unit(service, "", text or "").all("Service", "ExecStart")
    return [f"run it by cron ({when}): {unitfiles.command(each)}" for each in commands] or [f"run {service} by cron"]


def job_lines(unit: Unit) -> list[str]:
    """The beginning of a job that does what a service's file says; what it leaves out it tells."""
    lines = ["start on runlevel [2345]", "stop on runlevel [!2345]"]
    kind = unit.get("Service", "Type", "simple")
    if kind == "oneshot":
        lines.append("task")
    elif kind == "forking":
        lines.append("expect fork")
    if unit.get("Service", "Restart") not in ("", "no"):
        lines.append("respawn")
    for setting, stanza in (("User", "setuid"), ("Group", "setgid"), ("WorkingDirectory", "chdir")):
        value = unit.get("Service", setting)
        if value not in ("", "root", "/"):
            lines.append(f"{stanza} {value}")
    commands = [unitfiles.command(each) for each in unit.all("Service", "ExecStart")]
    if len(commands) == 1:
        lines.append(f"exec {commands[0]}")
    else:
        lines += ["script", *("    " + each for each in commands), "end script"]
    more = [name for name in ("EnvironmentFile", "ExecStartPre", "RuntimeDirectory") if unit.all("Service", name)]
    if any("%" in each for each in commands):
        more.append("%")
    if more:
        lines.append(f"# and what {', '.join(more)} in /{unit.path} stand for")
    return lines


def check(root: str, quiet: bool) -> list[str]:
    """The lines to print: nothing where all that is enabled is started."""
    system = System(root)
    lines: list[str] = []
    units = enabled(root)
    services = {unit.base for unit in units if unit.kind == "service"}
    for unit in units:
        # What listens or watches for a service that is enabled itself goes with that.
        if (unit.kind in ("socket", "path") and unit.base in services) or done_otherwise(system, unit):
            continue
        lines.append(unit.name)
        if not quiet:
            lines += ["    " + line for line in advice(system, unit)]
    leave = leaving(root)
    if leave and not quiet:
        named = ["libpam-elogind", *(_NAMED[name] for name in leave if name in _NAMED)]
        lines += [SESSIONS.format(" and ".join(named)), *("    " + name for name in leave)]
        leave = leaving(root, elogind=True)
        if leave:
            lines += [WITH_ELOGIND, *("    " + name for name in leave)]
    return lines


def main(argv: list[str]) -> int:
    """Print them; the exit status."""
    return command("init-checkunits", USAGE, lambda: _main(argv))


def _main(argv: list[str]) -> int:
    settings = Settings()
    words = parse(argv, OPTIONS, settings)
    if words:
        raise UsageError(f"unexpected argument: {words[0]}")
    lines = check(settings.root, settings.quiet)
    for line in lines:
        print(line)
    return 1 if lines else 0
