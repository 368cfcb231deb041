"""The scripts of other packages at the end of a machine: those of rc0.d or rc6.d that neither a job nor our own end of
the machine stands for.

What is always true here:

- They run in insserv's order, and in stages: what comes before one of the scripts that we stand for has ended before
  its work begins (`PLACES`).
- Those that may run at the same time do, and what they say does not mix.  It goes to the console alone: nothing may be
  open on file systems that are about to go.
- One that takes long is named; one that takes too long is told to end, is killed, and is given up, in that order.
"""

from __future__ import annotations

# Not signal: that loads enum to give the numbers names.
import _signal as signal  # type: ignore[import-not-found]
import posix
import select
import termios
import time

from upstart.base import inherited
from upstart.sysv import bootorder, scripts, spawning
from upstart.sysv.bootorder import BootOrder, is_link
from upstart.sysv.keeping import Console
from upstart.sysv.patience import milliseconds
from upstart.sysv.script import Script, heard
from upstart.sysv.standins import job_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LINKS = "/etc/rc{}.d"
#: The places in the order, each by the scripts of Debian whose work is done there; the last is the end.
PROCESSES, REMOTE, NETWORK, LOCAL, ROOT, LAST = range(6)
PLACES = (("sendsigs",), ("umountnfs.sh",), ("networking",), ("umountfs",), ("umountroot",), ("halt", "reboot"))
OURS = frozenset(name for names in PLACES for name in names)
#: Seconds that a script may take to stop, where the job's variable does not say; and until the next signal.
LIMIT_VARIABLE = b"STOP_TIMEOUT"
LIMIT = 300.0
MERCY = 10.0
#: What waits for an upgrade that is under way, which must not be cut off, and gives up by itself.
LONGER = {"unattended-upgrades": 2000.0}
#: Seconds between two looks at those that run.
LOOK = 1.0
ENVIRONMENT = {b"PATH": b"/sbin:/usr/sbin:/bin:/usr/bin"}


def limit_of(env: dict[bytes, bytes]) -> float:
    """What the job's variable says, which is no business of the scripts."""
    text = env.pop(LIMIT_VARIABLE, b"")
    return float(text) if text.isdigit() else LIMIT


def stages(links: Iterable[str]) -> list[list[str]]:
    """The links by the place before which they come."""
    links = sorted((link for link in links if is_link(link, "KS")), key=lambda link: link[1:])
    numbers = [
        min((link[1:3] for link in links if link[3:] in names), default="") for names in PLACES
    ]  # fmt: skip
    found: list[list[str]] = [[] for _ in PLACES]
    for link in links:
        place = next((place for place, number in enumerate(numbers) if link[1:3] <= number), LAST)
        found[place].append(link)
    return found


def is_left(name: str) -> bool:
    """Whether a script is neither ours nor a job's."""
    return name not in OURS and job_of(name) is None


class EndScripts:
    """The scripts of a runlevel; *say* gets a line about each that failed, or takes long.

    *limit* is what one may take, in seconds, 0 for ever; *env* is for them.
    """

    __slots__ = ("_console", "_directory", "_env", "_level", "_limit", "_running", "_say", "_signals", "_stages")

    def __init__(self, level: str, limit: float, env: dict[bytes, bytes], say: Callable[[str], object]) -> None:
        self._level = level
        self._limit = limit
        # As sysv-rc has them.
        words = {b"runlevel": level.encode(), b"previous": env.get(b"PREVLEVEL") or b"N"}
        self._env = {**env, **ENVIRONMENT, **words}
        self._say = say
        self._console = Console()
        self._directory = LINKS.format(level)
        #: In the order of their start: the first has the console, and those that end before it wait to be heard.
        self._running: list[Script] = []
        #: How many signals each has got for taking too long, by its name.
        self._signals: dict[str, int] = {}
        try:
            self._stages = stages(posix.listdir(self._directory))
        except OSError:
            self._stages = [[] for _ in PLACES]

    def run(self, place: int) -> None:
        """Run those that come before a place; those before earlier ones have run."""
        links = self._stages[place]
        if not any(is_left(link[3:]) for link in links):
            return
        order = BootOrder(links, bootorder.depends("stop"), "KS")
        while order:
            name = order.take()
            if name is None:
                self._wait(order)
            elif not is_left(name) or not self._start(order, name):
                order.end(name)

    def _start(self, order: BootOrder, name: str) -> bool:
        path, link = f"{bootorder.SCRIPTS}/{name}", f"{self._directory}/{order.link(name)}"
        if not posix.access(path, posix.F_OK):
            path = link  # it is none
        env = {**inherited.environment(), **self._env}
        try:
            interactive = order.is_interactive(name)
            if interactive:
                self._console.begin_line()
                pid, output = spawning.spawn_interactive(path, link, "stop", env), -1
            else:
                pid, output = spawning.spawn(path, link, "stop", env)
            self._running.append(Script(name, pid, output, interactive, name))
            return True
        except (OSError, termios.error) as error:
            self._tell(f"Unable to run {name}: {posix.strerror(error.args[0])}")
            return False

    def _wait(self, order: BootOrder) -> None:
        """Wait until something is said, one ends, or it is time to look after them, and see to it."""
        poll = select.poll()
        for script in self._running:
            if script.ended >= 0:
                poll.register(script.ended, select.POLLIN)
            if script.output.fd >= 0:
                poll.register(script.output.fd, select.POLLIN)
        now = time.monotonic()
        due = min(script.patience.due for script in self._running if script.ended >= 0)
        if self._limit:
            due = min(due, now + LOOK)
        ready = {fd for fd, _ in poll.poll(milliseconds(due, now))}
        for script in self._running:
            if script.output.fd in ready:
                script.output.read()
        for script in self._running:
            if script.ended in ready:
                script.end()
                order.end(script.name)
        now = time.monotonic()
        for script in self._running:
            if script.ended >= 0:
                self._look(script, order, now)
        self._show()

    def _look(self, script: Script, order: BootOrder, now: float) -> None:
        """Name what takes long, and end what takes too long."""
        signals = self._signals.get(script.name, 0)
        limit = max(self._limit, LONGER.get(script.name, 0.0)) if self._limit else 0.0
        if limit and now - script.patience.began - limit >= signals * MERCY:
            self._signals[script.name] = signals + 1
            if signals == 2:
                self._tell(f"{script.name} cannot be ended, and is given up")
                posix.close(script.ended)
                script.ended = -1
                order.end(script.name)
                return
            what = "is killed" if signals else "is told to end"
            self._tell(f"{script.name} has been at it for {script.patience.lasts(now)}, and {what}")
            scripts.signal_all(scripts.family(script.pid), signal.SIGKILL if signals else signal.SIGTERM)
        elif not signals and script.patience.asks(now):
            until = f" until it has taken {limit:.0f} seconds" if limit else ""
            self._tell(
                f"{script.name} has been at it for {script.patience.lasts(now)}, and the shutdown waits for it{until}"
                f" (to end it: kill {script.pid})"
            )

    def _show(self) -> None:
        """Show what is to be heard: all of the first, and of each other when it is the first."""
        for script in heard(self._running, self._console):
            if script.outcome:
                self._tell(f"{script.name} {script.outcome}")
            script.output.close()

    def _tell(self, text: str) -> None:
        """A line of our own."""
        self._console.begin_line()
        self._say(text)
