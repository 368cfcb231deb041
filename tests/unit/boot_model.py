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
#: Jobs of cloud-init that are no services.
CLOUD = (
    "cloud-init-mounted", "cloud-init-main", "cloud-init-local", "cloud-init-blocknet", "cloud-init", "cloud-config",
    "cloud-final", "cloud-init-hotplugd",
)  # fmt: skip
#: Seconds after which a boot must have come to its runlevel, failsafe's limit included.
LIMIT = 120.0

Script = Generator[list[int], None, None]


class Boot:
    """``container`` is its type; ``network`` what becomes of the interface eth0: "none" if there is no such, "up", or
    "down" if it never gets an answer.  ``more`` are further jobs by name, ``without`` those that are not there;
    ``nfs`` is the type of a remote file system, if there is one; ``cloud`` is the file system that has the files of
    cloud-init where there is something for it to do, and ``main`` whether it has one process for all stages; ``single``
    is whether the kernel's command line asks for single-user mode."""

    def __init__(
        self,
        container: str = "",
        network: str = "none",
        more: dict[str, str] | None = None,
        without: Iterable[str] = (),
        takes: dict[str, float] | None = None,
        nfs: str = "",
        cloud: str = "/",
        main: bool = True,
        single: bool = False,
    ) -> None:
        self.world = World()
        self.container = container
        self.network = network
        self.nfs = nfs
        #: What has to come before mountall looks at anything.
        self.needs: tuple[str, ...] = ()
        self.cloud = cloud
        self.main = main
        self.single = single
        self.takes = takes or {}
        self.happened: list[str] = []
        self._asked: dict[int, tuple[str, dict[str, str]]] = {}
        #: When each event was emitted last, by its name, and which process was started when.
        self.times: dict[str, float] = {}
        self.began: list[tuple[str, str, float]] = []
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
        self.times[name] = self.world.now
        self.happened.append(" ".join([name, *(f"{key}={value}" for key, value in env.items())]))
        request = self.world.emit_env(name, env)
        self._asked[request] = (name, env)
        return request

    def _answered(self, request: int) -> bool:
        """Whether an event is finished; who lost the connection by a re-exec asks again by its key."""
        if request in self.world.answers:
            return bool(self.world.answers[request])
        asked = self._asked[request]
        return not any((event.name, event.env) == asked for event in self.world.engine.events.values())

    def _look(self) -> None:
        """See to the processes that are new, the signals that were sent, and the scripts that wait for an event."""
        while True:
            moved = False
            while self._seen < len(self.world.spawned):
                display, process, pid, env = self.world.spawned[self._seen]
                self._seen += 1
                moved = True
                self.began.append((display, process, self.world.now))
                self._began(display.partition(" ")[0], process, pid, env)
            while self._killed < len(self.world.kills):
                pid, _ = self.world.kills[self._killed]
                self._killed += 1
                moved = True
                self._at(0.01, lambda pid=pid: self._end(pid, 15))  # type: ignore[misc]
            for waits, script in list(self._scripts):
                if all(map(self._answered, waits)):
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
        login = job in ("tty1", "console") and process == "pre-start"
        if login and self.single and "filesystem" in env["UPSTART_EVENTS"]:
            # As `src/libexec/boot-runlevel` has it.
            self._at(0.2, lambda: self.world.instance(job).goal == "start" and self.world.stop(job))
            self._at(0.25, lambda: self._end(pid))
            return
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
            "rc-sysinit": lambda: self._at(0.01, lambda: self._enter(env)),
            "network-interface-container": lambda: self.emit("net-device-added", INTERFACE="eth0"),
            "udevtrigger": lambda: self.network != "none" and self.emit("net-device-added", INTERFACE="eth0"),
        }.get(job)
        if job in CLOUD:
            self._cloud(job, pid, env)
            return
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

    def _enter(self, env: dict[str, str]) -> None:
        """The runlevel that rc-sysinit enters."""
        if "FROM_SINGLE_USER_MODE" in env:
            self.emit("runlevel", RUNLEVEL="2", PREVLEVEL="S")
        else:
            self.emit("runlevel", RUNLEVEL="S" if self.single else "2", PREVLEVEL="N")

    def _pre(self, job: str, env: dict[str, str]) -> float:
        """How long a process beside the main one takes, and what it does."""
        if job == "network-interface" and self.network == "up":
            self._at(0.5, lambda: self.emit("net-device-up", IFACE="eth0"))
            self._at(0.6, lambda: self.emit("static-network-up"))
            return 0.7
        if job == "network-interface" and self.network == "down":
            return 1000.0
        return self.takes.get(job, TAKES)

    def _cloud(self, job: str, pid: int, env: dict[str, str]) -> None:
        """As `src/libexec/cloud-init-step` has it."""
        local_finished = "cloud-init-local finished" in self.happened
        nothing = not self.cloud and "cloud-init-disabled" in self.happened

        def mounted() -> None:
            if local_finished or env["MOUNTPOINT"] != (self.cloud or "/"):
                self._end(pid)
            elif not self.cloud:
                self.emit("cloud-init-disabled")
                self._end(pid)
            else:
                self.emit("cloud-init-enabled")
                self._at(10.0, lambda: look(0))

        def look(idle: int) -> None:
            """It gives up where no stage begins."""
            stages = ("cloud-init-local", "cloud-init")
            if any(i.job.name in stages and i.goal == "start" for i in self.world.engine.instances()):
                idle = -1
            if idle < 8:
                self._at(10.0, lambda: look(idle + 1))
            else:
                self._end(pid)

        def finish() -> None:
            if job == "cloud-init-local":
                self.happened.append("cloud-init-local finished")
            self._end(pid)
            if job == "cloud-final":
                for instance in list(self.world.engine.instances()):
                    if instance.job.name == "cloud-init-main":
                        self._end(instance.main_pid or 0)

        if job == "cloud-init-mounted":
            self._at(0.1, mounted)
        elif job == "cloud-init-main":
            if not self.main:
                self._at(0.01, lambda: self._end(pid))
        elif job == "cloud-init-blocknet":
            begins = all((None, name) in self.world.engine.jobs for name in ("cloud-init-mounted", "cloud-init-local"))
            self._at(0.0 if local_finished or nothing or not begins else 120.0, lambda: self._end(pid))
        else:
            self._at(self.takes.get(job, TAKES), finish)

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

        for need in self.needs:
            yield [self.emit("before-mounting", NEED=need)]
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
