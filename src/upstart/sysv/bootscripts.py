"""The scripts of /etc/rcS.d that no job stands in for: each is run when what it needs is there.

The job rcS-scripts has this done beside the jobs of the boot (`upstart.sysv.rcs`).  What is always true here:

- A script that a job stands in for (one that init knows, and that has the script's name) is not run.  In its turn
  init is sent the event boot-script(7).  It has its place in the order all the same: what comes after it waits until
  that event has been handled, and the job is running, or, if it is a task, at rest.
- Nothing waits for such a job for ever: it is waited for `PATIENCE` seconds once the file systems and the network are
  there, or the boot goes on without these.
- No script is left out for a failure: of another one, of init, or of this program's own.
- What scripts say that run at the same time does not mix: the one that was started first has the console, the
  others' words are kept until it has ended.  What they have left running gets a word in between two lines.
- What holds up the boot is named on the console, and the event boot-waits(7) tells of it.
- What has to run before the root file system is checked (a clock, say) is run by the job rcS-first, with --first, which
  mountall waits for; rcS-scripts waits for that job in its place.
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
from upstart.base.errors import DBusError
from upstart.client.init import Init
from upstart.client.job import Job
from upstart.sysv import bootorder, change, keeping, scripts, spawning
from upstart.sysv.bootorder import BootOrder, depends
from upstart.sysv.keeping import Console, Output
from upstart.sysv.patience import Patience, milliseconds
from upstart.sysv.script import Script, heard
from upstart.sysv.standins import ROOT_CHECK, SCRIPT_EVENT, is_task, job_of, waits_for_turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LINKS = "/etc/rcS.d"
#: The jobs that are running when the boot has all that it waits for.
LAST_JOBS = ("mountnfs.sh", "networking")
#: The job that runs what comes before the check of the root; there is this file once it has begun.
FIRST_JOB, FIRST_MARK = "rcS-first", "/run/upstart/rcS-first"
#: The job that is running once mountall has mounted the first file systems.
FIRST_MOUNTED = "mountkernfs.sh"
#: Scripts whose work is done by init, or by jobs that mountall waits for.
DONE_BEFORE = frozenset(("mountkernfs.sh", "mountdevsubfs.sh", "hostname.sh", "hwclock.sh"))
#: A script whose work is done when another job than the one of its name is running.
DONE_BY = {"udev": "udev-finish"}
#: Seconds: how long a job is waited for then, and between two looks at those that are waited for.
PATIENCE = 30.0
LOOK = 0.1
#: When one of these has ended, logs can be where they will be found.
LOCAL_FILESYSTEMS = ("mountall.sh", "mountall")
#: What scripts see at boot, as every System V init has it.
ENVIRONMENT = {
    b"PATH": b"/sbin:/usr/sbin:/bin:/usr/bin",
    b"RUNLEVEL": b"S", b"PREVLEVEL": b"N", b"runlevel": b"S", b"previous": b"N",
}  # fmt: skip


class BootScripts:
    """The scripts of one boot; *say* gets a line about each that failed, or takes long."""

    __slots__ = (
        "_claimed", "_console", "_covered", "_first", "_init", "_last", "_left", "_looked", "_mounted", "_order",
        "_own", "_running", "_say", "_unheard",
    )  # fmt: skip

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
        #: What is left to do: scripts that no job stands in for, or whose job waits to be told of its turn.
        self._own = {name for name in order.names() if waits_for_turn(name)}
        #: The jobs that stand for scripts whose turn has come, and are not done yet; when these were last looked at,
        #: and since when the boot has all that it waits for.
        self._covered: dict[str, str] = {}
        self._first: set[str] = set()
        self._claimed = False
        self._looked = 0.0
        self._last: float | None = None
        #: Since when init has had no answer for us.
        self._unheard: float | None = None

    def leave(self, names: set[str]) -> None:
        """Leave these to the job that runs what comes first."""
        self._first = names & self._own

    def run(self) -> None:
        """Returns when all have ended; what they have left running is listened to in a process of its own then."""
        while self._own or self._running:
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
        self._own.discard(name)
        if name in LOCAL_FILESYSTEMS:
            self._mounted = True

    def _start(self, name: str) -> bool:
        """Start a script, or have its job do what it does; false where there is nothing to wait for."""
        if name in self._first:
            self._covered[name] = FIRST_JOB
            self._looked = 0.0
            return True
        job = job_of(name)
        if job is not None and self._leave_to(job, name):
            self._covered[name] = job
            self._looked = 0.0
            return True
        env = {**inherited.environment(), **ENVIRONMENT}
        if job is not None:
            # Within rc-sysinit a script that has a job file leaves its work to it.
            env.pop(b"UPSTART_JOB", None)
        path, link = f"{bootorder.SCRIPTS}/{name}", f"{LINKS}/{self._order.link(name)}"
        # Who ends this program ends what it has started, and not half of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        try:
            interactive = self._order.is_interactive(name)
            if interactive:
                self._console.begin_line()
                pid, output = spawning.spawn_interactive(path, link, "start", env), -1
            else:
                pid, output = spawning.spawn(path, link, "start", env)
            self._running.append(Script(name, pid, output, interactive, f"rcS-{name}"))
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
        if self._covered:
            dues.append(self._looked + LOOK)
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
        if until < 0:
            self._look_at_jobs(time.monotonic())
        return until in ready

    def _look_at_jobs(self, now: float) -> None:
        """See which of the jobs that stand for scripts are done, if it is time for that."""
        if not self._covered or now < self._looked + LOOK:
            return
        self._looked = now
        try:
            if self._init is None:
                self._init = Init.open()
            states: dict[str, list[str]] = {}
            for status in self._init.all_status():
                states.setdefault(status.job, []).append(f"{status.goal}/{status.state}")
        except DBusError as error:
            # It re-executes itself, or has no answer for us: then the boot goes on without.
            self._init = None
            if self._unheard is None:
                self._unheard = now
                if error.name != names.DISCONNECTED:
                    self._tell(f"Unable to ask after jobs: {error.message}")
            if now - self._unheard <= PATIENCE:
                return
            states, self._last = {}, self._unheard
        else:
            self._unheard = None
        if self._last is None and all("start/running" in states.get(job, ()) for job in LAST_JOBS):
            self._last = now
        over = self._last is not None and now - self._last > PATIENCE
        for name, job in list(self._covered.items()):
            there = states.get(DONE_BY.get(name, job), [])
            # A job whose events have not come by the end is of no use to this system, as udev to a container.
            at_rest = set(there) <= {"stop/waiting"} and (self._last is not None or is_task(job))
            if job == FIRST_JOB and at_rest and self._last is None and not posix.access(FIRST_MARK, posix.F_OK):
                # mountall may yet ask for it; it has not where it mounts already.
                at_rest = "start/running" in states.get(FIRST_MOUNTED, ())
            done = at_rest or ("start/running" in there and not is_task(job))
            if done or over:
                if not done:
                    self._tell(f"Job {job} has not come, and {name} is waited for no longer")
                del self._covered[name]
                self._first.discard(name)
                # Where nobody has asked for it, nobody has run it either.
                if job != FIRST_JOB or not self._may_run_first() or not self._start(name):
                    self._ended(name)

    def _may_run_first(self) -> bool:
        """Whether what comes first is ours to run, since the job has not begun with it, and will not any more."""
        self._claimed = self._claimed or claim_first()
        return self._claimed

    def _show(self) -> None:
        """Show what is to be heard: of the first script all, of what was left running whole lines in between."""
        for script in heard(self._running, self._console):
            if script.outcome:
                self._tell(f"{script.name} {script.outcome}")
                script.output.keep(f"rcS: {script.name} {script.outcome}\n".encode())
            self._left.append(script.output)
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


def claim_first() -> bool:
    """Leave the mark of who runs what comes first; false if somebody has."""
    try:
        posix.close(posix.open(FIRST_MARK, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644))
    except FileExistsError:
        return False
    except OSError:
        pass  # without the directory there is no mark, and nobody else
    return True


def first_scripts(order: BootOrder) -> set[str]:
    """The scripts without a job that have to end before the root is checked, and need nothing that comes later."""
    found = {name for name in order.before(ROOT_CHECK) if job_of(name) is None}
    return {name for name in found if order.before(name) <= found | DONE_BEFORE}


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
    return BootOrder(posix.listdir(LINKS), depends("boot"))
