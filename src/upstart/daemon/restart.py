"""Re-exec with all state: a new program takes over from the running one without any job noticing.

What is always true here: init execs only after a child with the same program, arguments and descriptors has imported
everything, built all of itself from the state and said so; otherwise it runs on and says why.  The state crosses in a
memory file, the listening socket and the descriptors of jobs cross open.  What cannot be read on the other side is
replaced by what can be seen: jobs whose processes run are adopted.
"""

from __future__ import annotations

import json
import os
import time

from upstart.base.loop import HANGUP, READ
from upstart.base.priority import ERROR, INFO, WARN
from upstart.daemon import sessionfile
from upstart.daemon.options import CHECK_VARIABLE, arguments
from upstart.process import procfs
from upstart.process.child import SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any

    from upstart.daemon.daemon import Daemon
    from upstart.daemon.service import Call
else:
    import _signal as signal

CHECK_OK = b"ok\n"
CHECK_SECONDS = 60.0
#: Seconds to wait for events that come to rest and programs that are just being executed, and between two looks.
SPAWN_SECONDS = 5.0
SPAWN_LOOK_SECONDS = 0.01
STATE_FILE = "upstart.state"
_MAX_STATE = 256 << 20


class Restarter:
    """The re-exec of one daemon; ``argv`` is the command line it was started with, the program's path absolute."""

    __slots__ = ("_answer", "_argv", "_calls", "_child", "_daemon", "_quiet_by", "_timer", "_watch")

    def __init__(self, daemon: Daemon, argv: list[str]) -> None:
        self._daemon = daemon
        self._argv = argv
        self._calls: list[Call] = []
        self._child = 0
        self._answer = -1
        self._watch = -1
        self._timer = -1
        self._quiet_by = 0.0

    @property
    def running(self) -> bool:
        """Whether a re-exec is under way."""
        return self._child != 0

    def begin(self, call: Call | None = None) -> None:
        """Try the new program; if it works, become it, else answer ``call`` with the reason and go on."""
        if call is not None:
            self._calls.append(call)
        if self.running:
            return
        try:
            self._child = self._start_check()
        except Exception as error:
            self._refuse(reason_of(error))

    def _start_check(self) -> int:
        state = _memory_file(state_text(self._daemon))
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_inheritable(state, True)
            os.set_inheritable(write, True)
            env = dict(os.environ)
            env[CHECK_VARIABLE] = str(write)
            argv = arguments(self._argv, state, self._daemon.engine.priority)
            self._daemon.keep_open(True)
            pid = os.posix_spawn(argv[0], argv, env, setsigmask=(), setsigdef=SIGNALS)
        except BaseException:
            os.close(read)
            raise
        finally:
            self._daemon.keep_open(False)
            os.close(write)
            os.close(state)
        self._answer = read
        loop = self._daemon.loop
        self._watch = loop.add_fd(read, READ, self._answered)
        self._timer = loop.call_later(CHECK_SECONDS, self._timed_out)
        return pid

    def _end_check(self) -> None:
        self._daemon.loop.remove(self._watch)
        self._daemon.loop.remove(self._timer)
        os.close(self._answer)

    def _timed_out(self) -> None:
        os.kill(self._child, signal.SIGKILL)
        self._end_check()
        self._refuse("the new program does not answer")

    def _answered(self, events: int) -> None:
        answer = os.read(self._answer, 4096) if events & (READ | HANGUP) else b""
        self._end_check()
        if answer != CHECK_OK:
            self._refuse(answer.decode("utf-8", "replace").strip() or "the new program fails")
            return
        self._quiet_by = time.monotonic() + SPAWN_SECONDS
        self._when_quiet()

    def _when_quiet(self) -> None:
        """Exec as soon as events have come to rest and no process is between its fork and its exec, or anyhow."""
        restless = self._daemon.settle() or self._daemon.performer.children.busy()
        if restless and time.monotonic() < self._quiet_by:
            self._daemon.loop.call_later(SPAWN_LOOK_SECONDS, self._when_quiet)
            return
        self._daemon.perform_all()
        for call in self._calls:
            call.reply()
        self._calls.clear()
        self._daemon.endpoints.flush_clients()
        try:
            execute(self._daemon, self._argv, state_text(self._daemon))
        except Exception as error:
            self._daemon.keep_open(False)
            self._refuse(reason_of(error))

    def _refuse(self, reason: str) -> None:
        self._child = 0
        text = f"Failed to re-execute {self._argv[0]}: {reason}"
        self._daemon.log(ERROR, text)
        for call in self._calls:
            call.error("org.freedesktop.DBus.Error.Failed", text)
        self._calls.clear()


