"""Finding the daemon that a main process becomes, for ``expect fork`` and ``expect daemon``, without tracing anything.

`Follower` decides from what is seen of the job's processes at some moments; it does no I/O.
`upstart.process.following` looks.
init adopts every orphan, so nothing a job starts can get away; what has to be told is which process is the daemon.

While the main process lives (looks after 5, 10, 20 ms and so on, then every 250 ms) it is another's only where that
process is no mere command of it and no worker:

- A child is the daemon, with ``expect fork`` once it has been there for 50 ms, with ``expect daemon`` after 0.7 s, if
  the main process is a shell that started it with ``&``, or if it alone of the children leads a session.  One that
  leads a session and has executed no program yet may be the first of several workers: it is given 0.7 s, too.
- What runs just what the command line of the main process says is the daemon after 0.7 s, for that is a launcher
  (su, sudo, setsid, timeout), one of which may start the next; under a shell (``sh -c``) after 2 s.
- With ``expect daemon`` a process two forks away is, after 50 ms: one whose parent has ended already.
- Any other child becomes the daemon only when the main process ends.  When one has been there for 0.9 s the job is
  running with the main process, unless that is a shell, which may run any commands before it executes or starts the
  daemon.  From then on only an end with status 0 makes another process the daemon.
- After 10 seconds the job is running with the main process in any case, and the log names the stanza that would fit.

On a busy machine these 10 and these 0.9 seconds are more by what a process of the job has waited for a processor.

When the main process has ended:

- Nothing is left: its exit is the job's.  While an orphan is on its way out, which cannot be asked any more and may be
  the middle of two forks, there is another look, for 250 ms at most.
- One process is left: it is the daemon, whatever the stanza says.
- Several are left: the oldest of those whose parent has ended is.
- With ``expect daemon`` what is left may be about to fork again.  A process in a session whose leader has ended has
  forked twice and is taken at once; any other when it sleeps and nothing has changed for 50 ms, or after 250 ms.  One
  that has a single child and has executed no program since it was forked may be the middle of the two forks that
  lingers: it is given 0.9 s to end.  One that has executed a program is final, as in the original, however many
  children it keeps.

A wrong guess is mended: a process that was taken for the daemon, ends with status 0 within 10 seconds and leaves
orphans behind was not it, and the oldest of these is taken; likewise a main process that was given up on and ends with
status 0 after all.  Where the status is not known, for another process than init waited for it, it may have been 0.
A launcher that still lives then is about to end with that status, and a main process with children that it forked is
their master: the job is the main process's again.

What is taken is held by a pidfd (`upstart.process.held`), for init cannot wait for it while its parent lives.
"""

from __future__ import annotations

from upstart.base.expect import EXPECT_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.process.procfs import ProcInfo
    from upstart.process.sight import Sight

#: Seconds.
FIRST_LOOK = 0.005
LONGEST_WAIT = 0.25
STEADY = 0.05
SETTLE = 0.25
ALONE = 0.7
PATIENT = 2.0
RUNNING = 0.9
#: From when on it matters how long processes have waited for a processor.
LATE = 0.5
PATIENCE = float(EXPECT_SECONDS)
#: Of these and of `RUNNING` only those count in which no process of the job waited for a processor, and so many at
#: most are added for that.
LAG = 50.0
NEVER = 1e9


class Forked:
    """The daemon is ``pid``, started at ``start`` (clock ticks since boot); ``note`` is a line for the log if another
    stanza would have said so, else ``None``."""

    __slots__ = ("note", "pid", "start")

    def __init__(self, pid: int, start: int, note: str | None = None) -> None:
        self.pid = pid
        self.start = start
        self.note = note


class Failed:
    """Nothing is left that would be the daemon: the end of the process that was followed is the job's."""

    __slots__ = ()


class Wait:
    """Nothing can be said yet: look again in ``seconds``.  Until then ``pid`` is the main process, and ``running``
    says whether the job counts as running."""

    __slots__ = ("pid", "running", "seconds")

    def __init__(self, seconds: float, pid: int, running: bool = False) -> None:
        self.seconds = seconds
        self.pid = pid
        self.running = running


