"""A boot in virtual time: the shipped jobs on the real engine, and processes that do what those of a real boot do.

A task ends after `TAKES` seconds, a service runs on, what stops is stopped.  mountall is played by its order of events:
each file system's ``mounted`` is waited for before what lies in it, and before it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path

from upstart.engine.world import World

JOBS = Path(__file__).parents[2] / "etc" / "init"
#: Those of the package upstart-jobs.
SERVICE_JOBS = Path(__file__).parents[2] / "debian" / "jobs"
TAKES = 0.05
#: The kernel's file systems, then root, then what lies in it.
VIRTUAL = ("/proc", "/sys", "/dev", "/run")
LOCAL = ("/tmp", "/var", "/home")
#: Seconds after which a boot must have come to its runlevel, failsafe's limit included.
LIMIT = 120.0

Script = Generator[list[int], None, None]


class Boot:
    """``container`` is its type; ``network`` what becomes of the interface eth0: "none" if there is no such, "up", or
    "down" if it never gets an answer.  ``more`` are further jobs by name, ``without`` those that are not there;
    ``nfs`` is the type of a remote file system, if there is one."""

    def __init__(
        self,
        container: str = "",
        network: str = "none",
        more: dict[str, str] | None = None,
        without: Iterable[str] = (),
        takes: dict[str, float] | None = None,
        nfs: str = "",
    ) -> None:
        self.world = World()
        self.container = container
        self.network = network
        self.nfs = nfs
        self.takes = takes or {}
        self.happened: list[str] = []
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._seen = 0
        self._killed = 0
        self._scripts: list[tuple[list[int], Script]] = []
        missing = set(without)
        texts = {path.stem: path.read_text() for path in sorted(JOBS.glob("*.conf"))} | (more or {})
        for name, text in texts.items():
            if name not in missing:
                self.world.define(name, text)

    # What happens by itself

    def _at(self, seconds: float, what: Callable[[], object]) -> None:
        self._due.append((self.world.now + seconds, len(self._due) + self._seen * 1000, what))

    def emit(self, name: str, **env: str) -> int:
        self.happened.append(" ".join([name, *(f"{key}={value}" for key, value in env.items())]))
        return self.world.emit_env(name, env)

    def _look(self) -> None:
        """See to the processes that are new, the signals that were sent, and the scripts that wait for an event."""
        while True:
            moved = False
            while self._seen < len(self.world.spawned):
                display, process, pid, env = self.world.spawned[self._seen]
                self._seen += 1
                moved = True
                self._began(display.partition(" ")[0], process, pid, env)
            while self._killed < len(self.world.kills):
                pid, _ = self.world.kills[self._killed]
                self._killed += 1
                moved = True
                self._at(0.01, lambda pid=pid: self._end(pid, 15))  # type: ignore[misc]
            for waits, script in list(self._scripts):
                if all(self.world.answers.get(request) for request in waits):
                    self._scripts.remove((waits, script))
                    moved = True
                    self._go_on(script)
            if not moved:
                return

    def _go_on(self, script: Script) -> None:
        try:
            self._scripts.append((next(script), script))
        except StopIteration:
            pass

    def _end(self, pid: int, status: int = 0) -> None:
        if pid in self.world.alive:
            self.world.end(pid, status)

    def _began(self, job: str, process: str, pid: int, env: dict[str, str]) -> None:
        if process != "main":
            self._at(self._pre(job, env), lambda: self._end(pid))
            return
        if job == "mountall":
            self._go_on(self._mountall(pid))
            return
        if job == "udev":
            instance = self.world.instance("udev")
            self._at(0.02, lambda: instance.main_pid and self.world.become_daemon(instance))
            return
        what = {
            "ifupdown": self._ifupdown,
            "failsafe": lambda: None,
            "rc-sysinit": lambda: self._at(0.01, lambda: self.emit("runlevel", RUNLEVEL="2", PREVLEVEL="N")),
            "network-interface-container": lambda: self.emit("net-device-added", INTERFACE="eth0"),
            "udevtrigger": lambda: self.network != "none" and self.emit("net-device-added", INTERFACE="eth0"),
        }.get(job)
        if job == "failsafe":
            self._at(60.0, lambda: pid in self.world.alive and self.emit("failsafe-boot"))
            self._at(65.0, lambda: self._end(pid))
            return
        definition = self.world.job(job).job_class
        # Whoever is no task and has nothing of a service about it is a short step all the same.
        if definition.task or job in ("ifupdown", "ifupdown-virtual", "network-interface-container"):
            if what is not None:
                self._at(0.02, what)
            self._at(self.takes.get(job, TAKES), lambda: self._end(pid))

    def _pre(self, job: str, env: dict[str, str]) -> float:
        """How long a process beside the main one takes, and what it does."""
        if job == "network-interface" and self.network == "up":
            self._at(0.5, lambda: self.emit("net-device-up", IFACE="eth0"))
            self._at(0.6, lambda: self.emit("static-network-up"))
            return 0.7
        if job == "network-interface" and self.network == "down":
            return 1000.0
        return self.takes.get(job, TAKES)

    def _ifupdown(self) -> None:
        if self.network == "none":
            self.emit("static-network-up")

    def _mountall(self, pid: int) -> Script:
        """All at once: nothing but their places orders file systems."""
        done = dict.fromkeys(("virtual", "local", "remote"), False)

        def virtual() -> Script:
            yield [self.emit("mounted", MOUNTPOINT=each, TYPE="tmpfs" if each == "/run" else "x") for each in VIRTUAL]
            self.emit("virtual-filesystems")
            done["virtual"] = True
            finish()

        def local() -> Script:
            yield [self.emit("mounting", MOUNTPOINT="/", TYPE="ext4")]
            yield [self.emit("mounted", MOUNTPOINT="/", TYPE="ext4")]
            yield [self.emit("mounting", MOUNTPOINT=each, TYPE="ext4") for each in LOCAL]
            yield [self.emit("mounted", MOUNTPOINT=each, TYPE="ext4") for each in LOCAL]
            done["local"] = True
            finish()

        def remote() -> Script:
            # Below root, which is there.
            if self.nfs:
                while "mounted MOUNTPOINT=/ TYPE=ext4" not in self.happened:
                    yield [self.emit("mounting", MOUNTPOINT="/none", TYPE="none")]
                yield [self.emit("mounting", MOUNTPOINT="/srv", TYPE=self.nfs, OPTIONS="rw,sec=krb5")]
                yield [self.emit("mounted", MOUNTPOINT="/srv", TYPE=self.nfs)]
            done["remote"] = True
            finish()

        def finish() -> None:
            for kind in ("local", "remote"):
                name = f"{kind}-filesystems"
                if done["virtual"] and done[kind] and name not in self.happened:
                    self.emit(name)
            if all(done.values()):
                for name in ("all-swaps", "filesystem"):
                    self.emit(name)
                self._end(pid)

        self._go_on(virtual())
        self._go_on(local())
        self._go_on(remote())
        yield []

    # From the outside

    def run(self, seconds: float = LIMIT) -> Boot:
        """Begin, and let so much time pass."""
        self.emit("startup")
        if self.container:
            self.emit("container", CONTAINER=self.container)
        else:
            self.emit("not-container")
        self.emit("net-device-up", IFACE="lo", LOGICAL="lo", ADDRFAM="inet", METHOD="loopback")
        return self.go_on(seconds)

    def go_on(self, seconds: float) -> Boot:
        """Let so much time pass."""
        end = self.world.now + seconds
        while True:
            self._look()
            due = min(self._due, default=None, key=lambda each: each[:2])
            timers = [when for when, _ in self.world.timers.values()]
            following = min([*timers, *([due[0]] if due else [])], default=end)
            if following >= end:
                self.world.sleep(end - self.world.now)
                return self
            self.world.sleep(max(1e-9, following - self.world.now))
            if due is not None and due[0] <= self.world.now + 1e-6:
                self._due.remove(due)
                due[2]()

    def running(self) -> set[str]:
        """The jobs with an instance that runs."""
        return {i.job.name for i in self.world.engine.instances() if (i.goal, i.state) == ("start", "running")}

    def stuck(self) -> list[str]:
        """What has not come to rest."""
        return [
            f"{i.display} {i.goal}/{i.state}"
            for i in self.world.engine.instances()
            if (i.goal, i.state) != ("start", "running")
        ]
