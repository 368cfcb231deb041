"""Finding the daemon that a main process becomes, for ``expect fork`` and ``expect daemon``, without tracing anything.

`Follower` decides from what is seen of the job's processes at some moments; it does no I/O.  `Following` looks.
init adopts every orphan, so nothing a job starts can get away; what has to be told is which process is the daemon.

While the main process lives (looks after 5, 10, 20 ms and so on, then every 250 ms):

- ``expect fork``: a child of it is the daemon, as in the original, once it has been there for 50 ms and is no mere
  command that the main process waits for: it leads a session, or it runs the same program as a main process that is
  no shell, or it was started with ``&`` by one that is.  Of several, the oldest.
- ``expect daemon``: a process two forks away is, after the same 50 ms: one whose parent has ended already.
- After 10 seconds without one, what is 5 seconds old is the daemon: with ``expect fork`` a child of a main process
  that is no shell, with ``expect daemon`` a child's child that is no mere command.  Else the follower gives up: the job
  counts as running with the main process, and the text names the stanza that would fit.

When the main process has ended:

- Nothing is left: its exit is the job's.
- One process is left: it is the daemon, whatever the stanza says.
- Several are left: the oldest of those whose parent has ended is.
- With ``expect daemon`` what is left may be about to fork again.  A process in a session whose leader has ended has
  forked twice and is taken at once; any other is taken when nothing has changed for 50 ms, or after 250 ms.  If it was
  seen to be the main process's child and has just one child itself, that one is; several are its workers.

A wrong guess is mended: a process that was taken for the daemon, ends with status 0 within 10 seconds and leaves
others behind was not it, and the oldest of these is taken; likewise a main process that was given up on and ends with
status 0 after all.  A shell script as main process may run any commands before it executes or starts the daemon.
"""

from __future__ import annotations

from upstart.process.members import Members
from upstart.process.procfs import executable, in_background, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from upstart.process.procfs import ProcInfo

#: Seconds.
FIRST_LOOK = 0.005
LONGEST_WAIT = 0.25
STEADY = 0.05
SETTLE = 0.25
PATIENCE = 10.0
OLD = 5.0

