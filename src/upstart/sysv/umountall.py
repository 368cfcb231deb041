"""umountall: end the machine: what runs, what is mounted, and then the machine itself.

The job umountall runs this in runlevels 0 and 6.  What is always true here:

- The order is that of System V's scripts, and scripts of other packages run in their places (`endscripts`).  What this
  runlevel starts and stops has come to its end first, then all that runs, then what needs a network, then the network,
  what is mounted, and udev; the root is read-only at last.
- Nothing holds it for ever: jobs have their kill timeouts (`endjobs`), processes some seconds (`endprocesses`), what
  hangs some seconds together (`hanging`), scripts what the job's variable says.  What is waited for is named.
- Whatever fails, the next step follows, and the last ends the machine.  A console that is stopped holds nothing.
- All that is needed is loaded before anything is unmounted.
- A container's file systems, swap space and disks are not its own.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import os
import time

from upstart.base import inherited, utmp
from upstart.base.errors import ClientError, UsageError
from upstart.base.names import LAST_RUNLEVELS
from upstart.base.wholefile import write_whole
from upstart.sysv import endprocesses, endscripts, keeping, reboot, unmount
from upstart.sysv.endjobs import EndJobs
from upstart.sysv.endscripts import LAST, LOCAL, NETWORK, REMOTE, ROOT, EndScripts
from upstart.sysv.hanging import Hanging
from upstart.sysv.program import COMMON, Common, Program, need_root, run
from upstart.sysv.unmount import Unmounting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from upstart.initctl.context import Context

UNMOUNTED_REMOTE, DECONFIGURING = "unmounted-remote-filesystems", "deconfiguring-networking"
#: Jobs that have a place of their own: the network, and who tells of devices.
NETWORKING, UDEV = "networking", "udev"
#: What waits for the clock to come to a full second needs nothing else, and is waited for at last.
CLOCK = ("hwclock-save",)
MAPS = "/proc/1/maps"
UDEV_CONTROL = "/run/udev/control"
#: Links to jobs that wait for the end of the machine, and what makes them; what a script does for a battery.
LATER, LINK_JOBS = "/etc/init/.link-later", "/usr/libexec/upstart/link-jobs"
UPS = "/etc/init.d/ups-monitor"
SETTINGS = "/etc/default/halt"
#: Where ``initctl compare`` looks for the boot before.
HISTORY = "/var/log/upstart/last-boot.history"
#: Seconds that init may take to try the program that it executes again; and between two looks at the pids of jobs.
TRIAL_PATIENCE = 75.0
ENDS = {
    "halt": "The machine halts", "poweroff": "The machine is switched off", "reboot": "The machine restarts",
}  # fmt: skip
PIDS_LAST = 0.5


class EndOfMachine:
    """The end in runlevel *level*; *env* is the job's, *say* gets lines for the console."""

    __slots__ = (
        "_asked", "_env", "_hanging", "_jobs", "_level", "_pids", "_processes", "_say", "_scripts", "_unmounting",
    )  # fmt: skip

    def __init__(self, level: str, env: dict[bytes, bytes], say: Callable[[str], object]) -> None:
        limit = endscripts.limit_of(env)
        self._level = level
        self._env = env
        self._say = say
        previous = env.get(b"PREVLEVEL", b"N").decode(errors="replace")
        # As the event has it that stops other jobs.
        stopped = ["UPSTART_STOP_EVENTS=runlevel", f"RUNLEVEL={level}", f"PREVLEVEL={previous}"]
        self._jobs = EndJobs(limit, stopped, say)
        self._scripts = EndScripts(level, limit, env, say)
        self._processes = endprocesses.Ending(say)
        self._hanging = Hanging(say)
        self._unmounting: Unmounting | None = None
        self._asked = 0.0
        self._pids: list[int] = []

    def run(self) -> None:
        """All of it, but for the last call."""
        if not unmount.in_container():
            self._unmounting = Unmounting(self._hanging, self._say)
        for step in (self._jobs_stop, self._processes_end, self._network_goes, self._disks_go):
            self._try(step)

    def _try(self, step: Callable[..., object], *words: object) -> None:
        """Nothing of the end must be left out for what goes wrong before it."""
        try:
            step(*words)
        except Exception as error:
            self._say(f"{type(error).__name__}: {error}")

    def mode(self) -> str:
        """How the machine is to end, as `reboot.end_now` has it."""
        if self._level == "6":
            return "reboot"
        how = self._env.get(b"INIT_HALT", b"") or setting("HALT").encode()
        return "halt" if how[:1] in (b"h", b"H") else "poweroff"

    def _jobs_stop(self) -> None:
        if _has_deleted(MAPS):
            # What init has in use may have been replaced, and a file system with deleted files in use cannot be made
            # read-only in good order.
            self._try(self._jobs.restart, TRIAL_PATIENCE)
        self._try(self._settle)
        self._try(self._stop, UNMOUNTED_REMOTE, DECONFIGURING, NETWORKING, UDEV)

    def _settle(self) -> None:
        self._jobs.settle(beside=CLOCK)

    def _stop(self, *later: str) -> None:
        self._jobs.settle(True, endprocesses.spared(), later, CLOCK)

    def _processes_end(self) -> None:
        # From here on there is no way back.
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._say("All processes are asked to end")
        self._processes.end(self._spare)
        try:
            utmp.write_shutdown()
        except OSError:
            pass

    def _spare(self) -> list[int]:
        """Who outlives the others: what was said to, and what belongs to jobs."""
        now = time.monotonic()
        if now - self._asked >= PIDS_LAST:
            self._pids = self._jobs.pids()
            self._asked = time.monotonic()
        return [*self._pids, *endprocesses.spared()]

    def _network_goes(self) -> None:
        self._try(self._scripts.run, REMOTE)
        if self._unmounting is not None:
            self._try(self._unmounting.remote)
        self._try(self._jobs.emit, UNMOUNTED_REMOTE)
        self._try(self._settle)
        self._try(self._scripts.run, NETWORK)
        self._try(self._jobs.emit, DECONFIGURING)
        self._try(self._settle)
        self._try(self._stop, UDEV)

    def _disks_go(self) -> None:
        if os.path.exists(LATER):
            # Services that scripts have run until now are run by jobs from the next boot on.
            self._try(self._run, [LINK_JOBS, "--rest"])
        self._try(self._scripts.run, LOCAL)
        self._asked = 0.0
        self._try(self._processes.end, self._spare)
        self._try(self._keep_history)
        if self._unmounting is not None:
            self._say("File systems are unmounted")
            self._try(self._unmounting.local)
        self._try(self._scripts.run, ROOT)
        self._try(lambda: self._jobs.settle(True, endprocesses.spared()))
        # Without it those who ask for a change of devices do not wait for udev.
        try:
            os.unlink(UDEV_CONTROL)
        except OSError:
            pass
        if self._unmounting is not None:
            self._try(self._unmounting.read_only)
        self._try(self._scripts.run, LAST)
        # The last call of all writes nothing, and what stayed writable may have got something since.
        self._try(self._hanging.call, "data to be written to disk", os.sync)
        if self.mode() == "poweroff" and os.access(UPS, os.X_OK):
            self._run([UPS, "poweroff"])

    def _keep_history(self) -> None:
        """Init's history, which ends with it, for who asks in the next boot how this one was."""
        text = self._jobs.history()
        if text:
            self._hanging.call("the history to be written", lambda: write_history(text))

    def _run(self, words: list[str]) -> None:
        def execute() -> None:
            os.execve(words[0], words, inherited.environment())

        self._hanging.call(f"{words[0].rpartition('/')[2]} to end", execute)


