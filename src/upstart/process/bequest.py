"""What a process that posix_spawn(3) starts has from init: init itself has it for that moment.

These are the umask, those limits that nothing looks at meanwhile, an oom score, and a priority above its own.  What is
always true here: what init could not have back is not changed, as a hard limit without the privilege to raise it again;
and all is put back as soon as there is a process, or none.  Where something cannot be set nothing is said: the fork
that follows does that.
"""

from __future__ import annotations

import os
import resource

from upstart.base.closing import close
from upstart.process.limits import LIMITS, original_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from upstart.conf.jobclass import JobClass
    from upstart.process.child import Setup
    from upstart.process.request import SpawnRequest

#: Limits that change nothing for init, nor for what it does until the exec; only an ordinary user's may have too few
#: processes left, and then forks.  (Those of time and memory would end it, that of signals loses some sent to it.)
_HARMLESS = frozenset(
    (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
)
#: Limits are unsigned, and what is said of the upper half of them is negative.
_UNSIGNED = 2**64 - 1
_SCORE = "/proc/self/oom_score_adj"
#: How often what fails is put back again, at once: for want of memory it may fail once.
_TRIES = 5


class Bequest:
    """What init has that is not its own, and what is to be put back."""

    __slots__ = (
        "_limits", "_may_go_first", "_may_lower_score", "_may_raise", "_nice", "_score", "_score_fd", "_umask",
    )  # fmt: skip

    def __init__(self) -> None:
        #: What init had, by what was changed; -1 or "" where nothing was.
        self._limits: dict[int, tuple[int, int]] = {}
        self._umask = -1
        self._nice: int | None = None
        self._score = b""
        self._score_fd = -1
        #: Whether the kernel lets us raise a hard limit; `None` until that matters.
        self._may_raise: bool | None = None
        #: Whether it has yet to refuse a lower oom score, and a higher priority.
        self._may_lower_score = self._may_go_first = True

    def serves(self, job: JobClass) -> bool:
        """Whether the limits, the priority and the oom score of a job's processes can be had so."""
        if job.nice is not None and not (self._may_go_first and job.nice <= os.getpriority(os.PRIO_PROCESS, 0)):
            # With a lower one than its own init would wait as long for a processor as the child that it waits for.
            return False
        if job.oom_score_adj is not None and not self._may_lower_score:
            return False
        return all(self._returns(LIMITS[name], hard) for name, (_soft, hard) in job.limits.items())

    def _returns(self, number: int, hard: int) -> bool:
        """Whether init can have its own limit back after it had this hard one."""
        if number not in _HARMLESS:
            return False
        return hard & _UNSIGNED >= resource.getrlimit(number)[1] & _UNSIGNED or self._raises()

    def _raises(self) -> bool:
        """Whether a hard limit can be raised: tried with one that can be lowered again, and that init does not need.

        What the capabilities say does not tell: those of a user namespace are not meant.
        """
        if self._may_raise is None:
            number = resource.RLIMIT_RTPRIO
            soft, hard = resource.getrlimit(number)
            if hard < 0:
                self._may_raise = False
            else:
                try:
                    self._change(number, (soft, hard), (soft, hard + 1))
                    self._may_raise = True
                except (OSError, ValueError):
                    self._may_raise = False
                finally:
                    self.put_back()
        return self._may_raise

    def give(self, setup: Setup) -> None:
        """Have init be as the process is to be, until `put_back`, which is to follow whatever happens.

        Raises OSError or ValueError.
        """
        if self._left():
            raise OSError("what was given before is not back")
        request = setup.request
        job = request.job_class
        plain = request.process == "security"
        if job.oom_score_adj is not None and not plain:
            self._give_score(job.oom_score_adj)
        if not plain:
            if job.nice is not None:
                self._give_priority(job.nice)
            self._umask = os.umask(setup.umask)
            for name, (soft, hard) in job.limits.items():
                self._give_limit(LIMITS[name], soft, hard)
        if plain or "nofile" not in job.limits:
            self._give_limit(resource.RLIMIT_NOFILE, original_descriptors()[0])

    def _give_limit(self, number: int, soft: int, hard: int | None = None) -> None:
        """Without ``hard`` that stays as it is."""
        now = resource.getrlimit(number)
        then = (soft, now[1] if hard is None else hard)
        if now != then:
            # What the kernel would not let us have by now (fs.nr_open) we would not get back.
            resource.setrlimit(number, now)
            self._change(number, now, then)

    def _change(self, number: int, now: tuple[int, int], then: tuple[int, int]) -> None:
        self._limits[number] = now
        resource.setrlimit(number, then)

    def _give_priority(self, nice: int) -> None:
        # To go back to it asks for no privilege.
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except PermissionError:
            self._may_go_first = False
            raise

    def _give_score(self, score: int) -> None:
        self._score_fd = os.open(_SCORE, os.O_RDWR | os.O_CLOEXEC)
        now = os.pread(self._score_fd, 16, 0)
        if score > int(now):
            # A container's init can be killed: not for want of memory that the child needs.
            raise OSError("a higher oom score than ours")
        self._score = now
        try:
            os.pwrite(self._score_fd, b"%d" % score, 0)
        except PermissionError:
            self._may_lower_score = False
            raise

    def put_back(self) -> None:
        """Have init be as it was; what cannot be put back is tried again before the next process."""
        tries = _TRIES
        while tries and self._left():
            tries -= 1
            try:
                self._put_back()
            except (OSError, MemoryError):
                pass

    def _left(self) -> bool:
        return self._umask >= 0 or self._nice is not None or self._score_fd >= 0 or len(self._limits) > 0

    def _put_back(self) -> None:
        if self._umask >= 0:
            os.umask(self._umask)
            self._umask = -1
        if self._nice is not None:
            os.setpriority(os.PRIO_PROCESS, 0, self._nice)
            self._nice = None
        for number, limit in list(self._limits.items()):
            try:
                resource.setrlimit(number, limit)
                del self._limits[number]
            except (OSError, ValueError):
                pass  # the others can be put back
        if self._score_fd >= 0:
            if self._score:
                os.pwrite(self._score_fd, self._score, 0)
                self._score = b""
            fd, self._score_fd = self._score_fd, -1
            close(fd)


def descriptors(request: SpawnRequest) -> int:
    """The soft limit of descriptors that the process is to have."""
    limits = request.job_class.limits
    given = limits.get("nofile") if request.process != "security" else None
    return (given or original_descriptors())[0]
