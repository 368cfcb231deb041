"""Which processes belong to one process of a job: what it started, and all that these started.

With a cgroup of the job's own that is the cgroup's content, and what has left it.  Elsewhere, and for what has left,
the family is walked from parent to child, beginning with the process spawned and with the orphans that init has
adopted.  An orphan belongs if it was seen as a descendant while its parents lived, if it is in a session or process
group seen so, or if init's own variables in its environment tell the job from all others: UPSTART_JOB,
UPSTART_INSTANCE, the UPSTART_SESSION of our init, whose jobs are not those of other inits, and the UPSTART_CHROOT of a
chroot session, whose jobs are not the system's.  (The root directory would not do: daemons change it.)  Anybody can
set variables, so they count for nothing by themselves: only with an orphan that runs as the user that the job runs
as, and that has been given no privileges since (a set-user-ID program keeps the environment of whoever called it).
In a cgroup that jobs share they tell whose a process is.

Only processes younger than the spawn count, so what an earlier run or pre-start has left behind is never taken for
this run's daemon.  A look costs what the job and the orphans of init consist of, not what else the machine runs; where
those are many it ends when its time is used up, and the next one goes on with the others.
"""

from __future__ import annotations

import os
import time

from upstart.process.group import Group
from upstart.process.procfs import ProcInfo, all_pids, children, environment, look, privileged, users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_TICKS = os.sysconf("SC_CLK_TCK")


#: Processes looked at, and environments read, at once: what is left has its turn at the next look.  So many of them at
#: least, and more while less than so many seconds of the processor have been used.
_LOOKS, _READS = 400, 100
_FEW_LOOKS, _FEW_READS = 40, 10
_SECONDS = 0.01
#: When the orphans that init has adopted were started.  A number is nobody else's until init has reaped it.
_starts: dict[int, int] = {}


def reaped(pid: int) -> None:
    """A child of init has been reaped: its number may be given out again."""
    _starts.pop(pid, None)


