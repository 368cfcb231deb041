"""Which processes belong to one process of a job: what it started, and all that these started.

With a cgroup of the job's own that is the cgroup's content, and what has left it.  Elsewhere, and for what has left,
the family is walked from parent to child, beginning with the process spawned, with what its warden has been given
(`upstart.process.warden`) and with the orphans that init has adopted.  An orphan belongs if it was seen as a descendant
while its parents lived, or if it is in a session or process group seen so.

What a process says of itself proves nothing, for anybody can set variables.  Init's own (UPSTART_JOB,
UPSTART_INSTANCE, the UPSTART_SESSION of our init, the UPSTART_CHROOT of a chroot session) count only among the
processes of one cgroup: that which jobs share by their stanzas, where they tell whose a process is, and that which the
job's main process was seen to have gone to from its own, for an orphan that runs as the user that the job runs as, and
that has been given no privileges since (a set-user-ID program keeps the environment of whoever called it).  Without
cgroups they count for nothing.

Only processes younger than the spawn count, so what an earlier run or pre-start has left behind is never taken for
this run's daemon.  A look costs what the job and the orphans of init consist of, not what else the machine runs; where
those are many it ends when its time is used up, and the next one goes on with the others.
"""

from __future__ import annotations

import os
import time

from upstart.process import orphans
from upstart.process.group import Group
from upstart.process.procfs import (
    ProcInfo,
    all_pids,
    begun,
    cgroup_of,
    children,
    environment,
    look,
    privileged,
    users,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

#: Processes looked at, and environments read, at once: what is left has its turn at the next look.  So many of them at
#: least, and more while less than so many seconds of the processor have been used.
_LOOKS, _READS = 400, 100
_FEW_LOOKS, _FEW_READS = 40, 10
_SECONDS = 0.01


class Members:
    """The processes of one spawned process.

    ``pid`` is the process spawned, ``since`` the `boot_ticks` from before the spawn, ``group`` its cgroup if it has
    one, ``warden`` the process that it is the child of and that is given its orphans, 0 if it is init's, and ``leash``
    the descriptor by which init holds that.  ``job``, ``instance``, ``address`` and ``chroot`` are what UPSTART_JOB,
    UPSTART_INSTANCE, UPSTART_SESSION and UPSTART_CHROOT say.
    """

    __slots__ = (
        "_sessions", "_strangers", "address", "begun", "chroot", "dying", "gone",
        "group", "instance", "job", "known", "leash", "left",
        "own", "pid", "place", "sessions", "since", "user", "warden",
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
        self.warden = 0
        self.leash = -1
        #: Sessions and process groups that are the job's; the spawned process leads the first.
        self.sessions = {pid}
        #: Those among them that are the job's as such: the one it was given, those that its main process has been in.
        self.own = {pid}
        #: Descendants that were seen, by their start times.
        self.known: dict[int, int] = {}
        #: Whether the spawned process was seen outside of the job's own group.
        self.left = False
        #: The cgroup that it was seen in, and when it began (0: not looked at), so that it is no other with its number.
        self.place = ""
        self.begun = 0
        #: What the warden has that had ended by the last look.
        self.gone: list[int] = []
        #: Whether the last look met an orphan on its way out, whose job cannot be told, nor what it leaves.
        self.dying = False
        #: User that the spawned process was seen to run as.
        self.user = os.geteuid()
        self._strangers: set[int] = set()
        self._sessions = orphans.Sessions()

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
            self._sessions.forget()
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
            session = os.getsid(pid)
        except ProcessLookupError:
            return
        if session != self.warden:
            # That is where it was before it made its own.
            self.own.add(session)
            self.sessions.add(session)

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
            found += [info for info in self._family(group) if info.pid not in there]
        return found

    def _family(self, group: Group | None) -> list[ProcInfo]:
        """The spawned process, the orphans that are the job's, and their descendants; of a shared group also what
        the job has in it, of one that was left also what is where the main process has gone."""
        init = os.getpid()
        # The processor's time, of which others that run beside us take nothing.
        until = time.thread_time() + _SECONDS
        if group is None and self.warden:
            # What is the job's is never given to init while there is a warden.
            kept = children(self.warden)
            if kept:
                return self._by_chain(kept, [], init, until)
        ours = children(init)
        if ours is None:
            return self._among(all_pids(), init)
        orphans.seen(ours)
        if group is None:
            return self._by_chain([], ours, init, until)
        self._note_place()
        shared = () if group.exclusive else group.pids()
        heads = dict.fromkeys((self.pid, *self.known, *shared, *reversed(ours)))
        undecided = self._undecided(heads, init, not group.exclusive, until - _SECONDS / 2)
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
                    shares = not group.exclusive
                    belongs = (shares or info.ppid == init) and self._says(info.pid, shares)
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

    def _by_chain(self, kept: list[int], ours: list[int], init: int, until: float) -> list[ProcInfo]:
        """The family by what was seen of it alone: what the warden has been given, what is known, and what of
        init's children is in the job's sessions and groups."""
        since, starts, known = self.since, orphans.starts, self.known
        left = [pid for pid in reversed(ours) if starts.get(pid, since) >= since and pid not in known]
        members: dict[int, ProcInfo] = {}
        tried: set[int] = set()
        heads = [self.pid, *kept, *known]
        while heads:
            for info in self._undecided(heads, init, True, until):
                if info.pid not in members and self._related(info, members):
                    self._descend(info, members)
            # Each member may have brought a session of its own.
            found = self._sessions.find(left, self.sessions, until - _SECONDS / 2)
            heads = [pid for pid in found if pid not in tried]
            tried.update(heads)
        self.gone = [pid for pid in kept if pid not in members]
        self.known = {info.pid: info.start for info in members.values()}
        return list(members.values())

    def _undecided(self, heads: Iterable[int], init: int, near: bool, until: float) -> list[ProcInfo]:
        """Those of ``heads`` that may belong, oldest first; strangers are by far the most, where there are many, and
        these are not all ``near``: the processes of a shared group, of a warden or of a session."""
        since, starts, strangers = self.since, orphans.starts, self._strangers
        found = []
        done = looks = 0
        for pid in heads:
            if starts.get(pid, since) < since or pid in strangers or pid in (init, self.warden):
                continue
            if done >= _FEW_LOOKS and (looks >= _LOOKS or time.thread_time() >= until):
                break
            done += 1
            if pid != self.pid and not near and self._foreign(pid):
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
            says = self.group is not None and info.ppid == init and self._says(info.pid, False)
            if says or self._related(info, members):
                self._add(info, members)
            else:
                strangers.add(info.pid)
        self.known = {info.pid: info.start for info in members.values()}
        return list(members.values())

    def _add(self, info: ProcInfo, members: dict[int, ProcInfo]) -> None:
        members[info.pid] = info
        # Its warden's it has been in before it made its own.
        self.sessions.update({info.sid, info.pgid} - {self.warden})

    def _related(self, info: ProcInfo, members: dict[int, ProcInfo]) -> bool:
        """Whether a process is one of the job's by what was seen of it."""
        return (
            info.pid == self.pid
            or info.sid in self.sessions
            or info.pgid in self.sessions
            or self.known.get(info.pid) == info.start
            or info.ppid in members
            or info.ppid == self.warden != 0
        )

    def _note_place(self) -> None:
        """Note the cgroup that the spawned process is in, or was when it ended: that is told until it is reaped."""
        start = begun(self.pid)
        if self.begun in (0, start):
            self.begun, self.place = start, cgroup_of(self.pid) or self.place

    def _says(self, pid: int, shared: bool) -> bool:
        """Whether a process is one of the job's by its variables, as one in the cgroup where the main process is;
        ``shared``: that is one that jobs share by their stanzas."""
        if not shared and (not self.place or cgroup_of(pid) != self.place):
            return False
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
            "begun": self.begun,
            "place": self.place,
            "user": self.user,
            "warden": [self.warden, self.leash],
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
        members.begun, members.place = _number(state.get("begun", 0)), str(state.get("place", ""))
        warden = state.get("warden", [0, -1])
        if not isinstance(warden, list):
            raise TypeError("warden")
        members.warden, members.leash = map(_number, warden)
        members.user = _number(state.get("user", members.user))
        return members


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("number expected")
    return value


def _age(info: ProcInfo) -> tuple[int, int]:
    return info.start, info.pid
