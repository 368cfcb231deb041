#!/usr/bin/python3
"""`make bench-server`: a usual server of Debian's, with the systemd that it was installed with and after it was led to
Upstart, booted in turns; says when ssh answers from outside.

Both are one root: what Debian's installer leaves with ssh, and nfs-common, its interface by DHCP. That of Upstart has
besides what README.md says to install, and keeps the rest; nothing is set up by hand. One machine with two processors
runs at a time; each disk has been booted once before. race.py explains what is set in the environment.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "boot"))

import boot_systems  # noqa: E402
import boot_tables  # noqa: E402
import machine  # noqa: E402
import race  # noqa: E402
import root  # noqa: E402
import run  # noqa: E402
import vm_headless  # noqa: E402
import ways  # noqa: E402
from boot_systems import EXECUTED, SECONDS  # noqa: E402

INITS = ("upstart", "systemd")
#: As the installer of the release, and its task of a server that is reached by ssh, leave it.
SYSTEM = (
    "systemd-sysv libpam-systemd dbus udev kmod ifupdown iproute2 netbase procps psmisc e2fsprogs mount login"
    " util-linux-extra cron logrotate rsyslog openssh-server nfs-common linux-image-cloud-amd64"
)
#: Who asks for an address.
DHCP = {"bookworm": "isc-dhcp-client", "trixie": "dhcpcd-base"}
#: With what the packages of Upstart need on such a machine.
CONFIGURE = (
    root.named("server")
    + boot_systems.FETCH
    + rf"""
printf 'allow-hotplug eth0\niface eth0 inet dhcp\n' >>etc/network/interfaces
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >etc/fstab
fetch upstart {boot_systems.INITS["upstart"]} $WORDS
"""
)
APPEND = f"{boot_systems.APPEND} net.ifnames=0"
#: The columns of the tables.
COLUMNS = (("kernel", "power-on to init"), ("ssh", "init to ssh's answer"), ("ssh cpu", "processors for it"))
#: Seconds between two connections, since QEMU's network tries an early one again only after seconds, and for which
#: each is kept, since an emulated ssh takes its time.
PAUSE, KEPT = 0.4, 3.0


def image(release: str, init: str) -> tuple[Path, Path]:
    """The kernel and the disk image; RuntimeError with what apt said."""
    # systemd has its own in the place of a package that the other inits need on trixie.
    names = [name for name in root.called(release, SYSTEM.split()) if name != "systemd-standalone-sysusers"]
    names += DHCP.get(release, "").split()
    configure = CONFIGURE.replace("$WORDS", ways.NAMED[release])
    below = root.build("bench-server-root", release, names, configure)
    kernel = machine.kernel(below)
    commands = f"echo root:{machine.PASSWORD} | chpasswd"
    plan: dict[str, object] = {"debs": "", "files": {}, "commands": commands}
    ours: list[Path] = []
    if init == "upstart":
        ours = run.packages(release)
        plan |= {"debs": "/opt/upstart", "words": ways.NAMED[release]}
    return kernel, boot_systems.layered(f"server-{init}-{release}", below, kernel, ours, plan, True)


class Caller:
    """Connects to ssh on a port of the loopback's, again and again, until it says what it is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._next = 0.0
        self._made: dict[socket.socket, float] = {}

    def answered(self) -> bool:
        """Whether it has; to be asked often."""
        now = time.monotonic()
        for connection in [each for each, since in self._made.items() if now - since > KEPT]:
            self._drop(connection)
        if now >= self._next:
            self._next = now + PAUSE
            self._made[socket.create_connection(("127.0.0.1", self._port), 5)] = now
        for connection in select.select(list(self._made), [], [], 0)[0]:
            try:
                if connection.recv(16).startswith(b"SSH-2.0-"):
                    return True
            except OSError:
                pass
            self._drop(connection)
        return False

    def _drop(self, connection: socket.socket) -> None:
        del self._made[connection]
        connection.close()

    def close(self) -> None:
        for connection in list(self._made):
            self._drop(connection)


def boot(kernel: Path, disk: Path) -> boot_tables.Timed:
    """One boot, until ssh has answered and somebody has logged in, and a power-off; MachineError if it does not get so
    far."""
    figures: dict[str, float] = {}
    port = vm_headless.free_port()
    with machine.Machine(kernel, disk, lambda _: None, APPEND, processors=2, nic=[vm_headless.nic_to(port)]) as vm:
        vm.expect(EXECUTED, SECONDS)
        executed, used = time.monotonic(), vm.processor()
        figures["kernel"] = executed - vm.started
        caller = Caller(port)
        with contextlib.closing(caller):
            while not caller.answered():
                vm.stay(0.02)
                if time.monotonic() - executed > SECONDS:
                    raise machine.MachineError(f"ssh does not answer:\n{vm.said[-2000:].decode(errors='replace')}")
        figures["ssh"] = time.monotonic() - executed
        figures["ssh cpu"] = vm.processor() - used
        vm.log_in(SECONDS)
        vm.type("poweroff")
        vm.wait(SECONDS)
    return boot_tables.Timed(figures)


def run_race(release: str, inits: list[str], rounds: int) -> tuple[str, bool]:
    """The tables in Markdown."""
    systems = {init: image(release, init) for init in inits}
    samples = race.in_turns(systems, rounds, boot)
    text = boot_tables.circumstances(max(map(len, samples.values()), default=0))
    text += "\n\nSeconds, median (best):\n\n"
    text += boot_tables.times(samples, COLUMNS, ("ssh", "answer"), ("ssh cpu", "processors"))
    return text, all(samples.values())


if __name__ == "__main__":
    sys.exit(race.main("bench-server", INITS, run_race, "A server on {}"))
