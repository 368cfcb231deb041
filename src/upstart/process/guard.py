"""A helper beside init that ends what holds it in posix_spawn(3): the quick way to start a process is then safe.

posix_spawn waits until the child has executed its program, and neither a signal nor a timer can call init back from
there.  The child can be held for ever: by a fanotify(7) daemon that does not answer for the program, by a file server,
or because the cgroup of its job was frozen, and then init itself is frozen with it.  So, around each
posix_spawn, init sets a timer whose descriptor it shares with a small process that sleeps on it (two system calls, and
no switch between processes).  Should it ever run out, and what it waits for is not merely a processor, that process
kills the child, which has executed nothing yet, and moves init out of the job's cgroup; init then starts the job by a
fork, for which it need not wait, and goes on doing so for `REST` seconds.  The same process looks into files for init,
since opening one may wait as well.

What is always true here: init waits for the guard no longer than `ANSWER_SECONDS`, `BUSY_SECONDS` while it lacks a
processor, and does without it (by forks) where it does not run, has yet to answer, or was killed or stopped.  It is
started by a fork, so that its own start holds nothing, and is ready at once.  Later a small program takes its place
(`Guard.small`), since a fork comes to hold all that init has changed; what holds the start of that program may hold
init's posix_spawn as well, so the fork goes on until the other watches.  It ends when init closes its pipe, ends, or
executes itself.
"""

from __future__ import annotations

import os
import select
import sys
import time

from upstart.base.closing import close
from upstart.base.syscalls import timerfd_create, timerfd_settime, timerfd_setting
from upstart.process import helper
from upstart.process.child import reset_signals
from upstart.process.guarding import ACTED, GROUPS, HEAD, LOOK, NAME, READY, YES, runs, serve
from upstart.process.kernel import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from upstart.process.program import Programs
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

#: Seconds: what an exec may take before it is cut short, and again and again until init is free; the same in a boot,
#: which no client watches, and whose programs come from the disk.
HELD = 0.025
HELD_IN_A_BOOT = 0.5
#: Seconds that init waits for an answer: a file that is not to be had sooner is started with a fork.
ANSWER_SECONDS = 0.02
#: The same for what the guard has done: it is at work then, and must not be taken for idle; and for any answer while
#: the guard only waits for a processor.
BUSY_SECONDS = 0.2
#: Seconds for which an answer may stay away, as while a disk has to be read, until the guard counts as lost.
OWED_SECONDS = 2.0
#: Seconds without the guard after it had to act or was lost.  Longer than the scripts of a shutdown wait for processes
#: that they have told to end: a new guard would be one more.
REST = 15.0

_OFF = timerfd_setting(0)
with open(os.path.join(os.path.dirname(__file__), "guarding.py"), "rb") as _file:
    _PROGRAM = _file.read()


