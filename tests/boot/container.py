"""A Debian root booted in its own PID, mount, UTS, IPC, network and cgroup namespaces.

`Container` is a context manager: inside it an init of the caller's choice is PID 1 of the root; on the way out, however
it comes, the namespaces' first process is killed, which takes all their processes and mounts along, and the control
group is removed. Should the launcher itself be killed, the kernel kills that first process (unshare --kill-child).
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from groups import remove_groups, unified_hierarchy

HERE = Path(__file__).resolve().parent
TERMINALS = 6
INTERRUPTIONS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class ContainerError(Exception):
    """The root could not be booted; the text says at which step."""


def wait_for(condition: Callable[[], bool], seconds: float, interval: float = 0.01) -> bool:
    """Asks until `condition` holds, for `seconds` at most; whether it did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(interval)
    return True


class Container:
    """One boot. `init` is the program's argv; `packages` are .deb files to install first; `files` go in afterwards.

    `layer` is the directory for what the boot writes, to be booted again; without it that is lost at the end.
    """

    def __init__(
        self,
        root: Path,
        init: list[str],
        packages: list[Path],
        files: dict[str, str],
        show: Callable[[bytes], object],
        layer: Path | None = None,
    ) -> None:
        self.root, self.init, self.packages, self.files, self.show = root, init, packages, files, show
        self.layer = layer
        #: Process id of the namespaces' PID 1 as this machine sees it.
        self.pid = 0
        #: Monotonic seconds at the exec of init.
        self.started = 0.0
        self._work = Path(tempfile.mkdtemp(prefix="upstart-boot-"))
        self._group: Path | None = None
        self._unshare: subprocess.Popen[str] | None = None
        self._masters: list[int] = []
        self._slaves: list[int] = []
        self._pump: threading.Thread | None = None
        self._stop_pump, self._stopped = os.pipe()

    def __enter__(self) -> Container:
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        hierarchy = unified_hierarchy()
        if hierarchy is not None:
            self._group = hierarchy / self._work.name
            self._group.mkdir()
        for _ in range(1 + TERMINALS):
            master, slave = pty.openpty()
            self._masters.append(master)
            self._slaves.append(slave)
        names = [os.ttyname(slave) for slave in self._slaves]
        plan = {
            "root": str(self.root),
            "work": str(self._work),
            "layer": "" if self.layer is None else str(self.layer),
            "init": self.init,
            "packages": [str(path) for path in self.packages],
            "files": self.files,
            "console": names[0],
            "terminals": names[1:],
        }
        command = ["unshare", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--fork", "--kill-child=KILL"]
        command += ["--propagation=private", sys.executable, "-I", str(HERE / "inside.py"), json.dumps(plan)]
        self._unshare = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=self._join_group
        )
        if self._answer() != "prepared":
            raise ContainerError("the root could not be prepared")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        self.pid = int(children[0])
        self._masters.append(os.open(f"/proc/{self.pid}/root/dev/kmsg", os.O_RDWR | os.O_NONBLOCK))
        self._pump = threading.Thread(target=self._show_output, daemon=True)
        self._pump.start()

    def _join_group(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def _answer(self) -> str:
        assert self._unshare is not None and self._unshare.stdout is not None
        return self._unshare.stdout.readline().rstrip("\n")

    def _show_output(self) -> None:
        """Reads all terminals and the kernel's log, so that no writer blocks; shows the console and the log."""
        # Signals are the main thread's, which puts them off while it cleans up.
        signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
        poll = select.poll()
        for descriptor in [*self._masters, self._stop_pump]:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._stop_pump:
                    return
                try:
                    data = os.read(descriptor, 65536)
                except OSError:
                    data = b""
                if not data:
                    poll.unregister(descriptor)
                elif descriptor == self._masters[-1]:  # the kernel's log: lines that begin with their level
                    self.show(re.sub(rb"(?m)^<\d+>", b"", data))
                elif descriptor == self._masters[0]:
                    self.show(data)

    def boot(self) -> None:
        """Lets init go; returns at its exec."""
        assert self._unshare is not None and self._unshare.stdin is not None
        self._unshare.stdin.write("go\n")
        self._unshare.stdin.flush()
        answer = self._answer()
        if not answer:
            raise ContainerError(f"{self.init[0]} could not be executed")
        self.started = float(answer)

    def path(self, inside: str) -> Path:
        """A path of the booted root as this machine reaches it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def enter(self, *argv: str, network_only: bool = False) -> list[str]:
        """The command that runs `argv` inside: in all namespaces and the root, or in the network's only."""
        if network_only:
            return ["nsenter", "-t", str(self.pid), "-n", "--", *argv]
        clean = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        clean.append(f"TERM={os.environ.get('TERM', 'linux')}")
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", *clean, *argv]

    def type(self, text: str) -> None:
        """What somebody at the console types."""
        os.write(self._masters[0], text.encode())

    def run(self, *argv: str, seconds: float = 10) -> subprocess.CompletedProcess[str]:
        """Runs a command inside and returns its status and output (both streams in stdout); TimeoutExpired if late."""
        return subprocess.run(
            self.enter(*argv),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )  # fmt: skip

    def wait(self, seconds: float) -> int | None:
        """Waits for the end of PID 1: the signal that ended it (SIGINT: power-off, SIGHUP: reboot), None if late.

        The kernel reports reboot(2) in a PID namespace that way. An exit status of PID 1 is given negated.
        """
        assert self._unshare is not None
        try:
            status = self._unshare.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return -status if status <= 0 else status - 128 if status > 128 else -status

    def end(self, seconds: float) -> int | None:
        """Waits for the end of PID 1: its exit status, or the signal that ended it, negated; None if late."""
        assert self._unshare is not None
        try:
            return self._unshare.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def __exit__(self, *_: object) -> None:
        # Whoever interrupts twice interrupts the cleaning up, too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
        try:
            self._clean_up()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _clean_up(self) -> None:
        if self._unshare is not None:
            if self._unshare.poll() is None:
                children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
                for pid in children.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                self._unshare.wait()
            for stream in (self._unshare.stdin, self._unshare.stdout):
                if stream is not None:
                    stream.close()
        os.close(self._stopped)
        if self._pump is not None:
            self._pump.join()
        for descriptor in [*self._masters, *self._slaves, self._stop_pump]:
            os.close(descriptor)
        if self._group is not None and self._group.is_dir():
            wait_for(partial(remove_groups, self._group), 5)
        shutil.rmtree(self._work, ignore_errors=True)
