"""A system whose bridges are the shipped jobs, run from this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon_init import PROGRAMS, ROOT
from test_daemon_pid1 import System

from upstart.process.procfs import children, waited

STEP = ROOT / "src/libexec/bridge-step"
STATES = "/run/upstart/bridges"


def shipped(name: str, directory: Path, jobs: str = "etc/init") -> str:
    """The text of a shipped job, whose programs are those of this checkout."""
    text = (ROOT / jobs / f"{name}.conf").read_text()
    text = text.replace("/usr/libexec/upstart/bridge-step", f"{directory}/bridge-step")
    return re.sub(r"^exec (upstart-|\$JOB)", rf"exec {PROGRAMS}/\1", text, flags=re.M)


class Bridged(System):
    """A system with the jobs of the bridges ``names``."""

    names: tuple[str, ...] = ()

    def prepare(self) -> None:
        self.wait_for(lambda: self.initctl("version").startswith("init ("))
        step = self.directory / "bridge-step"
        step.write_text(STEP.read_text().replace("PATH=/sbin:", f"PATH={PROGRAMS}:/sbin:"))
        step.chmod(0o755)
        for name in ("upstart-bridges", "upstart-bridge-separate", "mountall-finish", *map(job_of, self.names)):
            self.place(name, shipped(name, self.directory))
        self.reload()

    def place(self, name: str, text: str, ending: str = "conf") -> None:
        """Put a job file in its place; ``$W`` is our directory."""
        path = self.directory / "conf" / f"{name}.{ending}"
        new = path.with_suffix(".new")
        new.write_text(text.replace("$W", str(self.directory)))
        new.rename(path)

    def write(self, name: str, text: str, ending: str = "conf") -> None:
        """The same, and have init read it."""
        self.place(name, text, ending)
        self.reload()

    def remove(self, name: str, ending: str = "conf") -> None:
        (self.directory / "conf" / f"{name}.{ending}").unlink()
        self.reload()

    def reload(self) -> None:
        answer = self.initctl("reload-configuration")
        assert answer == "", answer

    def status(self, job: str) -> str:
        return self.initctl("status", job)

    def wait_for(self, what: Callable[[], Any], seconds: float = 20) -> Any:
        """As `daemon_init.wait_for`, but of the seconds only those count in which no process of the system waited for a
        processor: bridges are nice, and a machine may be slow or busy."""
        began, before, lag = time.monotonic(), self._waited(), 0.0
        while not (value := what()):
            lag = max([lag, *(now - before.get(pid, 0.0) for pid, now in self._waited().items())])
            assert time.monotonic() - began - lag < seconds, f"not in {seconds} s, {lag:.1f} s of waiting left out"
            # Who asks takes a processor from those who are asked about.
            time.sleep(0.05)
        return value

    def _waited(self) -> dict[int, float]:
        """How long each process of the system has waited for a processor."""
        found: dict[int, float] = {}
        left = [self.pid]
        while left:
            pid = left.pop()
            found[pid] = waited(pid)
            left += children(pid) or []
        return found

    def wait_running(self, *names: str) -> None:
        """Wait until these bridges, or all, are running."""
        for name in names or self.names:
            job = job_of(name)
            self.wait_for(lambda job=job: self.status(job) == f"{job} start/running\n")  # type: ignore[misc]

    def wait_stopped(self, name: str) -> None:
        job = job_of(name)
        self.wait_for(lambda: self.status(job) == f"{job} stop/waiting\n")

    def pid_of(self, job: str) -> int:
        """The pid, outside, of a job's process, once it has one that lives."""
        pid: int = self.wait_for(lambda: self._pid_of(job))
        return pid

    def _pid_of(self, job: str) -> int:
        line = self.status(job).partition("\n")[0]
        if ", process" not in line:
            return 0
        inside = line.split()[-1]
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                text = path.read_text()
                if f"\t{inside}\n" in text.partition("NSpid:")[2].partition("\n")[0] + "\n":
                    if os.readlink(f"/proc/{path.parent.name}/ns/pid") == space:
                        return int(path.parent.name)
            except OSError:
                continue
        return 0

    def host(self) -> int:
        """The pid, outside, of the process that hosts bridges, once all that are ours are running."""
        self.wait_running()
        return self.pid_of("upstart-bridges")

    def inside(self, *words: str, text: bytes = b"") -> None:
        """Run a program in the system's namespaces, with ``text`` as its input."""
        command = ["nsenter", "-t", str(self.pid), "-p", "-n", "-m", "-i", "-u", "--", *words]
        subprocess.run(command, input=text, check=True, timeout=60)

    def count(self, event: str) -> int:
        return self.kmsg().count(f"Handling {event} event")

    def restart_init(self) -> None:
        """Have init re-execute itself, and wait until it has."""
        count = self.kmsg().count("Stateful re-exec completed")
        assert self.run(str(PROGRAMS / "telinit"), "u").returncode == 0
        self.wait_for(lambda: self.kmsg().count("Stateful re-exec completed") > count)


class Noting(Bridged):
    """One after its boot, whose jobs wait for what happens below the directory ``at``, and write down in ``noted`` what
    they are told."""

    def prepare(self) -> None:
        super().prepare()
        self.initctl("emit", "filesystem")
        self.begin(self.directory / "at")

    def begin(self, at: Path) -> None:
        """Have nothing happened yet."""
        self.at = at
        self.at.mkdir(exist_ok=True)
        self.noted = self.directory / "noted"
        self.noted.touch()

    def told(self) -> list[str]:
        """What was noted, without the directory."""
        return [line.strip() for line in self.noted.read_text().replace(f"{self.at}/", "").splitlines()]

    def expect(self, *lines: str) -> None:
        """Wait until these have been noted, in whichever order, and begin anew."""
        try:
            self.wait_for(lambda: sorted(self.told()) == sorted(lines), 10)
        except AssertionError:
            raise AssertionError(f"{self.told()} instead of {lines}") from None
        self.noted.write_text("")


def job_of(name: str) -> str:
    return f"upstart-{name}-bridge"


def switches(pid: int) -> int:
    """How often a process has gone to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("voluntary_ctxt_switches:")[2].split()[0])


def resident(pid: int) -> int:
    """Kilobytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])
