"""The life of a group of services in one root: boot, install, stop, restart, reboot, purge, switch off.

The root is a minimal Debian whose init is ours. It is booted twice over the same writable layer, which is a directory
below build/ and is removed at the end, however that comes. Every step waits for a condition; a service that fails in
one step still takes the others, as far as it exists.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import inside
import root
import run
from container import Container

from services import debs, patience
from services.patience import wait_for
from services.questions import Question
from services.service import Service

#: Seconds of an idle machine within which a service is up that something has started already, comes up or goes away,
#: and within which a boot, a shutdown or a run of apt ends.
SOON = 5
PATIENCE = 30
LONG = 240

#: The base: no daemon but udev, no message bus, no logging.
BASE = (
    "initscripts sysv-rc insserv startpar sysvinit-utils ifupdown iproute2 netbase procps psmisc kmod udev mount login"
    " util-linux-extra systemd-standalone-sysusers systemd-standalone-tmpfiles python3 python3-dbus python3-pyudev"
    " orphan-sysvinit-scripts adduser"
)
CONFIGURE = root.named("upstart-test") + r"""
: >etc/fstab
chroot . insserv
"""
#: Packages and scripts that a release does not have: nothing to try, and no failure.
ABSENT = ("no such package in this release", "no init.d script")
#: A script that orphan-sysvinit-scripts puts in place by a trigger, when the package has tried to start its service.
LATE = "its script is of orphan-sysvinit-scripts, which registers it after the package's own start: up from then on"
KEPT = "the package does not know that script of orphan-sysvinit-scripts: a purge leaves it, and what it has started"
#: What no init can change.
KNOWN = (*ABSENT, LATE, KEPT)
#: What a shell inside is confined with, as everything is that init started.
AS_BOOTED = ("setpriv", "--bounding-set", ",".join(f"-{name.lower()}" for name in inside.DROPPED_CAPABILITIES))
APT = "DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold"
PACKAGES = "dpkg-query -W -f '${Package}\\n'"


def base(release: str) -> Path:
    """The root directory that every group starts from."""
    names = root.called(release, BASE.split())
    return root.build("services-root", release, names, CONFIGURE)


class Trouble(Exception):
    """A step did not do what it has to; the text says what was seen."""


class Machine:
    """One boot of the root, as its administrator uses it."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def shell(self, text: str, seconds: float = LONG) -> tuple[int, str]:
        """Runs shell text: its status and its output, which goes through a file, for daemons keep it open."""
        output = self.container.path("/run/output")
        command = [*AS_BOOTED, "/bin/bash", "-c", f"exec >/run/output 2>&1\n{text}"]
        status = patience.run(self.container.enter(*command), seconds)
        return 124 if status is None else status, output.read_text(errors="replace")

    def need(self, text: str, seconds: float = LONG) -> str:
        """As shell, but a failure is Trouble, with the end of the output."""
        status, output = self.shell(text, seconds)
        if status:
            said = " / ".join(output.strip().splitlines()[-6:])
            raise Trouble(f"{text.replace(APT, 'apt-get')}: status {status}: {said}")
        return output

    def pids(self, daemon: str) -> set[str]:
        """The processes of that name."""
        return set(self.container.run("pgrep", "-x", daemon, seconds=LONG).stdout.split())

    def is_orphan(self, service: Service) -> bool:
        """Whether the script is no part of the package any more, but kept for it by orphan-sysvinit-scripts."""
        return self.container.path(f"/usr/share/orphan-sysvinit-scripts/{service.script}").exists()

    def has_script(self, service: Service) -> bool:
        return self.container.path(f"/etc/init.d/{service.script}").exists()


def up(machine: Machine, service: Service) -> bool:
    """Whether the service runs and answers."""
    if not machine.pids(service.daemon):
        return False
    if isinstance(service.up, Question):
        return service.up.answered(machine.container.pid)
    text = service.up or f"service {service.script} status"
    return machine.shell(text, 20)[0] == 0


def expect_up(machine: Machine, service: Service) -> None:
    if not wait_for(lambda: up(machine, service), PATIENCE, 0.1):
        seen = f"{service.daemon} runs" if machine.pids(service.daemon) else "no process"
        raise Trouble(f"does not answer ({seen})")


def expect_down(machine: Machine, service: Service) -> None:
    if not wait_for(lambda: not machine.pids(service.daemon), PATIENCE, 0.1):
        raise Trouble(f"{service.daemon} still runs")
    if not wait_for(lambda: not up(machine, service), PATIENCE, 0.1):
        raise Trouble("still answers")


def install(machine: Machine, service: Service) -> None:
    machine.need(service.before)
    try:
        machine.need(f"{APT} install {' '.join(service.install)}")
    except Trouble:
        # Or it would fail again at each of the next, even if it can be neither installed nor removed.
        name = service.package
        by_force = f"rm -f /var/lib/dpkg/info/{name}.prerm && dpkg --purge --force-all {name}"
        machine.need(f"{APT} purge {name} || {{ {by_force}; }}")
        raise
    if not machine.has_script(service):
        raise Trouble(ABSENT[1])
    machine.need(service.after)
    if machine.is_orphan(service) and not wait_for(lambda: up(machine, service), SOON, 0.1):
        machine.need(f"service {service.script} start")
        expect_up(machine, service)
        raise Trouble(LATE)
    expect_up(machine, service)


def stop(machine: Machine, service: Service) -> None:
    machine.need(f"service {service.script} stop")
    expect_down(machine, service)
    machine.need(f"service {service.script} start")
    expect_up(machine, service)