def reason_of(error: BaseException) -> str:
    """What to say of a failure."""
    return f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _memory_file(text: str) -> int:
    fd = os.memfd_create("upstart-state")
    data = memoryview(text.encode("utf-8", "surrogateescape"))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def execute(daemon: Daemon, argv: list[str], state: str) -> None:
    """Become the new program with ``state``; returns only by OSError."""
    fd = _memory_file(state)
    daemon.log(INFO, "Performing stateful re-exec")
    # A signal between here and the new program's handlers would be lost, or end a session init.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        os.set_inheritable(fd, True)
        daemon.keep_open(True)
        os.execv(argv[0], arguments(argv, fd, daemon.engine.priority))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.close(fd)


def state_text(daemon: Daemon) -> str:
    """The state document."""
    return json.dumps(daemon.dump())


def parse_state(text: str) -> dict[str, Any]:
    """What a state document says; ValueError where it is none."""
    saved: dict[str, Any] = json.loads(text)
    return saved


def read_state(fd: int) -> str:
    """The text that `execute` handed over; closes ``fd``.  OSError where that fails."""
    parts = []
    try:
        left = _MAX_STATE
        while left > 0:
            part = os.read(fd, 1 << 20)
            if not part:
                break
            parts.append(part)
            left -= len(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_state_file(logdir: str | None, text: str) -> None:
    """Keep a copy of the state for people to look at, readable by its owner alone; failing to is no error."""
    if logdir is None:
        return
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"{logdir}/{STATE_FILE}", flags, 0o400)
    except OSError:
        return
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass
    finally:
        os.close(fd)


def children_of_jobs(address: str | None) -> dict[tuple[str, str], int]:
    """Our children that a job started, by job and instance name: of each the oldest.

    ``address`` is what UPSTART_SESSION says to our jobs.  Not among them: what a job of another init or of a chroot
    session has left to us.
    """
    own = os.getpid()
    session = None if address is None else os.fsencode(address)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for pid in procfs.all_pids():
        info = procfs.look(pid)
        if info is None or info.ppid != own or info.state == "Z":
            continue
        env = procfs.environment(pid)
        job = env.get(b"UPSTART_JOB")
        if job is None or env.get(b"UPSTART_SESSION") != session or b"UPSTART_CHROOT" in env:
            continue
        key = (os.fsdecode(job), os.fsdecode(env.get(b"UPSTART_INSTANCE", b"")))
        if key not in found or info.start < found[key][0]:
            found[key] = (info.start, pid)
    return {key: pid for key, (_, pid) in found.items()}


def adopt(daemon: Daemon) -> None:
    """Without a state to go by: jobs whose processes run count as running with them."""
    engine = daemon.engine
    address = sessionfile.address() if daemon.options.user else None
    for (name, instance_name), pid in children_of_jobs(address).items():
        job = engine.jobs.get((None, name))
        if job is None or instance_name in job.instances or "main" not in job.job_class.processes:
            continue
        instance = engine.adopt_process(job, instance_name, pid)
        daemon.log(WARN, f"{instance.display} main process ({pid}) adopted")


def check(answer: int, rehearse: Callable[[], object]) -> int:
    """In the child: try, and tell the parent what came of it."""
    try:
        rehearse()
        text = CHECK_OK
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4000]
    try:
        os.write(answer, text)
    except OSError:
        return 1
    return 0
