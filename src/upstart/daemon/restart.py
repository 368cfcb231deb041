"""Re-exec with all state: a new program takes over from the running one without any job noticing.

What is always true here: init execs only after a child with the same program, arguments, descriptors and limits has
imported everything, built all of itself from the state and said so; otherwise it runs on and says why, and may be asked
again.
Nothing is waited for but that child: what has yet to be started, and what is between its fork and its exec, is in the
state, which crosses in a memory file; the listening socket and the descriptors of jobs cross open, but no descriptor
that the new program does not know of, which it would leave to its jobs.  What cannot be
read on the other side is replaced by what can be seen: jobs whose processes run are adopted.
"""

from __future__ import annotations

import os
import resource
import sys
import time

from upstart.base.closing import close, is_closing
from upstart.base.loop import HANGUP, READ
from upstart.base.names import FAILED
from upstart.base.priority import ERROR, INFO, WARN
from upstart.daemon.options import CHECK_VARIABLE, PARTS_VARIABLE, arguments
from upstart.daemon.statefile import memory_file, text_of
from upstart.process.child import start_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn

    from upstart.base.loop import Loop
    from upstart.daemon.call import Call
    from upstart.daemon.document import Document
    from upstart.daemon.turn import Turn
    from upstart.engine.engine import Engine
else:
    import _signal as signal

#: The child's answer where all is well, which the names of the parts that its program knows may follow, in a line.
CHECK_OK = b"ok\n"
CHECK_SECONDS = 60.0
#: Seconds for which jobs wait, so that the trial has a processor to itself.
HOLD_SECONDS = 0.5
#: Seconds that a client has to read what was queued for it before its answer, and between two looks.
ANSWER_SECONDS = 0.25
ANSWER_LOOK_SECONDS = 0.005