def restart(machine: Machine, service: Service) -> None:
    before = machine.pids(service.daemon)
    machine.need(f"service {service.script} restart")
    expect_up(machine, service)
    if before & machine.pids(service.daemon):
        raise Trouble(f"the same {service.daemon} runs as before")


def reboot(machine: Machine, service: Service) -> None:
    expect_up(machine, service)


def purge(machine: Machine, service: Service) -> None:
    """What is left of it once apt has purged the group: nothing may run, answer or be registered."""
    state = machine.shell(f"dpkg-query -W -f '${{db:Status-Status}}' {service.package} 2>/dev/null")[1]
    if state not in ("", "not-installed"):
        raise Trouble(f"its package cannot be purged: {state}")
    if machine.is_orphan(service) and machine.pids(service.daemon):
        raise Trouble(KEPT)
    expect_down(machine, service)
    left = machine.shell(f"ls -d /etc/init.d/{service.script} /etc/rc?.d/[SK]??{service.script} 2>/dev/null")[1].split()
    if left:
        raise Trouble(KEPT if machine.is_orphan(service) else f"left behind: {' '.join(left)}")


def purge_all(machine: Machine, packages: list[str]) -> None:
    """Has apt purge them; where one refuses, the others one by one."""
    if machine.shell(f"{APT} purge {' '.join(packages)}", 5 * LONG)[0]:
        for package in packages:
            machine.shell(f"{APT} purge {package}")


#: The steps in their order, as the columns of the table.
STEPS = tuple(step.__name__ for step in (install, stop, restart, reboot, purge))


@contextmanager
def booted(path: Path, packages: list[Path], layer: Path) -> Iterator[Machine]:
    """One boot over `layer`, from the exec of init until rc has ended; the boot is over at the end of the block."""
    shown = bytearray()
    with Container(path, ["/sbin/init"], packages, {}, shown.extend, layer) as container:
        container.boot()
        machine = Machine(container)

        def settled() -> bool:
            runlevel = container.run("runlevel", seconds=LONG).stdout == "N 2\n"
            return runlevel and "stop/waiting" in container.run("status", "rc", seconds=LONG).stdout

        if not wait_for(settled, LONG, 0.2):
            jobs = container.run("initctl", "list", seconds=LONG).stdout
            raise Trouble(f"the boot did not end:\n{shown.decode(errors='replace')[-3000:]}\n{jobs}")
        yield machine


#: For each package the failure of each step, "" where it succeeded; a step that was not taken is missing.
Results = dict[str, dict[str, str]]


class Trial:
    """A group on its way."""

    def __init__(self, release: str, group: str, services: list[Service], report: Callable[[str], None]) -> None:
        self.release, self.group, self.services, self.report = release, group, services, report
        self.results: Results = {service.package: {} for service in services}
        self.started = time.monotonic()

    def _step(self, action: Callable[[Machine, Service], None], machine: Machine, service: Service) -> None:
        """One step of one service, named after the function that takes it."""
        started = time.monotonic()
        try:
            action(machine, service)
            failure = ""
        except Trouble as trouble:
            failure = str(trouble)
        except subprocess.TimeoutExpired as late:
            failure = f"{' '.join(late.cmd[-3:])}: no end within {late.timeout:.0f} s"
        self.results[service.package][action.__name__] = failure
        took = time.monotonic() - started
        self.report(f"{self.group}: {service.package}: {action.__name__}: {failure or 'ok'} ({took:.1f} s)")

    def run(self) -> Results:
        """Takes the group through all steps; RuntimeError or Trouble where not even the machine did its part."""
        path = base(self.release)
        store = debs.Store(self.release, path)
        known = store.known([service.package for service in self.services])
        for service in self.services:
            if service.package not in known:
                self.results[service.package]["install"] = ABSENT[0]
        self.services = [service for service in self.services if service.package in known]
        files = store.fetch([package for service in self.services for package in service.install])
        layer = Path(tempfile.mkdtemp(prefix=f"layer-{self.group}-", dir=root.BUILD / "services"))
        try:
            (layer / "upper").mkdir()
            (layer / "upper").chmod(0o755)
            debs.offer(files, layer / "upper")
            self._live(path, layer)
        finally:
            shutil.rmtree(layer, ignore_errors=True)
        return self.results

    def _live(self, path: Path, layer: Path) -> None:
        with booted(path, run.recommended(self.release), layer) as machine:
            machine.need(f"{APT} update")
            before = machine.need(PACKAGES).split()
            for service in self.services:
                self._step(install, machine, service)
            alive = [service for service in self.services if self._goes_on(machine, service)]
            for service in alive:
                self._step(stop, machine, service)
                self._step(restart, machine, service)
            self._end(machine, "6", signal.SIGHUP)
        with booted(path, [], layer) as machine:
            for service in alive:
                self._step(reboot, machine, service)
            added = sorted(set(machine.need(PACKAGES).split()) - set(before))
            purge_all(machine, added)
            for service in alive:
                self._step(purge, machine, service)
            self._end(machine, "0", signal.SIGINT)

    def _goes_on(self, machine: Machine, service: Service) -> bool:
        """Whether it takes the further steps: not without its script, nor where it is known not to run at all."""
        failed = self.results[service.package]["install"]
        return machine.has_script(service) and not (failed and service.excuse(self.release, "install"))

    def _end(self, machine: Machine, runlevel: str, expected: int) -> None:
        machine.container.run("telinit", runlevel, seconds=LONG)
        ends: list[int | None] = []

        def ended() -> bool:
            ends.append(machine.container.wait(1))
            return ends[-1] is not None

        if not wait_for(ended, LONG) or ends[-1] != expected:
            raise Trouble(f"runlevel {runlevel} ended PID 1 with {ends[-1]}")
