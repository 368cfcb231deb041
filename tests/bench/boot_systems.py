"""The systems that `make bench-boot` compares: one base root, and above it each init of the release in a layer.

The base holds no init, but everything that every init is to start: udev, ifupdown with a loopback, cron, rsyslog and
ssh, and one login, on the serial line. The packages of each init, and what they need beside the base, lie in the
base's /opt and are installed by apt, without what they only recommend; each layer becomes a disk image of the same
size, kept until something that it was made from changes. Debian's defaults stay, so scripts run in parallel wherever
the init does that by itself; the logins on virtual terminals alone are switched off everywhere.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import root
import run

HERE = Path(__file__).resolve().parent

#: What every system has and, as far as it is a service, starts.
BASE = (
    "udev kmod ifupdown iproute2 netbase procps psmisc e2fsprogs mount login util-linux-extra sysvinit-utils"
    " orphan-sysvinit-scripts cron rsyslog openssh-server"
)
SERVICES = ("cron", "rsyslogd", "sshd")

_SCRIPTS = "initscripts sysv-rc insserv startpar"
#: The packages of each init. systemd has its login manager and the bus, without which Debian never installs it.
INITS = {
    "upstart": f"{_SCRIPTS} python3 python3-dbus python3-pyudev",
    "systemd": "systemd-sysv libpam-systemd dbus",
    "sysvinit": f"{_SCRIPTS} sysvinit-core",
    "openrc": "initscripts insserv startpar sysvinit-core openrc",
    "runit": f"{_SCRIPTS} runit-init runit-services",
    "finit": "finit-sysv finit-plugins",
}

#: After an init's packages: a login on the serial line and nowhere else, and its services where apt enabled none.
SETTLE = {
    "upstart": """
for number in 1 2 3 4 5 6; do echo manual >/etc/init/tty$number.override; done
insserv
""",
    "systemd": """
systemctl mask getty@tty1.service
""",
    "sysvinit": """
sed -i '/^[1-6]:.*getty/d' /etc/inittab
insserv
""",
    "openrc": """
sed -i '/^[1-6]:.*getty/d' /etc/inittab
""",
    "runit": """
rm -f /etc/runit/runsvdir/default/getty-tty[1-6v]* /etc/runit/runsvdir/default/default-syslog
ln -sfn /etc/sv/getty-ttyS0 /etc/sv/ssh /etc/runit/runsvdir/default
insserv
""",
    "finit": """
rm -f /etc/finit.d/acpid.conf
echo 'tty [12345] /dev/ttyS0 115200 vt100 noclear nowait' >/etc/finit.d/getty.conf
echo 'service [2345] <pid/syslogd> /usr/sbin/cron -f -- Cron daemon' >/etc/finit.d/cron.conf
""",
}

#: How packages are put below the /opt of a root: a kernel to boot it without an initrd; `fetch DIRECTORY PACKAGE...`.
FETCH = r"""
fetch() {
    directory=/opt/$1
    shift
    mkdir -p ".$directory/partial"
    chroot . apt-get -q -y -o Dir::Cache::Archives="$directory" --download-only --no-install-recommends install "$@"
    rm -rf ".$directory/partial" ".$directory/lock"
}
kernel=$(chroot . apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: *//p' | head -n 1)
chroot . sh -c "cd /opt && apt-get -q download $kernel"
"""
_CONFIGURE = root.named("bench") + FETCH


#: Where the timer of an emulated machine is late, as on a busy host, the kernel would give up at once.
APPEND = "no_timer_check"
#: What the kernel says when it executes init.
EXECUTED = rb"Run /sbin/init as init process"
ATTEMPTS = 3
SECONDS = 300.0
#: MiB of a disk.
SIZE = 1500


class Unavailable(Exception):
    """The release has no such init."""


def base(release: str) -> Path:
    """The base root, which is built where it is missing: some three minutes."""
    fetches = "".join(f"chroot . apt-cache show {names.split()[-1]} >/dev/null 2>&1 && fetch {init} {names}\n"
                      for init, names in INITS.items())
    names = [name for word in BASE.split() for name in root.RENAMED.get(release, {}).get(word, word).split()]
    return root.build("bench-root", release, names, _CONFIGURE + fetches)


def image(release: str, init: str) -> tuple[Path, Path]:
    """The kernel and the disk image of `init`; Unavailable, or RuntimeError with what apt said."""
    below = base(release)
    if not (below / "opt" / init).is_dir():
        raise Unavailable(f"{release} has no {init}")
    ours = run.packages(release) if init == "upstart" else []
    files = {str(run.HERE / "jobs" / "ttyS0.conf"): "/etc/init/ttyS0.conf"} if init == "upstart" else {}
    kernel = machine.kernel(below)
    plan: dict[str, object] = {"debs": f"/opt/{init}", "files": files, "commands": SETTLE[init] + machine.COMMANDS}
    return kernel, layered(f"{init}-{release}", below, kernel, ours, plan)


def layered(
    name: str, below: Path, kernel: Path, ours: list[Path], plan: dict[str, object], network: bool = False
) -> Path:
    """A disk image of the root `below` with a layer: our packages `ours`, and what `plan` has of boot_layer.py's.

    It has been booted once, with an interface where there is a `network`. RuntimeError with what apt said.
    """
    files = plan["files"]
    assert isinstance(files, dict)
    plan = {"root": str(below), "ours": [str(path) for path in ours], "size": SIZE, **plan}
    digest = hashlib.sha256(json.dumps([plan, network]).encode())
    for path in [*ours, *map(Path, files), HERE / "boot_layer.py"]:
        digest.update(path.read_bytes())
    target = root.BUILD / f"bench-{name}-{digest.hexdigest()[:12]}.img"
    if not target.exists():
        for old in root.BUILD.glob(f"bench-{name}-*"):
            old.unlink()
        print(f"Making the disk of {name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="upstart-bench-") as work:
            fresh = target.with_suffix(".new")
            plan |= {"work": work, "image": str(fresh)}
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation=private"]
            done = subprocess.run(
                [*command, sys.executable, str(HERE / "boot_layer.py"), json.dumps(plan)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the disk of {name} could not be made:\n{done.stdout[-3000:]}")
        settle(kernel, fresh, network)
        fresh.rename(target)
    return target


def settle(kernel: Path, disk: Path, network: bool = False) -> None:
    """Boots it once for good: what the first boot after an installation sets up, no later one does."""
    for attempt in range(ATTEMPTS):
        try:
            with machine.Machine(kernel, disk, lambda _: None, APPEND, keep=True, network=network) as vm:
                vm.log_in(SECONDS)
                vm.command("sleep 5", SECONDS)
                vm.type("poweroff")
                vm.wait(SECONDS)
            return
        except machine.MachineError as error:
            if attempt + 1 == ATTEMPTS:
                raise RuntimeError(f"the new disk {disk.name} does not boot: {error}") from error
