"""rcS: run the scripts of /etc/rcS.d at boot, and enter the runlevel.

The job rc-sysinit runs this in place of /etc/init.d/rcS.  What is always true here:

- A script that a job stands in for (one that init knows, and that has the script's name) is not run.  In its turn
  init is sent the event boot-script(7), and the next goes on when that has been handled.
- No script is left out for a failure: of another one, of init, or of this program's own.
- What scripts say that run at the same time does not mix: the one that was started first has the console, the
  others' words are kept until it has ended.
- The exit status tells what is left to do: 0 nothing, `SCRIPTS_DONE` to enter the runlevel, any other everything.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import errno
import posix
import select
import termios
import time

from upstart.base import inherited, names
from upstart.base.errors import DBusError, UsageError
from upstart.client.init import Init
from upstart.client.job import Job
from upstart.sysv import change
from upstart.sysv.bootorder import BootOrder
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.initctl.context import Context

JOBS = "/etc/init"
LINKS = "/etc/rcS.d"
SCRIPTS = "/etc/init.d"
#: The event that takes the place of a script.
SCRIPT_EVENT = "boot-script"
#: What the scripts have done, told in this order once they have ended; no job is waited for.
DONE_EVENTS = ("virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem")
#: The scripts have run, but init could not be told.
SCRIPTS_DONE = 3
#: Statuses by which a script says that it has nothing to do (Linux Standard Base, init script actions).
NOT_INSTALLED, NOT_CONFIGURED = 5, 6
#: What scripts see at boot, as every System V init has it.
ENVIRONMENT = {
    b"PATH": b"/sbin:/usr/sbin:/bin:/usr/bin",
    b"RUNLEVEL": b"S", b"PREVLEVEL": b"N", b"runlevel": b"S", b"previous": b"N",
}  # fmt: skip
RUNLEVELS = "0123456Ss"
#: Bytes that are read of a script's output at a time, and kept of one that has to wait.
CHUNK, KEPT = 4096, 1 << 20


class Script:
    """A script that runs, or has run and waits to be heard.

    `ended` is the descriptor by which its end is seen, `output` that from which its words come; -1 where there is none.
    `outcome` says afterwards what went wrong.
    """

    __slots__ = ("_pid", "_words", "ended", "name", "outcome", "output")

    def __init__(self, name: str, pid: int, output: int) -> None:
        self.name = name
        self.output = output
        self.ended = posix.pidfd_open(pid, 0)
        self.outcome = ""
        self._pid = pid
        self._words = b""

    def read(self) -> bool:
        """Take what there is of its words; false where there is nothing more for now."""
        try:
            words = posix.read(self.output, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            words = b""  # nobody is left who could say anything
        if not words:
            posix.close(self.output)
            self.output = -1
            return False
        self._words += words
        if len(self._words) > KEPT:
            self.show()
        return True

    def show(self) -> None:
        """Write its words to the console."""
        words = memoryview(self._words)
        self._words = b""
        try:
            while words:
                words = words[posix.write(1, words) :]
        except OSError:
            pass  # a console that is gone is nobody's error

    def end(self) -> None:
        """It has ended; what it has left running is not listened to."""
        status = posix.waitstatus_to_exitcode(posix.waitpid(self._pid, 0)[1])
        posix.close(self.ended)
        self.ended = -1
        while self.output >= 0 and self.read():
            pass
        if self.output >= 0:
            posix.close(self.output)
            self.output = -1
        if status < 0:
            self.outcome = f"was killed by signal {-status}"
        elif status == NOT_INSTALLED:
            self.outcome = "was skipped: its program is not installed"
        elif status == NOT_CONFIGURED:
            self.outcome = "was skipped: it is not configured"
        elif status:
            self.outcome = f"failed with exit status {status}"


class BootScripts:
    """The scripts of one boot; *say* gets a line about each that failed."""

    __slots__ = ("_init", "_order", "_running", "_say")

    def __init__(self, order: BootOrder, say: Callable[[str], object]) -> None:
        self._order = order
        self._say = say
        self._init: Init | None = None
        #: In the order of their start: the first has the console, and those that end before it wait to be heard.
        self._running: list[Script] = []

    def run(self) -> None:
        """Returns when all have ended."""
        while self._order or self._running:
            name = self._order.take()
            if name is None:
                self._wait()
            elif not self._start(name):
                self._order.end(name)
        if self._init is not None:
            self._init.close()

    def _start(self, name: str) -> bool:
        """Start a script, or have its job do what it does; false where there is nothing to wait for."""
        job = job_of(name)
        if job is not None and self._leave_to(job, name):
            return False
        env = {**inherited.environment(), **ENVIRONMENT}
        if job is not None:
            # Within rc-sysinit a script that has a job file leaves its work to it.
            env.pop(b"UPSTART_JOB", None)
        try:
            self._running.append(_spawn(name, env, self._order.is_interactive(name)))
            return True
        except (OSError, termios.error) as error:
            self._say(f"Unable to run {name}: {posix.strerror(error.args[0])}")
            return False

    def _leave_to(self, job: str, name: str) -> bool:
        """Tell init that it is this script's turn, and wait; false where init does not know the job."""
        try:
            if self._init is None:
                self._init = Init.open()
            path = self._init.job(job).path
        except DBusError as error:
            self._say(f"Job {job} cannot stand in for {name}: {error.message}")
            return False
        try:
            self._init.emit(SCRIPT_EVENT, [f"SCRIPT={name}"])
        except DBusError as error:
            self._say(f"Job in place of {name}: {error.message}")
            if error.name == names.DISCONNECTED:
                self._init = _reconnect(path, is_task(job))
        return True

    def _wait(self) -> None:
        """Wait until something is said or a script ends, and see to it."""
        poll = select.poll()
        for script in self._running:
            for fd in (script.ended, script.output):
                if fd >= 0:
                    poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        for script in self._running:
            if script.output in ready:
                script.read()
            if script.ended in ready:
                script.end()
                self._order.end(script.name)
        while self._running:
            first = self._running[0]
            first.show()
            if first.ended >= 0:
                break
            if first.outcome:
                self._say(f"{first.name} {first.outcome}")
            del self._running[0]