#: Names of shells: their children are commands, not daemons, unless put into the background.
SHELLS = frozenset(("ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "posh", "sh", "yash", "zsh"))


class Forked:
    """The daemon is ``pid``; ``note`` is a line for the log if another stanza would have said so, else ``None``."""

    __slots__ = ("note", "pid")

    def __init__(self, pid: int, note: str | None = None) -> None:
        self.pid = pid
        self.note = note


class Failed:
    """The main process has ended and left nothing: its exit is the job's."""

    __slots__ = ()


class Wait:
    """Nothing can be said yet: look again in ``seconds``."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class GaveUp:
    """The main process goes on without a daemon: the job is running with it; ``text`` is a line for the log."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


Decision = Forked | Failed | Wait | GaveUp


class Sight:
    """What was seen at one moment: the job's processes without the main one, oldest first.

    ``shell``: the main process is a shell.  ``kin``: those that run the main process's program (none of a shell's).
    ``background``: those that a shell started with ``&``.
    """

    __slots__ = ("background", "kin", "processes", "shell")

    def __init__(
        self,
        processes: list[ProcInfo],
        shell: bool = False,
        kin: Collection[int] = (),
        background: Collection[int] = (),
    ) -> None:
        self.processes = processes
        self.shell = shell
        self.kin = kin
        self.background = background


class Follower:
    """The decisions for one main process ``pid``, spawned at ``now`` (seconds of any steady clock).

    ``name`` is the instance's display name, for texts.  ``phase`` is ``following``, ``settling`` (the main process
    has ended), ``followed`` or ``gave-up``.
    """

    __slots__ = (
        "_born", "_children", "_main", "_orphans", "_parents", "_since", "_still", "_wait",
        "began", "changed", "expect", "name", "phase", "pid",
    )

    def __init__(self, expect: str, name: str, pid: int, now: float) -> None:
        self.expect = expect
        self.name = name
        self.pid = pid
        self.began = now
        self.changed = now
        self.phase = "following"
        self._wait = FIRST_LOOK
        self._main = pid
        self._children: set[int] = set()
        #: When each process was first seen, and the parent it then had.
        self._born: dict[int, float] = {}
        self._parents: dict[int, int] = {}
        #: Processes without a job that have ended meanwhile: any may have been between main process and daemon.
        self._orphans: set[int] = set()
        self._since: dict[int, tuple[int, float]] = {}
        self._still: tuple[frozenset[int], float] = (frozenset(), -1.0)

    def look(self, now: float, sight: Sight) -> Decision:
        """Decide from ``sight`` while the main process lives, or while what it left settles."""
        if self.phase == "settling":
            return self._settle(now, sight)
        self._remember(now, sight)
        self._children.update(info.pid for info in sight.processes if info.ppid == self.pid)
        steady = self._steady(now, [info for info in sight.processes if self._qualifies(info, sight)])
        if steady:
            return self._forked(now, steady[0], None)
        if now - self.began < PATIENCE:
            return self._again()
        for info in sight.processes:
            if now - self._born[info.pid] >= OLD and self._qualifies_at_last(info, sight):
                return self._forked(now, info, None)
        self.phase = "gave-up"
        return GaveUp(self._gave_up_text(sight))

    def main_ended(self, now: float, status: int, sight: Sight, stopping: bool = False) -> Decision:
        """Decide when the process that counts as the main one has ended.

        ``status`` is its exit status (a signal shifted left by 8), ``stopping`` that it was told to.
        """
        if self.phase == "following":
            self.phase = "settling"
            self.changed = now
            self._wait = FIRST_LOOK
            return self._settle(now, sight)
        late = self.phase == "gave-up" or now - self.changed <= PATIENCE
        if status != 0 or stopping or not late or not sight.processes:
            return Failed()
        chosen = _eldest(sight.processes)
        return self._forked(now, chosen, self._note(chosen, self._depth(chosen, sight)))

    def orphan_ended(self, pid: int) -> None:
        """A process that belongs to no job has been reaped."""
        if self.phase in ("following", "settling"):
            self._orphans.add(pid)

    def _qualifies(self, info: ProcInfo, sight: Sight) -> bool:
        """Whether a process is the stanza's number of forks away, and no mere command."""
        if self.expect == "fork":
            return info.ppid == self.pid and self._independent(info, sight)
        return self._forked_away(info, sight)

    def _qualifies_at_last(self, info: ProcInfo, sight: Sight) -> bool:
        """The same when there is no more time, of a process that has been there for long."""
        if self.expect == "fork":
            return info.ppid == self.pid and not sight.shell
        return info.ppid in self._children and self._independent(info, sight)

    @staticmethod
    def _independent(info: ProcInfo, sight: Sight) -> bool:
        """Whether a process is no mere command that its parent waits for."""
        return info.sid == info.pid or info.pid in sight.kin or info.pid in sight.background

    def _steady(self, now: float, candidates: list[ProcInfo]) -> list[ProcInfo]:
        """Those that have been candidates for long enough; remembers the others."""
        before = self._since
        self._since = {}
        steady = []
        for info in candidates:
            start, since = before.get(info.pid, (info.start, now))
            if start != info.start:
                since = now
            self._since[info.pid] = (info.start, since)
            if now - since >= STEADY:
                steady.append(info)
        return steady

    def _remember(self, now: float, sight: Sight) -> None:
        for info in sight.processes:
            self._born.setdefault(info.pid, now)
            self._parents.setdefault(info.pid, info.ppid)

    def _settle(self, now: float, sight: Sight) -> Decision:
        """The main process has ended: choose among what it left, or wait until that stops changing."""
        if not sight.processes:
            return Failed()
        chosen = _eldest(sight.processes)
        depth = self._depth(chosen, sight)
        self._remember(now, sight)
        if self.expect != "daemon" or depth == 2:
            return self._forked(now, chosen, self._note(chosen, depth))
        pids = frozenset(info.pid for info in sight.processes)
        if pids != self._still[0]:
            self._still = (pids, now)
        if now - self._still[1] < STEADY and now - self.changed < SETTLE:
            return self._again()
        children = [info for info in sight.processes if info.ppid == chosen.pid]
        if depth == 1 and len(children) == 1:
            return self._forked(now, children[0], None)
        return self._forked(now, chosen, self._note(chosen, depth))

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
        return Forked(info.pid, note)

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
        text = (
            f'{self.name} main process ({self.pid}) has not forked within {PATIENCE:.0f} seconds as '
            f'"expect {self.expect}" says, it counts as running: '
        )
        if self.expect == "daemon" and any(info.ppid == self.pid and info.sid == info.pid for info in sight.processes):
            return text + '"expect fork" would fit'
        if self.expect == "fork" and any(self._forked_away(info, sight) for info in sight.processes):
            return text + '"expect daemon" would fit'
        return text + "a job without expect would fit"

    def _forked_away(self, info: ProcInfo, sight: Sight) -> bool:
        return info.ppid != self.pid and all(info.ppid != other.pid for other in sight.processes)

    def _again(self) -> Wait:
        seconds = self._wait
        self._wait = min(seconds * 2, LONGEST_WAIT)
        return Wait(seconds)


def _eldest(processes: list[ProcInfo]) -> ProcInfo:
    """The oldest process whose parent is none of the others."""
    pids = {info.pid for info in processes}
    return next((info for info in processes if info.ppid not in pids), processes[0])


class Following:
    """A `Follower` with eyes: collects what it decides from.  ``now`` is always seconds of the same steady clock.

    Call `look` after each `Wait`, `main_ended` when the process that counts as the job's main one was reaped (also
    after `Forked` or `GaveUp`, before the exit is made the job's), and `orphan_ended` for each reaped process that is
    nobody's, which may be what a settling job is waiting for.
    """

    __slots__ = ("_seen", "follower", "members")

    def __init__(self, expect: str, name: str, members: Members, now: float) -> None:
        self.members = members
        self.follower = Follower(expect, name, members.pid, now)
        self._seen: set[int] = set()

    def look(self, now: float, spare: Collection[int] = ()) -> Decision:
        """Look at the job's processes; ``spare`` are the pids of its other processes (post-start, pre-stop)."""
        return self.follower.look(now, self._sight(spare, True))

    def main_ended(
        self, now: float, status: int, spare: Collection[int] = (), stopping: bool = False
    ) -> Decision:
        """The main process was reaped with ``status`` (a signal: shifted left by 8); ``stopping``: it was told to."""
        sight = self._sight(spare, False)
        if not sight.processes:
            # A process that forked and ended while /proc was read can hide its child from the first reading.
            sight = self._sight(spare, False)
        return self.follower.main_ended(now, status, sight, stopping)

    def orphan_ended(self, pid: int, now: float, spare: Collection[int] = ()) -> Decision | None:
        """A process without a job was reaped: ``None`` unless it was one that is waited for here."""
        self.follower.orphan_ended(pid)
        if self.follower.phase != "settling" or pid not in self._seen:
            return None
        return self.look(now, spare)

    def _sight(self, spare: Collection[int], main_lives: bool) -> Sight:
        main = self.follower.pid
        processes = [info for info in self.members.processes(spare, fresh=not main_lives) if info.pid != main]
        self._seen = {info.pid for info in processes}
        if not processes or not main_lives or self.follower.phase != "following":
            return Sight(processes)
        leader = look(main)
        if leader is not None and leader.name in SHELLS:
            return Sight(processes, True, (), {info.pid for info in processes if in_background(info.pid)})
        program = executable(main)
        return Sight(processes, False, {info.pid for info in processes if program == executable(info.pid)})

    def dump(self) -> dict[str, object]:
        """As plain values, for the state document; times are not kept: following starts anew after a re-exec."""
        return {
            "expect": self.follower.expect,
            "name": self.follower.name,
            "pid": self.follower.pid,
            "phase": self.follower.phase,
            "members": self.members.dump(),
        }

    @classmethod
    def load(cls, state: dict[str, object], now: float, address: str | None = None) -> Following:
        """From what `dump` gave; ``address`` as `Members.load` has it.

        Raises KeyError, TypeError or ValueError for anything else.
        """
        members, pid = state["members"], state["pid"]
        if not isinstance(members, dict) or not isinstance(pid, int):
            raise TypeError("following")
        following = cls(str(state["expect"]), str(state["name"]), Members.load(members, address), now)
        following.follower.pid = pid
        following.follower.phase = str(state["phase"])
        return following
