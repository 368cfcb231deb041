"""The Debian root that gets booted: built once by mmdebstrap, kept under build/, never written to afterwards.

It holds no init: that of the run (our packages, or sysvinit-core to compare with) is installed into the writable
layer above it. What only some boots need, sysvinit-core and a kernel, lies as .deb files in its /opt. Its name carries
a hash of everything it was made from, so a changed list makes a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import archive
import ending

TREE = Path(__file__).resolve().parents[2]
BUILD = TREE / "build"

#: What upstart-sysv and the programs stand on.
SYSTEM = (
    "initscripts sysv-rc insserv startpar sysvinit-utils ifupdown iproute2 netbase procps psmisc e2fsprogs kmod udev"
    " util-linux-extra mount login dbus orphan-sysvinit-scripts python3 python3-dbus python3-pyudev ssl-cert"
)
#: Real daemons; those of NATIVE are run by the jobs in jobs/, the others by their own unmodified init.d scripts.
DAEMONS = "cron openssh-server rsyslog nginx-light redis-server postgresql memcached dnsmasq lighttpd"
NATIVE = ("memcached", "dnsmasq", "lighttpd")

#: Packages of another name in a release, and what it has no more.
RENAMED: dict[str, dict[str, str]] = {
    "bookworm": {"ifupdown": "ifupdown lsb-base"},
    "trixie": {"udev": "udev systemd-standalone-sysusers", "nginx-light": "nginx"},
}


def named(host: str) -> str:
    """How a root is set up to begin with, as shell text: the name of its host, and a network of the loopback alone."""
    return rf"""
set -e
cd "$1"
echo {host} >etc/hostname
printf '127.0.0.1 localhost {host}\n::1 localhost\n' >etc/hosts
printf 'auto lo\niface lo inet loopback\n' >etc/network/interfaces"""


#: Ports that do not clash, an answer for each daemon that has none by itself, and nothing that differs between runs.
CONFIGURE = named("upstart-test") + r"""
: >etc/fstab
printf 'SHELL=/bin/bash\n@reboot root echo cron >/dev/tcp/127.0.0.1/5001\n' >etc/cron.d/answer
printf 'module(load="imudp")\ninput(type="imudp" address="127.0.0.1" port="514")\n' >etc/rsyslog.d/loopback.conf
echo 'if $programname == "echo" then action(type="omfwd" target="127.0.0.1" port="5002" protocol="udp")' \
    >>etc/rsyslog.d/loopback.conf
printf "%s\n" no-resolv bind-interfaces listen-address=127.0.0.1 address=/answer.test/192.0.2.7 \
    >etc/dnsmasq.d/answer.conf
sed -i 's/^\(server.port *= *\).*/\18081/' etc/lighttpd/lighttpd.conf
kernel=$(chroot . apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: *//p' | head -n 1)
chroot . sh -c "cd /opt && apt-get -q download sysvinit-core $kernel && insserv"
rm -f etc/ssh/ssh_host_*
chroot . ssh-keygen -q -A
"""


def called(release: str, words: list[str]) -> list[str]:
    """Packages by the names that `release` has for them."""
    renamed = RENAMED.get(release, {})
    return [name for word in words for name in renamed.get(word, word).split()]


def packages(release: str) -> list[str]:
    """Names of the packages of the root, as `release` calls them."""
    return called(release, (SYSTEM + " " + DAEMONS).split())


def ready(release: str) -> Path:
    """The directory of the root of `release`; built where it is missing, which takes a minute or two."""
    return build("root", release, packages(release), CONFIGURE)


def build(kind: str, release: str, names: list[str], configure: str, options: Sequence[str] = ()) -> Path:
    """A root of `names`, set up by the shell text `configure`; of each kind and release the latest alone is kept.

    `options` are further ones of mmdebstrap.
    """
    digest = hashlib.sha256("\n".join([release, configure, *names, *options]).encode()).hexdigest()[:12]
    path = BUILD / f"{kind}-{release}-{digest}"
    BUILD.mkdir(exist_ok=True)
    # Whoever wants the same root at the same time waits for it.
    with (BUILD / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():
            _make(path, kind, release, names, configure, options)
    return path


def _make(path: Path, kind: str, release: str, names: list[str], configure: str, options: Sequence[str]) -> None:
    """Builds the root `path`, and removes what it takes the place of."""
    print(f"Building the {kind} of {release} ({len(names)} packages and what they need)", flush=True)
    partial = path.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    hook = BUILD / f"configure-{kind}"
    hook.write_text("#!/bin/sh" + configure)
    hook.chmod(0o755)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=directory"]
    command += [f"--include={','.join(names)}", f"--customize-hook={hook}"]
    command += [f"--aptopt={line}" for line in archive.transport_options()]
    command += ["--aptopt=Apt::Install-Recommends \"false\"", *options, release, str(partial), "-"]
    log = BUILD / f"{kind}-{release}.log"
    try:
        with log.open("wb") as output, ending.program(command, output, subprocess.PIPE) as process:
            process.communicate(archive.sources(release).encode())
        if process.returncode:
            tail = "\n".join(log.read_text().splitlines()[-20:])
            raise RuntimeError(f"mmdebstrap failed with status {process.returncode}:\n{tail}")
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in BUILD.glob(f"{kind}-{release}-*"):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)