def boot_ticks() -> int:
    """Now, in the unit and from the origin of a process's start time in /proc."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


class Members:
    """The processes of one spawned process.

    ``pid`` is the process spawned, ``since`` the `boot_ticks` from before the spawn, ``group`` its cgroup if it has
    one.  ``job``, ``instance``, ``address`` and ``chroot`` are what UPSTART_JOB, UPSTART_INSTANCE, UPSTART_SESSION
    and UPSTART_CHROOT say.
    """

    __slots__ = (
        "_strangers", "address", "chroot", "dying", "group", "instance", "job", "known", "left", "own", "pid",
        "sessions", "since", "user",
    )  # fmt: skip

    def __init__(
        self,
        pid: int,
        since: int,
        job: str,
        instance: str,
        group: Group | None,
        address: str | None = None,
        chroot: str | None = None,
    ) -> None:
        self.pid = pid
        self.since = since
        self.job = job
        self.instance = instance
        self.address = address
        self.chroot = chroot
        self.group = group
        #: Sessions and process groups that are the job's; the spawned process leads the first.
        self.sessions = {pid}
        #: Those among them that are the job's as such: the one it was given, those that its main process has been in.
        self.own = {pid}
        #: Descendants that were seen, by their start times.
        self.known: dict[int, int] = {}
        #: Whether the spawned process was seen outside of the job's own group.
        self.left = False
        #: Whether the last look met an orphan on its way out, whose job cannot be told, nor what it leaves.
        self.dying = False
        #: User that the spawned process was seen to run as.
        self.user = os.geteuid()
        self._strangers: set[int] = set()

    def born(self) -> None:
        """The process that was prepared for, with pid 0, exists; its pid is known."""
        if self.pid not in self.sessions:
            self.sessions.clear()
            self.sessions.add(self.pid)
            self.own = {self.pid}

    def processes(self, spare: Collection[int] = (), fresh: bool = False) -> list[ProcInfo]:
        """The living members, oldest first.  Raises OSError where we lack what it takes to look.

        ``spare`` are sessions that are not to be counted (those of the job's other processes).  ``fresh`` looks
        again at processes that an earlier call found to be strangers.
        """
        if fresh:
            self._strangers.clear()
        self.dying = False
        group = self.group
        found = self._in_group(group) if group is not None and group.exclusive else self._family(group)
        own = os.getpid()
        found = [info for info in found if info.sid not in spare and info.pid not in spare and info.pid != own]
        found.sort(key=_age)
        return found

    def note_session(self, pid: int) -> None:
        """``pid`` is what init follows: remember the session that it is in."""
        try:
            self.own.add(os.getsid(pid))
        except ProcessLookupError:
            pass

    def note_user(self) -> None:
        """The program runs: remember who runs it."""
        try:
            seen = users(self.pid)
        except OSError:
            return
        if len(seen) == 1:
            self.user = min(seen)

    def _in_group(self, group: Group) -> list[ProcInfo]:
        pids = group.pids()
        found = [info for info in map(look, pids) if info is not None and info.start >= self.since]
        if not self.left:
            main = look(self.pid)
            self.left = main is not None and main.start >= self.since and self.pid not in pids
        if self.left or not found:
            there = {info.pid for info in found}
            found += [info for info in self._family(None) if info.pid not in there]
        return found

    def _family(self, group: Group | None) -> list[ProcInfo]:
        """The spawned process, the orphans that are the job's, and their descendants; of a shared group also what
        the job has in it."""
        init = os.getpid()
        orphans = children(init)
        if orphans is None:
            return self._among(all_pids(), init)
        shared = group.pids() if group is not None else ()
        heads = dict.fromkeys((self.pid, *self.known, *shared, *reversed(orphans)))
        # The processor's time, of which others that run beside us take nothing.
        until = time.thread_time() + _SECONDS
        undecided = self._undecided(heads, init, group is not None, until - _SECONDS / 2)
        members: dict[int, ProcInfo] = {}
        asked: set[int] = set()
        found = True
        while found:
            found = False
            for info in undecided:
                if info.pid in members:
                    continue
                belongs = self._related(info, members)
                reads = len(asked)
                has_turn = reads < _FEW_READS or (reads < _READS and time.thread_time() < until)
                if not belongs and info.pid not in asked and has_turn:
                    asked.add(info.pid)
                    belongs = (group is not None or info.ppid == init) and self._says(info.pid, group is not None)
                if belongs:
                    self._descend(info, members)
                    found = True
        for info in undecided:
            if info.exiting and info.pid not in members:
                asked.discard(info.pid)
                self.dying = True
        self._strangers.update(asked.difference(members))
        self.known = {info.pid: info.start for info in members.values()}
        return list(members.values())

    def _undecided(self, heads: Iterable[int], init: int, shared: bool, until: float) -> list[ProcInfo]:
        """Those of ``heads`` that may belong, oldest first; strangers are by far the most, where there are many."""
        since, starts, strangers = self.since, _starts, self._strangers
        found = []
        done = looks = 0
        for pid in heads:
            if starts.get(pid, since) < since or pid in strangers or pid == init:
                continue
            if done >= _FEW_LOOKS and (looks >= _LOOKS or time.thread_time() >= until):
                break
            done += 1
            if pid != self.pid and not shared and self._foreign(pid):
                strangers.add(pid)
                continue
            looks += 1
            info = look(pid)
            if info is None:
                continue
            if info.ppid == init:
                starts[pid] = info.start
            if info.start >= since:
                found.append(info)
        found.sort(key=_age)
        return found

    def _foreign(self, pid: int) -> bool:
        """Whether an orphan is another user's, and in no session of ours; told without reading much."""
        try:
            return (
                pid not in self.known
                and os.getsid(pid) not in self.sessions
                and os.getpgid(pid) not in self.sessions
                # What has changed its user may be shown as root's.
                and os.stat(f"/proc/{pid}").st_uid not in (self.user, 0)
            )
        except OSError:
            return False

    def _descend(self, head: ProcInfo, members: dict[int, ProcInfo]) -> None:
        """Add a member and its descendants."""
        self._add(head, members)
        parents = [head]
        for parent in parents:
            for pid in children(parent.pid, parent.threads) or ():
                child = look(pid) if pid not in members else None
                if child is not None and child.start >= self.since:
                    self._add(child, members)
                    parents.append(child)

    def _among(self, pids: list[int], init: int) -> list[ProcInfo]:
        """The members among all processes, where the kernel does not tell the children of one."""
        strangers = self._strangers
        candidates = []
        for pid in pids:
            if pid <= 1 or pid in strangers or pid == init:
                continue
            info = look(pid)
            if info is None or info.start < self.since or info.ppid in (0, 2):
                strangers.add(pid)
            else:
                candidates.append(info)
        candidates.sort(key=_age)
        members: dict[int, ProcInfo] = {}
        for info in candidates:
            if self._related(info, members) or (info.ppid == init and self._says(info.pid, False)):
                self._add(info, members)
            else:
                strangers.add(info.pid)
        self.known = {info.pid: info.start for info in members.values()}
        return list(members.values())

    def _add(self, info: ProcInfo, members: dict[int, ProcInfo]) -> None:
        members[info.pid] = info
        self.sessions.add(info.sid)
        self.sessions.add(info.pgid)

    def _related(self, info: ProcInfo, members: dict[int, ProcInfo]) -> bool:
        """Whether a process is one of the job's by what was seen of it."""
        return (
            info.pid == self.pid
            or info.sid in self.sessions
            or info.pgid in self.sessions
            or self.known.get(info.pid) == info.start
            or info.ppid in members
        )

    def _says(self, pid: int, shared: bool) -> bool:
        """Whether a process is one of the job's by its variables; ``shared``: it may be one of a cgroup that the job
        shares."""
        variables = environment(pid)
        return (
            variables.get(b"UPSTART_JOB") == os.fsencode(self.job)
            and variables.get(b"UPSTART_INSTANCE") == os.fsencode(self.instance)
            and variables.get(b"UPSTART_SESSION") == (None if self.address is None else os.fsencode(self.address))
            and variables.get(b"UPSTART_CHROOT") == (None if self.chroot is None else os.fsencode(self.chroot))
            and (shared or (users(pid) == {self.user} and not privileged(pid)))
        )

    def dump(self) -> dict[str, object]:
        """As plain values, for the state document."""
        group = None if self.group is None else [self.group.path, self.group.exclusive]
        return {
            "pid": self.pid,
            "since": self.since,
            "job": self.job,
            "instance": self.instance,
            "address": self.address,
            "chroot": self.chroot,
            "group": group,
            "sessions": sorted(self.sessions),
            "own": sorted(self.own),
            "known": [list(entry) for entry in self.known.items()],
            "left": self.left,
            "user": self.user,
        }

    @classmethod
    def load(cls, state: dict[str, object], address: str | None = None) -> Members:
        """From what `dump` gave; ``address`` is our own, for a state of a build that did not write it.

        Raises KeyError, TypeError or ValueError for anything else.
        """
        group = state.get("group")
        if group is not None:
            if not isinstance(group, list):
                raise TypeError("group")
            group = Group(str(group[0]), bool(group[1]))
        members = cls(_number(state["pid"]), _number(state["since"]), str(state["job"]), str(state["instance"]), group)
        own, chroot = state.get("address", address), state.get("chroot")
        members.address = None if own is None else str(own)
        members.chroot = None if chroot is None else str(chroot)
        sessions, own_sessions = state.get("sessions", []), state.get("own", [])
        if not isinstance(sessions, list) or not isinstance(own_sessions, list):
            raise TypeError("sessions")
        members.sessions.update(map(_number, sessions))
        members.own.update(map(_number, own_sessions))
        known = state.get("known", [])
        if not isinstance(known, list):
            raise TypeError("known")
        members.known = {_number(pid): _number(start) for pid, start in known}
        members.left = bool(state.get("left", False))
        members.user = _number(state.get("user", members.user))
        return members


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("number expected")
    return value


def _age(info: ProcInfo) -> tuple[int, int]:
    return info.start, info.pid
