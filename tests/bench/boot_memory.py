"""What runs in a booted machine and how much memory it takes, by /proc; nothing has to be installed there for it."""

from __future__ import annotations

import re
import time

import machine

TICKS = 100  # of Linux's /proc, whatever the machine's own clock
#: What every system runs alike, and what looking at it starts.
COMMON = {"cron", "rsyslogd", "sshd", "systemd-udevd", "udevd", "login", "getty", "agetty", "bash", "sh", "cat", "grep"}
#: What a login brings with it where the init manages users.
OF_LOGIN = {"(sd-pam)"}
LOOK = "cat /proc/[0-9]*/stat 2>/dev/null; grep -H -E '^(Rss|Pss):' /proc/[0-9]*/smaps_rollup 2>/dev/null; :"


class Process:
    """One process: its name, its parent, seconds from the kernel's start to its own, resident and proportional KiB."""

    def __init__(self, name: str, parent: int, started: float) -> None:
        self.name = name
        self.parent = parent
        self.started = started
        self.rss = 0
        self.pss = 0


class Memory:
    """The processes of one look, kernel threads and the looking itself excepted; by process id."""

    def __init__(self, text: str) -> None:
        self.processes: dict[int, Process] = {}
        for pid, name, rest in re.findall(r"^(\d+) \((.*)\) (\S .*)$", text, re.MULTILINE):
            fields = rest.split()
            self.processes[int(pid)] = Process(name, int(fields[1]), int(fields[19]) / TICKS)
        for pid, key, size in re.findall(r"^/proc/(\d+)/smaps_rollup:(Rss|Pss): +(\d+) kB", text, re.MULTILINE):
            process = self.processes.get(int(pid))
            if process is not None:
                setattr(process, key.lower(), int(size))
        self.processes = {
            pid: process
            for pid, process in self.processes.items()
            if process.rss and process.name not in ("cat", "grep")
        }

    def last_service(self, names: tuple[str, ...]) -> float:
        """Seconds from the exec of PID 1's kernel thread to the start of the last of the services."""
        return max(process.started for process in self.processes.values() if process.name in names)

    def getty(self) -> float:
        """Seconds from the kernel's start to that of the process which wrote the prompt, and is a login since."""
        return min(process.started for process in self.processes.values() if process.name == "login")

    def of_login(self, pid: int) -> bool:
        process = self.processes[pid]
        if process.name in OF_LOGIN:
            return True
        return process.name == "systemd" and pid != 1

    def helpers(self) -> list[Process]:
        """What only this init runs beside PID 1, the largest first."""
        chosen = [
            process
            for pid, process in self.processes.items()
            if pid != 1 and process.name not in COMMON and not self.of_login(pid)
        ]
        return sorted(chosen, key=lambda process: -process.pss)

    def udevd(self) -> int:
        """Its proportional KiB."""
        return sum(process.pss for process in self.processes.values() if process.name in ("systemd-udevd", "udevd"))

    def login(self) -> int:
        """Proportional KiB of what the login brought with it."""
        return sum(process.pss for pid, process in self.processes.items() if self.of_login(pid))


def settled(vm: machine.Machine, services: tuple[str, ...], seconds: float) -> Memory:
    """A look at the machine once the services run and nothing starts or ends any more."""
    end = time.monotonic() + seconds
    before: set[int] = set()
    while True:
        memory = Memory(vm.command(LOOK, seconds))
        running = {process.name for process in memory.processes.values()}
        if running >= set(services) and set(memory.processes) == before:
            return memory
        if time.monotonic() > end:
            raise machine.MachineError(f"of {services} only {running} came within {seconds:.0f} s")
        before = set(memory.processes)
        vm.command("sleep 2", seconds)
