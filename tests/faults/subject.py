"""An init under trial, in a session or as PID 1 of namespaces: its jobs, what can be seen of it, and what can be done
to it.
"""

from __future__ import annotations

import mmap
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from client import EXTENSION, MANAGER, PROPERTIES, UPSTART, Client, Dead, Deaf, wait_for
from injected import FIRED, LEFT, MODE, OFF, SIZE

#: Seconds: until an init that begins anew on a busy machine answers, and an answer from then on.
PATIENCE = 15.0
ANSWER = 1.0

JOBS = {
    "svc": "respawn\nrespawn limit unlimited\nexec sleep 1000\n",
    "plain": "exec sleep 1000\n",
    "chained": "start on started svc\nstop on stopping svc\nexec sleep 1000\n",
    "prepared": "pre-start exec true\npost-start exec true\npost-stop exec true\nexec sleep 1000\n",
    "script": "script\n  echo begun\n  exec sleep 1000\nend script\n",
    "talker": "script\n  while :; do echo a line of output; sleep 0.02; done\nend script\n",
    "nice": "nice 1\nexec sleep 1000\n",
    "many": "instance $N\nexec sleep 1000\n",
    "daemon": "expect fork\nexec sh -c 'sleep 1000 & exit 0'\n",
    "stopper": "expect stop\nexec sh -c 'kill -STOP $$; exec sleep 1000'\n",
    "slow": "kill timeout 1\nexec sh -c 'trap \"\" TERM; while :; do sleep 0.05; done'\n",
    "tick": "start on tick\ntask\nexec true\n",
    "ticks": "start on tick\ntask\ninstance $N\nexec true\n",
    "failing": "start on tick\ntask\nexec false\n",
    "missing": "exec /nonexistent\n",
    "both": "start on tick and tock\ntask\nexec true\n",
}
#: Numbers of epoll_wait(2) and epoll_pwait(2), of x86-64, arm64 and arm.
EPOLL_WAIT = ("232", "281", "22", "252", "346")
#: The tests that follow a trial.
PROBES = {
    "probe": "exec sleep 1000\n",
    "probed": "start on probing\ntask\nscript\necho probed $N\nend script\n",
    "keeper": "respawn\nrespawn limit unlimited\nexec sleep 1000\n",
    "stubborn": "kill timeout 1\nscript\ntrap '' TERM\nwhile :; do sleep 0.05; done\nend script\n",
}


