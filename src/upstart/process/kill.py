"""Signals to what a process of a job consists of.

The original's unit is the process group of the process that is followed, and so it is here for every signal but
SIGKILL: that one reaches all the processes of the job, whichever group or session they have moved to, so that a
stop leaves nothing behind.  Never signalled: pid 1 and below, init itself and its own process group.  A process
that is gone is no error: the exit is on its way through the reaper.

A child of init keeps its number until init reaps it.  Another process's number may be used again at any time: it is
held by a pidfd, and nothing is sent unless that says that the process is still there.
"""

from __future__ import annotations

import os

from upstart.process.procfs import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Collection

    from upstart.process.members import Members
    from upstart.process.procfs import ProcInfo
else:
    # Without the enumerations of the signal module, whose conversions cost more than the system calls.
    import _signal as signal

SIGKILL = 9
SIGCONT = 18
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
    pid: int, number: int, members: Members | None, spare: Collection[int] = (), pidfd: int = -1
) -> bool:
    """Send signal ``number`` to the process ``pid`` of a job as the original would, SIGKILL to all of the job.

    ``members`` tells what belongs to it (``None``: the process group is all that is known), ``spare`` the pids of
    the job's other processes (post-start, pre-stop), which with their sessions go on, ``pidfd`` holds the process
    where it may be no child of init.  Returns False if nothing was there.  Raises PermissionError where the kernel
    refuses to signal the process itself.
    """
    if number != SIGKILL or members is None:
        return signal_group(pid, number, pidfd)
    # Once the process is dead its children are no longer known as such.
    members.note_user()
    _seen(members, spare)
    done = signal_group(pid, number, pidfd)
    return kill_members(members, spare) or done


def kill_members(members: Members, spare: Collection[int] = ()) -> bool:
    """SIGKILL every process that belongs to the job, except the sessions in ``spare``; False if there was none."""
    group = members.group
    done = group is not None and not spare and group.populated() and group.kill()
    if done and not members.left:
        return True
    for _ in range(_ROUNDS):
        left = _seen(members, spare)
        if left is not None and not left:
            break
        for info in left or ():
            done = _kill_exactly(info.pid, info.start) or done
    return done


def _seen(members: Members, spare: Collection[int]) -> list[ProcInfo] | None:
    """What belongs to the job; ``None`` where it cannot be seen now."""
    try:
        return members.processes(spare, fresh=True)
    except OSError:
        return None


def _kill_exactly(pid: int, start: int) -> bool:
    """SIGKILL the process that had ``pid`` when it was seen, not one that has got the number since."""
    pidfd = -1
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # no descriptor to be had: what follows is right nearly always
    try:
        info = look(pid)
        return info is not None and info.start == start and signal_process(pid, SIGKILL, pidfd)
    except OSError:
        return False
    finally:
        if pidfd >= 0:
            os.close(pidfd)
