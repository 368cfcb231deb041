#!/usr/bin/python3
"""`make run`: boots a real Debian root with our init as PID 1, asks every daemon for an answer, shuts down again.

Shows the consoles as the system boots, then the time of each milestone, the runlevel and the job list. On a terminal a
shell inside follows; without one, or when that shell ends, the system goes to runlevel 0. The exit status is 0 only if
every daemon answered, runlevel 2 was reached, and PID 1 ended by switching itself off. With --init sysvinit the same
root boots sysvinit-core, to compare with.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import archive
import root
from container import Container, ContainerError, wait_for

HERE = Path(__file__).resolve().parent
UTMP_RECORD = 384
RUN_LEVEL = 1


class BootError(Exception):
    """Something that had to hold did not."""


def recorded_runlevel(utmp: Path) -> str:
    """The current runlevel in utmp(5), or "" while there is no record of one."""
    try:
        data = utmp.read_bytes()
    except OSError:
        return ""
    for offset in range(0, len(data) - UTMP_RECORD + 1, UTMP_RECORD):
        kind, pid = struct.unpack_from("=hxxi", data, offset)
        if kind == RUN_LEVEL:
            return chr(pid & 0xFF)
    return ""


class Boot:
    """One boot and its milestones, in seconds since the exec of init."""

    def __init__(self, container: Container, seconds: float) -> None:
        self.container = container
        self.seconds = seconds
        self.milestones: dict[str, float] = {}

    def reached(self, name: str, moment: float | None = None) -> None:
        self.milestones.setdefault(name, (moment or time.monotonic()) - self.container.started)

    def start(self) -> None:
        """Boots until every daemon has answered and runlevel 2 is recorded; BootError names what is missing."""
        ask = [sys.executable, "-I", str(HERE / "probes.py"), str(self.seconds)]
        command = self.container.enter(*ask, network_only=True)
        # In a session of its own, Ctrl-C is not for it.
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, start_new_session=True) as probes:
            assert probes.stdout is not None
            probes.stdout.readline()
            try:
                self.container.boot()
                silent = self._collect(probes)
            finally:
                probes.terminate()
        if silent:
            raise BootError(f"no answer within {self.seconds:.0f} s from {', '.join(silent)}")
        self.reached("every daemon answers")

    def _collect(self, probes: subprocess.Popen[bytes]) -> list[str]:
        """Notes the answers as they come in, and runlevel 2; gives the names of those that stayed silent."""
        assert probes.stdout is not None
        utmp = self.container.path("/run/utmp")
        silent = []
        poll = select.poll()
        poll.register(probes.stdout, select.POLLIN)
        while True:
            if recorded_runlevel(utmp) == "2":
                self.reached("runlevel 2")
            if not poll.poll(10):
                continue
            line = probes.stdout.readline()
            if not line:
                break
            name, moment = line.decode().split()
            if moment == "none":
                silent.append(name)
            else:
                self.reached(f"{name} answers", float(moment))
        if not silent and "runlevel 2" not in self.milestones:
            raise BootError("runlevel 2 was not reached")
        return silent

    def settle(self) -> None:
        """Waits for the end of the scripts of runlevel 2, after which the terminals get their logins."""
        if not wait_for(lambda: "stop/waiting" in self.container.run("status", "rc").stdout, self.seconds, 0.1):
            raise BootError(f"rc did not end within {self.seconds:.0f} s")
        self.reached("rc has ended")

    def stop(self) -> str:
        """Goes to runlevel 0, unless somebody inside has asked for an end, and waits for that of PID 1: how it came.

        BootError if it is too late, or not what was asked for.
        """
        asked = time.monotonic()
        ended = self.container.wait(0) is not None
        inside = ended or recorded_runlevel(self.container.path("/run/utmp")) in ("0", "6")
        if not inside:
            self.container.run("telinit", "0")
        status = self.container.wait(self.seconds)
        if status is None:
            raise BootError(f"runlevel 0 did not end PID 1 within {self.seconds:.0f} s")
        if inside and status in (signal.SIGINT, signal.SIGHUP):
            what = "switched the system off" if status == signal.SIGINT else "restarted the system"
            return f"PID 1 has {what}, as asked inside."
        if status != signal.SIGINT:
            raise BootError(f"PID 1 ended with status {status} instead of switching the system off")
        took = self.milestones["runlevel 0 to the end of PID 1"] = time.monotonic() - asked
        return f"PID 1 switched the system off {took:.2f} s after telinit 0."

    def report(self) -> str:
        """The milestones in the order of time, a line each."""
        ordered = sorted(self.milestones.items(), key=lambda item: item[1])
        return "".join(f"  {moment:7.2f} s  {name}\n" for name, moment in ordered)


def converse(container: Container) -> None:
    """A shell inside, on a terminal of the namespaces' own, which script(1) makes; returns when it has ended."""
    command = container.enter("script", "--quiet", "--command", "/bin/bash -l", "/dev/null")
    with subprocess.Popen(command) as shell:
        # The scripts that end a system stop all processes for a moment. nsenter stops itself along with its child, and
        # is not among those that they wake up again.
        while True:
            state = os.waitid(os.P_PID, shell.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if state is None or state.si_code != os.CLD_STOPPED:
                break
            shell.send_signal(signal.SIGCONT)


def show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def packages(release: str) -> list[Path]:
    """Our packages for `release`, in the order of installation; BootError if they have not been built."""
    # In this order: upstart-sysv must find the others configured.
    directory = root.BUILD / "deb" / release
    names = ("upstart-core", "upstart-jobs", "upstart-sysv")
    found = [path for name in names for path in directory.glob(f"{name}_*.deb")]
    if not found:
        raise BootError("there are no packages: run make deb")
    return found


def recommended(release: str) -> list[Path]:
    """What README.md has apt install: those, and what upstart-sysv recommends of ours."""
    return [*packages(release), *(root.BUILD / "deb" / release).glob("upstart-service_*.deb")]


def prepare(init: str, release: str) -> tuple[Path, list[Path], dict[str, str]]:
    """The root, the packages and the single files of a boot with `init` ("upstart" or "sysvinit")."""
    path = root.ready(release)
    if init == "sysvinit":
        return path, sorted((path / "opt").glob("sysvinit-core_*.deb")), {}
    jobs = {str(HERE / "jobs" / f"{name}.conf"): f"/etc/init/{name}.conf" for name in root.NATIVE}
    return path, packages(release), jobs


def run(init: str, release: str, seconds: float, interactive: bool) -> None:
    """The whole of it; BootError or ContainerError if anything did not hold."""
    path, packages, files = prepare(init, release)
    print(f"Booting {release} with {init}", flush=True)
    with Container(path, ["/sbin/init"], packages, files, show) as container:
        boot = Boot(container, seconds)
        try:
            boot.start()
        except BootError:
            print(f"\n{boot.report()}", flush=True)
            if init == "upstart":
                print(container.run("initctl", "list").stdout, flush=True)
            raise
        if init == "upstart":
            boot.settle()
            print(f"\nThe jobs:\n{container.run('initctl', 'list').stdout}")
        print(f"Runlevel: {container.run('runlevel').stdout}")
        print(f"Milestones since the exec of init:\n{boot.report()}", flush=True)
        if interactive:
            print("A shell inside; when it ends, the system shuts down.", flush=True)
            converse(container)
        print(f"\n{boot.stop()}")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Boot a Debian root in namespaces and check its daemons.")
    parser.add_argument("--init", choices=("upstart", "sysvinit"), default="upstart")
    parser.add_argument("--release", default=archive.host_release())
    parser.add_argument("--seconds", type=float, default=60, help="how long booting, and shutting down, may take")
    options = parser.parse_args(argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        run(options.init, options.release, options.seconds, sys.stdin.isatty())
    except (BootError, ContainerError, RuntimeError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