class Control:
    """The page that says what is to fail."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self.page = memoryview(mmap.mmap(file.fileno(), SIZE)).cast("I")

    def fail(self, mode: int, left: int, times: int, every: int, number: int) -> None:
        self.page[MODE] = OFF
        for place, value in enumerate((left, times, every, number), LEFT):
            self.page[place] = value
        self.page[FIRED] = 0
        self.page[MODE] = mode

    def off(self) -> int:
        """Let nothing fail any more; gives how many did."""
        self.page[MODE] = OFF
        return self.page[FIRED]


#: Namespaces and devices of a PID 1; the network's is that of the trials.
PREPARE = r"""
mount -t tmpfs -o mode=755 tmpfs /run; : >/run/utmp
mount -t tmpfs -o mode=755 tmpfs /dev; mkdir /dev/pts; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/tty c 5 0
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts /dev/pts; mknod -m 666 /dev/ptmx c 5 2
ln -s "$W/kmsg" /dev/kmsg; ln -s "$W/console" /dev/console
w=$W; unset W
exec "$@" --confdir "$w/conf" --logdir "$w/log" --no-startup-event --no-dbus
"""


class Subject:
    """An init with `JOBS`, of the checkout ``root``; ``first`` is PID 1 of namespaces of its own.

    ``spoilt`` is code that its program runs before all else, for a trial of the trials.  Without ``cgroups`` its jobs
    have none.
    """

    def __init__(self, directory: Path, root: Path, first: bool, spoilt: str = "", cgroups: bool = True) -> None:
        self.directory = directory
        self._spoilt = spoilt
        self.first = first
        self.conf = directory / "conf"
        self.logs = directory / "log"
        for made in (self.conf, self.logs):
            made.mkdir(parents=True, exist_ok=True)
        for name, text in {**JOBS, **PROBES}.items():
            (self.conf / f"{name}.conf").write_text(text)
        self.control = Control(directory / "control")
        program = self._program(root)
        environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "dumb"}
        for name in ("CONFIG_HOME", "CACHE_HOME", "RUNTIME_DIR"):
            environ["XDG_" + name] = str(directory)
        self.log = directory / ("kmsg" if first else "messages")
        with open(directory / "messages", "wb") as output:
            if first:
                for name in ("kmsg", "console"):
                    (directory / name).touch()
                environ["W"] = str(directory)
                command = ["unshare", "-p", "-f", "-m", "--mount-proc", "--kill-child", "sh", "-ec", PREPARE, "sh"]
                command.append(str(program))
            else:
                command = [str(program), "--user", "--confdir", str(self.conf), "--logdir", str(self.logs)]
                command += ["--no-startup-event", "--no-dbus"]
            command += [] if cgroups else ["--no-cgroups"]
            self.process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.pid = wait_for(self._find, PATIENCE) if first else self.process.pid
        if first:
            self.proc = Path(f"/proc/{self.pid}/root/proc")
            self.own, self.address = 1, "\0/com/ubuntu/upstart"
        else:
            self.proc = Path("/proc")
            self.own, self.address = self.pid, f"\0/com/ubuntu/upstart-session/{os.getuid()}/{self.pid}"
        #: What it may make of control groups beside the system's own.
        namespace = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        self.groups = [f"upstart-{namespace}"] if first else [f"upstart-session-{self.pid}"]
        self.answers(PATIENCE)
        self.least = {key: self.memory(key) for key in ("VmSize", "VmData")}
        self.began = self.started(self.own)

    def _program(self, root: Path) -> Path:
        """A copy of the init program in which things can be made to fail.

        What does that is loaded where the program is prepared for a lack of memory.
        """
        programs = self.directory / "sbin"
        shutil.copytree(root / "build" / "sbin", programs)
        script = programs / "init"
        load = (
            f"    sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"    import injected\n    injected.install({str(self.directory / 'control')!r})\n"
        )
        main = "    from upstart.daemon.main import main\n"
        text = script.read_text()
        assert main in text
        spoilt = "".join(f"    {line}\n" for line in self._spoilt.splitlines())
        script.write_text(text.replace(main, load + spoilt + main, 1))
        return script

    def _find(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children and Path(f"/proc/{children[0]}/comm").read_text() == "init\n" else 0

    # What can be seen of it

    def alive(self) -> None:
        """Dead where it is not."""
        if self.process.poll() is not None:
            raise Dead(f"ended with {self.process.returncode}: {self.said()[-600:]}")
        if not self.pid or self.stat(self.own)[:1] in ([], ["Z"]):
            raise Dead(f"ended: {self.said()[-600:]}")

    def said(self) -> str:
        text = self.log.read_text(errors="replace")
        return text + (self.directory / "console").read_text(errors="replace") if self.first else text

    def stat(self, pid: int) -> list[str]:
        """The fields of /proc/PID/stat from the state on; none where there is no such process."""
        try:
            return (self.proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return []

    def started(self, pid: int) -> str:
        return (self.stat(pid) + ["?"] * 20)[19]

    def client(self) -> Client:
        return Client(self.address)

    def answers(self, seconds: float) -> None:
        """Wait for an answer; Dead or Deaf where there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            self.alive()
            try:
                client = self.client()
                try:
                    serial = client.send(MANAGER, PROPERTIES, "Get", "ss", UPSTART, "version")
                    client.answer(serial, max(0.1, deadline - time.monotonic()))
                    return
                finally:
                    client.close()
            except (OSError, EOFError) as error:
                if time.monotonic() > deadline:
                    self.alive()
                    raise Deaf(f"no connection within {seconds:g} s: {error!r}")
                time.sleep(0.02)

    def status(self, client: Client) -> list[Any]:
        found: list[Any] = client.answer(client.send(MANAGER, EXTENSION, "GetStatusAll"), PATIENCE)[0]
        return found

    def children(self) -> dict[int, str]:
        """The processes whose parent it is, and their states."""
        found = {}
        for name in os.listdir(self.proc):
            if name.isdigit():
                fields = self.stat(int(name))
                if len(fields) > 1 and int(fields[1]) == self.own:
                    found[int(name)] = fields[0]
        return found

    def descriptors(self) -> int:
        return len(os.listdir(self.proc / str(self.own) / "fd"))

    def memory(self, key: str) -> int:
        """Bytes."""
        for line in (self.proc / str(self.own) / "status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) << 10
        raise AssertionError(key)

    def limit(self, number: int, value: int) -> None:
        resource.prlimit(self.pid, number, (value, resource.prlimit(self.pid, number)[1]))

    def few_descriptors(self, count: int) -> None:
        """Let it have no descriptors from ``count`` on."""
        self.limit(resource.RLIMIT_NOFILE, count)

    def enough_descriptors(self) -> None:
        """Let it have all again: as it starts a process it sets its own limit aside, and puts the old one back."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
        while True:
            self.limit(resource.RLIMIT_NOFILE, hard)
            wait_for(self._waits, PATIENCE)
            if resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[0] == hard:
                return

    def _waits(self) -> bool:
        """Whether it is where its loop waits, and in the middle of nothing."""
        try:
            return Path(f"/proc/{self.pid}/syscall").read_text().split()[0] in EPOLL_WAIT
        except OSError:
            return True

    def busy(self) -> float:
        """Seconds for which it has had something to do: it ran, or waited for a processor."""
        try:
            ran, waited = (self.proc / str(self.own) / "schedstat").read_text().split()[:2]
        except OSError:
            return 0.0
        return (int(ran) + int(waited)) / 1e9

    def waited(self) -> str:
        """How long it has run, and how long it has waited for a processor: a busy machine may be to blame."""
        try:
            ran, waited = (self.proc / str(self.own) / "schedstat").read_text().split()[:2]
        except OSError:
            return ""
        return f"it has run for {int(ran) / 1e9:.1f} s and waited {int(waited) / 1e9:.1f} s for a processor"

    def command(self, pid: int) -> str:
        try:
            return (self.proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return "gone"

    # What can be done to it

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process of its namespace."""
        if not self.first:
            os.kill(pid, number)
            return
        subprocess.run(
            ["nsenter", "-t", str(self.pid), "-p", "kill", f"-{int(number)}", str(pid)],
            stderr=subprocess.DEVNULL,
            check=False,
        )

    def end(self) -> None:
        """End it, and all that it started."""
        if self.first and self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        left = [] if self.first else self._tree()
        self.process.kill()
        self.process.wait(20)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _tree(self) -> list[int]:
        """All of a session's jobs: what has its address in the environment."""
        mark = f"UPSTART_SESSION=unix:abstract={self.address[1:]}\0".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    if mark in Path(f"/proc/{name}/environ").read_bytes():
                        found.append(int(name))
                except OSError:
                    continue
        return found
