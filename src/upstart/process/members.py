"""Which processes belong to one process of a job: what it started, and all that these started.

With a cgroup of the job's own that is the cgroup's content.  Elsewhere a process belongs if it is in a session or
process group known to be the job's, is the child of a member, or was started with what tells the job's processes from
all others: UPSTART_JOB, UPSTART_INSTANCE, the UPSTART_SESSION of our init, whose jobs are not those of other inits, and
the UPSTART_CHROOT of a chroot session, whose jobs are not the system's.  (The root directory would not do: daemons
change it.)  Only processes younger than the spawn count, so what an earlier run or pre-start has left behind is never
taken for this run's daemon.
"""

from __future__ import annotations

import os
import time

from upstart.process.cgroup import Group
from upstart.process.procfs import ProcInfo, all_pids, environment, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_TICKS = os.sysconf("SC_CLK_TCK")


def boot_ticks() -> int:
    """Now, in the unit and from the origin of a process's start time in /proc."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


class Members:
    """The processes of one spawned process.

    ``pid`` is the process spawned, ``since`` the `boot_ticks` from before the spawn, ``group`` its cgroup if it has
    one.  ``job``, ``instance``, ``address`` and ``chroot`` are what UPSTART_JOB, UPSTART_INSTANCE, UPSTART_SESSION
    and UPSTART_CHROOT say.
    """

    __slots__ = ("_strangers", "address", "chroot", "group", "instance", "job", "pid", "sessions", "since")

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
        self._strangers: set[int] = set()

    def born(self) -> None:
        """The process that was prepared for, with pid 0, exists; its pid is known."""
        if self.pid not in self.sessions:
            self.sessions.clear()
            self.sessions.add(self.pid)

    def processes(self, spare: Collection[int] = (), fresh: bool = False) -> list[ProcInfo]:
        """The living members, oldest first.

        ``spare`` are sessions that are not to be counted (those of the job's other processes).  ``fresh`` looks
        again at processes that an earlier call found to be strangers.
        """
        if fresh:
            self._strangers.clear()
        group = self.group
        found = self._in_group(group) if group is not None and group.exclusive else self._in_sessions(group)
        own = os.getpid()
        found = [info for info in found if info.sid not in spare and info.pid not in spare and info.pid != own]
        found.sort(key=_age)
        return found

    def _in_group(self, group: Group) -> list[ProcInfo]:
        return [info for info in map(look, group.pids()) if info is not None and info.start >= self.since]

    def _in_sessions(self, group: Group | None) -> list[ProcInfo]:
        pids: Iterable[int] = group.pids() if group is not None else all_pids()
        strangers = self._strangers
        candidates = []
        for pid in pids:
            if pid <= 1 or pid in strangers:
                continue
            info = look(pid)
            if info is None or info.start < self.since or info.ppid in (0, 2) or pid == os.getpid():
                strangers.add(pid)
            else:
                candidates.append(info)
        candidates.sort(key=_age)
        members: dict[int, ProcInfo] = {}
        for info in candidates:
            if self._belongs(info, members):
                members[info.pid] = info
                self.sessions.add(info.sid)
                self.sessions.add(info.pgid)
            else:
                strangers.add(info.pid)
        return list(members.values())

    def _belongs(self, info: ProcInfo, members: dict[int, ProcInfo]) -> bool:
        if info.pid == self.pid or info.sid in self.sessions or info.pgid in self.sessions or info.ppid in members:
            return True
        variables = environment(info.pid)
        return (
            variables.get(b"UPSTART_JOB") == os.fsencode(self.job)
            and variables.get(b"UPSTART_INSTANCE") == os.fsencode(self.instance)
            and variables.get(b"UPSTART_SESSION") == (None if self.address is None else os.fsencode(self.address))
            and variables.get(b"UPSTART_CHROOT") == (None if self.chroot is None else os.fsencode(self.chroot))
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
        sessions = state.get("sessions", [])
        if not isinstance(sessions, list):
            raise TypeError("sessions")
        members.sessions.update(map(_number, sessions))
        return members


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("number expected")
    return value


def _age(info: ProcInfo) -> tuple[int, int]:
    return info.start, info.pid
