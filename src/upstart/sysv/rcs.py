"""rcS: run the scripts of /etc/rcS.d at boot, and enter the runlevel.

The job rc-sysinit runs this in place of /etc/init.d/rcS.  What is always true here:

- A script that a job stands in for (one that init knows, and that has the script's name) is not run.  In its turn
  init is sent the event boot-script(7), and the next goes on when that has been handled.
- No script is left out for a failure: of another one, of init, or of this program's own.
- What scripts say that run at the same time does not mix: the one that was started first has the console, the
  others' words are kept until it has ended.  What they have left running gets a word in between two lines.
- What holds up the boot is named on the console, and the event boot-waits(7) tells of it.
- The exit status tells what is left to do: 0 nothing, `SCRIPTS_DONE` to enter the runlevel, any other everything.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import _thread
import posix
import select
import termios
import time

from upstart.base import inherited, names
from upstart.base.errors import DBusError, UsageError
from upstart.client.init import Init
from upstart.client.job import Job
from upstart.sysv import change, keeping, scripts, spawning
from upstart.sysv.bootorder import BootOrder
from upstart.sysv.keeping import Console, Output
from upstart.sysv.patience import Patience, milliseconds
from upstart.sysv.program import COMMON, Common, Program, need_root, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from upstart.initctl.context import Context

JOBS = "/etc/init"
LINKS = "/etc/rcS.d"
SCRIPTS = "/etc/init.d"
#: The event that takes the place of a script.
SCRIPT_EVENT = "boot-script"
#: What the scripts have done, told in this order once they have ended; no job is waited for.
DONE_EVENTS = ("virtual-filesystems", "local-filesystems", "remote-filesystems", "filesystem")
#: When one of these has ended, logs can be where they will be found.
LOCAL_FILESYSTEMS = ("mountall.sh", "mountall")
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


class Script:
    """A script that runs, or has run and waits to be heard.

    `ended` is the descriptor by which its end is seen, -1 once it has been; `outcome` says afterwards what went wrong.
    `target` is what kill(2) wants to end it with all that it waits for: its process group, or who leads the session of
    an interactive one.
    """

    __slots__ = ("_pid", "ended", "name", "outcome", "output", "patience", "target")

    def __init__(self, name: str, pid: int, output: int, interactive: bool) -> None:
        self.name = name
        self.target = pid if interactive else -pid
        self._pid = pid
        self.output = Output(output, f"rcS-{name}")
        self.ended = posix.pidfd_open(pid, 0)
        self.outcome = ""
        self.patience = Patience(time.monotonic())

    def end(self) -> None:
        """It has ended, and what it has said is there."""
        status = posix.waitstatus_to_exitcode(posix.waitpid(self._pid, 0)[1])
        posix.close(self.ended)
        self.ended = -1
        self.output.drain()
        if status < 0:
            self.outcome = f"was killed by signal {-status}"
        elif status == NOT_INSTALLED:
            self.outcome = "was skipped: its program is not installed"
        elif status == NOT_CONFIGURED:
            self.outcome = "was skipped: it is not configured"
        elif status:
            self.outcome = f"failed with exit status {status}"

    def terminate(self) -> None:
        """Have it end."""
        try:
            posix.kill(self.target, signal.SIGTERM)
        except OSError:
            pass


class BootScripts:
    """The scripts of one boot; *say* gets a line about each that failed, or takes long."""

    __slots__ = ("_console", "_init", "_left", "_mounted", "_order", "_running", "_say")

    def __init__(self, order: BootOrder, say: Callable[[str], object]) -> None:
        self._order = order
        self._say = say
        self._init: Init | None = None
        self._console = Console()
        #: In the order of their start: the first has the console, and those that end before it wait to be heard.
        self._running: list[Script] = []
        #: Of scripts that have ended: what may say more, or could not be written to its log yet.
        self._left: list[Output] = []
        self._mounted = False

    def run(self) -> None:
        """Returns when all have ended; what they have left running is listened to in a process of its own then."""
        while self._order or self._running:
            name = self._order.take()
            if name is None:
                self._wait()
            elif not self._start(name):
                self._ended(name)
        if self._init is not None:
            self._init.close()
        self._part()

    def terminate(self) -> None:
        """End what runs, and part from what is left running."""
        for script in self._running:
            if script.ended >= 0:
                script.terminate()
            self._left.append(script.output)
        self._running = []
        self._part()

    def _part(self) -> None:
        self._write_logs()
        keeping.stay(self._left)
        self._left = []

    def _write_logs(self) -> None:
        for output in (*self._left, *(script.output for script in self._running)):
            output.write()

    def _ended(self, name: str) -> None:
        self._order.end(name)
        if name in LOCAL_FILESYSTEMS:
            self._mounted = True

    def _start(self, name: str) -> bool:
        """Start a script, or have its job do what it does; false where there is nothing to wait for."""
        job = job_of(name)
        if job is not None and self._leave_to(job, name):
            return False
        env = {**inherited.environment(), **ENVIRONMENT}
        if job is not None:
            # Within rc-sysinit a script that has a job file leaves its work to it.
            env.pop(b"UPSTART_JOB", None)
        path, link = f"{SCRIPTS}/{name}", f"{LINKS}/{self._order.link(name)}"
        # Who ends this program ends what it has started, and not half of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        try:
            interactive = self._order.is_interactive(name)
            if interactive:
                self._console.begin_line()
                pid, output = spawning.spawn_interactive(path, link, env), -1
            else:
                pid, output = spawning.spawn(path, link, env)
            self._running.append(Script(name, pid, output, interactive))
            return True
        except (OSError, termios.error) as error:
            self._tell(f"Unable to run {name}: {posix.strerror(error.args[0])}")
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))

    def _tell(self, text: str) -> None:
        """A line of our own."""
        self._console.begin_line()
        self._say(text)

    def _leave_to(self, job: str, name: str) -> bool:
        """Tell init that it is this script's turn, and wait; false where init does not know the job."""
        try:
            if self._init is None:
                self._init = Init.open()
            path = self._init.job(job).path
        except DBusError as error:
            self._tell(f"Job {job} cannot stand in for {name}: {error.message}")
            return False
        try:
            self._emit(self._init, job, name)
        except DBusError as error:
            self._tell(f"Job in place of {name}: {error.message}")
            if error.name == names.DISCONNECTED:
                self._init = _reconnect(path, is_task(job))
        return True

    def _emit(self, init: Init, job: str, name: str) -> None:
        """Emit the event in place of a script, and see to what runs until it has been handled.  Raises DBusError."""
        read, write = posix.pipe2(posix.O_CLOEXEC)
        errors: list[DBusError] = []

        def ask() -> None:
            try:
                init.emit(SCRIPT_EVENT, [f"SCRIPT={name}"])
            except DBusError as error:
                errors.append(error)
            finally:
                posix.close(write)

        patience = Patience(time.monotonic())
        # The thread is not to take what is for us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        try:
            try:
                _thread.start_new_thread(ask, ())
            except RuntimeError:
                ask()  # there is no memory for it
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        while not self._wait(read, patience.due):
            now = time.monotonic()
            if patience.asks(now):
                self._waits(name, f"Job {job} in place of {name}", patience.lasts(now), f"see: status {job}")
        posix.close(read)
        if errors:
            raise errors[0]

    def _wait(self, until: int = -1, due: float | None = None) -> bool:
        """Wait until something is said, a script ends, or a line is due, and see to it.

        True when there is something to read from *until*; the caller has a line of its own that is *due*.
        """
        poll = select.poll()
        if until >= 0:
            poll.register(until, select.POLLIN)
        dues = [] if due is None else [due]
        for script in self._running:
            if script.ended >= 0:
                poll.register(script.ended, select.POLLIN)
                dues.append(script.patience.due)
        outputs = [*self._left, *(script.output for script in self._running)]
        for output in outputs:
            if output.fd >= 0:
                poll.register(output.fd, select.POLLIN)
        now = time.monotonic()
        ready = {fd for fd, _ in poll.poll(milliseconds(min(dues), now) if dues else None)}
        for output in outputs:
            if output.fd in ready:
                output.read()
        for script in self._running:
            if script.ended in ready:
                script.end()
                self._ended(script.name)
        self._show()
        self._look(time.monotonic())
        return until in ready

    def _show(self) -> None:
        """Show what is to be heard: of the first script all, of what was left running whole lines in between."""
        while self._running:
            first = self._running[0]
            self._console.show(first.output.words)
            first.output.words = b""
            if first.ended >= 0:
                break
            if first.outcome:
                self._tell(f"{first.name} {first.outcome}")
                first.output.keep(f"rcS: {first.name} {first.outcome}\n".encode())
            self._left.append(first.output)
            del self._running[0]
        for script in self._running[1:]:
            if len(script.output.words) > keeping.KEPT:
                self._console.show(script.output.words)
                script.output.words = b""
        if self._console.fresh or not self._running:
            for output in self._left:
                self._console.show(output.take_lines())
        self._left = [output for output in self._left if output.fd >= 0 or output.log]

    def _look(self, now: float) -> None:
        """Name the scripts that take long."""
        for script in self._running:
            if script.ended >= 0 and script.patience.asks(now):
                hint = f"to end it: kill {'-- ' if script.target < 0 else ''}{script.target}"
                self._waits(script.name, script.name, script.patience.lasts(now), hint)

    def _waits(self, name: str, who: str, long: str, hint: str) -> None:
        """Say what the boot waits for, have what has been said so far in the logs, and tell init."""
        self._tell(f"{who} has been at it for {long}, and the boot waits for it ({hint})")
        if self._mounted:
            self._write_logs()
        scripts.tell_init(name)


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
    boot = BootScripts(order, context.error)

    def stop(number: int, frame: object) -> NoReturn:
        # The job is stopped: a runlevel is entered meanwhile.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        boot.terminate()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        posix.kill(posix.getpid(), signal.SIGTERM)
        posix._exit(1)  # not reached

    signal.signal(signal.SIGTERM, stop)
    # As of startpar: scripts are not to be interrupted by who plays with the keyboard.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    boot.run()
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