class Restarter:
    """The re-exec of one daemon.

    ``argv`` is the command line it was started with, the program's path absolute.  The new program logs from the
    priority of ``engine`` on; ``turn`` is who starts processes for it.  ``hold`` (True) has nothing done any more that
    the document would not tell, ``hold`` (False) lets it go on.  ``flush`` () sends what is queued for clients, as far
    as sockets take it, ``part`` () has them see that we go; ``log`` (priority, text) is init's own.
    """

    __slots__ = (
        "_answer", "_argv", "_calls", "_document", "_engine", "_flush", "_hold", "_known", "_leave_by", "_leaving",
        "_limits", "_log", "_loop", "_part", "_process", "_timer", "_turn", "_watch", "running",
    )  # fmt: skip

    def __init__(
        self,
        argv: list[str],
        loop: Loop,
        engine: Engine,
        turn: Turn,
        document: Document,
        hold: Callable[[bool], object],
        flush: Callable[[], object],
        part: Callable[[], object],
        log: Callable[[int, str], object],
    ) -> None:
        self._argv = argv
        self._loop = loop
        self._engine = engine
        self._turn = turn
        self._document = document
        self._hold = hold
        self._flush = flush
        self._part = part
        self._log = log
        #: What the trial's program may use.
        self._limits = memory_limits()
        #: The parts of the document that the new program knows, none where it does not tell.
        self._known: list[str] = []
        #: Whether a re-exec is under way.
        self.running = False
        self._calls: list[Call] = []
        #: Descriptors of the child that tries the new program, and of its answer.
        self._process = -1
        self._answer = -1
        self._watch = -1
        self._timer = -1
        self._leave_by = 0.0
        #: The timer of the next look whether clients have read their answers.
        self._leaving = -1

    def begin(self, call: Call | None = None) -> None:
        """Try the new program; if it works, become it, else answer ``call`` with the reason and go on."""
        if call is not None:
            self._calls.append(call)
        if self.running:
            return
        try:
            self.running = True
            self._start_trial()
            self._turn.hold()
            self._loop.call_later(HOLD_SECONDS, self._turn.release)
        except Exception as error:
            self._refuse(reason_of(error))

    def _start_trial(self) -> None:
        state = read = write = -1
        try:
            state = memory_file(text_of(self._document))
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_inheritable(state, True)
            os.set_inheritable(write, True)
            env = dict(os.environ)
            env[CHECK_VARIABLE] = str(write)
            env[PARTS_VARIABLE] = "1"
            argv = arguments(self._argv, state, self._engine.priority)
            self._document.keep_open(True, self._document.names)
            self._limits = memory_limits()
            pid = start_program(argv, env, write)
            # Its number may be another's by the time that we have had enough of it.
            self._process = os.pidfd_open(pid)
            self._watch = self._loop.add_fd(read, READ, self._answered)
            self._timer = self._loop.call_later(CHECK_SECONDS, self._timed_out)
            self._answer, read = read, -1
        except BaseException:
            self._end_trial()
            raise
        finally:
            for fd in (state, read, write):
                close(fd)
            self._document.keep_open(False)

    def _end_trial(self) -> None:
        watch, timer, self._watch, self._timer = self._watch, self._timer, -1, -1
        self._loop.remove(watch)
        self._loop.remove(timer)
        fds = self._answer, self._process
        self._answer = self._process = -1
        for fd in fds:
            close(fd)

    def _timed_out(self) -> None:
        try:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        except OSError:
            pass  # it has ended, and left its end of the pipe to another
        self._end_trial()
        self._refuse("the new program does not answer")

    def _answered(self, events: int) -> None:
        try:
            answer = os.read(self._answer, 4096) if events & (READ | HANGUP) else b""
            self._end_trial()
            if not answer.startswith(CHECK_OK):
                self._refuse(answer.decode("utf-8", "replace").strip() or "the new program fails")
                return
            self._known = answer.decode().split()[1:]
            self._compare_limits()
            for call in self._calls:
                call.reply()
                if call.connection.uid >= 0:
                    # Its answer is the last that it hears from this program: not what happens in between.
                    call.connection.hears = frozenset()
            self._leave_by = time.monotonic() + ANSWER_SECONDS
        except Exception as error:
            self._refuse(reason_of(error))
            return
        self._leave()

    def _compare_limits(self) -> None:
        """See that the new program may use what the trial might: for want of memory it would not even begin."""
        if any(now < then for now, then in zip(memory_limits(), self._limits, strict=True)):
            raise MemoryError("init may use less memory than the new program was tried with")

    def _leave(self) -> None:
        """Execute the new program when those who asked for it have their answer, or after a while anyhow."""
        self._leaving = -1
        try:
            self._flush()
            if any(call.connection.queued for call in self._calls) and time.monotonic() < self._leave_by:
                self._leaving = self._loop.call_later(ANSWER_LOOK_SECONDS, self._leave)
                return
            self._execute()
        except Exception as error:
            self._refuse(reason_of(error))

    def _execute(self) -> None:
        """Become the new program; returns only by an exception."""
        state = -1
        # A signal between here and the new program's handlers would be lost, or end a session init.  Those that have
        # come so far are in the state.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._hold(True)
            state = memory_file(text_of(self._document))
            os.set_inheritable(state, True)
            for name in self._document.keep_open(True, self._known):
                self._log(WARN, f"The new program does not know of the {name}, which ends here")
            self._log(INFO, "Performing stateful re-exec")
            self._flush()
            self._compare_limits()
            if is_closing():
                self._part()
            os.execv(self._argv[0], arguments(self._argv, state, self._engine.priority))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            close(state)
            self._document.keep_open(False)
            self._hold(False)

    def _refuse(self, reason: str) -> None:
        """Tell everybody; where that is cut short, the rest is told by whoever tries again (`mend`)."""
        self.running = False
        self._end_trial()
        self._turn.release()
        text = f"Failed to re-execute {self._argv[0]}: {reason}"
        self._log(ERROR, text)
        while self._calls:
            self._calls[-1].error(FAILED, text)
            self._calls.pop()

    def mend(self) -> None:
        """After something was cut short: where nothing leads to the re-exec any more, tell who waits for it."""
        if (self.running or self._calls) and self._watch < 0 and self._leaving < 0:
            self._refuse("something went wrong in between")


def memory_limits() -> list[int]:
    """How many bytes of each kind we may have."""
    soft = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA, resource.RLIMIT_STACK)]
    return [sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in soft]


def reason_of(error: BaseException) -> str:
    """What to say of a failure."""
    return f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def check(answer: int, rehearse: Callable[[], tuple[object, list[str]]]) -> NoReturn:
    """In the child: try, tell the parent what came of it, and end.

    What ``rehearse`` () gives beside the names of parts is not taken apart, which would cost init as much time as
    making it.
    """
    built = None
    try:
        built, parts = rehearse()
        text = CHECK_OK + " ".join(parts).encode()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4000]
    try:
        os.write(answer, text)
    finally:
        os._exit(built is None)
