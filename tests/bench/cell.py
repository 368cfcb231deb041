"""A cell: one init as PID 1 of private PID, mount, IPC, UTS, network and cgroup namespaces, and the client beside it.

`Cell` is a context manager; on the way out, however it comes, the namespaces' first process is killed, which takes all
their processes and mounts along, and the directory and the control group are removed. The rest of / is the machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from container import wait_for
from groups import remove_groups, unified_hierarchy

HERE = Path(__file__).resolve().parent
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


class CellError(Exception):
    """The init could not be measured; the text says at which step, and ends with what the init last said."""


class Cell:
    """One start of `init` with `jobs`, file names to their text; `seconds` is how long it may take to answer.

    Without `cgroups` it finds no hierarchy of control groups.
    """

    def __init__(self, init: str, jobs: Mapping[str, str], seconds: float = 120, cgroups: bool = True) -> None:
        self.jobs, self.seconds, self._cgroups = jobs, seconds, cgroups
        self.work = Path(tempfile.mkdtemp(prefix="upstart-bench-"))
        self._init = [init, "--confdir", str(self.work / "conf"), "--logdir", str(self.work / "log")]
        self._init += ["--no-dbus", "--no-startup-event"]
        #: Process id of the init as this machine sees it.
        self.pid = 0
        #: Seconds from the exec of init to its first answer, and to its list of jobs.
        self.ready = self.loaded = 0.0
        #: How many jobs it lists.
        self.known = 0
        self._group: Path | None = None
        self._unshare: subprocess.Popen[str] | None = None
        self._worker: subprocess.Popen[str] | None = None

    def __enter__(self) -> Cell:
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self) -> None:
        for name in ("conf", "log"):
            (self.work / name).mkdir()
        for name, text in self.jobs.items():
            path = self.work / "conf" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, errors="surrogateescape")
        hierarchy = unified_hierarchy()
        if hierarchy is not None:
            self._group = hierarchy / self.work.name
            self._group.mkdir()
        command = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--ipc", "--uts", "--net", "--cgroup"]
        plan = json.dumps({"work": str(self.work), "init": self._init, "cgroups": self._cgroups})
        command += ["--kill-child=KILL", sys.executable, "-I", str(HERE / "cell_inside.py"), plan]
        complaints = self.work / "unshare"
        with complaints.open("w") as errors:
            self._unshare = _piped(command, errors, self._join_group)
        if _line(self._unshare) != "prepared":
            raise CellError(f"the namespaces could not be made: {complaints.read_text().rstrip()}")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text().split()
        self.pid = int(children[0])
        enter = ["nsenter", "-t", str(self.pid), "-p", "-m", "-i", "-u", "-n", "--"]
        self._worker = _piped([*enter, sys.executable, "-E", "-s", "-S", str(HERE / "worker.py")], None, None)

    def _join_group(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))

    def _start(self) -> None:
        assert self._unshare is not None
        self._tell("answering", self.seconds)
        _say(self._unshare, "go")
        started = _line(self._unshare)
        if not started:
            raise CellError(f"{self._init[0]} could not be executed")
        first, listed, self.known = self._answer()
        self.ready, self.loaded = first - float(started), listed - float(started)

    def ask(self, function: str, *arguments: object) -> Any:
        """Has the client do something and waits for its answer; CellError if it failed."""
        self._tell(function, *arguments)
        return self._answer()

    def _tell(self, *request: object) -> None:
        assert self._worker is not None
        _say(self._worker, json.dumps(request))

    def _answer(self) -> Any:
        assert self._worker is not None
        line = _line(self._worker)
        answer = json.loads(line) if line else {"error": "the client or the init ended"}
        if isinstance(answer, dict):
            said = "".join((self.work / name).read_text(errors="replace") for name in ("console", "kmsg"))
            raise CellError(f"{self._init[0]}: {answer['error']}\n{said[-1000:]}".rstrip())
        return answer

    def resident(self) -> int:
        """VmRSS of the init, in kB (proc(5))."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise CellError(f"{self._init[0]} has ended")

    def settle(self, seconds: float = 10) -> None:
        """Waits until init has used no processor time for 0.2 s, for `seconds` at most."""
        last = -1.0

        def idle() -> bool:
            nonlocal last
            before, last = last, self.processor_time()
            return last == before

        wait_for(idle, seconds, interval=0.2)

    def processor_time(self) -> float:
        """Seconds of processor time that the init itself has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICK

    def has_ended(self) -> bool:
        """Whether the init is no more, or its client."""
        return any(process is None or process.poll() is not None for process in (self._unshare, self._worker))

    def __exit__(self, *_: object) -> None:
        if self._unshare is not None and self._unshare.poll() is None:
            # The first process itself, so that unshare is there to reap it.
            os.kill(self.pid or self._unshare.pid, signal.SIGKILL)
        for process in (self._unshare, self._worker):
            if process is not None:
                process.wait()
                for stream in (process.stdin, process.stdout):
                    # What was said to one that has died is not read any more.
                    with suppress(BrokenPipeError):
                        if stream is not None:
                            stream.close()
        if self._group is not None and self._group.is_dir():
            wait_for(partial(remove_groups, self._group), 5)
        shutil.rmtree(self.work, ignore_errors=True)


def _piped(command: list[str], errors: IO[str] | None, before: Callable[[], None] | None) -> subprocess.Popen[str]:
    """A process whose standard input and output are ours; in its own group, so that an interrupt reaches us alone."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=errors, text=True, preexec_fn=before, start_new_session=True
    )


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # its answer, which will be none, tells the caller


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")