def setting(name: str, path: str = SETTINGS) -> str:
    """A variable of /etc/default/halt; "" where it is not set."""
    value = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, separator, word = line.strip().partition("=")
                if separator and key == name:
                    value = word.split("#")[0].strip().strip("\"'")
    except OSError:
        pass
    return value


def write_history(text: str, path: str = HISTORY) -> None:
    """Write it, readable by root alone; OSError where that fails, and then the one before is as it was."""
    write_whole(path, (text,))


def _has_deleted(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return any(line.endswith("(deleted)\n") for line in file)
    except OSError:
        return False


def main(argv: list[str]) -> int:
    """End the machine in the runlevel that the argument names; 1 if that was not possible."""
    return run(PROGRAM, argv, Common(), _end)


def _end(context: Context, settings: Common, args: list[str]) -> int:
    if len(args) != 1 or len(args[0]) != 1 or args[0] not in LAST_RUNLEVELS:
        raise UsageError("missing runlevel" if not args else f"illegal runlevel: {' '.join(args)}")
    need_root(context)
    keeping.wait_for_no_console()

    def say(text: str) -> None:
        try:
            context.error(text)
        except OSError:
            pass  # a terminal whose other end has gone

    end = EndOfMachine(args[0], inherited.environment(), say)
    end.run()
    mode = end.mode()
    say(ENDS[mode])
    try:
        reboot.end_now(mode)
    except OSError as error:
        raise ClientError(str(error.strerror))
    return 0


PROGRAM = Program(
    "RUNLEVEL",
    "End the machine: its processes, its file systems, and itself.",
    COMMON,
    "The job umountall runs this. RUNLEVEL is 0 or 6.\n",
)
