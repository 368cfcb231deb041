"""Looking at the processes of a job that is to become a daemon: `upstart.process.follow` with eyes.

What is always true here: all that is decided from was seen at one moment, with what the job's warden has that has ended
(`upstart.process.warden`), and nothing is decided where nothing can be seen.
"""

from __future__ import annotations

from upstart.process.follow import LATE, LONGEST_WAIT, Follower, Wait
from upstart.process.members import Members
from upstart.process.procfs import is_shell, waited
from upstart.process.sight import Sight, see

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from upstart.process.follow import Decision


class Following:
    """A `Follower` with eyes: collects what it decides from.  ``now`` is always seconds of the same steady clock.

    Call `look` after each `Wait`, `main_ended` when the process that counts as the job's main one was reaped (also
    after `Forked` or `GaveUp`, before the exit is made the job's), and `orphan_ended` for each reaped process that is
    nobody's, which may be what a settling job is waiting for.  Where nothing can be seen, for want of descriptors say,
    nothing is decided: `look` gives another `Wait`, and `main_ended` raises OSError, to be called again.
    """

    __slots__ = ("_seen", "follower", "members")

    def __init__(self, expect: str, name: str, members: Members, now: float) -> None:
        self.members = members
        self.follower = Follower(expect, name, members.pid, now)
        self._seen: set[int] = set()

    @property
    def undecided(self) -> bool:
        """Whether it is not known yet what the job is running with."""
        phase, running = self.follower.phase, self.follower.running
        return phase == "settling" or (phase == "following" and not running)

    def look(self, now: float, spare: Collection[int] = ()) -> Decision:
        """Look at the job's processes; ``spare`` are the pids of its other processes (post-start, pre-stop)."""
        try:
            sight = self._sight(spare, True, now - self.follower.began >= LATE)
        except OSError:
            return Wait(LONGEST_WAIT, self.follower.pid, self.follower.running)
        return self.follower.look(now, sight)

    def main_ended(
        self, now: float, status: int | None, spare: Collection[int] = (), stopping: bool = False
    ) -> Decision:
        """The main process has ended with ``status`` (a signal: shifted left by 8; ``None``: unknown); ``stopping``: it
        was told to."""
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

    def _sight(self, spare: Collection[int], main_lives: bool, late: bool = False) -> Sight:
        main = self.follower.pid
        processes = self.members.processes(spare, fresh=not main_lives)
        if self.follower.phase != "settling":
            processes = [info for info in processes if info.pid != main]
        self._seen = {info.pid for info in processes}
        lag = max(waited(main), *(waited(info.pid) for info in processes), 0.0) if late else 0.0
        for pid in self.members.gone:
            self.follower.orphan_ended(pid)
        if not processes or not main_lives or self.follower.phase != "following":
            launcher = any(info.pid == self.members.pid for info in processes)
            return Sight(processes, launcher and is_shell(self.members.pid), dying=self.members.dying, lag=lag)
        return see(main, processes, lag)

    def dump(self) -> dict[str, object]:
        """As plain values, for the state document; times are not kept: following starts anew after a re-exec."""
        return {
            "expect": self.follower.expect,
            "name": self.follower.name,
            "pid": self.follower.pid,
            "phase": self.follower.phase,
            "running": self.follower.running,
            "launched": self.follower.launched,
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
        following.follower.running = bool(state.get("running", False))
        following.follower.launched = bool(state.get("launched", False))
        return following