class GaveUp:
    """The main process goes on without a daemon: the job is running with it; ``text`` is a line for the log."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


Decision = Forked | Failed | Wait | GaveUp


class Follower:
    """The decisions for one main process ``pid``, spawned at ``now`` (seconds of any steady clock).

    ``name`` is the instance's display name, for texts.  ``phase`` is ``following``, ``settling`` (the main process
    has ended), ``followed`` or ``gave-up``; ``running``: the job counts as running with the main process;
    ``launched``: what is followed was run by a launcher, the main process.
    """

    __slots__ = (
        "_children", "_last", "_main", "_orphans", "_parents", "_since", "_still", "_tended", "_wait",
        "began", "changed", "expect", "launched", "name", "phase", "pid", "running",
    )  # fmt: skip

    def __init__(self, expect: str, name: str, pid: int, now: float) -> None:
        self.expect = expect
        self.name = name
        self.pid = pid
        self.began = now
        self.changed = now
        self.phase = "following"
        self.running = False
        self.launched = False
        self._wait = FIRST_LOOK
        self._main = pid
        self._children: set[int] = set()
        #: The parent that each process had when it was first seen.
        self._parents: dict[int, int] = {}
        #: Processes without a job that have ended meanwhile: any may have been between main process and daemon.
        self._orphans: set[int] = set()
        self._since: dict[int, tuple[int, float]] = {}
        self._still: tuple[frozenset[int], float] = (frozenset(), -1.0)
        #: When the last look was, and for how many seconds the main process, no shell, has been seen with children.
        self._last = now
        self._tended = 0.0

    def look(self, now: float, sight: Sight) -> Decision:
        """Decide from ``sight`` while the main process lives, or while what it left settles."""
        if self.phase == "settling":
            return self._settle(now, sight)
        self._remember(sight)
        lag = min(sight.lag, LAG)
        children = [info for info in sight.processes if info.ppid == self.pid]
        self._children.update(info.pid for info in children)
        if not self.running:
            if children and not sight.shell:
                self._tended += now - self._last
            self._last = now
            tended = self._tended - lag
            ripe = self._ripe(now, sight, tended >= RUNNING)
            if ripe is not None:
                self.launched = ripe.pid in sight.launched
                return self._forked(now, ripe, None if self._forked_away(ripe, sight) else self._note(ripe, 1))
            self.running = tended >= RUNNING
        if now - self.began - lag < PATIENCE:
            return self._again(RUNNING - self._tended + lag)
        self.phase = "gave-up"
        return GaveUp(self._gave_up_text(sight))

    def main_ended(self, now: float, status: int | None, sight: Sight, stopping: bool = False) -> Decision:
        """Decide when the process that counts as the main one has ended.

        ``status`` is its exit status (a signal shifted left by 8; ``None``: unknown), ``stopping`` that it was told to.
        """
        if self.phase == "settling":
            return self._settle(now, sight)
        if self.phase == "following" and not self.running:
            self.phase = "settling"
            self.changed = now
            self._wait = FIRST_LOOK
            return self._settle(now, sight)
        if status or stopping:
            return Failed()
        early = self.phase != "followed" or now - self.changed <= PATIENCE
        main = next((info for info in sight.processes if info.pid == self._main), None)
        left = [info for info in sight.processes if info is not main]
        if main is not None:
            # A launcher ends with what it ran, and with its status; workers have a master.
            workers = not sight.shell and any(info.ppid == main.pid and info.forked for info in left)
            if self.launched or (workers and early):
                self.launched = False
                self.pid = main.pid
                return Forked(main.pid, main.start)
            living = {info.pid for info in sight.processes}
            left = [info for info in left if info.ppid not in living]
        if not left or not early:
            return Failed()
        chosen = _eldest(left)
        return self._forked(now, chosen, self._note(chosen, self._depth(chosen, sight)))

    def orphan_ended(self, pid: int) -> None:
        """A process that belongs to no job has been reaped."""
        if self.phase in ("following", "settling"):
            self._orphans.add(pid)

    def _ripe(self, now: float, sight: Sight, last: bool) -> ProcInfo | None:
        """The oldest process that has looked like the daemon for as long as it must, while the main process lives;
        if this is the ``last`` chance, for however long."""
        leaders = [info.pid for info in sight.processes if info.ppid == self.pid and info.sid == info.pid]
        before, self._since = self._since, {}
        ripe = None
        for info in sight.processes:
            if info.pid in sight.launched:
                need = PATIENT if sight.shell else ALONE
            elif info.ppid != self.pid:
                need = STEADY if self.expect == "daemon" and self._forked_away(info, sight) else NEVER
            elif info.pid in sight.background or (leaders == [info.pid] and not sight.launched):
                at_once = self.expect == "fork" and (info.pid in sight.background or not info.forked)
                need = STEADY if at_once else ALONE
            else:
                need = NEVER
            if need < NEVER:
                start, since = before.get(info.pid, (info.start, now))
                self._since[info.pid] = (info.start, since if start == info.start else now)
                if ripe is None and (last or now - self._since[info.pid][1] >= need):
                    ripe = info
        return ripe

    def _remember(self, sight: Sight) -> None:
        for info in sight.processes:
            self._parents.setdefault(info.pid, info.ppid)

    def _settle(self, now: float, sight: Sight) -> Decision:
        """The main process has ended: choose among what it left, or wait until that stops changing."""
        if not sight.processes:
            passed = now - self.changed
            return self._again(SETTLE - passed) if sight.dying and passed < SETTLE else Failed()
        chosen = _eldest(sight.processes)
        depth = self._depth(chosen, sight)
        self._remember(sight)
        if self.expect != "daemon" or depth == 2:
            return self._forked(now, chosen, self._note(chosen, depth))
        self.pid = chosen.pid
        pids = frozenset(info.pid for info in sight.processes)
        if pids != self._still[0]:
            self._still = (pids, now)
        passed = now - self.changed
        if passed < RUNNING and self._unfinished(chosen, sight):
            return self._again(RUNNING - passed)
        if passed < SETTLE and now - self._still[1] < STEADY:
            return self._again(SETTLE - passed)
        return self._forked(now, chosen, self._note(chosen, depth))

    @staticmethod
    def _unfinished(info: ProcInfo, sight: Sight) -> bool:
        """Whether a process looks like the middle of two forks: it has executed nothing, and works or has one child."""
        children = sum(other.ppid == info.pid for other in sight.processes)
        return info.forked and (children == 1 or (children == 0 and info.state != "S"))

    def _depth(self, info: ProcInfo, sight: Sight) -> int:
        """How many forks lie between the main process and this one, whose parent has ended: 1, 2, or 0 if unknown.

        It is two if somebody else made its session or was seen to be its parent and has ended, or if it came up
        only after the main process had ended.
        """
        if info.pid in self._children:
            return 1
        living = {other.pid for other in sight.processes}
        if info.sid not in (info.pid, self._main) and info.sid not in living:
            return 2
        parent = self._parents.get(info.pid)
        if parent is None:
            return 2 if self.phase == "settling" and self._still[0] else 0
        return 2 if parent not in (self._main, info.ppid) and parent not in living else 0

    def _forked(self, now: float, info: ProcInfo, note: str | None) -> Forked:
        self.phase = "followed"
        self.changed = now
        self.pid = info.pid
        return Forked(info.pid, info.start, note)

    def _note(self, info: ProcInfo, depth: int) -> str | None:
        """A line that names the stanza that fits what was seen, if that is another than the job's."""
        if depth == 0 and (info.sid != info.pid or any(self._main < pid < info.pid for pid in self._orphans)):
            return None
        fits, times = ("daemon", "twice") if depth == 2 else ("fork", "once")
        if fits == self.expect:
            return None
        return (
            f'{self.name} main process ({info.pid}) has forked {times}: "expect {fits}" would fit, '
            f'not "expect {self.expect}"'
        )

    def _gave_up_text(self, sight: Sight) -> str:
        # Who has started something may have forked for the daemon, or for a command of its own.
        what = "has not ended" if sight.processes else "has not forked"
        text = (
            f"{self.name} main process ({self.pid}) {what} within {EXPECT_SECONDS} seconds as "
            f'"expect {self.expect}" says, it counts as running: '
        )
        if self.expect == "fork" and any(self._forked_away(info, sight) for info in sight.processes):
            return text + '"expect daemon" would fit'
        return text + "a job without expect would fit"

    def _forked_away(self, info: ProcInfo, sight: Sight) -> bool:
        return info.ppid != self.pid and all(info.ppid != other.pid for other in sight.processes)

    def _again(self, mark: float) -> Wait:
        """Look again, and where something is decided ``mark`` seconds from now, at that time."""
        seconds = self._wait
        self._wait = min(seconds * 2, LONGEST_WAIT)
        return Wait(min(seconds, mark) if mark > 0 else seconds, self.pid, self.running)


def _eldest(processes: list[ProcInfo]) -> ProcInfo:
    """The oldest process whose parent is none of the others."""
    pids = {info.pid for info in processes}
    return next((info for info in processes if info.ppid not in pids), processes[0])
