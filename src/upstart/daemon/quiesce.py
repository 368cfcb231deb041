"""How a session init ends: session-end is emitted, jobs are stopped, and the program exits.

What is always true here: it begins once, and it ends, whatever program init is executing by then.  ``session-end
TYPE=logout`` gives jobs that start on it `WAIT_SECONDS`; with ``TYPE=shutdown`` nothing is waited for but the
processes, and those no longer than the longest kill timeout among them.
"""

from __future__ import annotations

import time

from upstart.base.priority import DEBUG, INFO, WARN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from upstart.base.loop import Loop
    from upstart.engine.engine import Engine

WAIT_SECONDS = 5
#: The shortest time that processes get to end; what starts on session-end has no more at a shutdown.
LEAST_KILL_SECONDS = 5
#: Seconds between two looks at whether all jobs have ended, beside the look at every end of a process.
CHECK_SECONDS = 1.0

NOT_YET, WAIT, KILL, DONE = range(4)


class Quiesce:
    """The shutdown of a session; ``finished`` () is called at its end."""

    __slots__ = ("_deadline", "_engine", "_finished", "_log", "_loop", "_phase", "_reason", "_started")

    def __init__(
        self, engine: Engine, loop: Loop, log: Callable[[int, str], object], finished: Callable[[], object]
    ) -> None:
        self._engine = engine
        self._loop = loop
        self._log = log
        self._finished = finished
        self._phase = NOT_YET
        self._reason = ""
        self._started = 0.0
        self._deadline = 0.0

    @property
    def running(self) -> bool:
        """Whether the session is ending."""
        return self._phase != NOT_YET

    def begin(self, reason: str) -> None:
        """End the session because of ``reason``, "logout" or "shutdown"."""
        if self.running:
            return
        self._reason = reason
        self._started = time.monotonic()
        self._log(INFO, f"Quiescing due to {reason} request")
        if self._engine.end_session(reason):
            self._phase = WAIT
            self._deadline = self._started + WAIT_SECONDS
        else:
            if reason == "logout":
                self._log(DEBUG, "Skipping wait phase")
            self._kill()
        self._loop.call_later(CHECK_SECONDS, self._check)

    def _instances(self) -> bool:
        return any(job.instances for job in self._engine.jobs.values())

    def _kill(self) -> None:
        self._phase = KILL
        timeouts = [
            instance.job_class.kill_timeout for job in self._engine.jobs.values() for instance in job.instances.values()
        ]
        self._deadline = time.monotonic() + max([LEAST_KILL_SECONDS, *timeouts]) + CHECK_SECONDS
        self._engine.shutdown()

    def _check(self) -> None:
        """Have the loop turn, and so `settled` be called, every second; end what jobs that never settle would hold."""
        if self._phase in (WAIT, KILL):
            self._loop.call_later(CHECK_SECONDS, self._check)
            if time.monotonic() >= self._deadline + CHECK_SECONDS:
                self.settled()

    def settled(self) -> bool:
        """Look, after the engine has settled and its effects are performed, how far the end of the session has come.

        True where that gave the engine more to do.
        """
        if self._phase not in (WAIT, KILL):
            return False
        if not self._instances():
            self._finish()
        elif time.monotonic() >= self._deadline:
            if self._phase == WAIT:
                self._kill()
                return True
            self._finish()
        return False

    def _finish(self) -> None:
        self._phase = DONE
        for job in self._engine.jobs.values():
            for instance in job.instances.values():
                self._log(WARN, f"job {instance.display} failed to stop")
        took = int(time.monotonic() - self._started)
        self._log(
            INFO,
            f"Quiesce {self._reason} sequence took {'' if took else '<'}{took or 1} second{'s' if took > 1 else ''}",
        )
        self._finished()

    # Across a re-exec

    def dump(self) -> dict[str, Any] | None:
        """How far the end of the session has come; times are those of the monotonic clock, which goes on."""
        if not self.running:
            return None
        return {
            "phase": self._phase,
            "reason": self._reason,
            "started": self._started,
            "deadline": self._deadline,
        }

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Take over what `dump` gave."""
        if saved is None:
            return
        # What was done with by a program that has been replaced since is to be done with again.
        self._phase = min(saved["phase"], KILL)
        self._reason = saved["reason"]
        self._started = saved["started"]
        self._deadline = saved["deadline"]
        self._loop.call_later(CHECK_SECONDS, self._check)