def job_of(name: str) -> str | None:
    """The job that stands in for a script, by the names of its file: those that the hook of lsb's functions knows."""
    for job in (name, name.removesuffix(".sh"), name + ".sh"):
        if posix.access(f"{JOBS}/{job}.conf", posix.F_OK):
            return job
    return None


def is_task(job: str) -> bool:
    """Whether a job's file says that it is a task, for init has no property that does."""
    try:
        return any(line.split()[:1] == ["task"] for line in _read_text(f"{JOBS}/{job}.conf").splitlines())
    except OSError:
        return False


def _reconnect(path: str, task: bool) -> Init | None:
    """Wait for the job whose event was under way when init executed itself again, if it is a task; None without init.

    A check of the root may take its time, and nothing may go on beside it.
    """
    while True:
        try:
            init = change.reconnect()
        except DBusError:
            return None
        try:
            while task and Job(init.connection, path).instances():
                time.sleep(change.RETRY_INTERVAL)
            return init
        except DBusError as error:
            if error.name != names.DISCONNECTED:
                return init


def _spawn(name: str, env: dict[bytes, bytes], console: bool) -> Script:
    """Start a script, with the console or with a terminal of its own at which nobody is; OSError where that fails."""
    try:
        if not console:
            output, terminal = posix.openpty()
    except OSError:
        console = True  # before /dev/pts is there
    if console:
        return Script(name, _exec(name, [], env), -1)
    try:
        # The console adds the carriage returns.
        settings = termios.tcgetattr(terminal)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(terminal, termios.TCSANOW, settings)
        posix.set_blocking(output, False)
        # Some scripts say more where all three are a terminal.
        actions = [(posix.POSIX_SPAWN_DUP2, terminal, fd) for fd in range(3)]
        return Script(name, _exec(name, actions, env), output)
    except (OSError, termios.error):
        posix.close(output)
        raise
    finally:
        posix.close(terminal)


def _exec(name: str, actions: list[tuple[int, int, int]], env: dict[bytes, bytes]) -> int:
    path = f"{SCRIPTS}/{name}"
    try:
        return posix.posix_spawn(path, [path, "start"], env, file_actions=actions, setsigdef=inherited.IGNORED)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    return posix.posix_spawn(
        "/bin/sh", ["sh", path, "start"], env, file_actions=actions, setsigdef=inherited.IGNORED
    )


def boot_order() -> BootOrder:
    """The order of this system's scripts; one after another where anything asks for that.  OSError without links."""
    links = posix.listdir(LINKS)
    try:
        depend = _read_text(f"{SCRIPTS}/.depend.boot")
        one_by_one = "concurrency=none" in _read_text("/proc/cmdline").split()
    except OSError:
        return BootOrder(links)
    if not depend or one_by_one or posix.access(f"{SCRIPTS}/.legacy-bootordering", posix.F_OK):
        return BootOrder(links)
    return BootOrder(links, depend)


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def main(argv: list[str]) -> int:
    """Run the scripts, say that the file systems are there, and enter the runlevel that the argument names."""
    return run(PROGRAM, argv, Common(), _boot)


def _boot(context: Context, settings: Common, args: list[str]) -> int:
    if len(args) != 1 or args[0] not in tuple(RUNLEVELS):
        raise UsageError("missing runlevel" if not args else f"illegal runlevel: {' '.join(args)}")
    need_root(context)
    try:
        order = boot_order()
    except OSError as error:
        context.error(f"Unable to read {LINKS}: {error.strerror}")
        order = BootOrder(())
    BootScripts(order, context.error).run()
    # The runlevel stops rc-sysinit; this comes to its own end, so that init has no killed process to report.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        change.announce(DONE_EVENTS)
        change.change_runlevel(args[0].upper())
    except DBusError as error:
        context.fail(error)
        return SCRIPTS_DONE
    return 0


PROGRAM = Program(
    "RUNLEVEL",
    "Run the scripts of /etc/rcS.d and enter a runlevel.",
    COMMON,
    "The job rc-sysinit runs this at boot. RUNLEVEL is one of 0123456sS.\n",
)