class Guard:
    """The guard of this init, started when it is first wanted; ``small``: as a program of its own, not as a fork.

    ``held``: seconds that an exec may take; ``rest``: when it is not to be started before; ``programs``: what looks
    programs up, where a fork is to do that as well.
    """

    __slots__ = (
        "_answers", "_began", "_held", "_home", "_owed", "_poll", "_programs", "_ready", "_requests", "_set", "_timer",
        "pid", "rest", "small",
    )  # fmt: skip

    def __init__(
        self, small: bool = False, held: float = HELD, rest: float = 0.0, programs: Programs | None = None
    ) -> None:
        #: The process, 0 where there is none.
        self.pid = 0
        self.small = small
        self._ready = False
        self._home = ""
        self._answers = self._requests = self._timer = -1
        self._poll = select.poll()
        self._began = 0.0
        #: Until when it is done without.
        self.rest = rest
        self._held = held
        self._set = timerfd_setting(held)
        self._programs = programs
        #: Since when an answer is awaited that nobody needs any more; 0.0 where there is none.
        self._owed = 0.0

    def watches(self, home: str) -> bool:
        """Whether a process may be started in its care now; one that does not run is started, for later.

        ``home`` is the directory of the cgroup that init belongs to, "" without.
        """
        if time.monotonic() < self.rest:
            return False
        if self.pid and self._home != home:
            self.close()
        if not self.pid:
            self._start(home)
            return False
        if not self._lives():
            self._lose()
        elif self._owed:
            return self._has_answered()
        elif not self._ready and self._poll.poll(0):
            self._ready = os.read(self._answers, 1) == READY
        return self._ready

    def _has_answered(self) -> bool:
        """Whether what it was asked for has come at last; it looks at a file until then, and not at the timer."""
        if self._poll.poll(0):
            os.read(self._answers, 4096)
            self._owed = 0.0
            return True
        if time.monotonic() - self._owed > OWED_SECONDS:
            self._lose()
        return False

    def _lives(self) -> bool:
        try:
            options = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, options) is None
        except ChildProcessError:
            return False

    def arm(self) -> None:
        """From now on, until `disarm`, init may be held no longer than ``held``."""
        self._began = time.monotonic()
        timerfd_settime(self._timer, self._set)

    def disarm(self) -> tuple[int, bool]:
        """The end of that: (the child that was killed or 0, whether init was moved out of a job's cgroup)."""
        timerfd_settime(self._timer, _OFF)
        if self.armed_for() < self._held:
            return 0, False
        answer = self._ask(ACTED, BUSY_SECONDS)
        if answer is None:
            # What it has done nobody knows.
            self._lose()
            return 0, False
        killed, moved = map(int, answer.split())
        if killed or moved:
            self.rest = time.monotonic() + REST
        return killed, bool(moved)

    def armed_for(self) -> float:
        """Seconds since `arm`."""
        return time.monotonic() - self._began

    def head(self, fd: int) -> bytes | None:
        """The first bytes of the file that ``fd`` is a path descriptor of, ``None`` if they are not to be had soon.

        This and the next two are for when `watches` is true.
        """
        answer = self._ask(HEAD + b"/proc/%d/fd/%d" % (os.getpid(), fd), ANSWER_SECONDS)
        return answer[1:] if answer is not None and answer[:1] == YES else None

    def look(self, path: str) -> bool:
        """Have ``path`` looked up, on init's own file system, so that the kernel knows of it; whether it does now."""
        return self._programs is not None and self._ask(LOOK + os.fsencode(path), ANSWER_SECONDS) == YES

    def root_has_groups(self) -> bool | None:
        """Whether the group file makes root a member of any group, ``None`` if that is not to be had soon."""
        answer = self._ask(GROUPS, ANSWER_SECONDS)
        return None if answer is None else answer == YES

    def _ask(self, request: bytes, seconds: float) -> bytes | None:
        try:
            os.write(self._requests, request)
            if self._poll.poll(seconds * 1000) or self._poll.poll(BUSY_SECONDS * 1000 if self._runs() else 0):
                answer = os.read(self._answers, 4096)
                if answer:
                    return answer
            elif self._ready:
                self._owed = time.monotonic()
                return None
        except OSError:
            pass
        self._lose()
        return None

    def _runs(self) -> bool:
        return runs(str(self.pid))

    def noticed(self, pid: int) -> None:
        """A child was stopped or has ended: should it be the guard, we do without."""
        if pid == self.pid:
            self._lose()

    def _lose(self) -> None:
        """Do without it, whatever has become of it."""
        self.rest = time.monotonic() + REST
        pid = self.pid
        self.close()
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def close(self) -> None:
        """Have it end."""
        if self.pid:
            self._poll.unregister(self._answers)
            for fd in (self._answers, self._requests, self._timer):
                close(fd)
        self.pid = 0
        self._ready = False
        self._owed = 0.0

    def _start(self, home: str) -> None:
        """Start it; where that is impossible now, later."""
        fds: list[int] = []
        try:
            script, write = os.pipe2(os.O_CLOEXEC)
            fds += (script, write)
            os.write(write, _PROGRAM)
            close(fds.pop())
            requests = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fds += requests
            answers = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            fds += answers
            timer = timerfd_create()
            fds.append(timer)
            ours = (script, requests[0], answers[1], timer)
            small, programs = self.small, self._programs
            keep = ours + (programs.descriptors() if programs is not None else ())
            pid = helper.start(NAME, keep, lambda: _guard(*ours, home, small, programs))
        except (OSError, MemoryError):
            for fd in fds:
                close(fd)
            self.rest = time.monotonic() + REST
            return
        for fd in (script, requests[0], answers[1]):
            close(fd)
        self.pid, self._home = pid, home
        self._requests, self._answers, self._timer = requests[1], answers[0], timer
        self._poll.register(self._answers, select.POLLIN)


def _guard(
    script: int, requests: int, answers: int, timer: int, home: str, small: bool, programs: Programs | None
) -> None:
    """In the child: serve, or become a program of its own that does, which may take as long as it likes."""
    try:
        group = os.open(home + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        group = -1
    try:
        write_file("/proc/self/oom_score_adj", b"-1000")
    except OSError:
        pass
    os.set_blocking(answers, True)
    if not small:
        serve(answers, requests, timer, group, programs.look if programs is not None else None)
        return
    os.dup2(script, 0)
    for fd in (answers, requests, timer, group):
        if fd >= 0:
            os.set_inheritable(fd, True)
    reset_signals()
    words = [str(fd) for fd in (answers, requests, timer, group)]
    os.execve(sys.executable, [sys.executable, "-IS", "-", NAME, *words], {})
