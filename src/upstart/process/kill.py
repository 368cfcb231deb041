"""Signals to what a process of a job consists of.

The original's unit is the process group of the process that is followed.  Here the stanza ``kill mode`` says how far
the signal of a stop, and the SIGKILL that comes after it, reach:

- ``process``: that process alone, by both.
- ``group``: its process group, by both, as in the original.
- ``session``, the default: its process group; SIGKILL also reaches all else of the job that is in the session that
  the job was given, in that of the process followed, or in one that a launcher there (su, sudo) made for what it runs.
  What has made a session of its own for itself stays, as it stays where the signal is obeyed: that is how a login of
  sshd, a command of cron, Salt or Puppet, a virtual machine or a container says that it has a life of its own.
- ``all``: all processes of the job, by both, whichever group or session they have moved to.

Never signalled: pid 1 and below, init itself and its own process group.  A process that is gone is no error: the exit
is on its way through the reaper.

A child of init keeps its number until init reaps it.  Another process's number may be used again at any time: it is
held by a pidfd, and nothing is sent unless that says that the process is still there.
"""

from __future__ import annotations

import os

from upstart.base.closing import close
from upstart.process.procfs import executable, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Collection

    from upstart.process.group import Group
    from upstart.process.members import Members
    from upstart.process.procfs import ProcInfo
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

SIGKILL = 9
SIGCONT = 18
#: Values of the stanza.
PROCESS, GROUP, SESSION, ALL = "process", "group", "session", "all"
#: Programs that make a session for what they run, and wait for it: what they do is told by no command line, for a
#: shell there may execute anything.
LAUNCHERS = frozenset(("doas", "runuser", "script", "setsid", "su", "sudo"))
#: Rounds of looking for processes that a job forks while it is being killed.
_ROUNDS = 5


def signal_group(pid: int, number: int, pidfd: int = -1) -> bool:
    """Send signal ``number`` to the process group of ``pid`` (to ``pid`` alone if it shares init's own group).

    ``pidfd`` holds the process where it may be no child of init.  Returns False if there was no such process.
    Raises PermissionError where the kernel refuses.
    """
    if pid <= 1 or pid == os.getpid():
        return False
    try:
        group = os.getpgid(pid)
        if pidfd >= 0:
            # While it is there, the group was its own.
            signal.pidfd_send_signal(pidfd, 0)
        if group <= 1 or group == os.getpgrp():
            _signal(pid, number, pidfd)
        else:
            os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def signal_process(pid: int, number: int, pidfd: int = -1) -> bool:
    """Send a signal to one process, held by ``pidfd`` where it may be no child of init; False if it is gone."""
    if pid <= 1 or pid == os.getpid():
        return False
    try:
        _signal(pid, number, pidfd)
    except ProcessLookupError:
        return False
    return True


def _signal(pid: int, number: int, pidfd: int) -> None:
    if pidfd >= 0:
        signal.pidfd_send_signal(pidfd, number)
    else:
        os.kill(pid, number)


def signal_job(
    pid: int,
    number: int,
    members: Members | None,
    spare: Collection[int] = (),
    pidfd: int = -1,
    mode: str = SESSION,
) -> bool:
    """Send signal ``number`` to the process ``pid`` of a job, and as far beyond it as ``mode`` says.

    ``members`` tells what belongs to it (``None``: the process group is all that is known), ``spare`` the pids of
    the job's other processes (post-start, pre-stop), which with their sessions go on, ``pidfd`` holds the process
    where it may be no child of init.  Returns False if nothing was there.  Raises PermissionError where the kernel
    refuses to signal the process itself.
    """
    if mode == PROCESS:
        return signal_process(pid, number, pidfd)
    if members is None or mode == GROUP:
        return signal_group(pid, number, pidfd)
    # Once the process is dead its session and its children are no longer known as such.
    members.note_session(pid)
    if number != SIGKILL:
        if mode != ALL:
            return signal_group(pid, number, pidfd)
        seen = _seen(members, spare) or ()
        group = _group_of(pid)
        done = signal_group(pid, number, pidfd)
        for info in seen:
            if info.pid != pid and info.pgid != group:
                done = _signal_exactly(info, number) or done
        return done
    members.note_user()
    _note_launched(members, _seen(members, spare) or [])
    done = signal_group(pid, number, pidfd)
    return kill_members(members, spare, mode) or done


def kill_members(members: Members, spare: Collection[int] = (), mode: str = ALL) -> bool:
    """SIGKILL every process that belongs to the job and that ``mode`` reaches, except the sessions in ``spare``; False
    if there was none.  The process that was followed, and its group, have been dealt with."""
    if mode in (PROCESS, GROUP):
        return False
    group = members.group
    done = mode == ALL and group is not None and not spare and group.populated() and group.kill()
    if done and not members.left:
        return True
    for _ in range(_ROUNDS):
        left = _seen(members, spare)
        if left is not None and mode == SESSION:
            left = [info for info in left if info.sid in members.own]
            if left and group is not None and _is_all_of(group, left) and group.kill():
                return True
        if left is not None and not left:
            break
        for info in left or ():
            done = _signal_exactly(info, SIGKILL) or done
    return done


def _is_all_of(group: Group, found: list[ProcInfo]) -> bool:
    """Whether ``found`` are all that is in the group: then the kernel can end them, and what they fork, at once."""
    try:
        return set(group.pids()) == {info.pid for info in found}
    except OSError:
        return False


def _note_launched(members: Members, found: list[ProcInfo]) -> None:
    """Count the sessions that launchers among ``found`` have made as the job's own."""
    more = True
    while more:
        more = False
        inside = {info.pid for info in found if info.sid in members.own}
        for info in found:
            if info.sid not in members.own and info.pid == info.sid and info.ppid in inside and _is_launcher(info.ppid):
                members.own.add(info.sid)
                more = True


def _is_launcher(pid: int) -> bool:
    try:
        return (executable(pid) or "").removesuffix(" (deleted)").rpartition("/")[2] in LAUNCHERS
    except OSError:
        return False


def _group_of(pid: int) -> int:
    """The process group of a process; 0 if it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _seen(members: Members, spare: Collection[int]) -> list[ProcInfo] | None:
    """What belongs to the job; ``None`` where it cannot be seen now."""
    try:
        return members.processes(spare, fresh=True)
    except OSError:
        return None


def _signal_exactly(seen: ProcInfo, number: int) -> bool:
    """Signal the process that was seen, not one that has got its number since."""
    pidfd = -1
    try:
        pidfd = os.pidfd_open(seen.pid)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # no descriptor to be had: what follows is right nearly always
    try:
        info = look(seen.pid)
        return info is not None and info.start == seen.start and signal_process(seen.pid, number, pidfd)
    except OSError:
        return False
    finally:
        close(pidfd)
